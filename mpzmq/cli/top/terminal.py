"""A terminal while ``mpzmq top`` has it: all of it is drawn anew, keys count at once, and it is left as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from typing import TYPE_CHECKING

from ...errors import MpzmqError
from ..output import OutputLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, RenderableType

__all__ = ["keys", "screen"]

_OFF = b"\0"
"""A control character that is none."""


@contextlib.contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Tells each key as it is pressed, as long as the block runs; none where stdin is no terminal.

    Args:
        pressed: is told the character.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def read() -> None:
        try:
            data = os.read(descriptor, 1024)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the terminal has gone
            loop.remove_reader(descriptor)
        for key in data.decode("ascii", "ignore"):
            pressed(key)

    tty.setcbreak(descriptor, termios.TCSANOW)
    mode = termios.tcgetattr(descriptor)
    mode[6][termios.VSUSP] = _OFF  # Ctrl-Z would leave the shell with this terminal
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


@contextlib.contextmanager
def screen(drawing: Callable[[Console], RenderableType]) -> Iterator[Callable[[], None]]:
    """Gives what draws on the whole of stdout; it is drawn when the size of the terminal changes, too.

    Args:
        drawing: what is to be seen now.

    Raises:
        OutputLost: the terminal takes nothing.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    loop = asyncio.get_running_loop()
    try:
        # Drawn in the event loop of those who know what: without a thread of rich's.
        with Live(console=console, auto_refresh=False, screen=True) as live:

            def draw() -> None:
                live.update(drawing(console), refresh=True)

            loop.add_signal_handler(signal.SIGWINCH, draw)
            try:
                yield draw
            finally:
                loop.remove_signal_handler(signal.SIGWINCH)
    except OSError as error:
        if isinstance(error, MpzmqError):
            raise
        raise OutputLost(error) from None
