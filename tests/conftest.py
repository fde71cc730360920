"""What all tests share. The guards come first: they are set up before and torn down after everything else."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

from mpzmq.testing import plugin
from tests.support.ahead import import_a_share
from tests.support.guards import gc_prepared, resource_guard, task_guard, task_watch
from tests.support.node import node_example
from tests.support.raw import lied, raw
from tests.support.scene import scene
from tests.support.shared import shared_folder
from tests.support.waiting import scaled

__all__ = [
    "gc_prepared",
    "lied",
    "node_example",
    "raw",
    "resource_guard",
    "scene",
    "shared_folder",
    "task_guard",
    "task_watch",
]

# How fast a machine is, is nothing to assert.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)  # before pytest-timeout reads its option
def pytest_configure(config: pytest.Config) -> None:
    """Gives slow machines their time, and loads our own plugin where mpzmq is only on the path, not installed."""
    if config.option.timeout is None:  # in a worker of xdist it is what the process that started it has made of it
        config.option.timeout = scaled(float(config.getini("timeout")))
    if not config.pluginmanager.has_plugin("mpzmq"):
        config.pluginmanager.register(plugin, "mpzmq")
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        # Hundreds of tests start a Python, and without bytecode each spends more on compiling than on all else. It is
        # not to be written beside the sources; workers of xdist, which start later, have this environment.
        cache = tempfile.mkdtemp(prefix="mpzmq-bytecode-")
        os.environ["PYTHONPYCACHEPREFIX"] = cache
        config.add_cleanup(lambda: shutil.rmtree(cache, ignore_errors=True))


def pytest_collection(session: pytest.Session) -> None:
    """Has each process of xdist rewrite a share of the modules first, for all of them."""
    import_a_share(session.config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: at the end it would keep one process at work while the others have nothing to do."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Tests of processes and networks wait for half of their time: two of them keep a core at work."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist reads it
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 * cores
