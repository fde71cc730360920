"""``mpzmq doctor``: why a container does not answer, found step by step."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from ..._version import __version__
from ...address import RUST, parse_address
from ...common.text import printable
from ...config import ReconnectPolicy
from ...engine.worker import ComputerEngineWorker
from ...errors import AuthenticationFailed, ConnectTimeout, ContainerDraining, MpzmqError
from ...models import LinkState, Status
from ...runtime.names import resolve
from ..arguments import check_endpoint, client_security
from ..build import build_name
from ..layout import LEAST_WIDTH, columns, on_terminal, say_wrapped
from ..outcome import carry_out, code_of
from ..output import NOT_SERVING, OK, TIMEOUT, UNREACHABLE, say, say_json
from ..wording import in_shell_words
from .greeting import GREETING, GREETING_SIZE, VERSION_SIZE, read_greeting, read_ready, recognise

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from ...address import Address
    from ...security.credentials import Security

__all__ = ["run"]

STEPS = ("name", "address", "TCP", "greeting", "HELLO", "PING")
PINGS = 3
TEXT_WIDTH = 60
"""Columns of what a step has found, in front of its time; less on a narrow terminal."""
NUDGE = b"\r\n\r\n"
"""Many servers of text protocols say nothing before they have a line; an HTTP server then says 400."""


@dataclass(slots=True)
class Step:
    """One step, and what came of it."""

    name: str
    ok: bool
    seconds: float
    text: str
    advice: str = ""


class StepFailed(Exception):
    """The walk ends here."""

    def __init__(self, text: str, advice: str, code: int = UNREACHABLE) -> None:
        super().__init__(text)
        self.advice = advice
        self.code = code


def run(endpoint: str, *, timeout: float, security: tuple[str | None, str | None] = (None, None), as_json: bool) -> int:
    """Walks through the steps and prints them; returns the exit code.

    Args:
        endpoint: where the container should be.
        timeout: seconds for each step.
        security: what ``--keys`` and ``--server-key`` say.
        as_json: print one JSON document instead.
    """

    async def examine() -> int:
        check_endpoint(endpoint)
        doctor_run = DoctorRun(parse_address(endpoint), timeout, client_security(*security))
        steps: list[Step] = []
        try:
            async with contextlib.aclosing(doctor_run.steps()) as walk:
                async for step in walk:
                    steps.append(step)
                    if not as_json:
                        _show(step)
        finally:
            await doctor_run.close()
        if as_json:
            say_json(json.dumps(_document(endpoint, steps, doctor_run.code), ensure_ascii=False))
        else:
            for name in STEPS[len(steps) :]:
                say(f"{_mark('-', '-')} {name:<9} not reached")
            say(f"mpzmq {__version__}, {build_name()}")
        return doctor_run.code

    return carry_out("mpzmq doctor", examine)


class DoctorRun:
    """One walk, from the name to a PING."""

    def __init__(self, address: Address, timeout: float, security: Security | None) -> None:
        self._address = address
        self._timeout = timeout
        self._found: list[tuple[socket.AddressFamily, str]] = []
        self._host = self._reached = ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._worker = ComputerEngineWorker(
            reconnect=ReconnectPolicy(enabled=False, connect_timeout=max(timeout, 0.01)), security=security
        )
        self._mechanism = "NULL" if security is None else "CURVE"
        self._id = uuid4()
        self.code = OK

    async def close(self) -> None:
        """Leaves nothing open."""
        if self._streams is not None:
            self._streams[1].close()
            with contextlib.suppress(OSError):
                await self._streams[1].wait_closed()
            self._streams = None
        await self._worker.close()

    async def steps(self) -> AsyncGenerator[Step, None]:
        """The steps as they are done, up to the first that fails."""
        walk = (self._name, self._address_of, self._tcp, self._greeting, self._hello, self._ping)
        for name, do in zip(STEPS, walk, strict=True):
            step = await self._done(name, do)
            yield step
            if not step.ok:
                return

    async def _done(self, name: str, do: Callable[[], Awaitable[str]]) -> Step:
        began = time.perf_counter()
        try:
            text = await do()
            return Step(name, True, time.perf_counter() - began, text)
        except StepFailed as failed:
            self.code = failed.code
            return Step(name, False, time.perf_counter() - began, str(failed), failed.advice)

    async def _name(self) -> str:
        address = self._address
        if address.path:
            return f"{address.path} is the path of an ipc socket"
        if address.is_numeric:
            return f"{address.host} is a number: nothing to look up"
        try:
            async with asyncio.timeout(self._timeout):
                self._found = await resolve(address.host, address.port)
        except TimeoutError:
            raise StepFailed(
                f"the resolver did not answer for {address.host!r} within {self._timeout:g} s",
                "look at the DNS settings of this host (/etc/resolv.conf)",
                TIMEOUT,
            ) from None
        except OSError as error:
            raise StepFailed(
                f"{address.host!r} is unknown: {error.strerror}",
                "check the spelling; in Compose and Kubernetes the name is that of the service, seen only from inside",
            ) from None
        return f"{address.host} is known"

    async def _address_of(self) -> str:
        address = self._address
        if address.path:
            return self._socket_file(address.path)
        if not self._found:
            self._found = [(socket.AF_INET6 if ":" in address.host else socket.AF_INET, address.host)]
        return ", ".join(host for _, host in self._found)

    @staticmethod
    def _socket_file(path: str) -> str:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            advice = "start the container, or check the path; in containers, both sides need the same volume"
            raise StepFailed(f"{path}: {error.strerror}", advice) from None
        if not stat.S_ISSOCK(mode):
            raise StepFailed(f"{path} is not a socket", "check the path: a container makes the socket itself")
        return f"{path} is a socket"

    async def _tcp(self) -> str:
        failures: list[tuple[str, OSError]] = []
        for _, host in self._found or [(socket.AF_UNSPEC, "")]:
            try:
                async with asyncio.timeout(self._timeout):
                    if self._address.path:
                        self._streams = await asyncio.open_unix_connection(self._address.path)
                        return "connected"
                    self._streams = await asyncio.open_connection(host, self._address.port)
                    self._host = host
                    self._reached = f"[{host}]" if ":" in host else host
                    return f"connected to {self._reached}:{self._address.port}"
            except OSError as error:
                failures.append((host, error))
        raise self._unconnected(failures)

    def _unconnected(self, failures: list[tuple[str, OSError]]) -> StepFailed:
        where = self._address.path or f"port {self._address.port}"
        error = failures[0][1]
        if isinstance(error, TimeoutError) and not error.errno:
            text = f"no answer from {where} within {self._timeout:g} s"
            return StepFailed(text, "a firewall swallows the packets, or the host is down: check the route", TIMEOUT)
        if isinstance(error, ConnectionRefusedError):
            advice = "start the container, or check the port; it may listen on another interface (127.0.0.1 or 0.0.0.0)"
            return StepFailed(f"nothing listens at {where}: connection refused", advice)
        return StepFailed(f"cannot connect to {where}: {error.strerror or error}", "check the address and the route")

    async def _greeting(self) -> str:
        if self._address.scheme == RUST:
            return "none: the wire of the Rust crate begins with a request"
        assert self._streams is not None
        reader, writer = self._streams
        # A peer of another mechanism hangs up as soon as it has read ours: ours waits until it has told its own.
        writer.write(GREETING[:VERSION_SIZE])
        data = await self._read(reader, GREETING_SIZE, self._timeout)
        if not (data or _has_ended(reader)):
            writer.write(NUDGE)
            data = await self._read(reader, GREETING_SIZE, self._timeout)
        greeting = read_greeting(data)
        if greeting is None:
            raise self._no_zmtp(data, ended=_has_ended(reader))
        version = f"ZMTP {greeting.version[0]}.{greeting.version[1]}, {greeting.mechanism}"
        if greeting.mechanism != self._mechanism:
            advice = "leave --keys and --server-key out"
            if self._mechanism == "NULL":
                advice = f"the container asks for {greeting.mechanism} keys: pass --keys and --server-key"
            raise StepFailed(f"{version}: it wants {greeting.mechanism}, and this side has {self._mechanism}", advice)
        if greeting.mechanism == "CURVE":
            return version  # nothing more is said to whom it does not know
        # No READY of ours: a peer that does not like our kind of socket would hang up without telling its own.
        writer.write(GREETING[VERSION_SIZE:])
        command = await self._read_command(reader)
        kind = read_ready(command)
        if kind is None:
            late = not (command or _has_ended(reader))
            advice = "its process was frozen meanwhile, or the other side is not libzmq"
            raise StepFailed(f"{version}, but no READY", advice, TIMEOUT if late else UNREACHABLE)
        if kind != "ROUTER":
            advice = "a container is a ROUTER: check the port, another socket of the same program may listen there"
            raise StepFailed(f"{version}: a {printable(kind)} socket listens there, no container", advice)
        return f"{version}, a ROUTER"

    async def _read(self, reader: asyncio.StreamReader, size: int, timeout: float) -> bytes:
        """What comes within the time, up to a size or the end."""
        data = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout):
                while len(data) < size and (more := await reader.read(size - len(data))):
                    data += more
                    if data[0] != 0xFF:
                        break
        return data

    async def _read_command(self, reader: asyncio.StreamReader) -> bytes:
        head = await self._read_exactly(reader, 2)
        if len(head) < 2 or head[0] & 0x02:  # a READY is short
            return head
        return head + await self._read_exactly(reader, head[1])

    async def _read_exactly(self, reader: asyncio.StreamReader, size: int) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await reader.readexactly(size)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return b""

    def _no_zmtp(self, data: bytes, *, ended: bool) -> StepFailed:
        if data:
            return StepFailed(f"{recognise(data)} listens there, no container", "check the port")
        if ended:
            advice = "something else listens there, or a proxy whose container is away: check the port"
            return StepFailed("the connection was accepted, and ended without a word", advice)
        where = self._address.path or f"'sport = :{self._address.port}'"
        advice = (
            f"its process is frozen (SIGSTOP, a debugger, a paused container), or speaks no ZeroMQ: find it with"
            f" ss -{'x' if self._address.path else 't'}lnp {where}; kill -CONT PID wakes a stopped one"
        )
        return StepFailed(
            f"the connection was accepted, but nothing was said for {2 * self._timeout:g} s", advice, TIMEOUT
        )

    async def _hello(self) -> str:
        address = self._address
        endpoint = address.text if address.path or not self._reached else address.endpoint(self._host)
        try:
            writer = await self._worker.connect(self._id, endpoint, name=address.text, timeout=self._timeout)
            instance = writer.instance
        except MpzmqError as error:
            if isinstance(error, ConnectTimeout):
                advice = (
                    "its event loop is blocked (py-spy dump --pid PID shows where; thread=True is the cure), or this"
                    " ROUTER is of another program"
                )
                text = f"ZeroMQ answers, but the container did not say WELCOME within {self._timeout:g} s"
                raise StepFailed(text, advice, TIMEOUT) from None
            advice = "look at the container's log"
            if isinstance(error, AuthenticationFailed):  # of which that says nothing: no key of its has to do with it
                advice = (
                    "where the container runs, 'mpzmq keys show FILE' of its --keys shows what --server-key has to be,"
                    " and of its --allow who gets in: that has to list the key of this side's --keys"
                )
            raise StepFailed(printable(in_shell_words(error)), advice, code_of(error)) from None
        if address.scheme == RUST:
            return "connected; nothing is said before the first request"
        return f"WELCOME from instance {instance}"

    async def _ping(self) -> str:
        writer = self._worker.get_engine(self._id)
        assert writer is not None
        seconds = []
        status = None
        try:
            for _ in range(PINGS):
                began = time.perf_counter()
                status = await writer.get_state(timeout=self._timeout, wait=False)
                seconds.append(time.perf_counter() - began)
        except ContainerDraining:
            pass
        except MpzmqError as error:
            advice = "its event loop is blocked or very busy" if code_of(error) == TIMEOUT else "look at its log"
            raise StepFailed(printable(in_shell_words(error)), advice, code_of(error)) from None
        if writer.state is LinkState.DRAINING or status is None:
            advice = "it has been told to end, and takes no new work: wait for its successor"
            raise StepFailed("it answers, and is DRAINING", advice, NOT_SERVING)
        times = f"min {1e3 * min(seconds):.2f} ms, avg {1e3 * sum(seconds) / len(seconds):.2f} ms"
        if status is not Status.RUNNING:
            advice = f"mpzmq state {self._address.text} RUNNING"
            raise StepFailed(f"it answers ({times}), but its status is {status}", advice, NOT_SERVING)
        return f"{PINGS} answers, {times}, status {status}"


def _has_ended(reader: asyncio.StreamReader) -> bool:
    return reader.at_eof() or reader.exception() is not None


# How it is shown


def _symbol(fancy: str, plain: str) -> str:
    try:
        fancy.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return plain
    return fancy


def _mark(fancy: str, plain: str) -> str:
    """A step's mark; all are of one width."""
    return _symbol(fancy, plain.ljust(len("FAIL")))


