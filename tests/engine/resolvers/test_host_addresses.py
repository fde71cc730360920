"""``dns://``: a name is followed. What looks it up is a zone of the tests; test_name_server.py has a real one."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from mpzmq.address import parse_address
from mpzmq.engine.resolvers import Source, host_addresses
from mpzmq.engine.resolvers.host_addresses import HostAddresses
from mpzmq.engine.resolvers.polling import Polled
from tests.engine.resolvers.watching import watching
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable

Found = list[tuple[socket.AddressFamily, str]]

FOUR, SIX = socket.AF_INET, socket.AF_INET6
LONG = 1_000_000.0


class Zone:
    """What a name server knows of one name."""

    def __init__(self, *numbers: str) -> None:
        self.numbers: Iterable[str] = numbers
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def resolve(self, host: str, port: int) -> Found:
        assert (host, port) == ("calc", 3010)
        self.asked += 1
        await self.answers.wait()
        if not self.numbers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(SIX if ":" in number else FOUR, number) for number in self.numbers]

    async def asked_again(self, times: int) -> None:
        wanted = self.asked + times
        await until(lambda: self.asked >= wanted)


def source_of(zone: Zone, refresh: float = 0.001) -> Source:
    look_up = HostAddresses(parse_address("calc:3010"), zone.resolve).look_up
    return Source("dns://calc:3010", Polled(look_up, refresh), pause=refresh)


def numbered(count: int) -> list[str]:
    return [f"10.0.0.{number}" for number in range(1, count + 1)]


async def test_a_name_is_followed() -> None:
    zone = Zone(*numbered(2))
    async with watching(source_of(zone)) as watch:
        for count in (2, 6, 3):
            zone.numbers = reversed_ = numbered(count)[::-1]
            assert await watch.addresses() == sorted(f"{number}:3010" for number in reversed_)


async def test_the_order_of_the_answer_is_no_change() -> None:
    zone = Zone("10.0.0.2", "10.0.0.10")
    async with watching(source_of(zone)) as watch:
        assert await watch.addresses() == ["10.0.0.2:3010", "10.0.0.10:3010"]
        coming = asyncio.create_task(watch.addresses())
        zone.numbers = "10.0.0.10", "10.0.0.2"
        await zone.asked_again(3)
        assert not coming.done()
        zone.numbers = ("10.0.0.1",)
        assert await coming == ["10.0.0.1:3010"]


async def test_a_look_up_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    zone = Zone("10.0.0.1")
    source = source_of(zone)
    async with watching(source) as watch:
        assert await watch.addresses() == ["10.0.0.1:3010"]
        coming = asyncio.create_task(watch.addresses())
        zone.numbers = ()
        await zone.asked_again(3)
        assert not coming.done()
        assert source.trouble == "the host name 'calc' has no address (Name or service not known)"
        zone.numbers = "10.0.0.1", "10.0.0.2"
        assert await coming == ["10.0.0.1:3010", "10.0.0.2:3010"]
    assert caplog.text.count("has no address") == 1


async def test_a_name_without_addresses() -> None:
    zone = Zone()
    source = source_of(zone)
    async with watching(source) as watch:
        assert await watch.addresses() == []
        assert "has no address" in source.trouble
        zone.numbers = ("10.0.0.1",)
        assert await watch.addresses() == ["10.0.0.1:3010"]


async def test_a_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_addresses, "LOOK_UP_TIMEOUT", 0.02)
    zone = Zone("10.0.0.1")
    zone.answers.clear()
    source = source_of(zone)
    async with watching(source) as watch:
        assert await watch.addresses() == []
        assert source.trouble == "no answer for the host name 'calc' within 0.02 s"
        zone.answers.set()
        assert await watch.addresses() == ["10.0.0.1:3010"]


async def test_it_is_looked_up_at_once_after_a_loss() -> None:
    zone = Zone("10.0.0.1")
    source = source_of(zone, refresh=LONG)
    async with watching(source) as watch:
        assert await watch.addresses() == ["10.0.0.1:3010"]
        zone.numbers = ("10.0.0.2",)
        for _ in range(50):  # a host has gone, and 50 links with it
            source.poke()
        assert await watch.addresses() == ["10.0.0.2:3010"]
        assert zone.asked == 2


@pytest.mark.parametrize(
    ("numbers", "addresses"),
    [
        (("::1", "127.0.0.1"), ["127.0.0.1:3010"]),
        (("::ffff:127.0.0.1", "127.0.0.1"), ["127.0.0.1:3010"]),
        (("::ffff:127.0.0.2",), ["127.0.0.2:3010"]),
        (("::1",), ["[::1]:3010"]),
        (("127.0.0.1", "127.0.0.1"), ["127.0.0.1:3010"]),
    ],
)
async def test_both_families(numbers: tuple[str, ...], addresses: list[str]) -> None:
    async with watching(source_of(Zone(*numbers))) as watch:
        assert await watch.addresses() == addresses


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
async def test_families_that_do_not_match_are_all_told() -> None:
    """None of them is lost: a group finds out by itself what leads to one instance."""
    try:
        with socket.socket(SIX, socket.SOCK_DGRAM) as probe:
            probe.connect(("::1", 9))
    except OSError:
        pytest.skip("this host has no IPv6")
    async with watching(source_of(Zone("::1", "127.0.0.1", "127.0.0.2"))) as watch:
        assert await watch.addresses() == ["127.0.0.1:3010", "127.0.0.2:3010", "[::1]:3010"]
