"""How one side proves who it is, and whom it accepts: encrypted and authenticated by CURVE."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from ..common.set_module import set_module
from .allow_list import Allow, read_users
from .keypair import KeyPair, check_key

__all__ = ["Security", "of_container", "of_dialling_container", "of_engine", "of_lobby"]


@set_module("mpzmq")
@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The keys of one side, and those that it accepts. Made by :meth:`server` or :meth:`client`.

    Attributes:
        keys: its own.
        allow: of a container: who gets in; None on an engine's side.
        server_keys: of an engine: the public keys that the container may have; empty on a container's side.
    """

    keys: KeyPair
    allow: Allow | None = None
    server_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.keys, KeyPair):
            kind = type(self.keys).__name__
            raise TypeError(f"keys is a KeyPair, not {kind}: mpzmq.keys.load(path) reads one from its file")
        if (self.allow is None) == (not self.server_keys):
            raise ValueError("use Security.server(keys, allow=...) or Security.client(keys, server_key)")

    @classmethod
    def server(cls, keys: KeyPair, *, allow: Allow) -> Self:
        """For a container.

        Args:
            keys: the container's own.
            allow: who gets in: a folder of ``NAME.pub`` files or a TOML file, both read again when they change; or a
                mapping of names to public keys (or to tables with ``public-key`` and ``allow``); or bare public keys.

        Raises:
            OSError: the folder or file cannot be read.
            ValueError, TypeError: something in it is malformed, and where.
        """
        if isinstance(allow, Mapping):
            allow = dict(allow)
        elif isinstance(allow, Iterable) and not isinstance(allow, str | os.PathLike):
            allow = tuple(allow)
        read_users(allow)
        return cls(keys=keys, allow=allow)

    @classmethod
    def client(cls, keys: KeyPair, server_key: str | Iterable[str]) -> Self:
        """For an engine.

        Args:
            keys: the engine's own.
            server_key: the public key of the container; several while it changes from one to the next. A container
                with another key is not talked to.

        Raises:
            ValueError, TypeError: that is not a public key.
        """
        accepted = [server_key] if isinstance(server_key, str) or not isinstance(server_key, Iterable) else server_key
        checked = tuple(check_key(key, "server_key") for key in accepted)
        if not checked:
            raise ValueError("server_key is empty: an engine accepts at least one key of a container")
        return cls(keys=keys, server_keys=checked)

    def __repr__(self) -> str:
        side = f"client(..., {list(self.server_keys)})" if self.server_keys else f"server(..., allow={self.allow!r})"
        return f"<Security.{side} as {self.keys.public}>"


def of_container(security: object) -> Security | None:
    """What was given as a container's security.

    Raises:
        TypeError: it is none.
        ValueError: it is an engine's.
    """
    if security is not None and _checked(security).allow is None:
        raise ValueError("a container's security is made by Security.server(keys, allow=...): this is an engine's")
    return security  # type: ignore[return-value]


def of_engine(security: object) -> Security | None:
    """What was given as an engine's security.

    Raises:
        TypeError: it is none.
        ValueError: it is a container's.
    """
    if security is not None and not _checked(security).server_keys:
        raise ValueError("an engine's security is made by Security.client(keys, server_key): this is a container's")
    return security  # type: ignore[return-value]


def of_lobby(security: object) -> Security | None:
    """What was given as the security of a lobby, which listens, and whose allow-list is what it trusts.

    Raises:
        TypeError: it is none.
        ValueError: it is that of a side that dials.
    """
    if security is not None and _checked(security).allow is None:
        raise ValueError("a lobby's security is made by Security.server(keys, allow=PATH): this is a dialling side's")
    return security  # type: ignore[return-value]


def of_dialling_container(security: object) -> Security | None:
    """What was given as the security of a container that dials in.

    Raises:
        TypeError: it is none.
        ValueError: it is that of a side that listens.
    """
    if security is not None and not _checked(security).server_keys:
        raise ValueError("a container joins with Security.client(keys, server_key): this is a listening side's")
    return security  # type: ignore[return-value]


def _checked(security: object) -> Security:
    if not isinstance(security, Security):
        kind = type(security).__name__
        raise TypeError(f"security is made by Security.server(...) or Security.client(...), and is no {kind}")
    return security
