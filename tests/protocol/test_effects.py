"""The queue between state machines and their drivers."""

from __future__ import annotations

from mpzmq.failure import Failure, FailureKind
from mpzmq.protocol.effect_queue import EffectQueue
from mpzmq.protocol.effects import Disconnect, EndLink, ResolveRequests, WakeStreams


def test_what_is_of_one_kind_is_taken_out_together_whatever_came_in_between() -> None:
    effects = EffectQueue()
    for number in range(3):
        effects.add(ResolveRequests, (number, "reply"))
        effects.add(WakeStreams, number)
    effects.append(EndLink())
    assert [effects.popleft() for _ in range(len(effects))] == [
        ResolveRequests([(0, "reply"), (1, "reply"), (2, "reply")]),
        WakeStreams([0, 1, 2]),
        EndLink(),
    ]


def test_what_comes_about_behind_the_one_that_was_taken_out_is_another() -> None:
    effects = EffectQueue()
    effects.add(WakeStreams, 1)
    taken = effects.popleft()
    effects.add(WakeStreams, 2)
    assert (taken, effects.popleft(), len(effects)) == (WakeStreams([1]), WakeStreams([2]), 0)


def test_what_comes_first_does() -> None:
    effects = EffectQueue()
    effects.add(WakeStreams, 1)
    effects.appendleft(Disconnect(Failure(FailureKind.LOST, "why")))
    effects.add(WakeStreams, 2)
    assert type(effects.popleft()) is Disconnect and effects.popleft() == WakeStreams([1, 2])
    assert not effects
