"""Fleet: containers that a program starts, and asks as one."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from ..common.set_module import set_module
from ..config import DEFAULT_GROUP
from ..engine.arguments import checked_count
from ..engine.group import Group
from ..engine.worker import ComputerEngineWorker
from ..runtime.opening import Opening
from .local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config import GroupPolicy
    from .backend import Backend

__all__ = ["Fleet", "fleet"]

CONNECT_TIMEOUT = 10.0
"""Seconds until one container, which serves already, is to be connected."""


@set_module("mpzmq")
class Fleet(Group):
    """A group whose containers the program has started. :func:`mpzmq.fleet` returns it; users make none.

    Closing it, or the worker that it belongs to, drains the containers and ends them.
    """

    def __init__(self, group: Group, backend: Backend, resources: contextlib.AsyncExitStack) -> None:
        super().__init__(group._host, group._state, group._membership, {})
        self._host.groups.open[self._state] = self  # in the place of the plain group: the worker closes a fleet
        self._backend = backend
        self._resources = resources
        self._scaling = asyncio.Lock()
        self._closing = asyncio.Lock()

    async def scale(self, replicas: int) -> None:
        """Changes how many containers there are, and returns when that is done.

        Those that are too many are asked nothing more, end what they have, and are ended.

        Args:
            replicas: how many there are to be.

        Raises:
            ConnectError: one that was started does not serve; the text says why. The others do.
            ValueError: ``replicas`` is less than 1, or the place has no room for them.
            RuntimeError: the fleet is closed.
        """
        self._host.loop_bound.require()
        checked_count(replicas, "replicas")
        async with self._scaling:
            if self._state.is_closed:
                raise RuntimeError(f"{self._state.whom} is closed: open another one with mpzmq.fleet()")
            await self._backend.scale(replicas)

    async def close(self) -> None:
        """Ends what is in flight with ``ConnectionClosed``, then drains and ends the containers. Idempotent."""
        async with self._closing:  # whoever closes it while it is closed waits for the same end
            try:
                await super().close()
            finally:
                await self._resources.aclose()


@set_module("mpzmq")
def fleet(
    source: str,
    *,
    replicas: int | None = None,
    on: Any = "local",
    worker: ComputerEngineWorker | None = None,
    policy: GroupPolicy = DEFAULT_GROUP,
    env: Mapping[str, str] | None = None,
) -> Opening[Fleet]:
    """Starts containers and asks them as one: ``async with mpzmq.fleet("calc:server", replicas=4) as calc:``.

    ``calc = await mpzmq.fleet(...)`` leaves the end to ``await calc.close()``.

    Args:
        source: what they serve, as ``"module:server"``.
        replicas: how many; None: on this host, one for each processor that this process may use; on Dask,
            one in each worker, those that come later included.
        on: where they run: ``"local"``, processes of this host, which find modules where this one does; or a
            ``distributed.Client`` (extra ``dask``): in the workers of its cluster, at most one in each.
        worker: the engine that asks them; None: one of the fleet's own, which is closed with it.
        policy: whom the group asks, and whether it asks another one then.
        env: environment variables that they get besides those of this process.

    Returns:
        What gives the fleet when it is awaited or entered; it starts nothing before. All containers serve then, and
        one of them is connected at least; one that ends is started again.

    Raises:
        ConnectError: a container does not serve; the text says why. Nothing stays behind.
        ValueError: ``replicas`` is less than 1, or more than 1000 on this host; ``source`` names no server; or no
            process can have such a variable.
        TypeError: there is no such place as ``on``, or something else is of a wrong type.
    """
    return Opening(_opened(source, replicas, on, worker, policy, env), Fleet.close, "mpzmq.fleet")


async def _opened(
    source: str,
    replicas: int | None,
    on: Any,
    worker: ComputerEngineWorker | None,
    policy: GroupPolicy,
    env: Mapping[str, str] | None,
) -> Fleet:
    if replicas is not None:
        checked_count(replicas, "replicas")
    _check_source(source)
    backend = _backend(source, on, _checked_env(env))
    async with contextlib.AsyncExitStack() as resources:
        if worker is None:
            worker = await resources.enter_async_context(ComputerEngineWorker())
        resources.push_async_callback(backend.close)
        await backend.start(replicas)
        group = await worker.group(
            backend.resolver(), name=source, policy=policy, timeout=CONNECT_TIMEOUT, security=backend.security
        )
        return Fleet(group, backend, resources.pop_all())


def _check_source(source: object) -> None:
    """Whether a text can name a server.

    Raises:
        TypeError: it is no text.
        ValueError: it cannot.
    """
    if not isinstance(source, str):
        raise TypeError(f"source must be a str, not {type(source).__name__}")
    module, _, attribute = source.partition(":")
    if not (module and attribute and source.isprintable()):
        raise ValueError(f"{source!r} names no server: write MODULE:SERVER, as in 'calc:server'")


def _checked_env(env: Mapping[str, str] | None) -> dict[str, str]:
    """Variables that a process can have.

    Raises:
        TypeError: they are no texts.
        ValueError: there cannot be such a one. Its value is not told: it may be a secret.
    """
    checked = dict(env or {})
    for name, value in checked.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"env must be of str, not {type(name).__name__} = {type(value).__name__}")
        try:
            os.fsencode(name + value)
        except UnicodeEncodeError:
            raise ValueError(f"env: the variable {name!r} cannot be encoded") from None
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"env: no process can have the variable {name!r}, or its value has a NUL")
    return checked


def _backend(source: str, on: Any, env: Mapping[str, str]) -> Backend:
    """What starts the containers at a place.

    Raises:
        TypeError: there is no such place.
    """
    if on == "local":
        return LocalBackend(source, env=env)
    if isinstance(on, str):
        raise TypeError(f"a fleet is on 'local', or on a client of Dask, not on {on!r}")
    from .dask import DaskBackend

    return DaskBackend(source, client=on, env=env)
