"""The errors with which requests end: class, facts, truth and text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from mpzmq import errors
from mpzmq.config import Limits
from mpzmq.models import Executed, LinkState
from mpzmq.protocol.requester.error_factory import RequestErrors
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Kind
from tests.support.protocol import REMOTE, make_entry

if TYPE_CHECKING:
    from mpzmq.protocol.requester.request import PendingRequest

NO, UNKNOWN, YES = Executed.NO, Executed.UNKNOWN, Executed.YES
ERRORS = RequestErrors(REMOTE, "worker-7", "10.0.0.1:3010")


def entry(
    *, sent: bool = True, resent: bool = False, may_have_run_elsewhere: bool = False, started: bool = False
) -> PendingRequest:
    made = make_entry(Encoder(Limits()), 5, function="add")
    made.sent, made.resent, made.may_have_run_elsewhere, made.started = sent, resent, may_have_run_elsewhere, started
    return made


def facts(error: errors.RequestError) -> tuple[Any, ...]:
    return error.request_id, error.remote_id, error.name


def check(error: errors.RequestError, cls: type[errors.RequestError], executed: Executed, *words: str) -> None:
    assert type(error) is cls
    assert error.executed is executed
    assert facts(error) == (UUID(int=5), REMOTE, "worker-7")
    for word in ("the call of 'add' to container 'worker-7' at 10.0.0.1:3010", *words):
        assert word in str(error)


def test_a_link_without_a_name_of_its_own_is_called_by_its_address() -> None:
    assert RequestErrors(REMOTE, "host:1", "host:1").whom == "container 'host:1'"


def test_timeouts_say_whether_it_left() -> None:
    check(ERRORS.timed_out(entry(), LinkState.BUSY, False), errors.RequestTimeout, UNKNOWN, "was sent", "BUSY", "log")
    late = ERRORS.timed_out(entry(sent=False), LinkState.DOWN, False)
    check(late, errors.RequestTimeout, NO, "never left (the link is DOWN)", "safe to send again")
    full = ERRORS.timed_out(entry(sent=False), LinkState.ALIVE, True)
    check(full, errors.RequestTimeout, NO, "has not read what was sent before it", "safe to send again")


def test_losses() -> None:
    lost = ERRORS.lost(entry(), "reset by peer")
    check(lost, errors.ConnectionLost, UNKNOWN, "reset by peer", "may or may not have run", "idempotent=True")
    check(ERRORS.lost(entry(sent=False), "why"), errors.NotConnected, NO, "was not sent: why", "wait=True")
    closed = ERRORS.closed(entry(), "close() was called")
    check(closed, errors.ConnectionClosed, UNKNOWN, "got no reply before close() was called", "may or may not have run")
    check(ERRORS.closed(entry(sent=False), "why"), errors.ConnectionClosed, NO, "never left", "safe to send again")


def test_refusals_of_the_link() -> None:
    new = entry(sent=False)
    check(ERRORS.not_connected(new, "its link is DOWN"), errors.NotConnected, NO, "its link is DOWN", "wait=True")
    check(ERRORS.not_connected(new, "it FAILED", over=True), errors.NotConnected, NO, "it FAILED", "connect() it again")
    check(ERRORS.draining(new), errors.ContainerDraining, NO, "draining", "wait=True")
    full = ERRORS.overloaded(new, 77)
    check(full, errors.Overloaded, NO, "77 requests", "wait=True", "Limits.in_flight")
    assert full.retry_after > 0


def test_an_id_that_was_in_use_before_may_have_run_then() -> None:
    again = entry(sent=False, may_have_run_elsewhere=True)
    for error in (
        ERRORS.not_connected(again, "its link is DOWN"),
        ERRORS.draining(again),
        ERRORS.overloaded(again, 77),
        ERRORS.timed_out(again, LinkState.DOWN, window_full=False),
        ERRORS.closed(again, "why"),
    ):
        assert error.executed is UNKNOWN


def test_a_reply_that_cannot_be_decoded() -> None:
    check(ERRORS.malformed_reply(entry()), errors.ProtocolError, UNKNOWN, "cannot be decoded", "versions")


BY_CODE = {
    Code.MALFORMED: errors.ProtocolError,
    Code.UNSUPPORTED: errors.Unsupported,
    Code.INVALID_ARGUMENTS: errors.InvalidArguments,
    Code.STOPPED: errors.ContainerStopped,
    Code.DRAINING: errors.ContainerDraining,
    Code.REFUSED: errors.Refused,
    Code.OVERLOADED: errors.Overloaded,
    Code.CANCELLED: errors.RequestCancelled,
    Code.EXPIRED: errors.RequestTimeout,
    Code.ID_REUSED: errors.RequestIdReused,
    Code.STALE: errors.ConnectionLost,
    Code.NOT_KEPT: errors.ConnectionLost,
    Code.NOT_PERMITTED: errors.NotPermitted,
    0: errors.ProtocolError,
    99: errors.ProtocolError,
    -1: errors.ProtocolError,
}


def test_every_code_has_its_error() -> None:
    codes = {number for name, number in vars(Code).items() if name.isupper()}
    # NO_SESSION ends no request, and REMOTE has a test of its own.
    assert codes - set(BY_CODE) == {Code.NO_SESSION, Code.REMOTE}


@pytest.mark.parametrize("code", BY_CODE)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_errors_of_the_container(code: int, number: int) -> None:
    record = [Kind.ERROR, code, number, 1, "what it says", None]
    check(ERRORS.from_record(entry(), record), BY_CODE[code], (NO, UNKNOWN, YES)[number], "what it says")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_no_speaks_only_of_the_memory_of_the_container_that_says_it(number: int) -> None:
    record = [Kind.ERROR, Code.EXPIRED, number, 1, "late", None]
    check(ERRORS.from_record(entry(resent=True), record), errors.RequestTimeout, (NO, UNKNOWN, YES)[number])
    check(
        ERRORS.from_record(entry(may_have_run_elsewhere=True), record),
        errors.RequestTimeout,
        (UNKNOWN, UNKNOWN, YES)[number],
    )
    may_have_run_elsewhere = ERRORS.from_record(entry(may_have_run_elsewhere=True, started=True), record)
    check(may_have_run_elsewhere, errors.RequestTimeout, (YES, UNKNOWN, YES)[number])


@pytest.mark.parametrize("code", [Code.STALE, Code.NOT_KEPT])
def test_a_container_that_has_forgotten_was_not_restarted(code: int) -> None:
    error = ERRORS.from_record(entry(), [Kind.ERROR, code, 1, 1, "forgotten", None])
    assert isinstance(error, errors.ConnectionLost) and error.instance_changed is False


@pytest.mark.parametrize(
    ("detail", "expected"),
    [(None, 0.1), ({}, 0.1), ({"retry_after": 2}, 2.0), ({"retry_after": 0.5}, 0.5), ({"retry_after": "soon"}, 0.1)],
)
def test_when_to_try_again(detail: dict[str, Any] | None, expected: float) -> None:
    error = ERRORS.from_record(entry(), [Kind.ERROR, Code.OVERLOADED, 0, 1, "full", detail])
    assert isinstance(error, errors.Overloaded)
    assert error.retry_after == expected and math.isfinite(error.retry_after)


def remote(detail: dict[Any, Any] | None, message: str = "declined") -> errors.RemoteError:
    error = ERRORS.from_record(entry(), [Kind.ERROR, Code.REMOTE, 2, 1, message, detail])
    assert isinstance(error, errors.RemoteError)
    return error


def test_what_a_handler_raised() -> None:
    detail = {"type": "RemoteError", "code": "insufficient_funds", "data": {"balance": -3}}
    error = remote(detail)
    check(error, errors.RemoteError, YES, "raised RemoteError: declined", f"under request {UUID(int=5)}")
    assert (error.error_type, error.error_message) == ("RemoteError", "declined")
    assert (error.code, error.data) == ("insufficient_funds", {"balance": -3})
    plain = remote({"type": "KeyError"}, "'name'")
    check(plain, errors.RemoteError, YES, "raised KeyError: 'name'")
    assert (plain.error_type, plain.code, plain.data) == ("KeyError", None, None)


@pytest.mark.parametrize("detail", [None, {}, {"type": 5, "code": 7}, {1: 2}, {"type": [[]], "code": b"x"}])
def test_a_detail_of_any_shape(detail: dict[Any, Any] | None) -> None:
    error = remote(detail)
    assert isinstance(error.error_type, str) and error.code is None
