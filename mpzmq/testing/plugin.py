"""The pytest plugin: registers the fixtures, which need pytest-asyncio.

pytest loads it in every run, of other projects, too. So nothing heavy is imported before a test asks for a fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    """Late enough to know whether pytest-asyncio is at work, early enough for its fixtures to be found."""
    manager = config.pluginmanager
    if manager.has_plugin("asyncio") or manager.has_plugin("pytest_asyncio.plugin"):
        from . import fixtures as chosen
    else:
        from . import missing_asyncio as chosen  # type: ignore[no-redef]
    manager.register(chosen, "mpzmq-fixtures")
