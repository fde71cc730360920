"""What is answered: results and errors as records, within the limits of both sides."""

from __future__ import annotations

import math
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, Final

from ..common.chaining import alone
from ..common.text import MAX_LENGTH, MAX_NAME, clean, repr_of, text_of, type_name
from ..errors import (
    EncodeError,
    InvalidArguments,
    NotPermitted,
    Overloaded,
    Refused,
    RemoteError,
    RequestError,
)
from ..models import Executed
from ..protocol.flow.outbox import QueuedRecord
from ..protocol.responder.reply_cache import Reply
from ..protocol.wire.kinds import Code, Kind
from ..protocol.wire.records import STATUS_NUMBER
from ..typed.errors import InvalidItemError
from .invocation import CancelReason

if TYPE_CHECKING:
    from ..protocol.responder.responder import HandlerHost, Responder
    from ..protocol.wire.values import Buffer
    from .invocation import Invocation

__all__ = ["ResponseEncoder", "refusal_of"]

HIDDEN_GENERATOR = (
    "cannot send result: an async generator, which its decorator has hidden: use functools.wraps() in that, and the"
    " function is asked by stream()"
)

_HEADS: Final = {status: bytes((0x93, Kind.RESPONSE, number)) for status, number in STATUS_NUMBER.items()}
"""The front of a RESPONSE in MessagePack, an array of three: a packer would take three times as long for it."""

_STATUS_AT: Final = {Kind.RESPONSE: 2, Kind.ERROR: 4}
"""Where the status stands in a record that this side has packed: what is in front of it takes one byte each."""

_SHORT_TEXT = 128
"""Characters of an error's text for an engine that accepts small messages only: it fits into any that ``Limits``
allows."""


