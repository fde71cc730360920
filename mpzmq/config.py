"""Policies: small frozen values, keyword-only, in seconds and bytes."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from .common.durations import checked_after, checked_seconds
from .common.set_module import set_module
from .common.text import repr_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .models import Call, Member

__all__ = [
    "DEFAULT_GROUP",
    "DEFAULT_HEARTBEAT",
    "DEFAULT_LIMITS",
    "DEFAULT_RECONNECT",
    "MIN_RECONNECT_INTERVAL",
    "GroupPolicy",
    "HeartbeatPolicy",
    "Limits",
    "ReconnectPolicy",
]

MIN_RECONNECT_INTERVAL = 0.010
"""Seconds. Below this libzmq may redial before a busy event loop has counted the last attempt."""

MOST = sys.float_info.max
"""An int may be larger than any float."""

MAX_COUNT = 1 << 30
"""libzmq counts messages in 32 bits."""


@set_module("mpzmq")
@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """How a link dials again after a loss.

    Attributes:
        enabled: False: a lost link has FAILED at once.
        max_attempts: redials that may fail after a loss before the link has FAILED; None redials for ever.
        interval: seconds between redials, to which a jitter of up to one more interval is added. The first one behind a
            connection that was greeted leaves within 0.1 s, once an interval.
        connect_timeout: seconds that one dial may take, for TCP and for the ZMTP handshake each.
        lost_after: seconds of DOWN since the last WELCOME after which what was sent ends with ``ConnectionLost``,
            though the link goes on redialling; 0: at the loss; None: not before its deadline. What has not left waits,
            and so does what is ``idempotent=True``.
    """

    enabled: bool = True
    max_attempts: int | None = None
    interval: float = 1.0
    connect_timeout: float = 3.0
    lost_after: float | None = 5.0

    def __post_init__(self) -> None:
        if not isinstance(self.enabled, bool):
            raise TypeError(f"ReconnectPolicy.enabled is a bool, not {type(self.enabled).__name__}")
        attempts = self.max_attempts
        if attempts is not None and (isinstance(attempts, bool) or not isinstance(attempts, int)):
            raise TypeError(f"ReconnectPolicy.max_attempts is an int or None, not {type(attempts).__name__}")
        if attempts is not None and attempts < 0:
            raise ValueError(f"ReconnectPolicy.max_attempts must be 0 or more, not {attempts}")
        checked_seconds(self.interval, "ReconnectPolicy.interval")
        checked_seconds(self.connect_timeout, "ReconnectPolicy.connect_timeout")
        checked_after(self.lost_after, "ReconnectPolicy.lost_after")
        if self.interval < MIN_RECONNECT_INTERVAL:
            raise ValueError(
                f"ReconnectPolicy.interval must be at least {MIN_RECONNECT_INTERVAL} seconds, not {self.interval}"
            )


@set_module("mpzmq")
@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatPolicy:
    """How the life of the other side is judged.

    Attributes:
        interval: seconds between heartbeats (PING); after two of them in silence the other side is BUSY.
        down_after: seconds without a sign from the other process or host after which it is DOWN.
        stuck_after: seconds after which a BUSY container is taken for DOWN too; None: never, as long as its
            process answers libzmq's own heartbeat.
    """

    interval: float = 2.0
    down_after: float = 5.0
    stuck_after: float | None = None

    def __post_init__(self) -> None:
        checked_seconds(self.interval, "HeartbeatPolicy.interval")
        checked_seconds(self.down_after, "HeartbeatPolicy.down_after")
        if self.down_after <= 2 * self.interval:
            raise ValueError(
                f"HeartbeatPolicy.down_after ({self.down_after} s) must exceed two intervals"
                f" ({2 * self.interval} s): one lost heartbeat is not a death"
            )
        if self.stuck_after is not None:
            checked_seconds(self.stuck_after, "HeartbeatPolicy.stuck_after")
            if self.stuck_after <= 2 * self.interval:
                raise ValueError(
                    f"HeartbeatPolicy.stuck_after ({self.stuck_after} s) must exceed two intervals"
                    f" ({2 * self.interval} s), after which a silent container is only BUSY"
                )


@set_module("mpzmq")
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on everything that could grow.

    Attributes:
        message_bytes: the largest message, in either direction; also told to the other side.
        in_flight: requests of one link, or of one session in a container, that have not ended; and as many calls.
        window: messages that an engine may send before this container has read them.
        queued_bytes: bytes that wait in one link or session for the other side to read; in a session 8 times as many,
            as long as the engine's connection takes something every now and then. Also what may lie unread in all
            streams of one link.
        total_bytes: bytes that wait in a container for all its engines together, replies and items of streams; beyond
            it the connection that holds most is given up.
        batch_records: records in one message, at most.
        reply_entries: replies of one session that a container keeps until the engine has acknowledged them; by default
            as many as ``in_flight``. Engines have no more requests unanswered, so that a lost connection loses none.
        reply_bytes: bytes of the replies that it keeps for one session, each with 256 bytes beside its own.
        reply_ttl: seconds after which a reply that nobody has acknowledged is forgotten all the same.
        sessions: engines connected to one container.
        handshakes: connections to one container that may be in the middle of their ZMTP handshake; one more is closed.
        threads: worker threads of one container for ``thread=True`` functions.
        events: events that one slow listener may leave unread before it loses the oldest.
        stream_items: items of one stream that may be on their way before any of them is read.
        stream_bytes: the same in bytes; one item more passes, whatever its size.
        depth: nesting of lists and dicts in one value.
        items: elements in all lists and dicts of one value.
    """

    message_bytes: int = 64 * 1024 * 1024
    in_flight: int = 10_000
    window: int = 512
    queued_bytes: int = 64 * 1024 * 1024
    total_bytes: int = 512 * 1024 * 1024
    batch_records: int = 256
    reply_entries: int = None  # type: ignore[assignment]  # __post_init__ makes it in_flight
    reply_bytes: int = 8 * 1024 * 1024
    reply_ttl: float = 300.0
    sessions: int = 10_000
    handshakes: int = 1024
    threads: int = 32
    events: int = 1024
    stream_items: int = 1024
    stream_bytes: int = 4 * 1024 * 1024
    depth: int = 64
    items: int = 100_000

    def __post_init__(self) -> None:
        checked_seconds(self.reply_ttl, "Limits.reply_ttl")
        if self.reply_entries is None:
            object.__setattr__(self, "reply_entries", self.in_flight)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "reply_ttl":
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Limits.{field.name} is an int, not {type(value).__name__}")
            if value < 1:
                raise ValueError(f"Limits.{field.name} must be 1 or more, not {value}")
            if value > (1 << 62 if field.name.endswith("bytes") else MAX_COUNT):
                raise ValueError(f"Limits.{field.name} is larger than libzmq can count: {value}")
        if self.message_bytes < 4096:
            raise ValueError(f"Limits.message_bytes must be 4096 or more, not {self.message_bytes}")
        if self.depth > 256:
            # msgpack's own parser gives up at 1,024, and Python's recursion limit is 1,000.
            raise ValueError(f"Limits.depth must be 256 or less, not {self.depth}")


