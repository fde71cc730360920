"""Which build runs is told by what was imported, and not by what was asked for."""

from __future__ import annotations

import types

from mpzmq.cli.build import build_name
from mpzmq.protocol.link.link import Link


def test_it_is_the_build_that_runs() -> None:
    is_python = isinstance(Link.receive, types.FunctionType)
    assert build_name() == ("pure Python" if is_python else "compiled")
