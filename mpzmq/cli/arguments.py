"""What is given on a command line: endpoints and keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..address import parse_address
from ..keys import load, load_public
from ..security.credentials import Security
from ..security.keypair import KEY_SIZE, check_key
from .outcome import CommandFailed
from .output import BAD_KEYS, USAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..security.keypair import KeyPair

__all__ = ["check_endpoint", "client_security", "in_words", "public_key", "server_security"]


def check_endpoint(endpoint: str, *, bind: bool = False) -> None:
    """Whether a text is an address.

    Raises:
        CommandFailed: it is not, and what is missing.
    """
    try:
        parse_address(endpoint, bind=bind)
    except ValueError as error:
        raise CommandFailed(str(error), USAGE) from None


def client_security(
    keys: str | None, server_key: str | None, others: str = "--server-key, the container's public key"
) -> Security | None:
    """The keys that ``--keys`` and ``--server-key`` name; None: neither was given.

    Args:
        keys: the file of this side's own.
        server_key: the other side's public one.
        others: what the option for that is called, and whose it is.

    Raises:
        CommandFailed: one of them is missing, or is not a key.
    """
    return _read_security(keys, server_key, others, lambda own, key: Security.client(own, public_key(key)))


def server_security(keys: str | None, allow: str | None) -> Security | None:
    """The keys that ``--keys`` and ``--allow`` name; None: neither was given.

    Raises:
        CommandFailed: one of them is missing, or cannot be read.
    """
    others = "--allow, the keys that get in"
    return _read_security(keys, allow, others, lambda own, path: Security.server(own, allow=path))


def _read_security(
    keys: str | None, accepted: str | None, what: str, make: Callable[[KeyPair, str], Security]
) -> Security | None:
    """This side's own keys and those that it accepts: both, or neither."""
    if keys is None and accepted is None:
        return None
    if keys is None or accepted is None:
        missing = "--keys FILE, this side's own" if keys is None else what
        raise CommandFailed(f"keys on both sides need {missing}, too: see 'mpzmq keys --help'", USAGE)
    try:
        return make(load(keys), accepted)
    except (OSError, ValueError, TypeError) as error:
        raise CommandFailed(in_words(error), BAD_KEYS) from None


def public_key(text: str) -> str:
    """The public key that a file holds, or that the text is.

    Raises:
        OSError, ValueError: neither.
    """
    if len(text) == KEY_SIZE and not os.path.exists(text):
        return check_key(text, "a public key")
    return load_public(text)


def in_words(error: Exception) -> str:
    """What an error of the system says, with the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
