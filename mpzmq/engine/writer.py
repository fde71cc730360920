"""The way out: the handle of one container, and the one door through which its requests leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..errors import ConnectError, ConnectTimeout, RequestIdReused, RequestTimeout
from ..message import Executed, LinkState, Method, Status
from ..protocol.pending import Entry, remaining_ms, request_in_words
from ..protocol.wire import Flag, Kind, Op
from .options import UNSET, Options
from .requests import Call, checked_id

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from uuid import UUID

    from ..errors import RequestError
    from ..home import Home
    from ..message import Description
    from ..protocol.values import Buffer
    from ..protocol.wire import Record
    from ..statistics import Statistics
    from .connection import Connection
    from .options import _U
    from .service import EngineService

__all__ = ["ComputerEngineWriter"]


class ComputerEngineWriter:
    """The handle of one container. ``worker.connect()`` returns it; users make none."""

    def __init__(self, connection: Connection, home: Home, service: EngineService, drop: Callable[..., Any]) -> None:
        self._connection = connection
        self._link = connection.link
        self._home = home
        self._service = service
        self._drop = drop

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
        return (await self._service.ask(self, Call.of_method(method, data), options, tag, fallback))[2]

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
        call = Call.of_function(function, args, kwargs)
        return (await self._service.ask(self, call, options, tag))[2]

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

    async def send(self, call: Call, options: Options, tag: bytes, deadline: float | None, *, chosen: bool) -> Record:
        """Sends one request and waits for its end.

        Args:
            call: what is asked.
            options: how.
            tag: the request id.
            deadline: on the event loop's clock.
            chosen: whether the caller chose the id.

        Returns:
            The RESPONSE record.
        """
        link = self._link
        loop = self._connection.loop
        now = loop.time()
        entry = self._encode(call, options, tag, now, deadline, chosen)
        self._check_id(entry)
        ledger = link.ledger
        ledger.count_issued()
        if deadline is not None and not deadline > now:
            ledger.count_ended(cancelled=False)
            raise self._expired(tag, call, "its deadline had passed before it was sent")
        if not (link.is_running and ledger.has_room(entry.size)) or self._connection.turns:
            await self._wait_for_room(entry, options, call)
            try:
                self._check_id(entry)
            except ValueError:
                ledger.count_ended(cancelled=False)
                raise
        if entry.size > ledger.message_bytes:
            ledger.count_ended(cancelled=False)
            raise ledger.too_large(entry)
        entry.waiter = waiter = loop.create_future()
        ledger.submit(entry)
        self._connection.leave(deadline)
        try:
            record: Record = await waiter
        except asyncio.CancelledError:
            link.cancel(tag)
            self._connection.leave()
            raise
        return record

    def _check_id(self, entry: Entry) -> None:
        """Holds an id that the caller chose against those in use and those used up."""
        if not entry.chosen:
            return
        link = self._link
        if link.ledger.is_spent(entry.tag):
            raise ValueError("a reply was received under this request id already: every request needs an id of its own")
        other = link.ledger.pending.get(entry.tag)
        if other is None:
            return
        if entry.has_body_of(other):
            raise ValueError("a request with this id and body is in flight already: await that one")
        text = f"{entry.what} to {link.verdicts.whom} was not sent: its id is in use for another request"
        raise link.verdicts.make(RequestIdReused, entry.tag, f"{text}; every request needs an id of its own")

    def _encode(
        self, call: Call, options: Options, tag: bytes, now: float, deadline: float | None, chosen: bool
    ) -> Entry:
        link = self._link
        encoder = link.encoder
        buffers: list[Buffer] = []
        name = "args" if call.op == Op.CALL else "data"
        if call.op == Op.CALL:
            args = list(encoder.prepare_all(call.args, name, buffers))
        else:
            args = [encoder.prepare(value, name, buffers) for value in call.args]
        kwargs = None if call.kwargs is None else encoder.prepare_all(call.kwargs, "kwargs", buffers)
        metadata = encoder.prepare_all(dict(options.metadata), "metadata", buffers) if options.metadata else None
        record = [
            Kind.REQUEST,
            link.ledger.next_sequence(),
            remaining_ms(deadline, now),
            Flag.IDEMPOTENT if options.idempotent else 0,
            call.op,
            call.function,
            args,
            kwargs,
            metadata,
        ]
        sent = args if call.op == Op.CALL else (args[0] if args else None)
        values = ((name, sent), ("kwargs", kwargs), ("metadata", metadata))
        return Entry(
            tag,
            record,
            encoder,
            encoder.pack(record, values),
            buffers,
            now=now,
            deadline=deadline,
            waiter=None,
            wait=options.wait,
            idempotent=options.idempotent,
            chosen=chosen,
        )

    async def _wait_for_room(self, entry: Entry, options: Options, call: Call) -> None:
        """Waits until the link takes one more request.

        A link that is not up takes requests too, as long as they may wait.
        """
        link = self._link
        try:
            async with asyncio.timeout_at(entry.deadline):
                if self._refusal(entry, options.wait) is None:
                    await self._connection.turns.wait(
                        lambda: link.ledger.has_room(entry.size) or self._refusal(entry, options.wait) is not None
                    )
            refusal = self._refusal(entry, options.wait)
        except asyncio.CancelledError:
            link.ledger.count_ended(cancelled=True)
            raise
        except TimeoutError:
            refusal = self._expired(entry.tag, call, "the link had no room for it, so it never left")
        if refusal is not None:
            link.ledger.count_ended(cancelled=False)
            raise refusal

    def _refusal(self, entry: Entry, wait: bool) -> RequestError | None:
        """Why the link will not take a request, however long it waits; None: it may."""
        link = self._link
        if link.is_over:
            failed = link.failure is not None and link.state is LinkState.FAILED
            why = f"its link is {link.state}" + (f" ({link.failure.detail})" if failed and link.failure else "")
            return link.verdicts.not_connected(entry.tag, entry.what, why)
        if wait:
            return None
        if link.state is LinkState.DRAINING:
            return link.verdicts.draining(entry.tag, entry.what)
        if not link.is_running:
            return link.verdicts.not_connected(entry.tag, entry.what, f"its link is {link.state}")
        if not link.ledger.has_room(entry.size):
            return link.verdicts.overloaded(entry.tag, entry.what, len(link.ledger.pending))
        return None

    def _expired(self, tag: bytes, call: Call, why: str) -> RequestTimeout:
        verdicts = self._link.verdicts
        text = f"{request_in_words(call.op, call.function)} to {verdicts.whom} timed out: {why}; it has not run"
        return verdicts.make(RequestTimeout, tag, text, Executed.NO)

    def _not_ready(self, why: str) -> ConnectTimeout:
        verdicts = self._link.verdicts
        return ConnectTimeout(f"{verdicts.whom} cannot be talked to: {why}", address=self.address, name=self.name)