class ResponseEncoder:
    """Builds the replies of one container, or of one worker."""

    def __init__(self, sessions: HandlerHost) -> None:
        self._sessions = sessions
        self._encoder = sessions.encoder

    def result(self, running: Invocation, value: Any) -> Reply:
        """What the handler returned.

        Raises:
            EncodeError: a message cannot carry it.
            RemoteError: the message would be larger than the engine accepts.
        """
        buffers: list[Buffer] = []
        encoder = self._encoder
        try:
            value = encoder.prepare(value, "result", buffers)
        except EncodeError:
            if type(value) is AsyncGeneratorType:
                raise alone(EncodeError(HIDDEN_GENERATOR, path="result")) from None
            raise
        body = _HEADS[self._sessions.status] + encoder.pack(value, "result")
        reply = Reply(running.tag, body, buffers, running.sequence, running.digest)
        if reply.size > running.engine.message_bytes:
            raise RemoteError(
                f"the reply has {reply.size} bytes, and at most {running.engine.message_bytes} are accepted:"
                " return less at a time, or raise Limits.message_bytes on both sides",
                error_type="MessageTooLarge",
            )
        return reply

    def again(self, reply: Reply) -> QueuedRecord:
        """A reply that was kept, with the status of now."""
        body, place = reply.body, _STATUS_AT[reply.body[1]]
        status = bytes((STATUS_NUMBER[self._sessions.status],))
        return QueuedRecord(reply.tag, body[:place] + status + body[place + 1 :], reply.buffers)

    def error(
        self,
        engine: Responder,
        tag: bytes,
        code: int,
        executed: Executed,
        text: str,
        detail: dict[str, Any] | None = None,
    ) -> QueuedRecord:
        """An error that the container found; its text may repeat what the engine has sent, but not at any length."""
        for most in (MAX_LENGTH, _SHORT_TEXT):
            record = self._sessions.error_record(code, executed, clean(text, most), detail)
            item = QueuedRecord(tag, self._encoder.pack(record))
            if item.size <= engine.message_bytes:
                break
        return item

    def cancelled(self, running: Invocation, ending: CancelReason | None) -> QueuedRecord:
        """A handler that was ended; None: it has ended itself."""
        executed = Executed.YES if running.started else Executed.NO
        code = Code.EXPIRED if ending is CancelReason.DEADLINE else Code.CANCELLED
        why = "the handler cancelled itself" if ending is None else ending.value
        return self.error(running.engine, running.tag, code, executed, why)

    def raised(self, running: Invocation, error: BaseException) -> tuple[QueuedRecord, bool]:
        """What a handler raised, whatever that is. This cannot fail.

        Returns:
            The ERROR, and whether it is the handler's refusal.
        """
        engine, tag = running.engine, running.tag
        try:
            code = refusal_of(running, error)
            if code is not None:
                detail = {"retry_after": _seconds(error.retry_after)} if code == Code.OVERLOADED else None  # type: ignore[attr-defined]  # an Overloaded
                return self.error(engine, tag, code, Executed.NO, text_of(error), detail), True
            if _is_own_word(error, RemoteError):
                return self._chosen(engine, tag, error), False
            kind, text = type_name(error), _raised_text(error)
            if issubclass(type(error), InvalidItemError):
                return self._remote(engine, tag, text, kind, "invalid_item"), False
        except KeyboardInterrupt:
            raise
        except BaseException as failed:  # an error of a class of the application, whose attributes raise
            kind, text = type_name(error), f"reading it raised {type_name(failed)}: {text_of(failed)}"
        return self._remote(engine, tag, text, kind), False

    def failed(self, engine: Responder, tag: bytes, error: BaseException) -> QueuedRecord:
        """This side has failed over a request: whether a handler has begun is not known."""
        text = f"the container failed over it: {type_name(error)}: {text_of(error)}"
        return self.error(engine, tag, Code.REMOTE, Executed.UNKNOWN, text, {"type": type_name(error)})

    def _chosen(self, engine: Responder, tag: bytes, error: Any) -> QueuedRecord:
        """A RemoteError, with what the handler chose. What cannot be sent of it does not take the rest along."""
        text = clean(error.error_message)
        code = None if error.code is None else clean(error.code, MAX_NAME)
        chosen = {"type": clean(error.error_type, MAX_NAME), "code": code, "data": error.data}
        buffers: list[Buffer] = []
        try:
            detail = self._encoder.prepare(chosen, "RemoteError", buffers)
            self._encoder.pack(detail, "RemoteError")  # so that an error names it
        except EncodeError as unfit:
            return self._remote(engine, tag, f"{unfit}; it was raised with {repr_of(text)}", "EncodeError", code)
        record = self._sessions.error_record(Code.REMOTE, Executed.YES, text, detail)
        item = QueuedRecord(tag, self._encoder.pack(record), buffers)
        if item.size <= engine.message_bytes:
            return item
        why = f"its data is larger than the engine accepts; it was raised with {repr_of(text)}"
        return self._remote(engine, tag, why, "MessageTooLarge", code)

    def _remote(self, engine: Responder, tag: bytes, text: str, kind: str, code: str | None = None) -> QueuedRecord:
        return self.error(engine, tag, Code.REMOTE, Executed.YES, text, {"type": kind, "code": code})


_BEFORE: Final = (
    (NotPermitted, Code.NOT_PERMITTED),
    (Refused, Code.REFUSED),
    (Overloaded, Code.OVERLOADED),
    (InvalidArguments, Code.INVALID_ARGUMENTS),
)
"""What may be said by whoever stands around a handler, as long as that has not begun."""


def refusal_of(running: Invocation, error: BaseException) -> int | None:
    """The code of a refusal: the handler has done nothing. None: it is none.

    Args:
        running: the request.
        error: what has been raised.
    """
    if running.chain is not None and not running.started:
        return next((code for kind, code in _BEFORE if _is_own_word(error, kind)), None)
    if _is_own_word(error, Refused) and running.handler.has_raised(error, is_wrapped=running.chain is not None):
        return Code.REFUSED
    return None


def _seconds(retry_after: Any) -> float:
    """When to try again, as middleware has said it; as soon as usual, where that is no time."""
    seconds = float(retry_after)
    return seconds if 0 <= seconds < math.inf else Overloaded.retry_after


def _is_own_word(error: BaseException, kind: type[RequestError]) -> bool:
    """Whether a handler raised an error of this kind itself.

    One that came from another container, in a call that the handler made, has a request id: it is not an answer of
    this one.
    """
    return issubclass(type(error), kind) and error.request_id is None  # type: ignore[attr-defined]  # its type says so


def _raised_text(error: Any) -> str:
    if issubclass(type(error), SystemExit):
        return f"sys.exit({repr_of(error.code)}) in a handler ends its request, and not the process"
    return text_of(error)
