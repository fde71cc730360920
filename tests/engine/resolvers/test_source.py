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
    assert caplog.text.count(f"calc: poke() has raised {type(raised).__name__}: no poke") == 1


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


async def test_names_that_change_hands() -> None:
    """The containers stay where they are, and are called otherwise: blue and green."""
    one, two = "h:1", "h:2"
    before = [Endpoint(one, name="blue"), Endpoint(two, name="green")]
    after = [Endpoint(one, name="green"), Endpoint(two, name="blue")]
    later = [Endpoint(one, name="old"), Endpoint(two, name="green")]
    async with watching(source_of(before, after, later)) as watch:
        for named in (before, after, later):
            assert await watch.next() == tuple(named)


async def test_each_has_a_name_of_its_own_whatever_the_others_say() -> None:
    own = Endpoint("h:9", name="n")
    taken = ("n", "h:9", "tcp://h:9", "n at tcp://h:9 (1)", "n at tcp://h:9 (2)")
    others = [Endpoint(f"h:{number}", name=name) for number, name in enumerate(taken, 1)]
    async with watching(source_of([*others, own])) as watch:
        names = [endpoint.name for endpoint in await watch.next()]
    assert names == [*taken, "n at tcp://h:9 (3)"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[::1]:1", "[0:0:0:0:0:0:0:1]:1"),
        ("[fe80::1%eth0]:1", "[FE80:0::1%eth0]:1"),
        ("Calc.Example:1", "tcp://calc.example:1"),
        ("calc:0080", "calc:80"),
    ],
)
async def test_an_address_is_one_however_it_is_written(one: str, other: str) -> None:
    async with watching(source_of([one, other])) as watch:
        assert await watch.addresses() == [one]


async def test_paths_are_not_the_same_in_capitals() -> None:
    async with watching(source_of(["ipc:///run/a", "ipc:///run/A"])) as watch:
        assert await watch.addresses() == ["ipc:///run/a", "ipc:///run/A"]


async def test_a_poke_that_fails_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """It is called where a link tells of a loss: what it raises would go into the link's works."""

    class Raising(Script):
        def poke(self) -> None:
            super().poke()
            raise asyncio.CancelledError if self.pokes > 2 else LookupError("no such luck")

    script = Raising(["a:1"])
    source = Source("calc", script, pause=1.0)
    for _ in range(4):
        source.poke()
    assert script.pokes == 4
    told = [record.getMessage() for record in caplog.records]
    assert told == ["calc: poke() has raised LookupError: no such luck", "calc: poke() has raised CancelledError: "]


async def test_a_poke_that_would_have_to_be_awaited(caplog: pytest.LogCaptureFixture) -> None:
    class Awaited(Script):
        async def poke(self) -> None:  # type: ignore[override]
            raise AssertionError

    Source("calc", Awaited(["a:1"]), pause=1.0).poke()
    assert "calc: poke() is a plain method, 'def' and not 'async def': it is not awaited" in caplog.text


async def test_a_resolver_that_never_waits_leaves_the_loop_to_others() -> None:
    class Tireless:
        rounds = 0

        async def watch(self) -> AsyncIterator[list[str]]:
            while self.rounds < 1_000_000:
                self.rounds += 1
                yield ["a:1"]

    resolver = Tireless()
    async with watching(Source("calc", resolver, pause=1.0)) as watch:
        assert await watch.addresses() == ["a:1"]
        following = asyncio.create_task(watch.next())
        for _ in range(10):
            await asyncio.sleep(0)
        following.cancel()
        await asyncio.wait((following,))
    assert resolver.rounds < 100
