"""One zmq context for all sockets of a process: made with the first socket, ended with the last.

A context costs two threads and several descriptors; a process with a thousand containers shares one.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading

import zmq

from ...common.daemon_threads import in_daemon_thread
from ...common.logs import Log
from .authenticator import Authenticator
from .spare_descriptors import check_descriptors

__all__ = ["acquire", "authenticator", "release"]

log = Log(__name__)

_lock = threading.Lock()
_context: zmq.Context[zmq.Socket[bytes]] | None = None
_doorman: Authenticator | None = None
_users = 0
_inherited: list[zmq.Context[zmq.Socket[bytes]]] = []
"""In a forked child: those of its parents, which are never ended here."""


def _forget() -> None:
    """In a child process: the context belongs to the parent, and so may whoever holds the lock."""
    global _lock, _context, _doorman, _users
    _lock = threading.Lock()
    if _context is not None:
        _inherited.append(_context)
    _context, _doorman, _users = None, None, 0


os.register_at_fork(after_in_child=_forget)

END_TIMEOUT = 5.0
"""Seconds for the context to end; it takes the time that its sockets linger, and that a look at an allow-list takes."""

DESCRIPTORS = 8
"""What a context opens with its first socket, and a little more: libzmq ends the whole process if it gets no more than
some of them (seen: SIGABRT in epoll.cpp with 2 to 4)."""


def acquire() -> zmq.Context[zmq.Socket[bytes]]:
    """The shared context, counted; to be paired with :func:`release`.

    Raises:
        OSError: too few file descriptors are left.
    """
    global _context, _users
    with _lock:
        if _context is None:
            check_descriptors(DESCRIPTORS, "start zmq's threads")
            _context = zmq.Context()
            _context.set(zmq.MAX_SOCKETS, _context.get(zmq.SOCKET_LIMIT))
        _users += 1
        return _context


def authenticator() -> Authenticator:
    """The one that watches all routers of the shared context, which has been acquired.

    Raises:
        OSError: too few file descriptors are left.
    """
    global _doorman
    with _lock:
        assert _context is not None
        if _doorman is None:
            try:
                _doorman = Authenticator(_context)
            except zmq.ZMQError as error:
                raise OSError(error.errno, f"cannot start the authenticator: {error.strerror}") from None
            except RuntimeError as error:  # no thread more
                raise OSError(errno.EAGAIN, f"cannot start the authenticator: {error}") from None
        return _doorman


async def release(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Gives the context back. The last user ends it, which takes as long as its sockets linger."""
    global _context, _doorman, _users
    with _lock:
        if context is not _context:  # it came through fork
            return
        _users -= 1
        if _users:
            return
        _context = None
        watching, _doorman = _doorman, None
    try:
        # Not in the default executor of the loop, which may be full of what never ends.
        ended = in_daemon_thread("mpzmq-context", lambda: _end(context, watching))
    except RuntimeError:  # there is no thread more, or the interpreter ends
        _end(context, watching)
        return
    await asyncio.wait((ended,), timeout=END_TIMEOUT)
    if ended.done():
        ended.result()
    else:
        log.error("the zmq context did not end within %g s, and is left behind", END_TIMEOUT)


def _end(context: zmq.Context[zmq.Socket[bytes]], watching: Authenticator | None) -> None:
    if watching is not None:
        watching.stop()
    context.term()
