"""Admin endpoints of servers and workers: what they answer, to whom, and for how long."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ContainerServer,
    InsecureBind,
    LinkRetry,
    LinkState,
    LinkUp,
    RemoteError,
    Status,
    Unsupported,
)
from mpzmq.admin import endpoint as endpoint_module
from mpzmq.container.ticks import TOLD
from tests.admin.client import address_of, get, said, status_of
from tests.support.ports import free_port
from tests.support.scene import QUICK, REDIAL
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.scene import Scene

LOCAL = "127.0.0.1:0"


# Health


async def test_a_server_is_ready_while_it_serves() -> None:
    hold = asyncio.Event()
    async with ContainerServer() as server, ComputerEngineWorker() as worker:

        @server.function
        async def wait() -> None:
            await hold.wait()

        url = await server.bind_admin(LOCAL)
        starting = await get(url, "/readyz")
        assert (starting.status, starting.text) == (503, "starting: it serves on no endpoint yet\n")
        handle = await worker.connect(await server.bind(LOCAL))
        assert ((await get(url, "/readyz")).status, (await get(url, "/readyz")).text) == (200, "ok\n")
        server.status = Status.STOP
        assert "stopped" in (await get(url, "/readyz")).text
        server.status = Status.RUNNING
        call = asyncio.create_task(handle.call("wait"))
        await until(lambda: server.statistics().in_flight)
        drain = asyncio.create_task(server.drain())
        await asyncio.sleep(0)
        draining = await get(url, "/readyz")
        assert draining.status == 503 and draining.text.startswith("draining")
        assert (await status_of(url))["draining"] is True
        assert (await get(url, "/livez")).status == 200
        hold.set()
        await soon(call)
        await soon(drain)


async def test_a_server_is_starting_while_its_lifespan_does() -> None:
    go = asyncio.Event()

    @asynccontextmanager
    async def lifespan(_: ContainerServer) -> AsyncIterator[None]:
        await go.wait()
        yield

    async with ContainerServer(lifespan=lifespan) as server:
        url = await server.bind_admin(LOCAL)
        binding = asyncio.create_task(server.bind(LOCAL))
        assert (await get(url, "/readyz")).text.startswith("starting")
        go.set()
        await soon(binding)
        assert (await get(url, "/readyz")).status == 200


async def test_a_server_that_only_joins_is_ready_once_an_engine_lets_it_in(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wrong")
    async with (
        ContainerServer() as server,
        ComputerEngineWorker() as worker,
        worker.accept(LOCAL, tokens="right") as group,
    ):
        url = await server.bind_admin(LOCAL)
        await server.join(group.endpoint, token=token, wait=False)
        while (join := (await status_of(url))["joins"][0])["failure"] is None:
            pass
        answer = await get(url, "/readyz")
        assert answer.status == 503
        assert answer.text.startswith(f"not joined: {group.endpoint}: no HELLO came after JOIN")
        assert join["address"] == group.endpoint and not join["joined"]

        token.write_text("right")
        await group.wait_ready(1)
        assert (await get(url, "/readyz")).text.strip() == "ok"
        assert (await status_of(url))["joins"] == [{"address": group.endpoint, "joined": True, "failure": None}]


async def test_a_worker_is_ready_when_what_it_waited_for_is_alive() -> None:
    async with ContainerServer() as server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        url = await worker.bind_admin(LOCAL)
        assert (await get(url, "/readyz")).status == 200  # it waits for nobody
        endpoint = await server.bind(LOCAL)
        await worker.connect(f"127.0.0.1:{free_port()}", name="optional", wait=False)
        handle = await worker.connect(endpoint, name="needed")
        assert (await get(url, "/readyz")).status == 200
        await server.close()
        await until(lambda: not handle.is_running())
        down = await get(url, "/readyz")
        assert down.status == 503 and "needed" in down.text and "optional" not in down.text
        async with ContainerServer() as successor:
            await successor.bind(endpoint)
            await until(handle.is_running)
            assert (await get(url, "/readyz")).status == 200


async def test_a_worker_is_ready_when_one_member_of_every_group_is_alive() -> None:
    async with ContainerServer() as server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        url = await worker.bind_admin(LOCAL)
        members = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
        await worker.group(members, name="pair", wait=False)
        down = await get(url, "/readyz")
        assert (down.status, down.text) == (503, "group 'pair': of its 2 members none is ALIVE\n")
        await server.bind(members[1])
        async with asyncio.timeout(10):
            while (await get(url, "/readyz")).status != 200:
                pass


async def test_of_many_reasons_some_are_told() -> None:
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        url = await worker.bind_admin(LOCAL)
        endpoint = await server.bind(LOCAL)
        for _ in range(23):
            await worker.connect(endpoint)
        await server.close()
        await until(lambda: not worker.get_connected_containers())
        lines = (await get(url, "/readyz")).text.splitlines()
        assert len(lines) == 21 and lines[-1] == "and 3 more"


# Status


async def test_the_status_of_a_server() -> None:
    async with ContainerServer(name="calc") as server, ComputerEngineWorker() as worker:

        @server.function
        async def divide(a: int, b: int) -> float:
            return a / b

        endpoint = await server.bind(LOCAL)
        url = await server.bind_admin(LOCAL)
        handle = await worker.connect(endpoint)
        assert await handle.call("divide", 1, 2) == 0.5
        with pytest.raises(RemoteError):
            await handle.call("divide", 1, 0)
        status = await status_of(url)
        assert status["kind"] == "server" and status["name"] == "calc" and status["ready"] and not status["draining"]
        assert status["instance"] == str(server.instance) and status["status"] == "RUNNING" and status["uptime"] > 0
        assert abs(status["time"] - time.time()) < 60
        counted = status["statistics"]
        assert (counted["received"], counted["replied"], counted["failed"], counted["in_flight"]) == (2, 1, 1, 0)
        (function,) = status["functions"]
        assert (function["name"], function["replied"], function["failed"]) == ("divide", 1, 1)
        assert 0 < function["p50"] <= function["p99"]
        (engine,) = status["engines"]
        assert engine["session"] == str(server.engines()[0].session) and engine["user"] is None


async def test_what_holds_the_event_loop_is_told(caplog: pytest.LogCaptureFixture) -> None:
    blocked = asyncio.Event()
    async with ContainerServer(heartbeat=QUICK) as server, ComputerEngineWorker() as worker:

        @server.function
        async def think() -> None:
            time.sleep(TOLD + QUICK.interval)  # noqa: ASYNC251 - which is what it is about
            blocked.set()
            await asyncio.Event().wait()

        url = await server.bind_admin(LOCAL)
        container = await worker.connect(await server.bind(LOCAL))
        assert (await status_of(url))["loop_lag"] == 0
        thinking = asyncio.create_task(container.call("think"))
        await soon(blocked.wait())
        await until(lambda: "the event loop was held for" in caplog.text)
        assert "at work now: 'think'" in caplog.text
        assert (await status_of(url))["loop_lag"] >= TOLD
        thinking.cancel()


async def test_the_status_of_a_worker(scene: Scene) -> None:
    url = await scene.worker.bind_admin(LOCAL)
    assert await scene.container.request(1) == 1
    with pytest.raises(Unsupported):
        await scene.container.call("nothing")
    group = await scene.worker.group([scene.endpoint], name="group")
    await group.request(2)
    gone = await scene.worker.connect(uuid.uuid4(), scene.endpoint, name="gone")
    await gone.request(3)
    await scene.worker.disconnect(gone.remote_id)
    status = await status_of(url)
    assert status["kind"] == "worker" and status["ready"]
    assert status["statistics"]["replied"] == 3 == scene.worker.statistics().replied  # the one that is gone included
    assert status["statistics"]["errors"] == dict(scene.worker.statistics().errors)
    single, member = status["containers"]
    assert (single["name"], single["state"], single["issued"], single["failed"]) == ("scene", "ALIVE", 2, 1)
    assert single["remote_id"] == str(scene.container.remote_id) and single["reason"] == "WELCOME received"
    assert single["sent_bytes"] > 0 < single["received_bytes"] and single["p50"] <= single["p99"]
    (told,) = status["groups"]
    assert (told["name"], told["statistics"]["replied"]) == ("group", 1)
    assert [one["remote_id"] for one in told["members"]] == [member["remote_id"]]
    assert told["members"][0]["state"] == "ALIVE" and not told["members"][0]["ejected"]


async def test_since_when_a_link_is_in_its_state(scene: Scene) -> None:
    url = await scene.worker.bind_admin(LOCAL)
    (before,) = (await status_of(url))["containers"]
    assert before["since"] <= time.time()
    await scene.server.close()
    await until(lambda: scene.container.state is LinkState.DOWN)
    (after,) = (await status_of(url))["containers"]
    assert after["state"] == "DOWN" and after["since"] > before["since"] and after["reason"]


async def test_why_a_link_is_not_connected_is_told_until_it_is(scene: Scene) -> None:
    url = await scene.worker.bind_admin(LOCAL)
    assert (await status_of(url))["containers"][0]["failure"] is None
    events = scene.worker.service().events()
    await scene.server.close()
    while not isinstance(await soon(anext(events)), LinkRetry):
        pass
    (down,) = (await status_of(url))["containers"]
    assert down["state"] != "ALIVE" and "refused" in down["failure"] and scene.endpoint in down["failure"]
    async with ContainerServer() as successor:
        await successor.bind(scene.endpoint)
        while not isinstance(await soon(anext(events)), LinkUp):
            pass
        (back,) = (await status_of(url))["containers"]
        assert back["state"] == "ALIVE" and back["failure"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells it")
async def test_what_the_process_takes(scene: Scene) -> None:
    for host in (scene.server, scene.worker):
        url = await host.bind_admin(LOCAL)
        before = (await status_of(url))["process"]
        held, kept = bytearray(os.urandom(1024)) * 65_536, [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
        after = (await status_of(url))["process"]
        assert after["memory"] > before["memory"] + len(held) // 2
        assert after["open_files"] >= before["open_files"] + 10 and after["cpu_seconds"] > before["cpu_seconds"]
        for one in kept:
            os.close(one)
        del held


async def test_a_long_status_lets_others_run_and_is_shared(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "SLICE", 0.0)  # after each piece
    for number in range(20):
        await scene.worker.connect(uuid.uuid4(), scene.endpoint, name=f"more-{number}")
    made = 0
    links = scene.worker._links
    told = links.snapshot

    def snapshot() -> Any:
        nonlocal made
        made += 1
        return told()

    monkeypatch.setattr(links, "snapshot", snapshot)
    url = await scene.worker.bind_admin(LOCAL)
    asked = asyncio.gather(*(status_of(url) for _ in range(10)))
    passes = 0
    while not asked.done():
        passes += 1
        await asyncio.sleep(0)
    assert passes > 21
    assert all(len(status["containers"]) == 21 for status in await asked)
    assert 0 < made < 10


# Who may ask, and where


@pytest.mark.parametrize("host", ["127.0.0.1:9100", "LOCALHOST:1", "[::1]:9100", "10.0.0.7", "calculator:9100"])
async def test_addresses_and_bare_names_are_answered(scene: Scene, host: str) -> None:
    url = await scene.server.bind_admin(LOCAL)
    assert (await get(url, "/livez", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:9100",
        "127.0.0.1.example",
        "localhost.",
        "",
        "[a",
        "[::1",
        "::1",
        "a@127.0.0.1",
    ],
)
async def test_names_of_others_are_not_answered(scene: Scene, host: str) -> None:
    url = await scene.server.bind_admin(LOCAL)
    for path in ("/livez", "/status.json", "/"):
        answer = await get(url, path, host=host)
        assert answer.status == 421 and scene.server.name not in answer.text


async def test_the_name_that_was_bound_to_is_answered(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int) -> Any:
        assert host == "Box.example"
        return [(socket.AF_INET, "127.0.0.1")]

    monkeypatch.setattr("mpzmq.runtime.reach.resolve", resolve)
    url = await scene.server.bind_admin("Box.example:0")
    assert (await get(url, "/livez", host="box.example:1")).status == 200


async def test_beyond_loopback_only_if_that_is_said(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    for host in (scene.server, scene.worker):
        with pytest.raises(InsecureBind, match=r"0\.0\.0\.0:0 can be reached .* admin endpoint") as raised:
            await host.bind_admin("0.0.0.0:0")
        assert raised.value.endpoint == "0.0.0.0:0"
    with caplog.at_level(logging.WARNING):
        url = await scene.server.bind_admin("*:0", insecure=True)
    assert "the admin endpoint of container 'scene' binds to *:0 without security" in caplog.text
    assert (await get(f"http://127.0.0.1:{address_of(url)[1]}/", "/livez")).status == 200


async def test_a_port_in_use_is_told(scene: Scene) -> None:
    port = address_of(await scene.server.bind_admin(LOCAL))[1]
    with pytest.raises(OSError, match=f"cannot bind the admin endpoint 127.0.0.1:{port}: .*in use$") as raised:
        await scene.worker.bind_admin(f"127.0.0.1:{port}")
    assert raised.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("endpoint", ["ipc:///tmp/admin", "http://127.0.0.1:1", "127.0.0.1"])
async def test_only_tcp(scene: Scene, endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"address|scheme|port"):
        await scene.server.bind_admin(endpoint)


async def test_several_endpoints_close_with_what_they_tell_of() -> None:
    for kind in (ContainerServer, ComputerEngineWorker):
        async with kind() as target:
            urls = [await target.bind_admin(LOCAL), await target.bind_admin(("127.0.0.1", 0))]
            assert [(await get(url, "/livez")).status for url in urls] == [200, 200]
        for url in urls:
            with pytest.raises(ConnectionRefusedError):
                await said(url, b"")
        with pytest.raises(RuntimeError, match="this is closed"):
            await target.bind_admin(LOCAL)


async def test_what_there_is_not(scene: Scene) -> None:
    url = await scene.server.bind_admin(LOCAL)
    for path in ("/nothing", "/livez/", "//", "/../livez"):
        assert (await get(url, path)).status == 404


async def test_without_the_metrics_the_extra_is_named(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # as if it were not installed
    answer = await get(await scene.server.bind_admin(LOCAL), "/metrics")
    assert answer.status == 501 and "mpzmq-engine[metrics]" in answer.text


async def test_metrics(scene: Scene) -> None:
    for host in (scene.server, scene.worker):
        answer = await get(await host.bind_admin(LOCAL), "/metrics")
        assert answer.status == 200 and "\nmpzmq_" in answer.text
        assert sys.platform != "linux" or "\nprocess_resident_memory_bytes " in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
