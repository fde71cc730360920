"""Which requests of a message a container may run: a second opinion, that shares no code with the library.

It is more generous than the container may be (limits and the state of the session are not asked), and never less.
"""

from __future__ import annotations

from typing import Any

import msgpack

__all__ = ["may_run"]

_REQUEST, _INVOKE, _NAMED = 3, 0, (3, 5, 6, 7)


def _is_request(record: Any) -> bool:
    if not isinstance(record, list) or len(record) < 9 or type(record[0]) is not int or record[0] != _REQUEST:
        return False
    _, sequence, remaining, flags, op, function, args, kwargs, metadata = record[:9]
    numbers = all(type(number) is int for number in (sequence, flags, op)) and (
        remaining is None or type(remaining) is int
    )
    names = all(
        values is None or (isinstance(values, dict) and all(isinstance(key, str) for key in values))
        for values in (kwargs, metadata)
    )
    if not (numbers and names and isinstance(args, list) and (function is None or isinstance(function, str))):
        return False
    return function is not None if op in _NAMED else op == _INVOKE and len(args) == 1


def may_run(frames: list[bytes]) -> set[bytes]:
    """The tags of the requests that are well-formed."""
    if len(frames) < 2 or len(frames[0]) % 16:
        return set()
    tags = [frames[0][place : place + 16] for place in range(0, len(frames[0]), 16)]
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, timestamp=0, max_buffer_size=0)
    unpacker.feed(frames[1])
    found = set()
    for tag in tags:
        try:
            record = unpacker.unpack()
        except Exception:
            break
        if _is_request(record) and tag != bytes(16):
            found.add(tag)
    return found
