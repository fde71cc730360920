"""The faults of the simulated network, one by one: what a dealer and a router see of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.failure import Failure, FailureKind
from mpzmq.testing.simnet.network import MemoryDealer, MemoryNetwork, MemoryRouter, VirtualClockLoop
from mpzmq.transport.interface import Delivery, Frames, SocketSettings
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

ENDPOINT = "tcp://10.0.0.1:3010"
SETTINGS = SocketSettings(
    redial_interval=1.0,
    connect_timeout=3.0,
    heartbeat_interval=1.0,
    down_after=5.0,
    message_bytes=1 << 20,
)


class Side:
    """Writes down what a socket tells, and in which bursts."""

    def __init__(self) -> None:
        self.bursts: list[list[bytes]] = []
        self.changes: list[Failure | None] = []
        self.route = b""
        self.writable = 0
        self.disconnected: list[bytes] = []

    @property
    def messages(self) -> list[bytes]:
        return [message for burst in self.bursts for message in burst]

    def on_messages(self, messages: Sequence[Frames]) -> None:
        if len(messages[0]) > 1:
            self.route = bytes(messages[0][0])
        self.bursts.append([bytes(frames[-1]) for frames in messages])

    def on_connection(self, changes: Sequence[Failure | None]) -> None:
        self.changes += changes

    def on_redial(self) -> bool:
        return False

    def on_writable(self) -> None:
        self.writable += 1

    def on_disconnected(self, routes: Sequence[bytes]) -> None:
        self.disconnected += routes


class Pair:
    """A dealer connected to a router, each in a process of its own."""

    def __init__(self, **settings: Any) -> None:
        self.network = MemoryNetwork(seed=1, latency=0.01, **settings)
        self.engine_host, self.container_host = self.network.host(), self.network.host()
        self.engine, self.container = Side(), Side()
        router = self.container_host.router(SETTINGS, self.container)
        assert isinstance(router, MemoryRouter)
        self.router = router
        self.router.bind(ENDPOINT)
        dealer = self.engine_host.dealer(ENDPOINT, SETTINGS, self.engine)
        assert isinstance(dealer, MemoryDealer)
        self.dealer = dealer

    async def greet(self) -> None:
        """Until both sides can send."""
        await asyncio.sleep(0.05)
        assert self.engine.changes == [None]
        assert self.dealer.send([b"hello"])
        await asyncio.sleep(0.05)
        assert self.container.messages == [b"hello"]

    def reply(self, body: bytes) -> Delivery:
        return self.router.send(self.container.route, [body])


def simulate(scene: Callable[[Pair], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def whole() -> None:
        pair = Pair(**settings)
        await pair.greet()
        await scene(pair)
        pair.dealer.close(0.0)
        await pair.router.close(0.0)
        await asyncio.sleep(30)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(whole())


@pytest.mark.parametrize("inward", [True, False])
def test_a_one_way_partition_ends_the_connection_on_both_sides_in_their_own_time(inward: bool) -> None:
    async def scene(pair: Pair) -> None:
        pair.network.partition(ENDPOINT, inward=inward, outward=not inward)
        assert pair.dealer.send([b"request"])
        assert pair.reply(b"reply") is Delivery.SENT
        await asyncio.sleep(1)
        assert (b"request" in pair.container.messages) is not inward
        assert (b"reply" in pair.engine.messages) is inward
        await asyncio.sleep(6)
        assert [change and change.kind for change in pair.engine.changes][:2] == [None, FailureKind.LOST]
        assert pair.reply(b"more") is Delivery.GONE
        pair.network.heal(ENDPOINT)
        await asyncio.sleep(10)
        assert pair.engine.changes[-1] is None

    simulate(scene)


def test_a_lane_breaks_after_so_many_messages() -> None:
    async def scene(pair: Pair) -> None:
        pair.network.doom(ENDPOINT, inward=False, after=2)
        for body in (b"1", b"2", b"3", b"4"):
            assert pair.reply(body) is Delivery.SENT
        await asyncio.sleep(0.1)
        assert pair.engine.messages == [b"1", b"2"]
        assert [change and change.kind for change in pair.engine.changes] == [None, FailureKind.LOST]
        assert pair.reply(b"5") is Delivery.GONE

    simulate(scene)


def test_a_ghost_of_a_connection_delivers_when_the_dealer_is_back() -> None:
    async def scene(pair: Pair) -> None:
        assert pair.dealer.send([b"old"])
        pair.network.cut(ENDPOINT, ghost=5.0)
        await asyncio.sleep(3)
        assert len(pair.engine.changes) == 3
        assert pair.dealer.send([b"new"])
        await asyncio.sleep(3)
        assert pair.container.messages == [b"hello", b"new", b"old"]

    simulate(scene)


@pytest.mark.parametrize("loses", [True, False])
def test_a_killed_process_says_nothing_and_frees_its_endpoint(loses: bool) -> None:
    async def scene(pair: Pair) -> None:
        assert pair.reply(b"last") is Delivery.SENT
        pair.container_host.kill(loses=loses)
        assert pair.dealer.send([b"lost"])
        successor = Side()
        router = pair.network.host().router(SETTINGS, successor)
        router.bind(ENDPOINT)
        await asyncio.sleep(5)
        assert pair.engine.messages == ([] if loses else [b"last"])
        assert [change is None for change in pair.engine.changes] == [True, False, True]
        assert pair.dealer.send([b"found"])
        await asyncio.sleep(1)
        assert successor.messages == [b"found"]
        assert pair.container.messages == [b"hello"]
        await router.close(0.0)

    simulate(scene)


def test_a_choked_lane_refuses_and_tells_when_it_does_not_any_more() -> None:
    async def scene(pair: Pair) -> None:
        pair.network.choke(ENDPOINT, inward=True)
        pair.network.choke(ENDPOINT, inward=False)
        assert not pair.dealer.send([b"request"])
        assert pair.reply(b"reply") is Delivery.FULL
        pair.network.unchoke(ENDPOINT, inward=True)
        pair.network.unchoke(ENDPOINT, inward=False)
        await asyncio.sleep(0.1)
        assert pair.engine.writable == 1
        assert pair.dealer.send([b"request"])
        assert pair.reply(b"reply") is Delivery.SENT

    simulate(scene)


def test_a_blocked_process_keeps_its_connection_and_reads_all_at_once() -> None:
    async def scene(pair: Pair) -> None:
        pair.container_host.freeze()
        for body in (b"1", b"2", b"3"):
            assert pair.dealer.send([body])
            await asyncio.sleep(10)
        assert pair.engine.changes == [None]
        pair.container_host.thaw()
        await asyncio.sleep(0.1)
        assert pair.container.bursts[1:] == [[b"1", b"2", b"3"]]

    simulate(scene)


def test_a_blocked_engine_dials_behind_a_loss_when_it_hears_of_it() -> None:
    async def scene(pair: Pair) -> None:
        pair.engine_host.freeze()
        pair.network.cut(ENDPOINT)
        await asyncio.sleep(10)
        assert pair.engine.changes == [None]
        pair.engine_host.thaw()
        assert [change is None for change in pair.engine.changes] == [True, False]
        await asyncio.sleep(3)
        assert [change is None for change in pair.engine.changes] == [True, False, True]

    simulate(scene)


def test_a_thousand_engines_of_a_container_that_died_do_not_come_at_once() -> None:
    class Engine(Side):
        """Its first redial is prompt, and all of its dials behind the loss are refused."""

        def __init__(self) -> None:
            super().__init__()
            self.told_at: list[float] = []

        def on_connection(self, changes: Sequence[Failure | None]) -> None:
            self.told_at.append(asyncio.get_running_loop().time())

        def on_redial(self) -> bool:
            return True

    async def scene() -> None:
        network = MemoryNetwork(seed=2)
        container_host, engine_host = network.host(), network.host()
        container_host.router(SETTINGS, Side()).bind(ENDPOINT)
        engines = [Engine() for _ in range(1000)]
        dealers = [engine_host.dealer(ENDPOINT, SETTINGS, engine) for engine in engines]
        await asyncio.sleep(1)
        lost = asyncio.get_running_loop().time()
        container_host.kill()
        await asyncio.sleep(5)
        first, second = ([engine.told_at[dial] - lost for engine in engines] for dial in (2, 3))
        assert 0.04 <= min(first) <= max(first) <= 0.1
        assert 1.0 <= min(second) <= max(second) <= 2.2
        for times in first, second:
            width = (max(times) - min(times)) / 9
            assert max(Counter(int((at - min(times)) / width) for at in times).values()) < 170  # of 1,000 in each ninth
        for dealer in dealers:
            dealer.close(0.0)

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scene())


def test_delays_keep_the_order() -> None:
    async def scene(pair: Pair) -> None:
        sent = [b"%d" % number for number in range(50)]
        for body in sent:
            assert pair.dealer.send([body])
        await asyncio.sleep(10)
        assert pair.container.messages[1:] == sent
        assert len(pair.container.bursts) > 2

    simulate(scene, jitter=0.02)


def test_the_clock_jumps_and_what_was_due_fires_late() -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)
        fired: list[float] = []
        loop.call_later(1.0, lambda: fired.append(loop.time()))
        loop.jump(10.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert fired == [10.0]

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        runner.run(scene())


def test_a_process_that_is_killed_is_told_and_taken_for_a_moment_to_be_there() -> None:
    async def scene(pair: Pair) -> None:
        pair.engine_host.kill()
        await asyncio.sleep(0.05)
        assert pair.container.disconnected == [pair.container.route]
        assert pair.reply(b"more") is Delivery.GONE

    async def many() -> int:
        """How many of the sends that follow the news of an end are taken, and lost."""
        taken = 0
        for seed in range(100):
            network = MemoryNetwork(seed=seed, latency=0.01)
            engine, container = network.host(), network.host()
            side = Side()
            router = container.router(SETTINGS, side)
            router.bind(ENDPOINT)
            dealer = engine.dealer(ENDPOINT, SETTINGS, Side())
            await asyncio.sleep(0.05)
            assert dealer.send([b"hello"])
            await asyncio.sleep(0.05)
            engine.kill()
            await until(lambda side=side: side.disconnected)  # type: ignore[misc]
            taken += router.send(side.route, [b"ping"]) is Delivery.SENT
            await asyncio.sleep(0.05)
            assert router.send(side.route, [b"ping"]) is Delivery.GONE
            await router.close(0.0)
        return taken

    simulate(scene)
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        assert 2 <= runner.run(many()) <= 30


def test_a_host_that_vanishes_is_given_up_in_silence() -> None:
    async def scene(pair: Pair) -> None:
        pair.engine_host.vanish()
        await asyncio.sleep(4)
        assert pair.reply(b"more") is Delivery.SENT
        assert not pair.container.disconnected
        pair.network.partition(ENDPOINT)
        pair.network.heal(ENDPOINT)
        await asyncio.sleep(SETTINGS.heartbeat_interval + 2)
        assert pair.container.disconnected == [pair.container.route]
        assert pair.reply(b"more") is Delivery.GONE
        assert pair.engine.changes == [None]

    simulate(scene)
