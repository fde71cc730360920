"""Who may ask a container for what: public keys, with names and permissions."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import read_toml
from .keypair import check_key

__all__ = ["EVERYTHING", "PUBLIC_SUFFIX", "Allow", "User", "Users", "named_in", "read_users", "stamp"]

PUBLIC_SUFFIX = ".pub"
"""Of the files in a folder that are read; each holds one public key, and the file's name is the user's."""

EVERYTHING = "*"

_FIELDS = {"public-key", "allow"}


@dataclass(frozen=True, slots=True)
class User:
    """One public key that a container lets in.

    Attributes:
        name: what the key stands for; handlers see it as ``RequestContext.user``. Several keys may share one.
        key: the public key.
        allow: the functions that may be called with it, and ``state:get``, ``state:set``, ``functions:describe``,
            ``stats`` and ``data:invoke`` for what is not a function; None: everything.
    """

    name: str
    key: str
    allow: frozenset[str] | None = None

    def may(self, permission: str) -> bool:
        """Whether this user may ask for something."""
        return self.allow is None or permission in self.allow


Users = dict[str, User]
"""Public key to user."""

Allow = str | os.PathLike[str] | Mapping[str, Any] | Iterable[str]
"""A folder or TOML file that is read; or names to keys, or to tables as in TOML; or bare keys."""


def read_users(allow: Allow) -> Users:
    """The users that an allow-list names.

    Args:
        allow: a folder of ``NAME.pub`` files, a TOML file with a table for each name, the same as a mapping (a bare key
            stands for a table with nothing else), or bare keys.

    Raises:
        OSError: the folder or file cannot be read.
        ValueError: something in it is malformed, and where; or a key is there twice.
        TypeError: it is of another form.
    """
    users: Users = {}
    for name, table, where in _tables(allow):
        for user in _users(name, table, where):
            if user.key in users:
                raise ValueError(f"{where}: its key is that of {users[user.key].name!r} already")
            users[user.key] = user
    return users


def stamp(allow: Allow) -> object:
    """Compares equal as long as the files of an allow-list are the same; what is not a file never changes.

    Raises:
        OSError: they cannot be looked at.
    """
    if not isinstance(allow, str | os.PathLike):
        return None
    path = Path(allow)
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        return _version(found)
    found_files = []
    for file in _public_files(path):
        with contextlib.suppress(FileNotFoundError):  # it was removed a moment ago
            found_files.append((file.name, _version(file.stat())))
    return found_files


def named_in(allow: Allow) -> set[str] | None:
    """The names that a folder lists, whatever its files hold; None: it is not a folder, or cannot be looked at."""
    try:
        return {file.stem for file in _public_files(Path(allow))} if isinstance(allow, str | os.PathLike) else None
    except OSError:
        return None


def _version(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _public_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix == PUBLIC_SUFFIX and not file.name.startswith("."))


def _tables(allow: Allow) -> Iterable[tuple[str, object, str]]:
    if isinstance(allow, str | os.PathLike):
        path = Path(allow)
        if path.is_dir():
            return [(file.stem, read_toml(file, "key")[0], str(file)) for file in _public_files(path)]
        tables, _ = read_toml(path, "list of keys")
        if "public-key" in tables:
            raise ValueError(
                f"{path} is a key and no list: allow the folder that it is in, or [NAME] has to stand above it"
            )
        return [(name, table, f"{path}: [{name}]") for name, table in tables.items()]
    if isinstance(allow, Mapping):
        return [(name, table, f"allow[{name!r}]") for name, table in allow.items()]
    if isinstance(allow, Iterable) and not isinstance(allow, bytes | bytearray):
        return [(check_key(key, "a key in allow"), key, "allow") for key in allow]
    kind = type(allow).__name__
    raise TypeError(f"allow is a path, a mapping of names to public keys, or some public keys, not {kind}")


def _users(name: object, table: object, where: str) -> Iterable[User]:
    if not isinstance(name, str):
        raise TypeError(f"{where}: a name is a str")
    if not name:
        raise ValueError(f"{where}: a name is not empty")
    if not isinstance(table, Mapping):
        table = {"public-key": table}
    if unknown := table.keys() - _FIELDS:
        raise ValueError(f"{where}: {sorted(map(str, unknown))[0]!r} means nothing here: it has public-key and allow")
    keys = table.get("public-key")
    if keys is None:
        raise ValueError(f"{where}: its public-key is missing")
    permissions: frozenset[str] | None = None
    if "allow" in table:
        allow = table["allow"]
        # Nothing else will do: of a table the names alone would count, and None might be a value that somebody forgot.
        if not isinstance(allow, list | tuple | set | frozenset) or not all(isinstance(name, str) for name in allow):
            raise ValueError(f"{where}: allow is a list of function names, not {allow!r}")
        permissions = None if EVERYTHING in allow else frozenset(allow)
    for key in keys if isinstance(keys, list | tuple) else [keys]:
        try:
            yield User(name, check_key(key, "a public-key"), permissions)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
