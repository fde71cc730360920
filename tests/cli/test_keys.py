"""``mpzmq keys``, and the commands that take keys: files, real containers, mistakes."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from mpzmq import keys
from mpzmq.security.allow_list import read_users
from tests.support.commands import SECONDS, called, run

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run, with the keys of a container and an engine that gets in."""
    monkeypatch.chdir(tmp_path)
    for name in ("container", "engine"):
        made = called("keys", "new", name)
        assert made.returncode == 0 and "is secret" in made.stderr
        assert made.stdout.split() == [
            keys.load_public(f"{name}.pub"), keys.fingerprint(keys.load_public(f"{name}.pub")), f"{name}.pub",
        ]  # fmt: skip
    assert called("keys", "allow", "allowed", "engine.pub", "--function", "echo").returncode == 0
    return tmp_path


def test_new_makes_a_pair_and_never_another_in_its_place(folder: Path) -> None:
    made = keys.load(folder / "engine.key")
    assert stat.S_IMODE((folder / "engine.key").stat().st_mode) == 0o600
    again = called("keys", "new", "engine.key")
    assert again.returncode == 78 and "not overwritten" in again.stderr
    assert keys.load(folder / "engine.key") == made


def test_show(folder: Path) -> None:
    public = keys.load_public(folder / "engine.pub")
    shown = called("keys", "show", "engine.pub", "engine.key", "allowed")
    lines = shown.stdout.splitlines()
    assert shown.returncode == 0 and len(lines) == 3
    assert all(line.startswith(f"{public}  SHA256:") for line in lines)
    assert lines[2].endswith("engine: echo")
    assert keys.load(folder / "engine.key").secret not in shown.stdout + shown.stderr
    missing = called("keys", "show", "nowhere.pub")
    assert missing.returncode == 78 and "nowhere.pub: No such file" in missing.stderr


def test_a_name_may_have_two_keys_and_loses_them_one_by_one(folder: Path) -> None:
    assert called("keys", "new", "next").returncode == 0
    old, new = keys.load_public("engine.pub"), keys.load_public("next.pub")
    assert called("keys", "allow", "allowed", "next.pub", "--name", "engine").returncode == 0
    users = read_users("allowed")
    assert {key: (user.name, user.allow) for key, user in users.items()} == {
        old: ("engine", frozenset({"echo"})),
        new: ("engine", frozenset({"echo"})),
    }
    assert called("keys", "revoke", "allowed", "engine.pub").returncode == 0
    assert list(read_users("allowed")) == [new]
    assert called("keys", "revoke", "allowed", "engine").returncode == 0
    assert read_users("allowed") == {}
    gone = called("keys", "revoke", "allowed", "engine")
    assert gone.returncode == 64 and "lists neither" in gone.stderr


def test_a_file_of_the_list_is_a_key_too(folder: Path) -> None:
    shown = called("keys", "show", "allowed/engine.pub")
    assert shown.returncode == 0 and keys.load_public("engine.pub") in shown.stdout
    odd = called("keys", "allow", "allowed", "container.pub", "--function", "\x7f")
    assert odd.returncode == 78 and len(read_users("allowed")) == 1
    assert called("keys", "revoke", "allowed", "allowed/engine.pub").returncode == 0
    assert read_users("allowed") == {}
    assert called("ping", "127.0.0.1:1", MPZMQ_KEYS="", MPZMQ_SERVER_KEY="").returncode == 2


def test_mistakes_are_told(folder: Path) -> None:
    public = keys.load_public("engine.pub")
    (folder / "list.toml").write_text("")
    for args, code, text in (
        (("keys", "allow", "allowed", public), 64, "needs --name"),
        (("keys", "allow", "allowed", "engine.pub", "--name", "other"), 64, "is that of 'engine' already"),
        (("keys", "allow", "allowed", "container.pub", "--name", "../up"), 64, "cannot be a name"),
        (("keys", "allow", "allowed", "container.pub", "--name", "a\nb"), 64, "cannot be a name"),
        (("keys", "new", ""), 64, "cannot be a name"),
        (("keys", "new", ".key"), 64, "cannot be a name"),
        (("keys", "allow", "list.toml", "engine.pub"), 64, "edit it"),
        (("keys", "allow", "allowed", "nowhere.pub"), 78, "No such file"),
        (("call", "127.0.0.1:1", "echo", "--keys", "engine.key"), 64, "--server-key"),
        (("call", "127.0.0.1:1", "echo", "--server-key", "container.pub"), 64, "--keys FILE"),
        (("ping", "127.0.0.1:1", "--keys", "engine.pub", "--server-key", "container.pub"), 78, "a public one only"),
        (("reply", "--keys", "container.key"), 64, "--allow"),
        (("reply", "--keys", "container.key", "--allow", "nowhere"), 78, "nowhere: No such file"),
    ):
        told = called(*args)
        assert told.returncode == code, (args, told)
        assert text in told.stderr and len(told.stderr.splitlines()) == 1, (args, told.stderr)
    exposed = run("reply", "--bind", "0.0.0.0:0")  # uvloop keeps descriptors for good: not in this process
    assert exposed.returncode == 77 and "--keys" in exposed.stderr and len(exposed.stderr.splitlines()) == 1
    assert called("keys", "allow", "allowed", "container.key").returncode == 0
    assert (folder / "allowed" / "container.pub").exists(), "named as the key is, whichever of its files was given"
    (folder / "engine.key").chmod(0o644)
    told = called("call", "127.0.0.1:1", "echo", "--keys", "engine.key", "--server-key", "container.pub")
    assert told.returncode == 78 and "chmod 600 engine.key" in told.stderr


def test_serve_call_and_ping_with_keys(folder: Path, start: Start) -> None:
    served = start("reply", "--bind", "0.0.0.0:0", "--keys", "container.key", "--allow", "allowed")
    assert served.stdout is not None
    endpoint = served.stdout.readline().strip().replace("0.0.0.0", "127.0.0.1")
    own = ("--keys", "engine.key", "--server-key", "container.pub")
    assert run("call", endpoint, "echo", "3", *own).stdout == "3\n"
    # By environment, and the key itself in place of its file.
    secret = {"MPZMQ_KEYS": "engine.key", "MPZMQ_SERVER_KEY": keys.load_public("container.pub")}
    assert called("call", endpoint, "echo", "4", **secret).stdout == "4\n"
    forbidden = called("call", endpoint, "--invoke", "3", *own)
    assert forbidden.returncode == 1 and "NotPermitted" in forbidden.stderr
    plain = called("call", endpoint, "echo", "3")
    assert plain.returncode == 2 and "the container has keys" in plain.stderr
    doctor = called("doctor", endpoint, "--json")
    assert doctor.returncode == 2 and "pass --keys and --server-key" in doctor.stdout
    assert called("keys", "allow", "allowed", "engine.pub", "--function", "state:get").returncode == 0
    pinged = called("ping", endpoint, "-c", "40", "-i", "0.05", "--live", *own)
    assert "40 sent" in pinged.stdout and "status=RUNNING" in pinged.stdout
    assert called("doctor", endpoint, *own).returncode == 0
    served.terminate()
    assert served.wait(SECONDS) == 0
