"""File descriptors that libzmq is about to take: looked for before, since it ends the whole process without them."""

from __future__ import annotations

import errno
import os

__all__ = ["check_descriptors"]


def check_descriptors(count: int, what: str) -> None:
    """Raises where fewer are left.

    Args:
        count: of descriptors.
        what: they are for, in an error.

    Raises:
        OSError: EMFILE or ENFILE.
    """
    taken: list[int] = []
    try:
        while len(taken) < count:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise OSError(error.errno, f"cannot {what}: {error.strerror}") from None
    finally:
        for descriptor in taken:
            os.close(descriptor)
