"""Mutated messages of every kind, in every state of a connection and of the container.

A message that breaks something is ``mutant(seed, number, ENGINE, kind)``; the numbers are those of ``NUMBERS``.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from mpzmq import Status
from mpzmq.protocol.wire.kinds import Goodbye, Kind
from mpzmq.protocol.wire.records import LINK_TAG
from mpzmq.testing import ContainerProcess

from .liar import LyingEngine, liars, request
from .mutate import ENGINE, mutant
from .target import ROOT, TIMEOUT, Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SEED = 20261125
NUMBERS = range(1000)
KINDS = sorted(value for name, value in vars(Kind).items() if name.isupper())


async def before_hello(liar: LyingEngine, other: LyingEngine) -> None:
    """Nothing has been said."""


async def after_hello(liar: LyingEngine, other: LyingEngine) -> None:
    assert (await liar.greet())[0] == Kind.WELCOME


async def after_goodbye(liar: LyingEngine, other: LyingEngine) -> None:
    await after_hello(liar, other)
    await liar.say(LINK_TAG, [Kind.GOODBYE, Goodbye.CLOSED, "bye"])


async def superseded(liar: LyingEngine, other: LyingEngine) -> None:
    await after_hello(liar, other)
    assert (await other.greet(liar.session, 2))[0] == Kind.WELCOME


STATES: tuple[Callable[[LyingEngine, LyingEngine], Awaitable[None]], ...] = (
    before_hello, after_hello, after_goodbye, superseded,
)  # fmt: skip


@pytest.mark.parametrize("come_to", STATES, ids=lambda state: state.__name__)
async def test_mutated_messages_in_every_state_of_a_connection(
    target: Target, come_to: Callable[[LyingEngine, LyingEngine], Awaitable[None]]
) -> None:
    with liars(target) as make:
        liar, other = make(), make()
        await come_to(liar, other)
        async with target.watched():
            await liar.lie(SEED, NUMBERS)
            await liar.until_read_by_tag()
        facts = await target.unharmed(grown=48)
        assert facts["ignored"] > target.before["ignored"]
        assert facts["in_flight"] == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_is_mutated_on_a_greeted_connection(target: Target, kind: int) -> None:
    with liars(target) as make:
        liar = make()
        async with target.watched():
            for start in range(0, 300, 100):
                await liar.greet_anew()  # a GOODBYE among them has ended the one before
                await liar.lie(SEED + kind, range(start, start + 100), kind)
                await liar.until_read_by_tag()
        facts = await target.unharmed(grown=24)
        assert facts["in_flight"] == 0


async def test_what_is_well_formed_among_them_does_run(target: Target) -> None:
    """Otherwise the other tests here would see nothing run because nothing can."""
    with liars(target) as make:
        liar = make()
        await liar.greet()
        tag = uuid4().bytes
        await liar.say(tag, request(1, "x"))
        assert (await liar.answer_to(tag))[0] == Kind.RESPONSE
        for start in range(0, 1000, 100):
            # All at once would be a flood to a container that is slow, and cut off.
            await liar.greet_anew()
            await liar.lie(SEED, range(start, start + 100), Kind.REQUEST)
            await liar.until_read_by_tag()
        await target.unharmed(grown=24)
        assert sum(tag in target.allowed for tag in target.ran) > 10


async def test_a_message_is_made_again_from_its_number() -> None:
    assert [mutant(SEED, number, ENGINE) for number in range(50)] == [
        mutant(SEED, number, ENGINE) for number in range(50)
    ]
    assert mutant(SEED, 3, ENGINE) != mutant(SEED + 1, 3, ENGINE)


async def test_mutated_messages_while_it_is_stopped() -> None:
    with ContainerProcess("tests.hostile.container:small", folder=ROOT, drain_timeout=0.2) as process:
        async with Target(process) as target:
            await target.client.set_state(Status.STOP)
            with liars(target) as make:
                liar = make()
                await liar.greet()
                await liar.lie(SEED + 1, NUMBERS)
                await liar.until_read_by_tag()
                assert await target.client.get_state() is Status.STOP
            await target.client.set_state(Status.RUNNING)
            target.before = {**target.before, **await target.facts()}
            assert target.ran == [], "a handler ran in STOP"
            await target.unharmed(grown=48)


async def test_mutated_messages_during_a_drain() -> None:
    with ContainerProcess("tests.hostile.container:small", folder=ROOT, drain_timeout=2.0) as process:
        async with Target(process) as target:
            held = asyncio.create_task(target.client.call("hold", 0.5, timeout=TIMEOUT))
            await asyncio.sleep(0)
            await target.facts()  # asked behind it: it has begun
            with liars(target) as make:
                liar = make()
                await liar.greet()
                process.send_signal(signal.SIGTERM)
                await liar.say(uuid4().bytes, request(1, "x"))
                while not any(record[:2] == [Kind.GOODBYE, Goodbye.DRAINING] for _, record in await liar.receive()):
                    pass
                await liar.lie(SEED + 2, NUMBERS)
                assert await held == "held"
            # A liar that does not acknowledge its replies makes it wait, but not for longer than it was told to.
            assert await asyncio.to_thread(process.wait, 30.0) == 0
            assert "Traceback" not in process.stderr
