"""Containers as processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mpzmq.testing import ContainerFactory, ServedProcess

    Start = Callable[..., Awaitable[ServedProcess]]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(mpzmq_container: ContainerFactory) -> Start:
    """Starts container processes; they are ended after the test."""

    def started(**options: Any) -> Awaitable[ServedProcess]:
        return mpzmq_container("tests.container:server", folder=ROOT, **options)

    return started
