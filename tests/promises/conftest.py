"""Containers as processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mpzmq.testing import ContainerFactory, ServedProcess
    from tests.support.container import Start


@pytest.fixture
def start(mpzmq_container: ContainerFactory) -> Start:
    """Starts container processes; they are ended after the test."""

    def started(**options: Any) -> Awaitable[ServedProcess]:
        return mpzmq_container("tests.support.container:server", folder=ROOT, **options)

    return started
