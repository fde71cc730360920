"""``mpzmq keys``: keys are made, shown, and let in or locked out, as files."""

from __future__ import annotations

import os
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..security.allow_list import PUBLIC_SUFFIX, User, read_users
from .outcome import CommandFailed, finish
from .output import BAD_KEYS, OK, USAGE, need_stdout, print_error, say
from .remote import in_words, public_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["keys"]


_EXAMPLES = """\b
Examples:
  mpzmq keys new container
  mpzmq keys new engine
  mpzmq keys allow allowed engine.pub
  mpzmq serve app:server --bind tcp://0.0.0.0:3010 --keys container.key --allow allowed
  mpzmq call host:3010 add 1 2 --keys engine.key --server-key container.pub"""


@click.group(epilog=_EXAMPLES)
def keys() -> None:
    """Make keys, show them, and say whose get in."""


@keys.command()
@click.argument("name")
def new(name: str) -> int:
    """Make a pair of keys: NAME.key, readable by its owner only, and NAME.pub for those who are to know it."""
    from ..keys import SECRET_SUFFIX, fingerprint, generate, save

    def work() -> int:
        need_stdout()
        if not Path(name).name.removesuffix(SECRET_SUFFIX):
            raise CommandFailed(f"{name!r} cannot be a name: it becomes a file's", USAGE)
        path = Path(name.removesuffix(SECRET_SUFFIX) + SECRET_SUFFIX)
        pair = generate()
        public = save(pair, path)
        print_error(f"{path} is secret: it stays where it is used. {public} is for the other side.")
        say(f"{pair.public}  {fingerprint(pair.public)}  {public}")
        return OK

    return finish("mpzmq keys new", _told(work))


@keys.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
def show(paths: tuple[str, ...]) -> int:
    """Show public keys: of key files, and of the folders and TOML files that list who gets in."""
    from ..keys import fingerprint, load_public

    def work() -> int:
        need_stdout()
        for path in paths:
            if os.path.isdir(path) or path.endswith(".toml"):
                for user in read_users(path).values():
                    may = "everything" if user.allow is None else ", ".join(sorted(user.allow)) or "nothing"
                    say(f"{user.key}  {fingerprint(user.key)}  {user.name}: {may}")
            else:
                public = load_public(path)
                say(f"{public}  {fingerprint(public)}  {path}")
        return OK

    return finish("mpzmq keys show", _told(work))


@keys.command()
@click.argument("folder")
@click.argument("key")
@click.option("--name", help="What the key stands for; by default the name of its file.")
@click.option(
    "--function", "functions", multiple=True, metavar="NAME",
    help="What may be called, or state:get, state:set, functions:describe, stats, data:invoke; by default all.",
)  # fmt: skip
def allow(folder: str, key: str, name: str | None, functions: tuple[str, ...]) -> int:
    """Let a public key in: a container that runs with --allow FOLDER reads it within a second.

    Under a name that is there already the key is added, so that its owner can change from one to the other.
    """
    from ..keys import SECRET_SUFFIX

    def work() -> int:
        public = public_key(key)
        file_name = Path(key).name.removesuffix(PUBLIC_SUFFIX).removesuffix(SECRET_SUFFIX)
        called = name or (file_name if os.path.exists(key) else None)
        if called is None:
            raise CommandFailed("a key that is not a file needs --name", USAGE)
        if called.startswith(".") or "/" in called or not called.isprintable():
            raise CommandFailed(f"{called!r} cannot be a name: it becomes a file's", USAGE)
        users = _users_in(folder)
        known = [user for user in users if user.name == called]
        other = [user for user in users if user.key == public and user.name != called]
        if other:
            raise CommandFailed(f"this key is that of {other[0].name!r} already: revoke that first", USAGE)
        permissions = frozenset(functions) if functions else known[0].allow if known else None
        _write(Path(folder), called, dict.fromkeys([*(user.key for user in known), public]), permissions)
        return OK

    return finish("mpzmq keys allow", _told(work))


@keys.command()
@click.argument("folder")
@click.argument("key", metavar="NAME|KEY")
def revoke(folder: str, key: str) -> int:
    """Lock a name out, with all its keys, or one public key: its engines are cut off within a second."""

    def work() -> int:
        users = _users_in(folder)
        by_name = [user for user in users if user.name == key]
        gone = by_name or [user for user in users if user.key == _key_or_none(key)]
        if not gone:
            raise CommandFailed(f"{folder} lists neither a name nor a key {key!r}", USAGE)
        name = gone[0].name
        left = [user for user in users if user.name == name and user not in gone]
        if left:
            _write(Path(folder), name, [user.key for user in left], left[0].allow)
        else:
            (Path(folder) / (name + PUBLIC_SUFFIX)).unlink()
        return OK

    return finish("mpzmq keys revoke", _told(work))


def _told(work: Callable[[], int]) -> Callable[[], int]:
    def told() -> int:
        try:
            return work()
        except (OSError, ValueError) as error:
            raise CommandFailed(in_words(error), BAD_KEYS) from None

    return told


def _key_or_none(text: str) -> str | None:
    try:
        return public_key(text)
    except (OSError, ValueError):
        return None


def _users_in(folder: str) -> list[User]:
    if os.path.isfile(folder):
        raise CommandFailed(f"{folder} is a file: edit it, or name a folder", USAGE)
    return list(read_users(folder).values()) if os.path.isdir(folder) else []


def _write(folder: Path, name: str, public: Iterable[str], allow: frozenset[str] | None) -> None:
    """Writes a user's file in one step: a container that reads meanwhile finds the old one or the new one."""
    import json  # its strings are TOML's, too

    from ..keys import fingerprint

    lines = [f"# {fingerprint(key)}" for key in public]
    lines.append(f"public-key = {json.dumps(list(public), ensure_ascii=False)}")
    if allow is not None:
        lines.append(f"allow = {json.dumps(sorted(allow), ensure_ascii=False)}")
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)  # a name with control characters, say: the whole folder could not be read any more
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".", encoding="utf-8", delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, folder / (name + PUBLIC_SUFFIX))
