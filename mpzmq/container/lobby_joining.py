"""How a server dials the engines that accept it: ``join()``, and ``Join``, which says the same to ``run()``."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..address import parse_zmq_address
from ..common.durations import checked_timeout
from ..common.logs import Log
from ..common.set_module import set_module
from ..common.text import is_unicode
from ..errors import InsecureBind
from ..protocol.lobby.lobby import MAX_LABELS
from ..protocol.lobby.tokens import NO_BLANKS
from ..runtime.names import checked_name
from ..security.credentials import of_dialling_container
from .joining import JoinRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..address import Address
    from ..config import Limits
    from ..runtime.lifecycle import Lifecycle
    from ..security.credentials import Security
    from .session_driver import SessionDriver

__all__ = ["Join", "LobbyJoining"]

log = Log(__name__)


@set_module("mpzmq")
@dataclass(frozen=True, kw_only=True)
class Join:
    """An engine that ``server.run(join=...)`` dials: what :meth:`ContainerServer.join` takes, as a value.

    Attributes:
        address: of the engine's ``group.endpoint``.
        token: what lets this container in; a Path is read again at each dial; None: the lobby trusts its key already.
            It is not shown in the ``repr``.
        name: what it is called in the group; None: the server's name.
        labels: what it can be chosen by.
        security: its keys and the lobby's public one, by ``Security.client(keys, server_key)``; None: there are none.

    Raises:
        ValueError, TypeError: the address is malformed, or the token is none.
    """

    address: str | tuple[str, int]
    token: str | Path | None = field(default=None, repr=False)
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    security: Security | None = None

    def __post_init__(self) -> None:
        parse_zmq_address(self.address)
        _check_proof(self.token, self.security)
        _checked_labels(self.labels)


def _check_proof(token: object, security: object) -> None:
    if of_dialling_container(security) is None and token is None:
        raise ValueError("token is missing: only a container whose key is trusted can do without")
    if not isinstance(token, str | Path | None):
        raise TypeError(f"token is a str or a Path, not {type(token).__name__}")
    if isinstance(token, str) and not (token and is_unicode(token)):
        raise ValueError("token is empty, or cannot be written in UTF-8")
    if isinstance(token, str) and token != token.strip():
        raise ValueError(f"token begins or ends with white space{NO_BLANKS}")


def _checked_labels(labels: object) -> dict[str, str]:
    """What a container can be chosen by, as the user has given it.

    Raises:
        TypeError: it is no mapping of str to str.
        ValueError: there are too many, or one cannot be written in UTF-8.
    """
    if not isinstance(labels, Mapping):
        raise TypeError(f"labels is a mapping of str to str, not {type(labels).__name__}")
    words = [word for pair in labels.items() for word in pair]
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"labels is a mapping of str to str, and not {dict(labels)!r:.200}")
    if len(labels) > MAX_LABELS or not all(map(is_unicode, words)):
        raise ValueError(f"labels are more than {MAX_LABELS}, or one of them cannot be written in UTF-8")
    return dict(labels)


def _check_reach(address: Address, *, insecure: bool) -> None:
    """Checks that without keys only this host hears a token, and is served."""
    if address.path:
        return
    if ipaddress.ip_address(address.host).is_loopback if address.is_numeric else address.host == "localhost":
        return
    if not insecure:
        text = (
            f"{address.text} is joined over a network, where the token travels unencrypted and whoever answers is"
            " served: pass security=Security.client(...), or insecure=True if the network itself is trusted"
        )
        raise InsecureBind(text, endpoint=address.text)
    log.warning("the engine at %s is joined without security", address.text)


class LobbyJoining:
    """The engines that a server has joined; the server has the rest."""

    if TYPE_CHECKING:
        name: str
        _limits: Limits
        _lifecycle: Lifecycle
        _security: Security | None
        _start: Callable[[Security | None], Awaitable[SessionDriver]]

    async def join(
        self,
        address: str | tuple[str, int],
        *,
        token: str | Path | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        security: Security | None = None,
        insecure: bool = False,
        wait: bool = True,
        timeout: float | None = 5.0,
    ) -> None:
        """Dials an engine that accepts containers (``worker.accept()``), and serves it until the server is closed.

        A connection that is lost is dialled again, with a pause that grows. Several engines may be joined, and
        endpoints bound beside them.

        Args:
            address: of the engine's ``group.endpoint``.
            token: what lets this container in; a Path is read again at each dial; None: the lobby trusts its key.
            name: what it is called in the group; by default the server's name.
            labels: what it can be chosen by.
            security: its keys and the lobby's public one, by ``Security.client(keys, server_key)``; None: there are
                none.
            insecure: allow an engine on another host although there are no keys.
            wait: False: returns at once, and goes on dialling in the background, the first time, too.
            timeout: seconds until the engine is to have said HELLO.

        Raises:
            ConnectError: it has not; nothing goes on then.
            InsecureBind: it is on another host, there are no keys, and ``insecure`` is not set.
            ValueError, TypeError: the address is malformed, or joined already; or the token is none, or the labels.
            RuntimeError: the server is draining or closed, or has keys and ``security`` is missing, or it belongs to
                another event loop.
        """
        parsed = parse_zmq_address(address)
        checked_timeout(timeout)
        _check_proof(token, security)
        given_labels = _checked_labels({} if labels is None else labels)
        called = self.name if name is None else checked_name(name)
        if security is None:
            if self._security is not None:
                raise RuntimeError("this server has keys: pass security=Security.client(keys, server_key), too")
            _check_reach(parsed, insecure=insecure)
        if self._lifecycle.is_ending:
            raise RuntimeError("this server is closed: enter it again with 'async with', or make another one")
        self._lifecycle.loop_bound.bind()
        driver = await self._start(self._security)
        if driver.sessions.draining is not None:
            raise RuntimeError("this server is draining: it joins no engine")
        request = JoinRequest(driver.sessions.instance, token, called, given_labels, self._limits)
        await driver.router.join(parsed, request, security, timeout, wait=wait)
