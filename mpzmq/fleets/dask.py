"""A fleet on Dask: a container in each of its workers, or in some of them."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..common.extras import how_to_install
from ..common.logs import Log
from ..common.text import text_of, type_name
from ..engine.resolvers import Endpoint
from ..engine.resolvers.source import MAX_ENDPOINTS
from ..errors import ConnectError
from ..keys import generate
from ..security.credentials import Security

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from ..engine.resolvers import Resolver

__all__ = ["DaskBackend"]

log = Log(__name__)

START_TIMEOUT = 60.0
"""Seconds until all containers serve, those in workers that the cluster has yet to start included."""

CLOSE_TIMEOUT = 16.0
"""Seconds for the scheduler to end the containers: more than one of them may take."""


class DaskBackend:
    """Starts containers in the workers of a Dask cluster, by plugins in its scheduler and in its workers.

    The engine's secret key stays in this process, and that of each container in its worker: through Dask pass the
    public ones.

    Args:
        source: ``"module:server"``, which each worker imports.
        client: a ``distributed.Client``, asynchronous or not, on this event loop or another one.
        env: variables of the environment for the containers.

    Raises:
        TypeError: that is no client of Dask.
    """

    def __init__(self, source: str, *, client: Any, env: Mapping[str, str]) -> None:
        # Who has no client has not imported it: it need not be installed to find that out.
        distributed = sys.modules.get("distributed")
        if distributed is None or not isinstance(client, distributed.Client):
            raise TypeError(
                f"a fleet is on 'local', or on a client of Dask ({how_to_install('dask')}), not on {type_name(client)}"
            )
        keys = generate()
        # Each endpoint names the key of its container; whoever has none of these is not talked to.
        self.security: Security | None = Security.client(keys, keys.public)
        self._source = source
        self._client = client
        self._env = dict(env)
        self._name = f"mpzmq-fleet-{uuid4().hex[:12]}"
        self._engine_key = keys.public
        self._wanted: int | None = None
        self._minimum: int | None = None  # that of an adaptive cluster, before it was raised
        self._is_closed = False
        self._is_registered = False
        self._complained: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<{self._source} on Dask, {self._name}>"

    async def start(self, replicas: int | None) -> None:
        """Starts them, and returns when they serve.

        Args:
            replicas: in so many workers; None: in all of them, those that come later included.

        Raises:
            ConnectError: too few serve; the text names each worker where one does not, and says why.
            ValueError: a group has no room for so many.
        """
        self._wanted = None if replicas is None else _checked(replicas)
        await self._register()
        await self._settled()

    def resolver(self) -> Resolver:
        """Follows the workers that have a container."""
        return self

    async def watch(self) -> AsyncIterator[list[Endpoint]]:
        """The containers that serve, now and whenever they change."""
        version = -1
        while not self._is_closed:
            told = await self._ask("watch", since=version)
            version = told["version"]
            yield [_endpoint(served) for served in told["serving"]]

    async def scale(self, replicas: int) -> None:
        """Has so many workers have a container; has the cluster start more workers where it has too few, and can.

        No worker is ended: Dask may have work for it.

        Args:
            replicas: how many.

        Raises:
            ConnectError: too few serve; the text says why.
            ValueError: there are too few workers, and the cluster cannot be made larger from here; or a group has no
                room for so many.
        """
        _checked(replicas)
        told = await self._ask("watch", since=-1)
        await self._on_loop(lambda: self._grow(replicas, told["workers"], len(told["failures"])))
        self._wanted = replicas
        await self._ask("scale", wanted=replicas)
        await self._settled()

    async def close(self) -> None:
        """Drains the containers and ends them. Where the client is gone already, the scheduler does so by itself."""
        if self._is_closed or not self._is_registered:
            return
        self._is_closed = True
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._on_loop(self._end)
        except (OSError, RuntimeError, ValueError) as error:  # TimeoutError is an OSError
            why = text_of(error) or type_name(error)
            log.warning("%r cannot be ended from here: %s; the scheduler does, when the client has gone", self, why)

    # Talking to the scheduler

    async def _register(self) -> None:
        from .dask_plugins import FleetPlugin  # it needs distributed

        self._is_registered = True
        plugin = FleetPlugin(self._name, self._client.id, self._wanted, self._source, self._engine_key, self._env)
        try:
            await self._on_loop(lambda: self._client.register_plugin(plugin, name=self._name))
        except Exception as error:  # whatever the scheduler has raised
            raise ConnectError(
                f"{self!r}: the scheduler does not take the plugin ({type_name(error)}: {text_of(error)}); mpzmq has to"
                " be installed for it and its workers as it is here",
                name=self._source,
            ) from error

    async def _ask(self, what: str, **details: Any) -> dict[str, Any]:
        told = await self._on_loop(lambda: self._call(what, **details))
        if told is None and not self._is_closed:  # the scheduler is another one, which knows nothing of the fleet
            await self._register()
            told = await self._on_loop(lambda: self._call(what, **details))
        if told is None:
            raise ConnectionError("the scheduler does not know the fleet")
        answer: dict[str, Any] = told
        for worker, why in answer["failures"].items():
            if self._complained.get(worker) != why:
                self._complained[worker] = why
                log.error("%s does not serve in the Dask worker %s: %s", self._source, worker, why)
        return answer

    def _call(self, what: str, **details: Any) -> Awaitable[dict[str, Any] | None]:
        if self._client.status != "running":
            raise ConnectionError(f"the client of Dask is {self._client.status}")
        answer: Awaitable[dict[str, Any] | None] = getattr(self._client.scheduler, self._name)(what=what, **details)
        return answer

    async def _on_loop(self, make: Callable[[], Any]) -> Any:
        """Calls something on the event loop of the client, and awaits what it returns."""

        async def call() -> Any:
            made = make()
            return await made if inspect.isawaitable(made) else made

        loop = self._client.loop.asyncio_loop
        if loop is asyncio.get_running_loop():
            return await call()
        if not loop.is_running():
            raise ConnectionError("the event loop of the client of Dask does not run")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), loop))

    def _end(self) -> Awaitable[Any]:
        adaptive = _adaptive(self._client.cluster)
        if adaptive is not None and self._minimum is not None:
            adaptive.minimum = self._minimum
        return self._call("end")

    # What is possible

    async def _settled(self) -> None:
        """Waits until as many serve as are wanted.

        Raises:
            ConnectError: they do not, or not in time.
        """
        told: dict[str, Any] = {"version": -1}
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while True:
                    told = await self._ask("watch", since=told["version"])
                    if _is_settled(told):
                        return
                    if _is_hopeless(told):
                        break
        except TimeoutError:
            pass
        if "wanted" not in told:
            raise ConnectError(f"{self!r}: the scheduler has not answered in {START_TIMEOUT:g} s", name=self._source)
        raise ConnectError(f"{self!r}: {_shortage(told)}", name=self._source)

    def _grow(self, replicas: int, workers: int, broken: int) -> Any:
        """Has the cluster start workers where there are too few.

        Raises:
            ValueError: it cannot.
        """
        cluster, usable = self._client.cluster, workers - broken
        adaptive = _adaptive(cluster)
        if adaptive is not None:
            if replicas > max(usable, adaptive.maximum):
                raise ValueError(f"{self!r}: the cluster adapts to at most {adaptive.maximum:g} workers")
            if self._minimum is None:
                self._minimum = adaptive.minimum
            adaptive.minimum = max(self._minimum, replicas)
        if replicas <= max(usable, len(getattr(cluster, "plan", ())) - broken):
            return None  # they are there, or on their way
        try:
            return cluster.scale(replicas + broken)
        except (AttributeError, NotImplementedError):
            raise ValueError(
                f"{self!r}: the cluster has {usable} workers that can serve, and cannot be made larger through this"
                f" client: scale({usable}) at most, or start more workers first"
            ) from None


def _endpoint(served: Mapping[str, str]) -> Endpoint:
    host = served["address"].rpartition(":")[0].strip("[]")
    labels = {"host": host, "worker": served["worker"]}
    return Endpoint(served["address"], name=served["name"], labels=labels, server_key=served["key"])


def _adaptive(cluster: Any) -> Any:
    """What makes a cluster larger and smaller with its work; None: nothing does."""
    return getattr(cluster, "_adaptive", None)


def _is_settled(told: Mapping[str, Any]) -> bool:
    if told["starting"] or told["ending"]:
        return False
    wanted = told["wanted"]
    return len(told["serving"]) >= (1 if wanted is None else wanted)


def _is_hopeless(told: Mapping[str, Any]) -> bool:
    """Whether there are workers enough, but not enough of them can serve."""
    if told["starting"] or told["ending"] or not told["failures"]:
        return False
    return bool(told["wanted"] is None or told["workers"] >= told["wanted"])


def _shortage(told: Mapping[str, Any]) -> str:
    """Why there are not enough, in words."""
    wanted = "all" if told["wanted"] is None else told["wanted"]
    serving, workers = len(told["serving"]), told["workers"]
    text = f"{serving} containers serve, and {wanted} were wanted; the cluster has {workers} workers"
    if told["starting"]:
        text += f", of which {', '.join(told['starting'])} are still starting theirs"
    failures = "".join(f"\n  in {worker}: {why}" for worker, why in told["failures"].items())
    return f"{text}{failures}"


def _checked(replicas: int) -> int:
    if replicas > MAX_ENDPOINTS:
        raise ValueError(f"replicas must be at most {MAX_ENDPOINTS}, which is what a group can have, not {replicas}")
    return replicas
