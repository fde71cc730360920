"""Fixtures for the tests of state machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulation.parts import parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def parts_of_a_mib() -> Iterator[None]:
    """Parts of 1 MiB, of which 4 may be under way, whatever size is found to be best."""
    with parts_of(1024 * 1024):
        yield
