"""The first bytes of whatever listens on a port: ZMTP's greeting and READY, or somebody else's banner.

Pure functions on bytes. The layout is that of ZMTP 3.1 (rfc.zeromq.org/spec/37): a signature of 10 bytes, the version
in 2, the mechanism in 20, as-server in 1, 31 of filler; then commands, each with flags, a size and a name.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GREETING", "GREETING_SIZE", "VERSION_SIZE", "Greeting", "read_greeting", "read_ready", "recognise"]

GREETING_SIZE = 64
VERSION_SIZE = 12
"""Signature and version: after them a peer of ZMTP 3 tells its mechanism."""
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
"""Ours: version 3.1, mechanism NULL, no server."""

_COMMAND, _LONG = 0x04, 0x02


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a ZMTP peer says first.

    Attributes:
        version: major and minor.
        mechanism: ``NULL``, ``PLAIN``, ``CURVE`` or another.
    """

    version: tuple[int, int]
    mechanism: str


def read_greeting(data: bytes) -> Greeting | None:
    """Reads the 64 bytes of a greeting; None: it is none."""
    if len(data) < GREETING_SIZE or data[0] != 0xFF or not data[9] & 1 or data[10] < 3:
        return None
    mechanism = data[12:32].rstrip(b"\0").decode("ascii", "replace")
    return Greeting((data[10], data[11]), mechanism)


def read_ready(data: bytes) -> str | None:
    """The socket type that a READY command names; an ERROR command's reason; None: neither, or not all of it."""
    if len(data) < 2 or not data[0] & _COMMAND:
        return None
    wide = data[0] & _LONG
    start = 9 if wide else 2
    size = int.from_bytes(data[1:9], "big") if wide else data[1]
    body = data[start : start + size]
    if len(body) < size or not body:
        return None
    name, rest = body[1 : 1 + body[0]], body[1 + body[0] :]
    if name == b"ERROR":
        return f"ERROR {rest[1:].decode('ascii', 'replace')}"
    while name == b"READY" and len(rest) > 5:
        key, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        size = int.from_bytes(rest[:4], "big")
        value, rest = rest[4 : 4 + size], rest[4 + size :]
        if key.lower() == b"socket-type":
            return value.decode("ascii", "replace")
    return None


def recognise(data: bytes) -> str:
    """What the first bytes of something that is no ZMTP peer look like, in words."""
    known = (
        (b"HTTP/", "an HTTP server"),
        (b"<!DOCTYPE HTML", "an HTTP server"),
        (b"<html", "an HTTP server"),
        (b"SSH-", "an SSH server"),
        (b"\x15\x03", "a TLS server"),
        (b"220", "a mail or FTP server"),
        (b"-ERR", "a Redis server"),
        (b"+OK", "a POP3 server"),
        (b"* OK", "an IMAP server"),
        (b"INFO {", "a NATS server"),
        (b"AMQP", "an AMQP broker"),
    )
    for start, name in known:
        if data.lower().startswith(start.lower()):
            return name
    if len(data) >= 10 and data[0] == 0xFF and data[9] & 1:
        return f"an old ZeroMQ (ZMTP {data[10] if len(data) > 10 else '1 or 2'})"
    shown = data[:24].decode("ascii", "backslashreplace").encode("unicode_escape").decode()
    return f"something that begins with '{shown}'"
