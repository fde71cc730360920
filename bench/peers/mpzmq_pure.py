"""The same from its sources, where the compiled build is installed: what compiling brings, in one run."""

from __future__ import annotations

import contextlib
import sys
from importlib.machinery import FileFinder, SourceFileLoader
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mpzmq.cli.build import build_name

from .mpzmq_peer import MpzmqPeer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ..scenarios import Scenario
    from .base import Call


def use_sources() -> None:
    """From here on, modules of mpzmq are read from their sources, though extensions stand beside them."""
    spec = find_spec("mpzmq")
    assert spec is not None and spec.submodule_search_locations is not None
    folders = tuple(spec.submodule_search_locations)

    def finder(path: str) -> FileFinder:
        if not path.startswith(folders):
            raise ImportError
        return FileFinder(path, (SourceFileLoader, [".py"]))

    sys.path_hooks.insert(0, finder)
    sys.path_importer_cache.clear()


class MpzmqPurePeer(MpzmqPeer):
    """mpzmq without its extensions."""

    name = "mpzmq-pure"
    title = "mpzmq, pure Python"
    unfair = "The same source as mpzmq, interpreted: it is there where mpzmq is compiled."

    def missing(self) -> str | None:
        """Only where there is something to compare it with."""
        return None if build_name() == "compiled" else "the build that is installed is pure Python itself"

    async def serving(self, scenario: Scenario, ready: Callable[[Sequence[str]], None]) -> None:
        """The same, from sources."""
        use_sources()
        await super().serving(scenario, ready)

    @contextlib.asynccontextmanager
    async def connected(self, endpoints: Sequence[str]) -> AsyncIterator[Sequence[Call]]:
        """The same, from sources."""
        use_sources()
        async with super().connected(endpoints) as calls:
            yield calls


PEER = MpzmqPurePeer()
