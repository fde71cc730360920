"""What becomes of a request before it is in the books: written, checked, and taken, kept waiting or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from ...errors import RequestIdReused
from ..wire.digest import digest_of
from ..wire.kinds import Flag, Op
from ..wire.values import EXT_UUID
from .options import UNSET
from .request import PendingRequest, encode_request, remaining_ms
from .request_ids import request_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...errors import RequestTimeout
    from ..wire.values import Buffer
    from .options import Options
    from .requester import Requester

__all__ = ["Submission"]

_INVOKE: Final = Op.INVOKE
_IDEMPOTENT: Final = Flag.IDEMPOTENT
_CHOSEN: Final = Flag.CHOSEN
"""Names of the module: looking one up in a class takes as long as three of them (Python 3.11)."""

_TEN = b"\x9a"
"""The front of an array of ten in MessagePack: a REQUEST has nine fields, and the parent stands behind them."""

_PARENT = bytes((0xD8, EXT_UUID))
"""The front of a UUID."""


class Submission:
    """Takes requests for one requester.

    A request is written, and begun, which counts it; it waits where there is no room for it, as long as it may; and it
    is submitted. Whoever begins one submits it, or says that it was given up.

    Args:
        requester: whose requests they are.
        refusal: why a request cannot be taken, however long it waits; None: it can.
        lost_after: what holds for requests that name none, in seconds.
    """

    def __init__(
        self,
        requester: Requester,
        refusal: Callable[[PendingRequest], Exception | None],
        lost_after: float | None,
    ) -> None:
        self.refusal = refusal
        self._requester = requester
        self._tracker = requester.tracker
        self._encoder = requester.encoder
        self._errors = requester.error_factory
        self._lost_after = lost_after
        self._new_tag = request_tags()

    def write(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None,
        now: float,
        enclosing: float | None = None,
        parent: bytes | None = None,
    ) -> PendingRequest:
        """Write a request, of which nobody knows yet.

        Args:
            op: what is asked, one of :class:`~mpzmq.protocol.wire.kinds.Op`.
            function: its name, in a CALL.
            args: the arguments.
            kwargs: those by name.
            options: how it is to be treated.
            tag: the id that its caller has chosen; None: it gets one.
            now: the time.
            enclosing: when the request ends inside which it is made: it gets no more time than that; None: never, or
                there is none.
            parent: the tag of the request inside which a container makes it; None: an engine makes it.

        Raises:
            EncodeError: a message cannot carry it.
        """
        remaining = options.milliseconds
        deadline = None if options.timeout is None else now + options.timeout
        if enclosing is not None:
            deadline = enclosing if deadline is None else min(deadline, enclosing)
            remaining = remaining_ms(deadline, now)
        encoder = self._encoder
        buffers: list[Buffer] = []
        digest = None if tag is None else digest_of(encoder, op, function, args, kwargs)
        values: Sequence[Any] = args
        if op == _INVOKE:
            data = args[0]
            prepared = encoder.prepare(data, "data", buffers)
            if prepared is not data:
                values = (prepared,)
        else:
            values = encoder.prepare_all(args, "args", buffers)
        if kwargs is not None:
            kwargs = encoder.prepare_all(kwargs, "kwargs", buffers)
        metadata = encoder.prepare_all(dict(options.metadata), "metadata", buffers) if options.metadata else None
        sequence = self._tracker.next_sequence()
        flags = (_IDEMPOTENT if options.idempotent else 0) | (0 if tag is None else _CHOSEN)
        body = encode_request(encoder, sequence, remaining, flags, op, function, values, kwargs, metadata)
        if parent is not None:
            body = _TEN + body[1:] + _PARENT + parent
        entry = PendingRequest(
            self._new_tag(sequence) if tag is None else tag,
            sequence,
            op,
            function,
            body,
            buffers or (),
            now,
            deadline,
            options.wait,
            options.idempotent,
            digest,
        )
        entry.lost_after = self._lost_after if options.effective_lost_after is UNSET else options.effective_lost_after
        return entry

    def begin(self, entry: PendingRequest, now: float) -> bool:
        """Count a request that was written.

        Returns:
            Whether it may be submitted now, unless others wait for their turn.

        Raises:
            ValueError, RequestIdReused: its id is in use, or used up.
            RequestTimeout: its deadline has passed already.
            RequestError: none is taken any more.
        """
        if entry.digest is not None:
            self._check_id(entry)
        requester = self._requester
        if requester.is_closed and (refusal := self.refusal(entry)) is not None:
            raise refusal
        tracker = self._tracker
        tracker.issued += 1
        if entry.deadline is not None and entry.deadline <= now:
            raise self.timed_out(entry, "its deadline had passed before it was sent")
        return requester.is_running and tracker.has_room(entry.size, entry.buffers)

    def is_decided(self, entry: PendingRequest) -> bool:
        """Whether a request that waits for room has it now, or need not wait any longer.

        A link that is not up takes requests too, as long as they may wait.
        """
        return self._tracker.has_room(entry.size, entry.buffers) or self.refusal(entry) is not None

    def reject(self, entry: PendingRequest) -> NoReturn:
        """A request would have to wait, and may not.

        Raises:
            RequestError: always; ``Overloaded`` also where there is room, but others wait in front.
        """
        raise self._tracker.counted(self.refusal(entry) or self._errors.overloaded(entry, len(self._tracker.pending)))

    def resume(self, entry: PendingRequest) -> None:
        """A request has waited, and is to be submitted now.

        Raises:
            RequestError: it is refused.
            ValueError: its id has been used up meanwhile.
        """
        refusal = self.refusal(entry)
        if refusal is not None:
            try:
                raise self._tracker.counted(refusal)
            finally:
                del refusal  # its traceback keeps this frame
        if entry.digest is not None:
            try:
                self._check_id(entry)
            except ValueError as error:
                self._tracker.counted(error)
                raise
        entry.renumber(self._tracker.next_sequence())

    def cancel(self) -> None:
        """Whoever has begun a request has gone before it was submitted."""
        self._tracker.count_cancelled()

    def timed_out(self, entry: PendingRequest, why: str) -> RequestTimeout:
        """The deadline of a request has come before it was submitted."""
        return self._tracker.counted(self._errors.unsent(entry, why))

    def submit(self, entry: PendingRequest, waiter: Any) -> None:
        """Take a request: from here on it is in the books, and ended by them.

        Args:
            entry: the request.
            waiter: whoever is told of the end.

        Raises:
            MessageTooLarge: one of the sides does not accept it.
        """
        tracker = self._tracker
        if entry.size > tracker.message_bytes:
            raise tracker.counted(tracker.too_large(entry))
        entry.waiter = waiter
        if entry.digest is not None:
            self._requester.cancels.discard(entry.tag)  # it is not cancelled any more
        tracker.submit(entry)

    def _check_id(self, entry: PendingRequest) -> None:
        """Hold an id that the caller chose against those in use and those used up."""
        tracker = self._tracker
        entry.may_have_run_elsewhere = entry.tag in tracker.ended_ids
        if entry.tag in tracker.answered_ids:
            raise ValueError("a reply was received under this request id already: every request needs an id of its own")
        other = tracker.pending.get(entry.tag)
        if other is None and not tracker.ended_ids.is_taken(entry):
            return
        if other is not None and entry.digest == other.digest:
            raise ValueError("a request with this id and body is in flight already: await that one")
        text = f"{entry.what} to {self._errors.whom} was not sent: its id is in use for another request"
        raise self._errors.build(RequestIdReused, entry.tag, f"{text}; every request needs an id of its own")
