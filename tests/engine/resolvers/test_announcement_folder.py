"""``dir://``: the files of containers are followed, and those of dead ones known for what they are."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.container.announcement import AnnouncementFile
from mpzmq.engine.resolvers import resolver_for
from mpzmq.runtime.announcements import Announcement, ProcessIdentity, reachable_from_elsewhere
from tests.engine.resolvers.watching import watching
from tests.support.commands import environment
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mpzmq.engine.resolvers import Source

OWN = ProcessIdentity.own()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "calc"
    folder.mkdir()
    return folder


def source_of(folder: Path) -> Source:
    return resolver_for(f"dir://{folder}")


def announce(folder: Path, name: str, *addresses: str, process: ProcessIdentity | None = OWN, **more: Any) -> None:
    told = Announcement(name=name, addresses=addresses, process=process, **more)
    (folder / f".{name}").write_bytes(told.encoded())
    (folder / f".{name}").replace(folder / f"{name}.json")


@contextlib.contextmanager
def living(*within: str) -> Iterator[tuple[subprocess.Popen[bytes], ProcessIdentity]]:
    """Another process, and which one it is; ``within`` is a command that starts it."""
    code = "import json, sys; from dataclasses import asdict; from mpzmq.runtime.announcements import ProcessIdentity"
    code += "; print(json.dumps(asdict(ProcessIdentity.own())), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [*within, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        yield process, ProcessIdentity(**json.loads(process.stdout.readline()))


async def test_a_folder_is_followed(folder: Path) -> None:
    async with watching(source_of(folder)) as watch:
        assert await watch.next() == ()
        announce(folder, "b", "127.0.0.1:2", labels={"gpu": "1"}, weight=2.0)
        (endpoint,) = await watch.next()
        assert (endpoint.name, endpoint.address, endpoint.labels, endpoint.weight) == (
            *("b", "127.0.0.1:2"),
            *({"gpu": "1"}, 2.0),
        )
        announce(folder, "a", "127.0.0.1:1")
        assert await watch.addresses() == ["127.0.0.1:1", "127.0.0.1:2"]
        announce(folder, "a", "127.0.0.1:3")
        assert await watch.addresses() == ["127.0.0.1:3", "127.0.0.1:2"]
        (folder / "b.json").unlink()
        assert await watch.addresses() == ["127.0.0.1:3"]


async def test_what_a_container_writes_is_read(folder: Path) -> None:
    async with watching(source_of(folder)) as watch:
        assert await watch.next() == ()
        with AnnouncementFile(str(folder), "calc", {}, 1.0) as file:
            file.add("ipc:///run/calc")
            file.add("tcp://127.0.0.1:3010")
            await watch.until(lambda addresses: addresses == ["ipc:///run/calc"])
        assert await watch.addresses() == []
    assert os.listdir(folder) == []


async def test_the_file_of_a_process_that_ends(folder: Path) -> None:
    """Its file stays: nobody was there to remove it."""
    with living() as (process, identity):
        announce(folder, "a", "127.0.0.1:1", process=identity)
        announce(folder, "b", "127.0.0.1:2")
        async with watching(source_of(folder)) as watch:
            assert await watch.addresses() == ["127.0.0.1:1", "127.0.0.1:2"]
            process.kill()
            assert await watch.addresses() == ["127.0.0.1:2"]
    # The next container that starts there clears it away.
    with AnnouncementFile(str(folder), "c", {}, 1.0):
        assert os.listdir(folder) == ["b.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process has started")
async def test_a_number_that_another_process_has_now(folder: Path) -> None:
    assert OWN.started is not None
    announce(folder, "a", "127.0.0.1:1", process=dataclasses.replace(OWN, started=OWN.started - 1))
    announce(folder, "b", "127.0.0.1:2")
    async with watching(source_of(folder)) as watch:
        assert await watch.addresses() == ["127.0.0.1:2"]


ANOTHER_CLOCK = ("unshare", "--user", "--map-root-user", "--time", "--boottime", "1000")


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run([*ANOTHER_CLOCK, "true"], check=False).returncode != 0,
    reason="namespaces of time are not allowed here",
)
def test_a_process_whose_clock_is_another_one() -> None:
    """When it has started reads otherwise from here."""
    with living(*ANOTHER_CLOCK) as (_, identity):
        assert not identity.is_gone()


HIDDEN = (
    *("unshare", "--mount", "sh", "-c"),
    'mount -t proc -o hidepid=invisible proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"',
    *("sh", sys.executable, "-c"),
)
"""Runs Python as a user to whom the system shows no process of anybody else's."""


