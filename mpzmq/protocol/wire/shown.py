"""Messages in words, for the log of the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from ...common.text import repr_of, type_name
from .kinds import Kind
from .records import LINK_TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .values import Buffer

__all__ = ["shown_message"]

_NAMES = {number: name for name, number in vars(Kind).items() if name.isupper()}

_TAG_SIZE = len(LINK_TAG)
_METADATA = 8
"""Where it stands in a REQUEST."""


def shown_message(frames: Sequence[Buffer]) -> Iterator[str]:
    """One line for each record of a message.

    Args:
        frames: the tags, the records, and the buffers that they refer to. They may be anything: what cannot be read is
            told as that.
    """
    tags, *rest = (bytes(frame) for frame in frames[:2]) if frames else (b"",)
    buffers = [memoryview(frame).nbytes for frame in frames[2:]]
    behind = f" and {sum(buffers):,} bytes in {len(buffers)} buffers" if buffers else ""
    place = 0
    try:
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="replace")
        unpacker.feed(rest[0] if rest else b"")
        for record in unpacker:
            yield f"{_shown(tags[place : place + _TAG_SIZE], record)}{behind}"
            place += _TAG_SIZE
    except Exception as error:  # whatever the other side has sent
        yield f"{len(tags):,} bytes of tags and {sum(map(len, rest)):,} of records: {type_name(error)}{behind}"


def _shown(tag: bytes, record: Any) -> str:
    whose = "" if tag == LINK_TAG else f" {tag.hex()[:8]}"
    if not isinstance(record, list) or not record or record[0] not in _NAMES:
        return f"no record{whose}: {repr_of(record, 200)}"
    if record[0] == Kind.JOIN:  # its token is secret, and may stand wherever the other side has put it
        return f"JOIN of {len(record)} fields"
    if record[0] == Kind.PART:  # of a record that may have secrets, too
        return f"PART{whose} {repr_of(record[1:3], 200)} and {len(repr(record[3:])):,} characters of pieces"
    fields = record[1:]
    if record[0] == Kind.REQUEST and len(record) > _METADATA:
        fields[_METADATA - 1] = _names_of(record[_METADATA])
    return f"{_NAMES[record[0]]}{whose} {repr_of(fields, 200)}"


def _names_of(metadata: Any) -> Any:
    """Who asks may prove by metadata who he is: its values are not for a log."""
    if isinstance(metadata, dict):
        return dict.fromkeys(metadata, "...")
    return None if metadata is None else "..."
