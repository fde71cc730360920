"""How a worker opens groups: of containers that it dials, and of those that dial in."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..address import parse_address, parse_zmq_address
from ..common.durations import checked_seconds, checked_timeout
from ..config import DEFAULT_GROUP
from ..runtime.names import checked_name
from ..runtime.opening import Opening
from ..runtime.reach import check_insecure_bind, host_to_bind
from ..security.credentials import of_engine, of_lobby
from ..transport.interface import SocketSettings
from .group import Group, opened_group
from .joined_group import JoinedGroup, joined_group
from .link_driver import ZMTP_SHARE
from .lobby import Lobby, LobbyTransport
from .membership import GroupHost
from .resolvers import resolver_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from ..config import GroupPolicy, HeartbeatPolicy, Limits, ReconnectPolicy
    from ..events import LinkEvent
    from ..protocol.link.link import Link
    from ..runtime.lifecycle import Lifecycle
    from ..security.credentials import Security
    from ..transport.interface import DealerMaker, Transport
    from .groups import Groups
    from .link_driver import LinkDriver
    from .middleware_sender import WorkerMiddleware
    from .resolvers import Endpoint, Resolver
    from .writer import ComputerEngineWriter

__all__ = ["GroupOpening"]

HANDSHAKE_TIMEOUT = 3.0
"""Seconds for the ZMTP handshake of a container that dials in."""

_DANGER = (
    "and tokens travel there unencrypted: pass security=Security.server(...), or insecure=True if the network itself is"
    " trusted, or bind to 127.0.0.1 or ipc"
)


class GroupOpening:
    """The groups of a worker, which has the rest."""

    if TYPE_CHECKING:
        name: str
        limits: Limits
        _security: Security | None
        _heartbeat: HeartbeatPolicy
        _reconnect: ReconnectPolicy
        _lifecycle: Lifecycle
        _transport: Transport
        _groups: Groups[Group]
        _outgoing: WorkerMiddleware
        _end: Callable[[UUID, str], None]
        _publish: Callable[[LinkEvent], None]
        _register: Callable[..., tuple[LinkDriver, ComputerEngineWriter]]
        disconnect: Callable[[UUID], Awaitable[None]]

    def group(
        self,
        source: str | Sequence[str | Endpoint] | Resolver,
        *,
        name: str | None = None,
        policy: GroupPolicy = DEFAULT_GROUP,
        wait: bool = True,
        timeout: float | None = 5.0,
        security: Security | None = None,
    ) -> Opening[Group]:
        """Several containers that do the same, asked as one: ``group = await worker.group(["a:3010", "b:3010"])``.

        ``async with worker.group(...) as group`` closes it at the end of the block.

        Args:
            source: who its members are: a list, ``"dns://calc:3010"``, ``"srv://_mpzmq._tcp.calc"``, ``"env://CALC"``,
                ``"file:///run/calc.txt"``, ``"dir:///run/calc"``, or a :class:`mpzmq.Resolver`. It is followed.
            name: what the group is called in errors and logs; by default its source.
            policy: whom it asks, and whether it asks another one then.
            wait: False: returns at once, and dials in the background.
            timeout: seconds until one member is to be ALIVE.
            security: keys for its members; None: the worker's.

        Returns:
            What gives the group when it is awaited or entered; it opens nothing before.

        Raises:
            ConnectError: no member could be reached in time; nothing stays behind.
            ValueError: the source is malformed, or of an unknown scheme.
            TypeError: it is no source.
            RuntimeError: the worker is closed, or belongs to another event loop.
        """
        opening = self._group(source, name, policy, timeout, security, wait=wait)
        return Opening(opening, Group.close, "ComputerEngineWorker.group")

    async def _group(
        self, source: Any, name: str | None, policy: GroupPolicy, timeout: float | None, security: Security | None, *,
        wait: bool,
    ) -> Group:  # fmt: skip
        checked_timeout(timeout)
        security, followed = of_engine(security) or self._security, resolver_for(source, refresh=policy.refresh)
        if self._lifecycle.is_ending:
            raise RuntimeError("this worker is closed: enter it again with 'async with', or make another one")
        self._lifecycle.loop_bound.bind()
        host = self._group_host(self._open_link)
        given = (source if isinstance(source, str) else "group") if name is None else checked_name(name)
        return await opened_group(host, followed, given, policy, security, timeout, wait=wait)

    def _group_host(self, open_link: Callable[..., tuple[ComputerEngineWriter, Link]]) -> GroupHost:
        loop_bound = self._lifecycle.loop_bound
        return GroupHost(self.limits, loop_bound, open_link, self.disconnect, self._groups, self._outgoing)

    def accept(
        self,
        endpoint: str | tuple[str, int],
        *,
        tokens: str | Mapping[str, str] | Path,
        name: str | None = None,
        policy: GroupPolicy = DEFAULT_GROUP,
        security: Security | None = None,
        insecure: bool = False,
        rejoin_within: float = 60.0,
    ) -> Opening[JoinedGroup]:
        """Containers that dial in: ``group = await worker.accept("tcp://127.0.0.1:3011", tokens=Path("tokens"))``.

        They come by ``server.join()`` or ``mpzmq serve --join``, say who they are, and are members of the group from
        then on. ``async with worker.accept(...) as group`` closes it at the end of the block.

        Args:
            endpoint: where to listen, as for ``server.bind()``; ``group.endpoint`` is the real one.
            tokens: what lets a container in: one for all; a mapping of runners to theirs; or a file with
                ``RUNNER TOKEN [EXPIRES]`` on each line, which is read again when it changes.
            name: what the group is called in errors and logs; by default its endpoint.
            policy: whom it asks, and whether it asks another one then.
            security: keys of the lobby, by ``Security.server(keys, allow="trusted.toml")``: any key may knock, a token
                is exchanged for the key that it comes with, and that is trusted from then on without one. The token of
                a runner is good for one key. The file has to be there (it may be empty), and is added to; who is
                removed from it is cut off.
            insecure: allow an endpoint that other hosts can reach, although tokens and data travel unencrypted.
            rejoin_within: seconds for which a container may be without a connection before it has left.

        Returns:
            What gives the group when it is awaited or entered; it opens nothing before.

        Raises:
            InsecureBind: other hosts could reach it, there are no keys, and ``insecure`` is not set.
            OSError: it cannot be bound, or a file cannot be read.
            ValueError, TypeError: the endpoint or the tokens are malformed.
            RuntimeError: the worker is closed, or belongs to another event loop.
        """
        opening = self._accept(endpoint, tokens, name, policy, rejoin_within, security, insecure=insecure)
        return Opening(opening, JoinedGroup.close, "ComputerEngineWorker.accept")

    async def _accept(
        self, endpoint: Any, tokens: Any, name: str | None, policy: GroupPolicy, rejoin_within: float, security: Any, *,
        insecure: bool,
    ) -> JoinedGroup:  # fmt: skip
        address = parse_zmq_address(endpoint, bind=True)
        checked_seconds(rejoin_within, "rejoin_within")
        of_lobby(security)
        given = None if name is None else checked_name(name)
        if self._lifecycle.is_ending:
            raise RuntimeError("this worker is closed: enter it again with 'async with', or make another one")
        self._lifecycle.loop_bound.bind()
        host = await host_to_bind(address)
        if not address.path and security is None:
            check_insecure_bind(address, host, f"engine {self.name!r}", _DANGER, insecure=insecure)
        if self._lifecycle.is_ending:
            raise RuntimeError("this worker was closed meanwhile")
        settings = SocketSettings(
            redial_interval=1.0,
            connect_timeout=HANDSHAKE_TIMEOUT,
            heartbeat_interval=ZMTP_SHARE * self._heartbeat.interval,
            down_after=self._heartbeat.down_after,
            message_bytes=self.limits.message_bytes,
            handshakes=self.limits.handshakes,
        )
        lobby = Lobby(tokens, rejoin_within, self.limits, settings, self._transport, security)
        try:
            bound = lobby.bind(address.endpoint(host))

            def open_link(remote_id: UUID, address: str, name: str, *given: Any, **options: Any) -> Any:
                return self._open_link(
                    remote_id, address, name, *given, transport=LobbyTransport(lobby, name), **options
                )

            return await joined_group(self._group_host(open_link), lobby, given or bound, policy)
        except BaseException:
            await lobby.close(0.0)
            raise

    def _open_link(
        self,
        remote_id: UUID,
        address: str,
        name: str,
        security: Security | None,
        *,
        lost_after: float | None,
        publish: Callable[[LinkEvent], None],
        transport: DealerMaker | None = None,
    ) -> tuple[ComputerEngineWriter, Link]:
        """A link of a group, which is being dialled."""

        def published(event: LinkEvent) -> None:
            self._publish(event)
            publish(event)

        reconnect = dataclasses.replace(self._reconnect, lost_after=lost_after)
        if transport is not None:  # it is not for this side to dial: how long it waits is the lobby's matter
            reconnect = dataclasses.replace(reconnect, enabled=True, max_attempts=None)
        parsed = parse_address(address)
        connection, writer = self._register(
            remote_id, parsed, name, security, once=False, reconnect=reconnect, publish=published, transport=transport
        )
        try:
            connection.start()
        except BaseException:
            self._end(remote_id, "it could not be dialled")
            raise
        return writer, connection.link
