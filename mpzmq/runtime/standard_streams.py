"""The descriptors of stdin, stdout and stderr, where whoever has started the process closed them."""

from __future__ import annotations

import os

__all__ = ["hold_standard_descriptors"]


def hold_standard_descriptors() -> None:
    """Opens /dev/null in the place of each of 0, 1 and 2 that is closed (``<&- >&- 2>&-``).

    Else sockets and files get these numbers: libuv aborts the process when it closes one of them (uv__close), and what
    a library prints to stderr goes to a peer. That Python has no ``sys.stdout`` then stays so.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest that is free is the one.
            os.open(os.devnull, os.O_RDWR)
