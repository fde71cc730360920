"""What a resolver tells is checked; what is wrong with one member, or with one look-up, costs nobody else."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import Endpoint
from mpzmq.engine.resolvers import Source
from mpzmq.engine.resolvers.source import MAX_ENDPOINTS
from tests.engine.resolvers.watching import watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class OddError(Exception):
    """Nobody can ask it for its class."""

    @property
    def __class__(self) -> Any:
        raise LookupError("no class")

    @__class__.setter
    def __class__(self, value: object) -> None:
        raise LookupError("no class")


class Script:
    """Tells one item after the other; an error, or a class of errors, is raised. Then it waits for ever."""

    def __init__(self, *items: Any) -> None:
        self._items = iter(items)
        self.pokes = 0

    def poke(self) -> None:
        self.pokes += 1

    async def watch(self) -> AsyncIterator[Any]:
        for item in self._items:
            if isinstance(item, BaseException | type):
                raise item
            yield item
        await asyncio.get_running_loop().create_future()


def source_of(*items: Any, pause: float = 0.001) -> Source:
    return Source("calc", Script(*items), pause=pause)


async def test_what_is_wrong_with_one_member_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    items = ["a:1", 5, "nowhere", "b:2", None], ["a:1", 5, "nowhere"]
    async with watching(source_of(*items)) as watch:
        assert await watch.addresses() == ["a:1", "b:2"]
        assert await watch.addresses() == ["a:1"]
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert told[0].startswith("calc: 5 is left out: an address is a string or a pair")
    assert told[1].startswith("calc: 'nowhere' is left out: 'nowhere' has no port")
    assert told[2].startswith("calc: None is left out")


async def test_an_address_twice_is_one_member(caplog: pytest.LogCaptureFixture) -> None:
    async with watching(source_of([Endpoint("a:1", name="first"), "tcp://a:1", Endpoint("a:1", name="x")])) as watch:
        assert [(endpoint.address, endpoint.name) for endpoint in await watch.next()] == [("a:1", "first")]
    assert "tcp://a:1 is named twice, and is one member" in caplog.text


async def test_names_are_told_apart_and_stay(caplog: pytest.LogCaptureFixture) -> None:
    one, two, three = (Endpoint(f"h:{port}", name="calc") for port in (1, 2, 3))
    async with watching(source_of([one], [two, one], [two, one, three], [two], [two, one])) as watch:
        assert [e.name for e in await watch.next()] == ["calc"]
        assert [e.name for e in await watch.next()] == ["h:2", "calc"]
        assert [e.name for e in await watch.next()] == ["h:2", "calc", "h:3"]
        # The one that had the name has gone, and with it the name is free.
        assert [e.name for e in await watch.next()] == ["calc"]
        assert [e.name for e in await watch.next()] == ["calc", "h:1"]
    assert "'calc' is the name of another member: tcp://h:2 is called 'h:2'" in caplog.text


async def test_a_name_that_is_the_address_of_another() -> None:
    async with watching(source_of([Endpoint("h:1", name="h:2"), Endpoint("h:2")])) as watch:
        names = [endpoint.name for endpoint in await watch.next()]
    assert names == ["h:2", "tcp://h:2"]


async def test_the_same_again_is_no_change() -> None:
    async with watching(source_of(["a:1"], ("a:1",), ["a:1", "a:1"], ["b:1"])) as watch:
        assert await watch.addresses() == ["a:1"]
        assert await watch.addresses() == ["b:1"]


async def test_their_number_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    endless = (f"h{number}:1" for number in itertools.count())
    async with watching(source_of(endless)) as watch:
        assert len(await watch.next()) == MAX_ENDPOINTS
    assert f"it names more than {MAX_ENDPOINTS} members" in caplog.text


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (OSError(5, "no such luck"), "no such luck"),
        (LookupError(), "LookupError"),
        (asyncio.CancelledError(), "CancelledError"),
        (SystemExit("exit"), "exit"),
        (5, "a resolver yields iterables of addresses and Endpoints, not int"),
        ("a:1", "a resolver yields iterables of addresses and Endpoints, not str"),
    ],
)
async def test_a_failure_changes_nothing(failure: Any, told: str, caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(["a:1"], failure, failure, ["a:1"], ["a:1", "b:2"])
    async with watching(source) as watch:
        assert await watch.addresses() == ["a:1"]
        assert await watch.addresses() == ["a:1", "b:2"]
    assert caplog.text.count(told) == 1  # it is said once
    assert source.trouble == ""


async def test_a_failure_that_cannot_be_asked_for_its_class() -> None:
    source = source_of(OddError, ["a:1"])
    try:
        async with watching(source) as watch:
            assert await watch.addresses() == []
            assert source.trouble == "OddError"
            assert await watch.addresses() == ["a:1"]
    except LookupError:
        pytest.fail("it was asked", pytrace=False)  # pytest cannot show it either


async def test_a_first_failure_is_told_as_nobody() -> None:
    source = source_of(OSError(5, "no such luck"), ["a:1"])
    async with watching(source) as watch:
        assert await watch.addresses() == []
        assert source.trouble == "no such luck"
        assert "no such luck" in repr(source)
        assert await watch.addresses() == ["a:1"]
        assert source.trouble == ""


async def test_a_resolver_that_ends_without_a_word() -> None:
    class Silent:
        async def watch(self) -> AsyncIterator[list[str]]:
            nothing: list[list[str]] = []
            for item in nothing:
                yield item

    assert [item async for item in Source("calc", Silent(), pause=1.0).watch()] == [()]


async def test_an_iterator_that_is_no_generator() -> None:
    class Once:
        def __init__(self) -> None:
            self.items = [["a:1"]]

        def watch(self) -> Once:
            return self

        def __aiter__(self) -> Once:
            return self

        async def __anext__(self) -> list[str]:
            if self.items:
                return self.items.pop()
            raise StopAsyncIteration

    assert [item async for item in Source("calc", Once(), pause=1.0).watch()] == [(Endpoint("a:1"),)]


async def test_a_watch_that_does_not_iterate(caplog: pytest.LogCaptureFixture) -> None:
    class Coroutine:
        async def watch(self) -> list[str]:
            raise AssertionError

    class Plain:
        def watch(self) -> list[str]:
            return ["a:1"]

    for resolver, returned in ((Coroutine(), "coroutine"), (Plain(), "list")):
        source = Source("calc", resolver, pause=60.0)  # type: ignore[arg-type]
        async with watching(source) as watch:
            assert await watch.next() == ()
        assert source.trouble == f"watch() is an async generator, 'async def' with a 'yield', and returns {returned}"


async def test_a_poke_ends_the_pause_after_a_failure() -> None:
    script = Script(OSError(5, "no such luck"), ["a:1"])
    source = Source("calc", script, pause=1_000_000.0)
    async with watching(source) as watch:
        assert await watch.addresses() == []
        source.poke()
        assert await watch.addresses() == ["a:1"]
    assert script.pokes == 1


@pytest.mark.parametrize("raised", [LookupError("no poke"), SystemExit("no poke")])
async def test_a_poke_that_raises_disturbs_nobody(raised: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever pokes has just lost a connection, and more to do."""

    class Sulky(Script):
        def poke(self) -> None:
            raise raised

    source = Source("calc", Sulky(OSError(5, "no such luck"), ["a:1"]), pause=1_000_000.0)
    async with watching(source) as watch:
        assert await watch.addresses() == []
        source.poke()
        source.poke()
        assert await watch.addresses() == ["a:1"]
    assert caplog.text.count(f"calc: its poke() raised {type(raised).__name__}: no poke") == 1


async def test_the_watch_ends_with_who_watches() -> None:
    ended = asyncio.Event()

    class Followed:
        async def watch(self) -> AsyncIterator[list[str]]:
            try:
                yield ["a:1"]
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()

    async with watching(Source("calc", Followed(), pause=1.0)) as watch:
        await watch.next()
    assert ended.is_set()