def _show(step: Step) -> None:
    mark = _mark("✓", "ok") if step.ok else _mark("✗", "FAIL")
    head, time_taken = f" {step.name:<9} ", f" {1e3 * step.seconds:8.1f} ms"
    indent = " " * len(mark + head)
    room = TEXT_WIDTH if not on_terminal() else min(TEXT_WIDTH, columns() - len(indent + time_taken))
    # What does not fit beside the time goes on below itself.
    first, *rest = [step.text]
    if on_terminal() and room >= LEAST_WIDTH:
        first, *rest = textwrap.wrap(step.text, room, break_on_hyphens=False)
    if on_terminal() and not os.environ.get("NO_COLOR"):
        import click

        mark = click.style(mark, fg="green" if step.ok else "red", bold=True)
    say("\n".join([f"{mark}{head}{first:<{room}}{time_taken}", *(indent + line for line in rest)]))
    if step.advice:
        say_wrapped(f"  {_symbol('→', '->')} ", step.advice)


def _document(endpoint: str, steps: list[Step], code: int) -> dict[str, object]:
    return {
        "endpoint": endpoint,
        "ok": code == OK,
        "exit_code": code,
        "steps": [
            {
                "name": step.name,
                "ok": step.ok,
                "seconds": round(step.seconds, 6),
                "text": step.text,
                "advice": step.advice,
            }
            for step in steps
        ],
        "not_reached": list(STEPS[len(steps) :]),
        "version": __version__,
        "build": build_name(),
    }
