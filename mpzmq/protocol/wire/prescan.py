"""A look at MessagePack before it is decoded.

msgpack sets aside memory for as many elements as an array header announces, at up to 1,024 levels: 5 KiB of nested
headers ask for half a gigabyte. Limits that are checked after decoding come too late for that. Values that are whole
have room for their elements, and so announce no more than there are bytes; the scan counts those of large messages.
"""

from __future__ import annotations

__all__ = ["MalformedData", "has_long_headers", "prescan"]


class MalformedData(Exception):
    """Bytes that no peer of ours sends."""


def has_long_headers(data: bytes | memoryview) -> bool:
    """Whether an array or map of more than 15 elements may begin in some MessagePack.

    Bytes of these values may also stand in texts and numbers; finding out takes 0.1 us a KiB at most.
    """
    data = bytes(data)  # nothing is copied, mostly: small frames are bytes
    # Array 16, array 32, map 16, map 32. Each search is one of C's memchr(): translate() takes ten times as long.
    return 0xDC in data or 0xDD in data or 0xDE in data or 0xDF in data


# What follows the first byte, for 0xc0 to 0xdf: the width of a length field, and fixed bytes behind it.
_SHAPES: dict[int, tuple[int, int]] = {
    0xC0: (0, 0),
    0xC2: (0, 0),
    0xC3: (0, 0),
    0xC4: (1, 0),
    0xC5: (2, 0),
    0xC6: (4, 0),
    0xC7: (1, 1),
    0xC8: (2, 1),
    0xC9: (4, 1),
    0xCA: (0, 4),
    0xCB: (0, 8),
    0xCC: (0, 1),
    0xCD: (0, 2),
    0xCE: (0, 4),
    0xCF: (0, 8),
    0xD0: (0, 1),
    0xD1: (0, 2),
    0xD2: (0, 4),
    0xD3: (0, 8),
    0xD4: (0, 2),
    0xD5: (0, 3),
    0xD6: (0, 5),
    0xD7: (0, 9),
    0xD8: (0, 17),
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),
}


def prescan(data: bytes | memoryview, items: int, depth: int, values: int | None = None) -> None:
    """Reads the structure of MessagePack values that stand back to back.

    Args:
        data: MessagePack.
        items: how many elements the arrays and maps of one of the values may have (a map's pair counts as one).
        depth: how deep they may be nested.
        values: how many values there may be; None: any number. Those behind are not looked at (8 MiB of nil: 4 s).

    Raises:
        MalformedData: it is beyond a limit, or ends in the middle of a value.
    """
    position = 0
    end = len(data)
    allowed = items
    last = None if values is None else -1 - values
    open_ = [-1]  # values that each open container still expects; below them all, no end of values
    while position < end:
        if len(open_) == 1:
            if open_[0] == last:
                raise MalformedData("more values than were announced")
            items = allowed
        code = data[position]
        position += 1
        children = 0
        if code < 0x80 or code >= 0xE0:
            pass
        elif code < 0xA0:
            children = code & 0x0F
            items -= children
            if code < 0x90:
                children *= 2
        elif code < 0xC0:
            position += code & 0x1F
        elif code >= 0xDC:
            width = 2 if code in (0xDC, 0xDE) else 4
            children = int.from_bytes(data[position : position + width], "big")
            position += width
            items -= children
            if code >= 0xDE:
                children *= 2
        elif code == 0xC1:
            raise MalformedData("a byte that MessagePack does not use")
        else:
            width, fixed = _SHAPES[code]
            position += width + fixed + (int.from_bytes(data[position : position + width], "big") if width else 0)
        if items < 0:
            raise MalformedData("too many elements")
        open_[-1] -= 1
        if children:
            open_.append(children)
            if len(open_) > depth + 1:
                raise MalformedData("nested too deep")
        else:
            while open_[-1] == 0:
                open_.pop()
    if position != end or len(open_) != 1:
        raise MalformedData("it ends in the middle of a value")
