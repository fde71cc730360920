"""The fixtures, where pytest-asyncio is not at work: each fails its test and says why."""

from __future__ import annotations

import pytest

__all__ = ["mpzmq_container", "mpzmq_proxy", "mpzmq_worker"]


def _refuse(name: str) -> None:
    pytest.fail(
        f"the fixture {name} needs pytest-asyncio: install it, and see that no '-p no:asyncio' turns it off",
        pytrace=False,
    )


@pytest.fixture
def mpzmq_worker() -> None:
    """Needs pytest-asyncio."""
    _refuse("mpzmq_worker")


@pytest.fixture
def mpzmq_container() -> None:
    """Needs pytest-asyncio."""
    _refuse("mpzmq_container")


@pytest.fixture
def mpzmq_proxy() -> None:
    """Needs pytest-asyncio."""
    _refuse("mpzmq_proxy")
