"""What runs handlers, as it sees the two sides that it runs them for: who asks, and whose handlers they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from ...models import Executed, Status
    from ...security.allow_list import User
    from ..flow.outbox import Outbox
    from ..requester.nested_calls import NestedCallDriver, NestedCalls
    from ..wire.encoder import Encoder
    from ..wire.records import Record
    from .reply_cache import ReplyCache
    from .session_state import SessionState

__all__ = ["HandlerHost", "Responder"]


class Responder(Protocol):
    """Who asks: the session of an engine, or the container of a link, which calls its engine.

    Attributes:
        name: what it calls itself, or is called.
        remote_id: the id under which a worker knows it; None: it is an engine.
        user: what it may do; None: everything.
        state: of its session.
        in_flight, bytes_in_flight, large_in_flight: how many of its requests run, their size, and that of large ones.
        message_bytes: the largest message that both sides accept.
        replies: what it was answered and has not acknowledged.
        outbox: what waits to leave for it.
        caller: the calls that handlers have made to it; None: none was made.
        calls: carries those out; None: there are none to it.
    """

    name: str
    remote_id: UUID | None
    user: User | None
    state: SessionState
    in_flight: int
    bytes_in_flight: int
    large_in_flight: int
    message_bytes: int
    replies: ReplyCache
    outbox: Outbox
    caller: NestedCalls | None
    calls: NestedCallDriver | None

    @property
    def connected(self) -> bool:
        """Whether it has a connection now."""

    @property
    def number(self) -> int:
        """The number of its newest connection, which counts up."""

    def tell_started(self, tag: bytes) -> None:
        """Tells it that a request is at work."""

    def parent_of(self, tag: bytes) -> UUID | None:
        """The request inside which another was made; None: it stands by itself."""


class HandlerHost(Protocol):
    """Whose handlers they are: a container, or a worker.

    Attributes:
        status: its run state.
        draining: why it takes no new work; None while it does.
        encoder: writes its records.
        writable: who has something to be sent.
    """

    status: Status
    draining: str | None
    encoder: Encoder
    writable: dict[Any, None]

    def error_record(self, code: int, executed: Executed, text: str, detail: dict[str, object] | None = None) -> Record:
        """An ERROR record."""
