"""Messages, made and read with msgpack alone: the judge does not share the codec of those that it judges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..transport.interface import Frames

__all__ = ["BATCH_BYTES", "LINK", "PART_BYTES", "Heard", "UnreadableMessage", "in_frame", "pack", "read", "shown"]

LINK = bytes(16)
"""The tag of records that belong to no request."""

BATCH_BYTES = 64 * 1024
"""What a message may hold of several records together."""

PART_BYTES = 1 << 20
"""What is larger travels in parts."""

_BUFFER, _UUID = 1, 2
_SHOWN = 160


class Heard(NamedTuple):
    """One record that has come.

    Attributes:
        tag: 16 bytes.
        record: the kind, and the fields behind it.
        size: bytes of the message that it came in.
        together: how many records that message had.
    """

    tag: bytes
    record: list[Any]
    size: int = 0
    together: int = 1

    @property
    def kind(self) -> int:
        """The number of its kind."""
        return int(self.record[0])


class UnreadableMessage(ValueError):
    """A message breaks a rule of section 2 or 4, which the text names."""


def pack(*records: Any) -> bytes:
    """Records as one frame. UUIDs become ext type 2; an ``msgpack.ExtType`` stays as it is."""
    packer = msgpack.Packer(use_bin_type=True, default=_as_ext)
    return b"".join(packer.pack(record) for record in records)


def in_frame(index: int, *view: object) -> msgpack.ExtType:
    """What stands for the buffer frame of an index: in its first form, or with what follows the index in the others."""
    return msgpack.ExtType(_BUFFER, msgpack.packb([index, *view] if view else index))


def read(frames: Sequence[bytes | memoryview], most: int, *, lenient: bool = False) -> list[Heard]:
    """The records of one message.

    Args:
        frames: tags, records, buffers.
        most: records that it may have.
        lenient: whether ext types that nobody knows are values, too.

    Raises:
        UnreadableMessage: it breaks a rule.
    """
    if len(frames) < 2:
        raise UnreadableMessage(f"a message of {len(frames)} frames (section 2)")
    tags, body, *buffers = map(bytes, frames)
    count, odd = divmod(len(tags), 16)
    if odd or not count:
        raise UnreadableMessage(f"a tags frame of {len(tags)} bytes (section 2)")
    if count > most:
        raise UnreadableMessage(f"a message of {count} records for a reader whose batch_records is {most} (section 2)")
    size = sum(map(len, frames))
    if count > 1 and size > BATCH_BYTES:
        raise UnreadableMessage(f"a message of {count} records and {size:,} bytes: at most {BATCH_BYTES:,} (section 2)")
    references: list[int] = []

    def hook(code: int, data: bytes) -> object:
        if lenient and code not in (_BUFFER, _UUID):
            return f"ext type {code}"
        return _value(code, data, buffers, references)

    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, timestamp=3, ext_hook=hook)
    unpacker.feed(body)
    try:
        records = list(unpacker)
    except Exception as error:  # msgpack raises many kinds, and so does the hook
        raise UnreadableMessage(f"a records frame that cannot be decoded: {body[:64].hex()}: {error}") from None
    if unpacker.tell() != len(body) or len(records) != count:
        raise UnreadableMessage(f"{count} tags for {len(records)} records of {len(body)} bytes (section 2)")
    if references != list(range(len(buffers))):
        raise UnreadableMessage(f"{len(buffers)} buffers, and references to {references} (section 4)")
    for record in records:
        if type(record) is not list or not record or type(record[0]) is not int:
            raise UnreadableMessage(f"a record that is no array with a kind: {record!r:.99} (section 2)")
    return [Heard(tags[16 * at : 16 * at + 16], record, size, count) for at, record in enumerate(records)]


def shown(heard: Heard, names: dict[int, str]) -> str:
    """A record in words, for whoever has to find out what went wrong."""
    kind, *fields = heard.record
    whose = "" if heard.tag == LINK else f" {heard.tag.hex()[:8]}"
    return f"{names.get(kind, f'kind {kind}')}{whose} {_short(fields)}"


def _as_ext(value: object) -> msgpack.ExtType:
    if isinstance(value, UUID):
        return msgpack.ExtType(_UUID, value.bytes)
    raise TypeError(f"no {type(value).__name__} is sent by the judge")


def _value(code: int, data: bytes, buffers: Frames | list[bytes], references: list[int]) -> object:
    if code == _UUID:
        return UUID(bytes=data)
    if code != _BUFFER:
        raise ValueError(f"ext type {code} (section 4)")
    reference = msgpack.unpackb(data)
    index = reference[0] if isinstance(reference, list) else reference
    references.append(index)
    return bytes(buffers[index])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
