"""A network of two hosts and a switch, in network namespaces: the only way to a cable that is silently cut.

For root on Linux with the command ``ip``. Packets vanish when the container's port is taken out of the bridge, with
the carrier still up, and in one direction alone when the sender's neighbour table has a wrong hardware address.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Literal, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Net", "inside", "ip", "started_in", "why_not"]

HandlerHost = Literal["engine", "container"]

ADDRESS: dict[HandlerHost, str] = {"engine": "10.213.77.1", "container": "10.213.77.2"}
HARDWARE: dict[HandlerHost, str] = {"engine": "02:00:00:00:77:01", "container": "02:00:00:00:77:02"}
NOBODY = "02:00:00:00:77:99"
OTHER: dict[HandlerHost, HandlerHost] = {"engine": "container", "container": "engine"}

CLONE_NEWNET = 0x40000000

_T = TypeVar("_T")


def why_not() -> str | None:
    """Why there can be no such network here; None: there can be one."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if shutil.which("ip") is None:
        return "there is no command 'ip' (package iproute2)"
    if os.geteuid() != 0:
        return "network namespaces are root's"
    probe = f"mpzmq{os.getpid()}probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces are not allowed here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


def ip(*words: str) -> None:
    """Runs the command."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Net:
    """Two hosts, ``engine`` and ``container``, at a switch. The namespaces have names of this process, and end here.

    Use it as ``with Net() as net, net.inside("engine"):``.
    """

    _made = 0

    def __init__(self) -> None:
        Net._made += 1
        prefix = f"mpzmq{os.getpid()}n{Net._made}"
        self._switch = f"{prefix}switch"
        self._hosts: dict[HandlerHost, str] = {host: f"{prefix}{host}" for host in ADDRESS}
        self._stack = contextlib.ExitStack()

    @property
    def address(self) -> str:
        """Of the container's host."""
        return ADDRESS["container"]

    def __enter__(self) -> Self:
        with self._stack as stack:
            for name in (self._switch, *self._hosts.values()):
                ip("netns", "add", name)
                stack.callback(ip, "netns", "del", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
            ip("-n", self._switch, "link", "set", "bridge", "up")
            for host, name in self._hosts.items():
                peer = ("peer", "name", "eth0", "netns", name)
                ip("-n", self._switch, "link", "add", host, "type", "veth", *peer)
                ip("-n", self._switch, "link", "set", host, "master", "bridge", "up")
                ip("-n", name, "link", "set", "eth0", "address", HARDWARE[host], "up")
                ip("-n", name, "address", "add", f"{ADDRESS[host]}/24", "dev", "eth0")
            for host in self._hosts:
                self._aim(host, HARDWARE[OTHER[host]])
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _aim(self, host: HandlerHost, hardware: str) -> None:
        """Where the packets of one host to the other one go. Permanent: no question, so no answer to wait for."""
        to = ("to", ADDRESS[OTHER[host]], "lladdr", hardware, "nud", "permanent", "dev", "eth0")
        ip("-n", self._hosts[host], "neighbour", "replace", *to)

    def cut(self) -> None:
        """Drops all packets between the hosts, until :meth:`heal`."""
        ip("-n", self._switch, "link", "set", "container", "nomaster")

    def deafen(self, host: HandlerHost) -> None:
        """Drops the packets to one host, until :meth:`heal`; those that it sends arrive."""
        self._aim(OTHER[host], NOBODY)

    def heal(self) -> None:
        """All packets arrive again."""
        ip("-n", self._switch, "link", "set", "container", "master", "bridge")
        for host in self._hosts:
            self._aim(host, HARDWARE[OTHER[host]])

    def inside(self, host: HandlerHost) -> contextlib.AbstractContextManager[None]:
        """This thread lives on that host."""
        return inside(self._hosts[host])

    def started_on(self, host: HandlerHost, start: Callable[[], _T]) -> _T:
        """Calls ``start`` on that host; what processes it starts stay there."""
        return started_in(self._hosts[host], start)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, and the threads and processes that it starts, live in that namespace.

    A zmq context belongs to the namespace of the thread that makes its first socket.
    """
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def started_in(namespace: str, start: Callable[[], _T]) -> _T:
    """Calls ``start`` in that namespace, in a thread of its own; what processes it starts stay there."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with inside(namespace):
                results.append(start())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns() is Python 3.12's
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
