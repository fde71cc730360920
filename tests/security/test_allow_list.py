"""Allow-lists, as they are written: folders, TOML, mappings."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import Security, keys
from mpzmq.security.allow_list import User, named_in, read_users, stamp
from mpzmq.security.watcher import AllowListWatcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Public keys as far as a list can tell. Fresh ones would give the tests other names in every process.
ONE, TWO, THREE = (digit * 40 for digit in "123")


def test_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "allowed.toml"
    path.write_text(
        f'[engine]\npublic-key = "{ONE}"\nallow = ["add", "state:get"]\n\n[admin]\npublic-key = ["{TWO}", "{THREE}"]\n'
    )
    expected = {
        ONE: User("engine", ONE, frozenset({"add", "state:get"})),
        TWO: User("admin", TWO),
        THREE: User("admin", THREE),
    }
    assert read_users(path) == read_users(str(path)) == expected


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "engine.pub").write_text(f'public-key = "{ONE}"\nallow = []\n')
    (tmp_path / "admin.pub").write_text(f'public-key = "{TWO}"\n')
    (tmp_path / "notes.txt").write_text("not a key")
    (tmp_path / ".admin.pub").write_text("a file that is being written")
    assert read_users(tmp_path) == {ONE: User("engine", ONE, frozenset()), TWO: User("admin", TWO)}


def test_values() -> None:
    assert read_users({"engine": ONE}) == {ONE: User("engine", ONE)}
    table = {"public-key": ONE, "allow": ["add"]}
    assert read_users({"engine": table}) == {ONE: User("engine", ONE, frozenset({"add"}))}
    assert read_users([ONE, TWO]) == {ONE: User(ONE, ONE), TWO: User(TWO, TWO)}
    assert read_users([]) == {}
    assert Security.server(keys.generate(), allow=iter([ONE])).allow == (ONE,)


def test_a_list_of_permissions_denies_the_rest() -> None:
    user = User("engine", ONE, frozenset({"add"}))
    assert user.may("add") and not user.may("sub") and not user.may("state:set")
    assert User("engine", ONE).may("anything")
    assert read_users({"engine": {"public-key": ONE, "allow": ["*"]}})[ONE].may("anything")
    assert not read_users({"engine": {"public-key": ONE, "allow": []}})[ONE].may("add")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("engine = ", "no TOML"),
        ("\xff", "no TOML"),
        ("[engine]", "public-key is missing"),
        ('[engine]\npublic-key = "short"', "40 characters"),
        ("[engine]\npublic-key = 3", "a public-key is a str"),
        (f'[engine]\npublic-key = "{ONE}"\nalow = ["add"]', "'alow' means nothing"),
        (f'[engine]\npublic-key = "{ONE}"\nallow = "add"', "a list of function names"),
        (f'[engine]\npublic-key = "{ONE}"\nallow = [3]', "a list of function names"),
        (f'[engine]\npublic-key = "{ONE}"\nallow = [[1]]', "a list of function names"),
        (f'[engine]\npublic-key = "{ONE}"\n[engine.allow]\nadd = false', "a list of function names"),
        (f'public-key = "{ONE}"', "a key and no list"),
        ("a = " + "[" * 3000, "no TOML"),
        ('[""]\npublic-key = "x"', "not empty"),
        (f'[engine]\npublic-key = "{ONE}"\n[other]\npublic-key = "{ONE}"', "is that of 'engine' already"),
        ("x" * (4 * 1024 * 1024 + 1), "no list of keys"),
    ],
)
def test_what_is_malformed_says_where(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "allowed.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=reason) as caught:
        Security.server(keys.generate(), allow=path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("allow", [None, 3, ONE.encode(), {3: ONE}, [3]])
def test_what_is_no_list_is_refused(allow: Any) -> None:
    with pytest.raises(TypeError):
        Security.server(keys.generate(), allow=allow)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Security.server(keys.generate(), allow=tmp_path / "nowhere")


def test_a_stamp_tells_changes(tmp_path: Path) -> None:
    first = stamp(tmp_path)
    (tmp_path / "engine.pub").write_text(f'public-key = "{ONE}"\n')
    second = stamp(tmp_path)
    (tmp_path / "engine.pub").write_text(f'public-key = ["{ONE}", "{TWO}"]\n')
    third = stamp(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    assert first != second != third == stamp(tmp_path)
    file = tmp_path / "engine.pub"
    before = file.stat()
    file.write_text(f'public-key = ["{TWO}", "{ONE}"]\n')
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stamp(tmp_path) != third, "another text of the same length, put there with the old time"
    assert stamp({"engine": ONE}) == stamp([ONE])


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + f'[a]\npublic-key = "{ONE}"\n'.encode())
    assert read_users(tmp_path / "a.toml")[ONE].name == "a"


def test_the_names_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text("no key")
    (tmp_path / ".b.pub").write_text("")
    (tmp_path / "c.txt").write_text("")
    assert named_in(tmp_path) == {"a"}
    assert named_in(tmp_path / "a.pub") is None
    assert named_in(tmp_path / "nothing") is None
    assert named_in({"a": ONE}) is None


def test_a_value_that_somebody_forgot_is_no_permission_for_everything() -> None:
    for allow in (None, {"add": False}, "add", 3, [None]):
        with pytest.raises(ValueError, match="a list of function names"):
            read_users({"engine": {"public-key": ONE, "allow": allow}})


@pytest.mark.parametrize("what", ["fifo", "device", "directory"])
def test_what_is_no_file_of_keys_is_refused(tmp_path: Path, what: str) -> None:
    """A FIFO would block, a device has no end, and of a directory the error named a descriptor."""
    path = tmp_path / "engine.pub"
    if what == "fifo":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    told = f"^{re.escape(str(path))} holds no .*: it is not a regular file"
    told += ", but a directory$" if what == "directory" else "$"
    reading: list[Callable[[], object]] = [lambda: keys.load(path), lambda: keys.load_public(path)]
    reading.append(lambda: read_users(tmp_path))
    if what != "directory":
        reading.append(lambda: read_users(path))
    for read in reading:
        with pytest.raises(ValueError, match=told):
            read()


def test_a_directory_among_the_keys_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "engine.pub").write_text(f'public-key = "{ONE}"\n')
    guard = AllowListWatcher(tmp_path, lambda: None)
    (tmp_path / "x.pub").mkdir()
    held = []
    for _ in range(5):
        guard.reload()
        held.append(os.open(os.devnull, os.O_RDONLY))  # other files get the numbers of descriptors that were free
    for descriptor in held:
        os.close(descriptor)
    (record,) = caplog.records
    assert record.getMessage().endswith(
        f"nobody is added: {tmp_path}/x.pub holds no key: it is not a regular file, but a directory"
    )
    assert guard.is_allowed(ONE)
    (tmp_path / "x.pub").rmdir()
    guard.reload()
    assert guard.is_allowed(ONE)
