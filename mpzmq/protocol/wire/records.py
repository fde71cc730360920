"""Records: what each kind holds, and the numbers and bytes that all of them share."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from ...models import Executed, Status
from .kinds import Kind
from .values import Buffer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from ...config import Limits

__all__ = [
    "BATCH_BYTES",
    "EXECUTED",
    "EXECUTED_NUMBER",
    "LINK_TAG",
    "MAX_TEXT",
    "STATUSES",
    "STATUS_NUMBER",
    "TAG",
    "VERSION",
    "Frames",
    "Record",
    "announced",
    "error",
    "hello",
    "join",
    "welcome",
]

VERSION: Final = 2
"""The version of the protocol. HELLO lists what an engine speaks, WELCOME names what is spoken."""


TAG: Final = struct.Struct("16s")
"""One tag; its ``iter_unpack`` takes tags that stand back to back apart."""


LINK_TAG: Final = bytes(16)
"""The tag of records that belong to the link and not to a request."""


BATCH_BYTES: Final = 64 * 1024
"""A message is cut at this size: larger batches gain nothing and delay what stands behind them."""


MAX_TEXT: Final = 1024
"""Characters of a GOODBYE that are kept: the error of every request that it ends repeats them."""


Frames = list[Buffer]


Record = list[Any]


STATUSES: Final = (Status.STOP, Status.RUNNING)


STATUS_NUMBER: Final = {status: number for number, status in enumerate(STATUSES)}


EXECUTED: Final = (Executed.NO, Executed.UNKNOWN, Executed.YES)


EXECUTED_NUMBER: Final = {executed: number for number, executed in enumerate(EXECUTED)}


def hello(session: UUID, number: int, name: str, interval: float, limits: Limits, calls: int = 0) -> Record:
    """The engine's greeting on a new connection; ``calls``: how many it takes at once, if it takes any."""
    own = {
        "stream_items": limits.stream_items,
        "stream_bytes": limits.stream_bytes,
        "unread_bytes": limits.queued_bytes,
    }
    if calls:
        own["calls"] = calls
    return [Kind.HELLO, [VERSION], session, number, name, interval, announced(limits) | own]


def join(instance: UUID, number: int, token: str, name: str, labels: Mapping[str, str], limits: Limits) -> Record:
    """A container's first word on a connection that it has dialled; ``number`` rises with each of them."""
    return [Kind.JOIN, [VERSION], instance, number, token, name, dict(labels), announced(limits)]


def welcome(
    instance: UUID, number: int, resumed: bool, status: Status, name: str, interval: float, limits: Limits
) -> Record:
    """The container's answer to HELLO."""
    window = [limits.window, limits.queued_bytes]
    own = {
        "in_flight": limits.in_flight,
        "reply_entries": limits.reply_entries,
        "reply_bytes": limits.reply_bytes,
    }
    return [
        Kind.WELCOME, VERSION, instance, number, resumed, STATUS_NUMBER[status], name, interval, window,
        announced(limits) | own,
    ]  # fmt: skip


def error(code: int, executed: Executed, status: Status, text: str, detail: dict[str, object] | None = None) -> Record:
    """An ERROR record."""
    return [Kind.ERROR, code, EXECUTED_NUMBER[executed], STATUS_NUMBER[status], text, detail]


def announced(limits: Limits) -> dict[str, int]:
    """The limits that the other side has to know: beyond them its messages would be refused."""
    return {
        "message_bytes": limits.message_bytes,
        "batch_records": limits.batch_records,
        "depth": limits.depth,
        "items": limits.items,
    }