@set_module("mpzmq")
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPolicy:
    """Whom a group asks, whether it asks another one, and whom it leaves out for a while.

    Attributes:
        pick: ``"least"``: whoever has the fewest requests in flight for its weight (gRPC A48: of many members the
            better of two that are drawn); ``"rotation"``: one after the other; ``"ewma"``: whoever should answer first,
            by its latency and what it has in flight; or a function of the members that may be asked, and the call.
        max_attempts: members to which one request may be sent, one after the other.
        retry_ratio: tries behind the first that are allowed for each request, within ten seconds.
        retry_floor: such tries that are allowed each second beside those.
        eject_errors: errors one behind the other, which speak of the member, that eject it.
        eject_for: seconds for which it is left out the first time; the second time twice as long, up to ten times.
        max_ejected: the share of the members that may be ejected, from 0 to 1; never the last one that is well.
        max_in_flight: requests of the group that one member may have; None: any number.
        refresh: seconds between two look-ups of a name.
        lost_after: as in ``ReconnectPolicy``, for the links of the group; what is ``idempotent=True`` does not wait
            longer here, but goes to another member.
    """

    pick: Literal["least", "rotation", "ewma"] | Callable[[Sequence[Member], Call], Member] = "least"
    max_attempts: int = 3
    retry_ratio: float = 0.2
    retry_floor: float = 10.0
    eject_errors: int = 5
    eject_for: float = 30.0
    max_ejected: float = 0.5
    max_in_flight: int | None = None
    refresh: float = 5.0
    lost_after: float | None = 3.0

    def __post_init__(self) -> None:
        if self.pick not in ("least", "rotation", "ewma") and not callable(self.pick):
            raise ValueError(f"GroupPolicy.pick is 'least', 'rotation', 'ewma' or a function, not {self.pick!r:.100}")
        of_object = getattr(self.pick, "__call__", None)  # noqa: B004  (an object may have one that is async)
        if inspect.iscoroutinefunction(self.pick) or inspect.iscoroutinefunction(of_object):
            raise TypeError("GroupPolicy.pick is a plain function, 'def' and not 'async def': it is not awaited")
        for name in ("max_attempts", "eject_errors", "max_in_flight"):
            count = getattr(self, name)
            if count is None and name == "max_in_flight":
                continue
            if isinstance(count, bool) or not isinstance(count, int):
                raise TypeError(f"GroupPolicy.{name} is an int, not {type(count).__name__}")
            if count < 1:
                raise ValueError(f"GroupPolicy.{name} must be 1 or more, not {count}")
        for name, most in (("retry_ratio", MOST), ("retry_floor", MOST), ("max_ejected", 1)):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise TypeError(f"GroupPolicy.{name} is a number, not {type(number).__name__}")
            if not 0 <= number <= most:  # NaN compares with nothing
                told = repr_of(number, 100)
                raise ValueError(f"GroupPolicy.{name} must be 0 or more, {most:g} at most, and not {told}")
        checked_seconds(self.eject_for, "GroupPolicy.eject_for")
        checked_seconds(self.refresh, "GroupPolicy.refresh")
        checked_after(self.lost_after, "GroupPolicy.lost_after")


DEFAULT_GROUP = GroupPolicy()
DEFAULT_RECONNECT = ReconnectPolicy()
DEFAULT_HEARTBEAT = HeartbeatPolicy()
DEFAULT_LIMITS = Limits()