@pytest.mark.skipif(
    shutil.which("setpriv") is None
    or subprocess.run([*HIDDEN, "import mpzmq"], env=environment(), capture_output=True, check=False).returncode != 0,
    reason="a /proc of its own, or another user, is not to be had here",
)
def test_a_process_that_is_hidden_has_not_ended() -> None:
    code = "import json, sys; from mpzmq.runtime.announcements import ProcessIdentity"
    code += "; print(ProcessIdentity(**json.loads(sys.argv[1])).is_gone())"

    def is_gone(identity: ProcessIdentity) -> str:
        command = [*HIDDEN, code, json.dumps(dataclasses.asdict(identity))]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout.strip()

    with living() as (process, identity):
        assert is_gone(identity) == "False"
        process.kill()
    assert is_gone(identity) == "True"


async def test_a_process_of_another_host(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody here can say whether it lives; and its own loopback leads nowhere from here."""
    elsewhere = ProcessIdentity(pid=1 << 30, started=1, pids="another", network="another")
    announce(folder, "a", "127.0.0.1:1", "ipc:///run/a", "[::1]:1", "10.0.0.1:1", process=elsewhere)
    announce(folder, "b", "127.0.0.1:2", process=elsewhere)
    async with watching(source_of(folder)) as watch:
        assert await watch.addresses() == ["10.0.0.1:1"]
        announce(folder, "c", "10.0.0.1:1", process=elsewhere)  # it was started again, and nobody removed the old one
        assert [endpoint.name for endpoint in await watch.next()] == ["c"]
    assert caplog.text.count("serves its own host only") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "Expecting value"),
        ("[]", "it has no 'addresses'"),
        ("5", "not iterable"),
        ("{}", "it has no 'addresses'"),
        ('{"addresses": "a:1"}', "addresses is a list of strings"),
        ('{"addresses": ["nowhere"]}', "'nowhere' has no port"),
        ('{"addresses": ["a:1"], "process": 5}', "process is no object"),
        ('{"addresses": ["a:1"], "process": {"pid": -1}}', "process.pid is no number of a process"),
        ('{"addresses": ["a:1"], "name": 5}', "name is a str, not int"),
        ('{"addresses": ["a:1"], "weight": NaN}', "weight must be more than 0"),
        ("[" * 100_000, "recursion"),
    ],
)
async def test_what_is_no_announcement(folder: Path, text: str, told: str, caplog: pytest.LogCaptureFixture) -> None:
    announce(folder, "a", "127.0.0.1:1")
    (folder / "b.json").write_text(text)
    (folder / "readme.txt").write_text("not looked at")
    (folder / ".c.json").write_text("not finished")
    async with watching(source_of(folder)) as watch:
        assert await watch.addresses() == ["127.0.0.1:1"]
        announce(folder, "c", "127.0.0.1:2")
        assert await watch.addresses() == ["127.0.0.1:1", "127.0.0.1:2"]
    assert caplog.text.count("is passed over") == 1
    assert told in caplog.text


async def test_a_file_that_others_write_needs_an_address_only(folder: Path) -> None:
    (folder / "a.json").write_text('{"addresses": ["10.0.0.1:1"], "since": "never heard of"}')
    async with watching(source_of(folder)) as watch:
        assert await watch.addresses() == ["10.0.0.1:1"]
        (folder / "a.json").write_text("")  # a slip: the member stays as it was
        announce(folder, "b", "127.0.0.1:2")
        assert await watch.addresses() == ["10.0.0.1:1", "127.0.0.1:2"]


async def test_a_folder_that_goes_away(folder: Path) -> None:
    announce(folder, "a", "127.0.0.1:1")
    source = source_of(folder)
    async with watching(source) as watch:
        assert await watch.addresses() == ["127.0.0.1:1"]
        coming = asyncio.create_task(watch.addresses())
        shutil.rmtree(folder)
        await until(lambda: "No such file" in source.trouble)
        assert not coming.done()
        os.mkdir(folder)
        announce(folder, "b", "127.0.0.1:2")
        while "127.0.0.1:2" not in (found := await coming):
            coming = asyncio.create_task(watch.addresses())
        assert found == ["127.0.0.1:2"]


def test_every_interface_is_announced_as_one() -> None:
    assert reachable_from_elsewhere("ipc:///run/calc") == "ipc:///run/calc"
    assert reachable_from_elsewhere("tcp://127.0.0.1:3010") == "tcp://127.0.0.1:3010"
    for endpoint in ("tcp://0.0.0.0:3010", "tcp://[::]:3010"):
        told = reachable_from_elsewhere(endpoint)
        assert told.endswith(":3010")
        assert "0.0.0.0" not in told
        assert "[::]" not in told


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OSError, match=f"cannot announce in {tmp_path}/file"),
        AnnouncementFile(f"{tmp_path}/file", "x", {}, 1.0),
    ):
        pass
