"""Keys of engines and containers: made, kept in files, shown.

A secret key is a file that only its owner can read, or root's and readable by a group, as Kubernetes and systemd hand
secrets to a process that is not root. Beside it stands the public key, ``NAME.pub``, for those who are to know it. Both
are TOML.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from .security.allow_list import PUBLIC_SUFFIX
from .security.files import read_toml
from .security.keypair import KeyPair, check_key
from .transport.libzmq.curve import fingerprint, new_keys, public_of, z85

__all__ = ["KeyPair", "fingerprint", "generate", "load", "load_public", "public_path", "save", "z85"]

SECRET_SUFFIX = ".key"
"""Of the files that the command line writes; any other name does as well."""

_FOREIGN = stat.S_IRWXG | stat.S_IRWXO
_GROUP_MAY_READ = stat.S_IRGRP


def generate() -> KeyPair:
    """A new pair of keys."""
    public, secret = new_keys()
    return KeyPair(public=public, secret=secret)


def public_path(path: str | os.PathLike[str]) -> Path:
    """Where the public key stands whose secret is in a file: ``engine.key`` has ``engine.pub``.

    Args:
        path: the file of the secret key.
    """
    path = Path(path)
    return path.with_name(path.name.removesuffix(SECRET_SUFFIX) + PUBLIC_SUFFIX)


def save(keys: KeyPair, path: str | os.PathLike[str]) -> Path:
    """Writes the keys into ``path``, for its owner only, and the public one into a ``.pub`` file beside it.

    Args:
        keys: the pair.
        path: the file of the secret key.

    Returns:
        The path of the public key.

    Raises:
        FileExistsError: one of the files is there already; a key is never overwritten.
        OSError: they cannot be written.
    """
    path, public = Path(path), public_path(path)
    if public.exists():
        raise FileExistsError(f"{public} is there already, and a key is not overwritten: choose another name")
    # Private from its first moment on, whatever the umask is.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FileExistsError(f"{path} is there already, and a key is not overwritten: choose another name") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(f"# A secret key of mpzmq ({fingerprint(keys.public)}). Whoever has it is taken for its owner.\n")
        file.write(f'public-key = "{keys.public}"\nsecret-key = "{keys.secret}"\n')
    text = f'# A public key of mpzmq ({fingerprint(keys.public)}).\npublic-key = "{keys.public}"\n'
    with open(os.open(public, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
        file.write(text)
    return public


def load(path: str | os.PathLike[str]) -> KeyPair:
    """Reads the keys that :func:`save` has written.

    Args:
        path: the file of the secret key.

    Raises:
        PermissionError: others than its owner can read or write the file. Of a file of root's the group may read it, if
            this process is not root: it could not read it otherwise.
        OSError: it cannot be read.
        ValueError: it holds no keys, or two that are not a pair.
    """
    path = Path(path)
    table, status = read_toml(path, "keys of mpzmq")
    if "secret-key" not in table:
        hint = ": it holds a public one only, which is for the other side" if "public-key" in table else ""
        raise ValueError(f"{path} holds no secret key{hint}")
    was_handed_over = status.st_uid == 0 != os.geteuid()
    mode = stat.S_IMODE(status.st_mode)
    if mode & (_FOREIGN & ~_GROUP_MAY_READ if was_handed_over else _FOREIGN):
        raise PermissionError(
            f"{path} holds a secret key, and others than its owner can use it (mode {mode:04o}): run"
            f" 'chmod 600 {shlex.quote(str(path))}', and if somebody may have read it, make new keys"
        )
    try:
        secret = check_key(table["secret-key"], "its secret-key")
        keys = KeyPair(public=public_of(secret), secret=secret)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no keys of mpzmq: {error}") from None
    if table.get("public-key", keys.public) != keys.public:
        raise ValueError(f"{path}: its two keys are not a pair")
    return keys


def load_public(path: str | os.PathLike[str]) -> str:
    """Reads a public key, from its own file, from that of its secret, or from that of a user who has one only.

    Args:
        path: one of these files.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no key.
    """
    path = Path(path)
    table, _ = read_toml(path, "public key of mpzmq")
    found = table.get("public-key")
    if isinstance(found, list) and len(found) != 1:
        raise ValueError(f"{path} holds {len(found)} public keys: which one is meant?")
    try:
        return check_key(found[0] if isinstance(found, list) else found, "its public-key")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no public key of mpzmq: {error}") from None
