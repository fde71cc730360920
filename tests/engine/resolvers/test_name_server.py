"""``srv://`` and ``dns://`` against a name server that the test runs."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("dns", reason="the extra dns is not installed")

from mpzmq.engine.resolvers import Source, service_records
from mpzmq.engine.resolvers.polling import Polled
from mpzmq.engine.resolvers.service_records import ServiceRecords
from tests.engine.resolvers.name_server import NameServer, name_server
from tests.engine.resolvers.watching import watching
from tests.support import ROOT
from tests.support.commands import environment
from tests.support.waiting import SECONDS, until

if TYPE_CHECKING:
    from pathlib import Path

NAME = "_mpzmq._tcp.calc.example"


def source_of(server: NameServer) -> Source:
    records = ServiceRecords(NAME, ["127.0.0.1"], server.port)
    return Source(f"srv://{NAME}", Polled(records.look_up, 0.01), pause=0.01)


async def test_records_are_followed() -> None:
    async with name_server() as server:
        server.records[NAME, "SRV"] = ["0 10 3010 b.example.", "0 30 3011 a.example.", "5 0 3012 spare.example."]
        async with watching(source_of(server)) as watch:
            found = await watch.next()
            assert [(endpoint.address, endpoint.weight) for endpoint in found] == [
                ("a.example:3011", 30),
                ("b.example:3010", 10),
            ]
            server.records[NAME, "SRV"] = ["5 0 3012 spare.example."]
            (endpoint,) = await watch.next()
            assert (endpoint.address, endpoint.weight) == ("spare.example:3012", 1)
            server.records[NAME, "SRV"] = ["0 0 0 ."]  # the service is decidedly not there
            assert await watch.next() == ()


async def test_a_name_without_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_records, "LOOK_UP_TIMEOUT", 0.2)
    async with name_server() as server:
        source = source_of(server)
        async with watching(source) as watch:
            assert await watch.next() == ()
            assert source.trouble.startswith(f"{NAME} has no SRV records (The DNS query name does not exist")
            server.records[NAME, "SRV"] = ["0 0 3010 a.example."]
            assert await watch.addresses() == ["a.example:3010"]
            coming = asyncio.create_task(watch.addresses())
            server.is_mute = True
            await until(lambda: source.trouble)
            assert "has no SRV records" in source.trouble
            assert not coming.done()
            server.records[NAME, "SRV"] = ["0 0 3010 b.example."]
            server.is_mute = False
            assert await coming == ["b.example:3010"]


def _unshare_works() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    return subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not _unshare_works(), reason="needs root, ip and unshare, for a network with a name server at 53")
def test_what_the_system_looks_up_is_followed(tmp_path: Path) -> None:
    """getaddrinfo itself, in a network and with a resolv.conf of its own."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns\n")
    script = "ip link set lo up"
    for name in ("resolv.conf", "nsswitch.conf"):
        script += f" && {{ ! test -e /etc/{name} || mount --bind {tmp_path}/{name} /etc/{name}; }}"
    script += f" && exec {sys.executable} -m tests.engine.resolvers.name_server"
    with subprocess.Popen(
        ["unshare", "--mount", "--net", "sh", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline()) == []  # it has no addresses yet
            for numbers in (["127.0.0.1", "127.0.0.2"], [f"127.0.0.{n}" for n in range(1, 7)], ["127.0.0.3"]):
                process.stdin.write(f"{json.dumps(numbers)}\n")
                process.stdin.flush()
                assert json.loads(process.stdout.readline()) == [f"{number}:3010" for number in numbers]
            process.stdin.write(f"{json.dumps(['127.0.0.4', '::1'])}\n")  # both families of one host
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == ["127.0.0.4:3010"]
            process.stdin.close()
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()
