"""An engine whose container lies: every request ends, with a reply or with one typed error, and others do not notice.

A message that breaks something is ``mutant(seed, number, CONTAINER)``, its tag exchanged for that of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from mpzmq import ComputerEngineWorker, LinkDown, LinkState, MpzmqError, ReconnectPolicy
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.records import LINK_TAG
from tests.support.scene import adds_up
from tests.support.waiting import scaled, soon

from .router import LyingContainer, lying

if TYPE_CHECKING:
    from tests.support.scene import Scene

SEED = 20261125
TIMEOUT = 0.3
"""Seconds for a request to a liar: many of them get nothing that ends them."""

ROUNDS, EACH = 8, 40

PLANS: dict[str, dict[str, int]] = {
    "mutated welcomes": {"honest_welcomes": 2, "honest_replies": 10, "unasked": 0},
    "mutated replies": {"honest_welcomes": 10, "honest_replies": 3, "unasked": 0},
    "a flood of everything": {"honest_welcomes": 8, "honest_replies": 5, "unasked": 20},
}


class Asked:
    """The requests to one liar, by the way in which they ended."""

    def __init__(self, worker: ComputerEngineWorker, endpoint: str) -> None:
        self._worker = worker
        self._endpoint = endpoint
        self._remote_id = uuid4()
        self.replied = self.failed = self._asked = 0

    async def one(self) -> None:
        """It ends; whatever it ends with is counted, unless it is no error of the library's."""
        link = self._worker.get_engine(self._remote_id)
        if link is None or link.state in (LinkState.FAILED, LinkState.CLOSED):
            # A liar may say things after which no redial can help.
            await self._worker.connect(self._remote_id, self._endpoint, name="liar", wait=False)
        service = self._worker.service(timeout=TIMEOUT)
        self._asked += 1
        try:
            match self._asked % 4:
                case 0:
                    async for _ in service.stream(self._remote_id, "any", timeout=TIMEOUT):
                        pass
                case 1:
                    await service.upload(self._remote_id, "any", [1, bytes(100_000), 2], timeout=TIMEOUT)
                case _:
                    await service.request(uuid4(), self._remote_id, "x")
        except MpzmqError as error:
            assert str(error)
            self.failed += 1
        else:
            self.replied += 1

    @property
    def remote_id(self) -> UUID:
        return self._remote_id


@pytest.mark.parametrize("plan", PLANS)
async def test_every_request_to_a_liar_ends(scene: Scene, plan: str) -> None:
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    reconnect = ReconnectPolicy(interval=0.02, connect_timeout=2.0)
    async with lying(LyingContainer(SEED, **PLANS[plan])) as liar, ComputerEngineWorker(reconnect=reconnect) as worker:
        healthy = await worker.connect(uuid4(), scene.endpoint, name="healthy")
        asked = Asked(worker, liar.endpoint)
        for number in range(ROUNDS):
            calls = [asyncio.create_task(asked.one()) for _ in range(EACH)]
            assert await soon(healthy.request(number)) == number
            await soon(asyncio.gather(*calls), 20.0 + TIMEOUT)
            await worker.disconnect(asked.remote_id)  # a liar that says that it drains would be left alone
        assert asked.replied + asked.failed == ROUNDS * EACH
        assert asked.replied, "nothing that a liar says is believed"
        assert asked.failed or plan == "mutated welcomes"
        assert adds_up(worker.statistics())
        assert worker.statistics().in_flight == 0
        assert healthy.state is LinkState.ALIVE
        assert healthy.statistics().reconnects == 0
        assert liar.number >= 3 * ROUNDS
    assert not failures, failures


@pytest.mark.parametrize(
    "frames", [[LINK_TAG, b"\x91\x63"], [b"nobody's request", b"\x93\x04\x01\x01"], [LINK_TAG, b"\x92\x0d\x01"]]
)
async def test_a_container_that_sends_what_nobody_asked_for_is_left(scene: Scene, frames: list[bytes]) -> None:
    """Records of an unknown kind, replies to nothing, MARKs: the connection is given up, and dialled again later."""
    plan = {"honest_welcomes": 10, "honest_replies": 10, "unasked": 0}
    async with (
        lying(LyingContainer(SEED, **plan)) as liar,
        ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.2)) as worker,
    ):
        events = worker.service().events()
        healthy = await worker.connect(uuid4(), scene.endpoint, name="healthy")
        flooding = await worker.connect(uuid4(), liar.endpoint, name="liar")

        async def flood() -> None:
            while True:
                liar.flood(frames)
                await asyncio.sleep(0)

        task = asyncio.create_task(flood())
        try:
            async with asyncio.timeout(scaled(20)):
                async for event in events:
                    if isinstance(event, LinkDown):
                        break
        finally:
            task.cancel()
        assert isinstance(event, LinkDown) and event.name == "liar" and "floods this engine" in event.reason
        assert await soon(healthy.request("unharmed")) == "unharmed"
        assert await soon(flooding.request("x")) == "honest", "it has another chance"


async def test_a_link_that_only_ever_hears_lies_can_be_closed(scene: Scene) -> None:
    plan = {"honest_welcomes": 0, "honest_replies": 0, "unasked": 5}
    async with (
        lying(LyingContainer(SEED + 1, **plan)) as liar,
        ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.02)) as worker,
    ):
        asked = Asked(worker, liar.endpoint)
        await soon(asyncio.gather(*(asked.one() for _ in range(50))))
        await soon(worker.disconnect(asked.remote_id))
        assert worker.statistics().in_flight == 0
    assert await soon(scene.container.request("unharmed")) == "unharmed"


async def test_every_kind_is_mutated_at_a_greeted_engine(scene: Scene) -> None:
    """What comes unasked is of one kind from each liar; all of them have links to one worker."""

    class OfOneKind(LyingContainer):
        def __init__(self, kind: int) -> None:
            super().__init__(SEED + kind, honest_welcomes=10, honest_replies=7, unasked=20)
            self._kind = kind

        def lie(self, route: bytes, tag: bytes | None = None, kind: int | None = None) -> None:
            super().lie(route, tag, self._kind)

    kinds = sorted(value for name, value in vars(Kind).items() if name.isupper())
    reconnect = ReconnectPolicy(interval=0.02, connect_timeout=2.0)
    async with contextlib.AsyncExitStack() as stack:
        liars = [await stack.enter_async_context(lying(OfOneKind(kind))) for kind in kinds]
        worker = await stack.enter_async_context(ComputerEngineWorker(reconnect=reconnect))
        asked = [Asked(worker, liar.endpoint) for liar in liars]
        for _ in range(3):
            await soon(asyncio.gather(*(one.one() for one in asked for _ in range(10))), 20.0)
        assert adds_up(worker.statistics())
        assert worker.statistics().in_flight == 0
        assert all(one.replied + one.failed == 30 for one in asked)
        assert sum(one.replied > 0 for one in asked) > len(asked) // 2
    assert await soon(scene.container.request("unharmed")) == "unharmed"
