"""What processes write, told line by line by the one that has started them."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys

from ..common.daemon_threads import in_daemon_thread
from ..common.stderr_log import UnwrittenLines

__all__ = ["MAX_LINE", "Lines", "Output", "safe"]

MAX_LINE = 4096
"""Bytes of a line; a longer one becomes several."""

MAX_WAITING = 10_000
"""Lines that wait for a reader who takes his time; what is beyond them is lost, and counted."""

LAST_WORDS = 1.0
"""Seconds that the last lines have."""


class Lines:
    """Bytes as they come, cut into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that have ended with this."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > MAX_LINE:
            lines.append(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]
        return [piece for line in lines for piece in _pieces(line)]

    def end(self) -> list[str]:
        """What was not ended by a line feed."""
        rest, self._rest = self._rest, b""
        return _pieces(rest) if rest else []


def _pieces(line: bytes) -> list[str]:
    line = line.removesuffix(b"\r")
    return [safe(line[at : at + MAX_LINE].decode(errors="replace")) for at in range(0, max(len(line), 1), MAX_LINE)]


def safe(text: str) -> str:
    """A text without what a terminal would obey; a tab may stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)


class Output:
    """Lines on standard error, written by a thread: a terminal that is stopped stops nobody else."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._lost = 0
        self._unwritten = UnwrittenLines()
        self._written = in_daemon_thread("mpzmq-output", self._write)

    def put(self, line: str) -> None:
        """Has a line written, which is safe."""
        try:
            if self._lost:
                self._lines.put_nowait(self._loss())
                self._lost = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1

    async def close(self) -> None:
        """Has the last lines written, as far as somebody reads them."""
        while self._lines.qsize() > MAX_WAITING - 2:  # room for what tells of it, and for the end
            with contextlib.suppress(queue.Empty):
                self._lines.get_nowait()
                self._lost += 1
        if self._lost:
            self._lines.put_nowait(self._loss())
        self._lines.put_nowait(None)
        await asyncio.wait((self._written,), timeout=LAST_WORDS)

    def _loss(self) -> str:
        return f"mpzmq: {self._lost} lines were lost here: nobody has read them in time"

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            stream = sys.stderr
            if stream is not None:
                try:
                    encoding = getattr(stream, "encoding", None) or "ascii"
                    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
                    stream.flush()
                    if (text := self._unwritten.told()) is not None:
                        stream.write(f"mpzmq: {text}\n")
                        stream.flush()
                except ValueError:  # it was closed
                    pass
                except OSError as error:  # a full disk, of which it is told when there is room again
                    self._unwritten.add(error)
