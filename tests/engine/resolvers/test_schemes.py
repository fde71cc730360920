"""Which resolver a source is for, and what is none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import Endpoint, Resolver
from mpzmq.engine.resolvers import resolver_for
from tests.engine.resolvers.watching import watching

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("source", "addresses"),
    [
        (["a:1", "b:2"], ["a:1", "b:2"]),
        (("a:1", Endpoint("b:2", name="b")), ["a:1", "b:2"]),
        ([], []),
        ("a:1", ["a:1"]),
        ("tcp://a:1, ipc:///run/b ,[::1]:3,", ["tcp://a:1", "ipc:///run/b", "[::1]:3"]),
        ("env://CALC", ["c:3", "d:4"]),
        ("ENV://CALC", ["c:3", "d:4"]),
        ("dns://127.0.0.1:3010", ["127.0.0.1:3010"]),
        ("dns://[::1]:3010", ["[::1]:3010"]),
    ],
)
async def test_sources(source: Any, addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALC", "c:3, d:4")
    async with watching(resolver_for(source)) as watch:
        assert await watch.addresses() == addresses


async def test_what_cannot_change_ends() -> None:
    assert [item async for item in resolver_for("a:1").watch()] == [(Endpoint("a:1"),)]


@pytest.mark.parametrize(
    ("source", "error", "told"),
    [
        (
            "consul://calc",
            ValueError,
            "'consul', which nobody knows here: there are dir://, dns://, env://, file://, srv",
        ),
        ("", ValueError, "'' has no address"),
        (" , ", ValueError, "has no address"),
        ("calc", ValueError, "'calc' has no port"),
        (["calc"], ValueError, "'calc' has no port"),
        (["a:1", 5], TypeError, "an address is a string or a pair, not int"),
        ([Endpoint("a:1", name="x"), Endpoint("b:1", name="x")], ValueError, "a:1 and b:1 have one name, 'x'"),
        ({"a:1"}, TypeError, "a source of members is a list or tuple of addresses .* not set"),
        (None, TypeError, "not NoneType"),
        (b"a:1", TypeError, "not bytes"),
        ("dns://calc", ValueError, "is no host and port: write dns://calc:3010"),
        ("dns://", ValueError, "is no host and port"),
        ("dns://a:1,b:2", ValueError, "is no host and port"),
        ("dns://ipc:///run/x", ValueError, "is no host and port"),
        ("srv://", ValueError, "no name with SRV records"),
        ("srv://_mpzmq._tcp.calc:3010", ValueError, "without a port"),
        ("srv://x..y", ValueError, "not followed by a name that DNS can have"),
        ("env://", ValueError, "names no variable"),
        ("env://NOT_SET", ValueError, "the variable 'NOT_SET' of the environment is not set"),
        ("env://EMPTY", ValueError, "the variable 'EMPTY' of the environment: '' has no address"),
        ("env://BAD", ValueError, "the variable 'BAD' of the environment: 'calc' has no port"),
        ("file://calc.txt", ValueError, "write three slashes, as in file:///run/calc"),
        ("dir://", ValueError, "write three slashes, as in dir:///run/calc"),
        ("dir:///run/%00", ValueError, "no absolute path"),
    ],
)
def test_what_is_no_source(source: Any, error: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("BAD", "a:1,calc")
    with pytest.raises(error, match=told):
        resolver_for(source)


def test_srv_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "dns"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "dns", None)
    with pytest.raises(ImportError, match="install mpzmq-engine with its extra 'dns'"):
        resolver_for("srv://_mpzmq._tcp.calc")


async def test_an_object_with_watch() -> None:
    class Two:
        async def watch(self) -> Any:
            yield ["a:1", Endpoint("b:2")]

    assert isinstance(Two(), Resolver)
    async with watching(resolver_for(Two())) as watch:
        assert await watch.addresses() == ["a:1", "b:2"]
    with pytest.raises(TypeError, match="not type"):
        resolver_for(Two)  # type: ignore[arg-type]  # the class, and not one of it


async def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a package that is installed, as far as Python can tell."""
    (tmp_path / "more_sources.py").write_text(
        "class Numbered:\n"
        "    def __init__(self, source, *, refresh):\n"
        "        self.items = [f'{source.removeprefix(\"numbered://\")}:{int(refresh)}']\n"
        "    async def watch(self):\n"
        "        yield self.items\n"
        "def nothing(source, *, refresh):\n"
        "    return source\n"
    )
    about = tmp_path / "more_sources-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: more-sources\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[mpzmq.resolvers]\nnumbered = more_sources:Numbered\nnothing = more_sources:nothing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    async with watching(resolver_for("numbered://calc", refresh=7)) as watch:
        assert await watch.addresses() == ["calc:7"]
    with pytest.raises(TypeError, match="more_sources:nothing, which is for nothing://, made no resolver"):
        resolver_for("nothing://calc")
    with pytest.raises(ValueError, match="nothing://, numbered://, srv://"):
        resolver_for("another://calc")
    monkeypatch.delitem(sys.modules, "more_sources")
