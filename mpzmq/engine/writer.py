"""The way out: the handle of one container, and the one door through which its requests leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ..context import current
from ..errors import (
    ConnectError,
    ConnectTimeout,
    EncodeError,
    InvalidArguments,
    MessageTooLarge,
    NotPermitted,
    Refused,
    RequestError,
    RequestIdReused,
    RequestTimeout,
    Unsupported,
)
from ..message import LinkState, Method, Status
from ..protocol.digest import digest_of
from ..protocol.entry import Entry, encode_request, remaining_ms
from ..protocol.kinds import Flag, Op
from .options import UNSET, Options
from .requests import asked, checked_id, checked_name, request_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from ..home import Home
    from ..message import Description
    from ..protocol.values import Buffer
    from ..protocol.wire import Record
    from ..statistics import Statistics
    from .connection import Connection
    from .options import _U
    from .service import EngineService

__all__ = ["ComputerEngineWriter"]

_INVOKE, _IDEMPOTENT, _CHOSEN, _CLOSED = Op.INVOKE, Flag.IDEMPOTENT, Flag.CHOSEN, LinkState.CLOSED
"""Names of the module: looking one up in a class takes as long as three of them (Python 3.11)."""


class ComputerEngineWriter:
    """The handle of one container. ``worker.connect()`` returns it; users make none."""

    def __init__(self, connection: Connection, home: Home, service: EngineService, drop: Callable[..., Any]) -> None:
        self._connection = connection
        self._link = connection.link
        self._home = home
        self._service = service
        self._drop = drop
        self._new_tag = request_tags()

    def __repr__(self) -> str:
        return f"<ComputerEngineWriter {self.name!r} {self.state} {self.remote_id}>"

    @property
    def remote_id(self) -> UUID:
        """The id under which the worker knows the container."""
        return self._link.verdicts.remote_id

    @property
    def name(self) -> str:
        """What the container is called in errors, events and logs."""
        return self._link.verdicts.name

    @property
    def address(self) -> str:
        """The container's address, as it was given to ``connect()``."""
        return self._connection.address.text

    @property
    def instance(self) -> UUID | None:
        """The id of the container's process incarnation; None before its first WELCOME."""
        return self._link.instance

    @property
    def state(self) -> LinkState:
        """The state of the link."""
        return self._link.state

    @property
    def status(self) -> Status | None:
        """The container's run state as last heard; None before its first WELCOME."""
        return self._link.status

    @property
    def last_error(self) -> ConnectError | None:
        """Why the last dial or connection ended; None if none did."""
        return self._connection.connect_error()

    def is_running(self) -> bool:
        """Whether the container can be talked to now: the link is ALIVE, or BUSY but greeted.

        It speaks of the link, not of the container's ``Status``.
        """
        return self._link.is_running

    def statistics(self) -> Statistics:
        """The counters of this link."""
        return self._link.statistics()

    async def wait_ready(self, timeout: float | None = 30.0) -> None:
        """Waits until the container can be talked to.

        Raises:
            ConnectError: the link has FAILED, or was CLOSED, with the reason.
            ConnectTimeout: it was not ready in time.
        """
        self._home.check()
        try:
            async with asyncio.timeout(timeout):
                while not self.is_running():
                    if self._link.is_over:
                        raise self.last_error or ConnectError(
                            f"{self._link.verdicts.whom} cannot be talked to: its link is {self.state}; connect() it",
                            address=self.address,
                            name=self.name,
                        )
                    await self._connection.changed()
        except TimeoutError as error:
            if isinstance(error, ConnectTimeout):
                raise
            why = self.last_error
            seen = f": {why}" if why is not None else ""
            raise self._not_ready(f"it was not ready within {timeout} s (the link is {self.state}){seen}") from None

    async def disconnect(self, timeout: float = 0.0) -> None:
        """Ends the link: waits that long for what is in flight, then ends what is left with ``ConnectionClosed``."""
        self._home.check()
        await self._drop(self.remote_id, timeout)

    async def request(
        self,
        data: Any,
        fallback: Any = None,
        *,
        request_id: UUID | None = None,
        method: Method = Method.INVOKE,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
    ) -> Any:
        """Sends data to the container's handler for plain requests; see :meth:`EngineService.request`."""
        options = self._service.options.but(timeout, wait, idempotent, metadata)
        tag = None if request_id is None else checked_id(request_id)
        op, args = asked(method, data)
        return (await self.send(op, None, args, None, options, tag, fallback))[2]

    async def call(
        self,
        function: str,
        /,
        *args: Any,
        request_id: UUID | None = None,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        **kwargs: Any,
    ) -> Any:
        """Calls a named function of the container; see :meth:`EngineService.call`."""
        options = self._service.options.but(timeout, wait, idempotent, metadata)
        tag = None if request_id is None else checked_id(request_id)
        return (await self.send(Op.CALL, checked_name(function), args, kwargs or None, options, tag))[2]

    def function(self, name: str, /, **options: Any) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A named function of the container, to be called with any arguments; see :meth:`EngineService.function`."""
        return self._service.function(self.remote_id, name, **options)

    async def get_state(self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Status:
        """Asks the container for its run state."""
        return await self._service.get_state(self.remote_id, timeout=timeout, wait=wait)

    async def set_state(self, status: Status, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Status:
        """Sets the container's run state; see :meth:`EngineService.set_state`."""
        return await self._service.set_state(self.remote_id, status, timeout=timeout, wait=wait)

    async def describe(self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Description:
        """Asks the container what it offers."""
        return await self._service.describe(self.remote_id, timeout=timeout, wait=wait)

    # The door

    async def send(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None = None,
        fallback: Any = None,
    ) -> Record:
        """Sends one request and waits for its end.

        Args:
            op: what is asked, one of :class:`~mpzmq.protocol.kinds.Op`.
            function: its name, in a CALL.
            args: the arguments.
            kwargs: those by name.
            options: how.
            tag: the request id; None: the caller chose none.
            fallback: data that is sent once instead when the container cannot or will not do what was asked.

        Returns:
            The RESPONSE record.
        """
        loop = self._home.check()
        link = self._link
        ledger = link.ledger
        now = loop.time()
        entry = self._encode(op, function, args, kwargs, options, tag, now)
        deadline = entry.deadline
        if tag is not None:
            self._check_id(entry)
        if link.state is _CLOSED:
            # Its counters have been added to those of the worker, and nobody would see another.
            raise link.verdicts.not_connected(entry, "its link is CLOSED", over=True)
        ledger.issued += 1
        if deadline is not None and deadline <= now:
            ledger.count_ended(cancelled=False)
            raise self._expired(entry, "its deadline had passed before it was sent")
        if not (link.is_running and ledger.has_room(entry.size)) or self._connection.turns.waiting:
            await self._wait_for_room(entry)
            entry.renumber(ledger.next_sequence())
        if entry.size > ledger.message_bytes:
            ledger.count_ended(cancelled=False)
            raise ledger.too_large(entry)
        entry.waiter = waiter = loop.create_future()
        if tag is not None:
            link.reissued(tag)
        ledger.submit(entry)
        self._connection.leave(deadline)
        try:
            return await waiter  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if ledger.pending.get(entry.tag) is entry:  # another may have been issued under its id since it ended
                link.cancel(entry.tag)
                self._connection.leave()
            raise
        except (Unsupported, InvalidArguments, Refused) as error:
            if fallback is None or isinstance(error, NotPermitted):
                raise
        rest = options.but(UNSET if deadline is None else deadline - loop.time(), UNSET, UNSET, UNSET)
        try:
            return await self.send(Op.INVOKE, None, (fallback,), None, rest)
        except (RequestError, EncodeError, MessageTooLarge) as error:
            if isinstance(error, RequestError):
                error.request_id = UUID(bytes=entry.tag)
                error.fallback_sent = True
            raise

    def _check_id(self, entry: Entry) -> None:
        """Holds an id that the caller chose against those in use and those used up."""
        link = self._link
        ledger = link.ledger
        entry.doubtful = entry.tag in ledger.used_ids
        if entry.tag in ledger.spent_ids:
            raise ValueError("a reply was received under this request id already: every request needs an id of its own")
        other = ledger.pending.get(entry.tag)
        if other is None and not ledger.used_ids.is_taken(entry):
            return
        if other is not None and entry.digest == other.digest:
            raise ValueError("a request with this id and body is in flight already: await that one")
        text = f"{entry.what} to {link.verdicts.whom} was not sent: its id is in use for another request"
        raise link.verdicts.make(RequestIdReused, entry.tag, f"{text}; every request needs an id of its own")

    def _encode(
        self,
        op: int,
        function: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        options: Options,
        tag: bytes | None,
        now: float,
    ) -> Entry:
        remaining = options.milliseconds
        deadline = None if options.timeout is None else now + options.timeout
        context = current.get()
        if context is not None and context.deadline is not None:
            # A call made inside a handler inherits what is left of the handler's time.
            deadline = context.deadline if deadline is None else min(deadline, context.deadline)
            remaining = remaining_ms(deadline, now)
        link = self._link
        encoder = link.encoder
        buffers: list[Buffer] = []
        given = args, kwargs
        if op == _INVOKE:
            data = args[0]
            prepared = encoder.prepare(data, "data", buffers)
            if prepared is not data:
                args = (prepared,)
        else:
            args = encoder.prepare_all(args, "args", buffers)
        if kwargs is not None:
            kwargs = encoder.prepare_all(kwargs, "kwargs", buffers)
        metadata = encoder.prepare_all(dict(options.metadata), "metadata", buffers) if options.metadata else None
        sequence = link.ledger.next_sequence()
        flags = (_IDEMPOTENT if options.idempotent else 0) | (0 if tag is None else _CHOSEN)
        body = encode_request(encoder, sequence, remaining, flags, op, function, args, kwargs, metadata)
        return Entry(
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
            None if tag is None else digest_of(encoder, op, function, *given),
        )

    async def _wait_for_room(self, entry: Entry) -> None:
        """Waits until the link takes one more request.

        A link that is not up takes requests too, as long as they may wait.
        """
        link = self._link
        try:
            async with asyncio.timeout_at(entry.deadline):
                if self._refusal(entry) is None:
                    await self._connection.turns.wait(
                        lambda: link.ledger.has_room(entry.size) or self._refusal(entry) is not None
                    )
            refusal = self._refusal(entry)
        except asyncio.CancelledError:
            link.ledger.count_ended(cancelled=True)
            raise
        except TimeoutError:
            refusal = self._expired(entry, "the link had no room for it, so it never left")
        if refusal is not None:
            link.ledger.count_ended(cancelled=False)
            raise refusal
        if entry.digest is not None:
            try:
                self._check_id(entry)
            except ValueError:
                link.ledger.count_ended(cancelled=False)
                raise

    def _refusal(self, entry: Entry) -> RequestError | None:
        """Why the link will not take a request, however long it waits; None: it may."""
        link = self._link
        if link.is_over:
            failed = link.failure is not None and link.state is LinkState.FAILED
            why = f"its link is {link.state}" + (f" ({link.failure.detail})" if failed and link.failure else "")
            return link.verdicts.not_connected(entry, why, over=True)
        if entry.wait:
            return None
        if link.state is LinkState.DRAINING:
            return link.verdicts.draining(entry)
        if not link.is_running:
            return link.verdicts.not_connected(entry, f"its link is {link.state}")
        if not link.ledger.has_room(entry.size):
            return link.verdicts.overloaded(entry, len(link.ledger.pending))
        return None

    def _expired(self, entry: Entry, why: str) -> RequestTimeout:
        verdicts = self._link.verdicts
        text = f"{entry.what} to {verdicts.whom} timed out: {why}"
        return verdicts.make(RequestTimeout, entry.tag, text, entry.executed)

    def _not_ready(self, why: str) -> ConnectTimeout:
        verdicts = self._link.verdicts
        return ConnectTimeout(f"{verdicts.whom} cannot be talked to: {why}", address=self.address, name=self.name)
