"""What all tests share. The guards come first: they are set up before and torn down after everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpzmq.testing import plugin
from tests.support.guards import gc_prepared, resource_guard, task_guard, task_watch
from tests.support.raw import lied, raw
from tests.support.scene import scene

if TYPE_CHECKING:
    import pytest

__all__ = ["gc_prepared", "lied", "raw", "resource_guard", "scene", "task_guard", "task_watch"]


def pytest_configure(config: pytest.Config) -> None:
    """Loads our own plugin where mpzmq is not installed but only on the path, so that no entry point names it."""
    if not config.pluginmanager.has_plugin("mpzmq"):
        config.pluginmanager.register(plugin, "mpzmq")
