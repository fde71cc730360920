"""What a request's options may be."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mpzmq import ComputerEngineWorker


@pytest.mark.parametrize("timeout", [math.nan, math.inf, 1e300, 1_000_001])
def test_a_timeout_that_is_none(timeout: float) -> None:
    with pytest.raises(ValueError, match="None is not a deadline"):
        ComputerEngineWorker().service(timeout=timeout)


@pytest.mark.parametrize("timeout", [True, "3"])
def test_a_timeout_of_another_type(timeout: Any) -> None:
    with pytest.raises(TypeError, match="timeout is a number of seconds or None"):
        ComputerEngineWorker().service(timeout=timeout)


@pytest.mark.parametrize("metadata", [{1: 2}, "x", [("a", 1)], 3])
def test_metadata_that_is_none(metadata: Any) -> None:
    with pytest.raises(TypeError, match="metadata is a mapping with str keys"):
        ComputerEngineWorker().service(metadata=metadata)


@pytest.mark.parametrize("timeout", [None, 0, -1, 0.5, 1_000_000])
def test_timeouts(timeout: float | None) -> None:
    ComputerEngineWorker().service(timeout=timeout, metadata={"a": 1})
