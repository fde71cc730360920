"""What is answered: results and errors as records, within the limits of both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import EncodeError, MpzmqError, Refused, RemoteError, RequestError
from ..models import Executed
from ..protocol.flow.outbox import Item
from ..protocol.responder.reply_cache import Reply
from ..protocol.wire.kinds import Code, Kind
from ..protocol.wire.records import STATUS_NUMBER
from .invocation import Ending

if TYPE_CHECKING:
    from ..protocol.responder.interface import Asker, Host
    from ..protocol.wire.values import Buffer
    from .invocation import Running

__all__ = ["Answers", "is_own_word"]

_MAX_TEXT = 4096
"""Characters of an exception's text that travel: a traceback-sized message helps nobody."""


_HEADS = {status: bytes((0x93, Kind.RESPONSE, number)) for status, number in STATUS_NUMBER.items()}
"""The front of a RESPONSE in MessagePack, an array of three: a packer would take three times as long for it."""

_STATUS_AT = {Kind.RESPONSE: 2, Kind.ERROR: 4}
"""Where the status stands in a record that this side has packed: what is in front of it takes one byte each."""

_SHORT_TEXT = 256
"""The same for an engine that accepts small messages only; it fits into any that ``Limits`` allows."""


class Answers:
    """Builds the replies of one container, or of one worker."""

    def __init__(self, sessions: Host) -> None:
        self._sessions = sessions
        self._encoder = sessions.encoder

    def result(self, running: Running, value: Any) -> Reply:
        """What the handler returned.

        Raises:
            EncodeError: a message cannot carry it.
            RemoteError: the message would be larger than the engine accepts.
        """
        buffers: list[Buffer] = []
        encoder = self._encoder
        value = encoder.prepare(value, "result", buffers)
        body = _HEADS[self._sessions.status] + encoder.pack(value, "result")
        reply = Reply(running.tag, body, buffers, running.sequence, running.digest)
        if reply.size > running.engine.message_bytes:
            raise RemoteError(
                f"the reply has {reply.size} bytes, and at most {running.engine.message_bytes} are accepted:"
                " return less at a time, or raise Limits.message_bytes on both sides",
                error_type="MessageTooLarge",
            )
        return reply

    def again(self, reply: Reply) -> Item:
        """A reply that was kept, with the status of now."""
        body, place = reply.body, _STATUS_AT[reply.body[1]]
        status = bytes((STATUS_NUMBER[self._sessions.status],))
        return Item(reply.tag, body[:place] + status + body[place + 1 :], reply.buffers)

    def error(
        self, engine: Asker, tag: bytes, code: int, executed: Executed, text: str, detail: dict[str, Any] | None = None
    ) -> Item:
        """An error that the container found; its text may repeat what the engine has sent, but not at any length."""
        text = _cut(text)
        item = Item(tag, self._encoder.pack(self._sessions.error_record(code, executed, text, detail)))
        if item.size > engine.message_bytes:
            record = self._sessions.error_record(code, executed, text[:_SHORT_TEXT] + " [cut]", detail)
            item = Item(tag, self._encoder.pack(record))
        return item

    def cancelled(self, running: Running, ending: Ending | None) -> Item:
        """A handler that was ended; None: it has ended itself."""
        executed = Executed.YES if running.started else Executed.NO
        code = Code.EXPIRED if ending is Ending.DEADLINE else Code.CANCELLED
        why = "the handler cancelled itself" if ending is None else ending.value
        return self.error(running.engine, running.tag, code, executed, why)

    def raised(self, engine: Asker, tag: bytes, error: BaseException) -> Item:
        """What the handler raised."""
        if is_own_word(error, Refused):
            return self.error(engine, tag, Code.REFUSED, Executed.NO, _text(error))
        if is_own_word(error, RemoteError):
            assert isinstance(error, RemoteError)
            chosen = {"type": error.error_type, "code": error.code, "data": error.data}
            buffers: list[Buffer] = []
            try:
                detail = self._encoder.prepare(chosen, "RemoteError", buffers)
                record = self._sessions.error_record(Code.REMOTE, Executed.YES, _cut(error.error_message), detail)
                self._encoder.pack(detail, "RemoteError")  # so that an error names it
                item = Item(tag, self._encoder.pack(record), buffers)
            except EncodeError as unfit:
                return self.raised(engine, tag, unfit)
            if item.size <= engine.message_bytes:
                return item
            error = MpzmqError("the data of the RemoteError is larger than the engine accepts")
        detail = {"type": type(error).__name__}
        return self.error(engine, tag, Code.REMOTE, Executed.YES, _text(error), detail)


def is_own_word(error: BaseException, kind: type[RequestError]) -> bool:
    """Whether a handler raised an error of this kind itself.

    One that came from another container, in a call that the handler made, has a request id: it is no answer of
    this one.
    """
    return isinstance(error, kind) and error.request_id is None


def _text(error: BaseException) -> str:
    try:
        return _cut(str(error))
    except Exception as broken:  # an exception whose __str__ raises
        return f"(its text cannot be had: {type(broken).__name__})"


def _cut(text: str) -> str:
    text = text.encode(errors="replace").decode()  # a lone surrogate cannot travel
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " [cut]"
