"""The handle of one container. It has the name that the seed has for it: what it writes are requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..common.durations import checked_timeout
from ..common.set_module import set_module
from ..errors import ConnectError, ConnectTimeout
from ..protocol.requester.options import UNSET
from ..typed.interface import methods_of
from .interface_check import check_offer
from .options_view import options_view
from .request_methods import RequestMethods
from .request_sender import RequestSender

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from ..models import Description, LinkState, Progress, Status
    from ..protocol.requester.options import _U, Options
    from ..runtime.loop_bound import LoopBound
    from ..statistics import ServerStatistics, Statistics
    from .link_driver import LinkDriver
    from .middleware_sender import WorkerMiddleware
    from .options_view import OptionsView

__all__ = ["ComputerEngineWriter"]


@set_module("mpzmq")
class ComputerEngineWriter(RequestMethods):
    """The handle of one container. ``worker.connect()`` returns it; users make none."""

    def __init__(
        self,
        connection: LinkDriver,
        loop_bound: LoopBound,
        defaults: Options,
        drop: Callable[..., Any],
        outgoing: WorkerMiddleware,
    ) -> None:
        self._connection = connection
        self._link = connection.link
        self._loop_bound = loop_bound
        self._drop = drop
        self.sender = RequestSender(connection, loop_bound)
        """The one way out for requests."""
        self.way_out = outgoing.around(self.sender, self.name, self.remote_id)
        """The same, with the worker's middleware around it."""
        super().__init__(self.way_out, defaults)

    def __repr__(self) -> str:
        return f"<ComputerEngineWriter {self.name!r} {self.state} {self.remote_id}>"

    @property
    def remote_id(self) -> UUID:
        """The id under which the worker knows the container."""
        return self._link.error_factory.remote_id

    @property
    def name(self) -> str:
        """What the container is called in errors, events and logs."""
        return self._link.error_factory.name

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

        Args:
            timeout: seconds; None: any time.

        Raises:
            ConnectError: the link has FAILED, or was CLOSED, with the reason.
            ConnectTimeout: it was not ready in time.
        """
        checked_timeout(timeout)
        self._loop_bound.require()
        try:
            async with asyncio.timeout(timeout):
                while not self.is_running():
                    if self._link.is_over:
                        raise self.last_error or ConnectError(
                            f"{self._link.error_factory.whom} cannot be talked to: its link is {self.state};"
                            " connect() it",
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
        """Ends the link: waits that long for what is in flight, then ends what is left with ``ConnectionClosed``.

        Args:
            timeout: seconds for what is in flight.
        """
        self._loop_bound.require()
        await self._drop(self.remote_id, timeout)

    def options(
        self,
        *,
        timeout: float | _U | None = UNSET,
        idempotent: bool | _U = UNSET,
        wait: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        request_id: UUID | None = None,
        idle_timeout: float | None = None,
        lost_after: float | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
    ) -> OptionsView:
        """The container, asked with these options: every keyword of a call of the view goes to the function.

        ``container.options(timeout=9.0).call("poll", url, timeout=1.0)``; see :meth:`EngineService.options`.

        Args:
            timeout: seconds for the whole of each; by default the handle's for calls, and none for what goes piece by
                piece.
            idempotent: whether it may run twice, and so be sent again to a container that was restarted.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            metadata: str keys and their values; the handler finds it in its context.
            request_id: the id of the one request that is made; not for streams, uploads and channels.
            idle_timeout: seconds without an item; None: any time.
            lost_after: seconds for which what was sent waits for a container that is DOWN; 0: none; None: until its
                deadline.
            progress: called with a :class:`Progress` as parts of a large request or reply pass.

        Returns:
            The view, to be used once or as often as one likes.

        Raises:
            TypeError: an option is of the wrong type.
            ValueError: an option is out of its range.
        """
        return options_view(
            lambda tag: self.way_out,
            self._defaults,
            timeout=timeout,
            wait=wait,
            idempotent=idempotent,
            metadata=metadata,
            request_id=request_id,
            idle_timeout=idle_timeout,
            lost_after=lost_after,
            progress=progress,
        )

    async def get_state(self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Status:
        """Asks the container for its run state.

        Args:
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            Its run state.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return await self.sender.get_state(self._defaults.but(timeout, wait).repeatable())

    async def set_state(self, status: Status, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> Status:
        """Sets the container's run state; see :meth:`EngineService.set_state`.

        Args:
            status: the new status.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            The run state that it has now.

        Raises:
            Refused: the container's ``on_state_change`` said no.
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return await self.sender.set_state(status, self._defaults.but(timeout, wait).repeatable())

    async def describe(
        self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET, schema: bool = False
    ) -> Description:
        """Asks the container what it offers.

        Args:
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            schema: whether its functions are described as JSON Schema, too, if they are typed.

        Returns:
            Its name, version, status and functions.

        Raises:
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return await self.sender.describe(self._defaults.but(timeout, wait).repeatable(), schema=schema)

    async def get_statistics(self, *, timeout: float | _U | None = UNSET, wait: bool | _U = UNSET) -> ServerStatistics:
        """Asks the container for its counters; those of this side are :meth:`statistics`.

        Args:
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.

        Returns:
            Its counters, by function, too.

        Raises:
            Unsupported: the container is of a version that does not tell them.
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        return await self.sender.get_statistics(self._defaults.but(timeout, wait).repeatable())

    async def check(
        self,
        interface: type,
        *,
        timeout: float | _U | None = UNSET,
        wait: bool | _U = UNSET,
        blocking: bool = False,
    ) -> None:
        """Compares an interface with what the container offers; see :meth:`of`.

        Args:
            interface: the class.
            timeout: seconds until ``RequestTimeout``; None: no deadline of its own. Left out: as the defaults say.
            wait: whether to wait, within the timeout, for a link that is dialled, drains or is full.
            blocking: whether it is the interface of a program without an event loop.

        Raises:
            TypeError: the container does not offer that, and where the two differ; or it is no interface.
            Unsupported: the container is not typed, so that it has no schema.
            RequestError: one of its subclasses; ``executed`` says whether a handler has run.
        """
        methods = methods_of(interface, blocking=blocking)
        description = await self.describe(timeout=timeout, wait=wait, schema=True)
        check_offer(interface, methods, description.schema, self._link.error_factory)

    def _not_ready(self, why: str) -> ConnectTimeout:
        error_factory = self._link.error_factory
        return ConnectTimeout(f"{error_factory.whom} cannot be talked to: {why}", address=self.address, name=self.name)
