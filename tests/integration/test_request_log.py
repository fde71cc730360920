"""Lines of the log that speak of a request: which one, and a line for each that has ended."""

from __future__ import annotations

import ast
import asyncio
import logging
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ContainerServer,
    ContainerStopped,
    Limits,
    RemoteError,
    RequestContext,
    RequestLogFilter,
    Status,
    Unsupported,
)
from mpzmq.runtime.request_log import REQUEST_LOG
from mpzmq.testing import connected
from tests.support import ROOT
from tests.support.scene import QUICK
from tests.support.waiting import scaled, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from mpzmq import Progress
    from tests.support.scene import Scene

HOSTILE = "f\n2026 CRITICAL forged\x1b[2J\u2028" + "x" * 100_000
"""A name with which a line would be two, and a terminal cleared."""


def told(caplog: pytest.LogCaptureFixture, logger: str) -> list[Any]:
    return [record for record in caplog.records if record.name == logger]


@pytest.fixture
def access(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """``mpzmq.access`` is wanted before anything is opened."""
    with caplog.at_level(logging.INFO, "mpzmq.access"):
        yield caplog
    REQUEST_LOG.refresh()


@pytest.fixture
def detailed(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """``mpzmq.requests`` is."""
    with caplog.at_level(logging.DEBUG, "mpzmq.requests"):
        yield caplog
    REQUEST_LOG.refresh()


def desk() -> ContainerServer:
    server = ContainerServer(name="desk", heartbeat=QUICK)
    server.on_invoke(lambda data: data)

    @server.function
    def add(a: int, b: int) -> int:
        return a + b

    @server.function
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    @server.function
    async def wait() -> None:
        await asyncio.Event().wait()

    @server.function
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    return server


async def test_each_request_is_a_line_of_the_access_log(access: pytest.LogCaptureFixture) -> None:
    async with connected(desk(), name="here") as container:
        chosen = uuid4()
        assert await container.call("add", 1, 2, request_id=chosen) == 3
        assert await container.request("data") == "data"
        with pytest.raises(RemoteError):
            await container.call("fail")
        with pytest.raises(Unsupported):
            await container.call(HOSTILE)
        waiting = asyncio.create_task(container.call("wait"))
        await until(lambda: container.statistics().in_flight)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert [item async for item in container.stream("count", 2)] == [0, 1]
        await until(lambda: len(told(access, "mpzmq.access")) == 6)
    records = told(access, "mpzmq.access")
    asked = [(record.outcome, record.function) for record in records]
    assert asked[:3] == [("replied", "add"), ("replied", None), ("failed", "fail")]
    assert asked[3][0] == "refused" and asked[3][1].startswith(r"f\n2026 CRITICAL forged\x1b[2J\u2028x")
    assert len(asked[3][1]) < 400
    assert sorted(asked[4:]) == [("cancelled", "wait"), ("replied", "count")]
    first = records[0]
    assert first.request_id == str(chosen) and first.user is None and first.levelno == logging.INFO
    assert first.work_ms > 0 and first.waiting_ms > 0
    line = first.getMessage()
    assert (
        line.startswith("replied: the call of 'add' of ") and str(chosen) in line and f"{first.work_ms:.3f} ms" in line
    )
    for record in records:
        assert re.fullmatch(r"[ -~]{1,9000}", record.getMessage())
        assert UUID(record.request_id) and record.peer and not {"\n", "\x1b"} & set(record.peer)


async def test_it_is_off_whatever_the_others_write(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with connected(desk()) as container:
            await container.call("add", 1, 2)
    assert not told(caplog, "mpzmq.access") and not told(caplog, "mpzmq.requests")


async def test_it_is_off_when_all_loggers_of_the_library_are_configured() -> None:
    """``dictConfig`` takes their levels away from all loggers below one that it is given."""
    code = """
import asyncio, logging.config
from mpzmq import ContainerServer
from mpzmq.testing import connected

async def main():
    async with connected(server) as container:
        await container.request(1)

server = ContainerServer()
server.on_invoke(lambda data: data)
handlers = {"all": {"class": "logging.StreamHandler", "formatter": "name"}}
logging.config.dictConfig({
    "version": 1, "disable_existing_loggers": False, "formatters": {"name": {"format": "<%(name)s>"}},
    "handlers": handlers, "loggers": {"mpzmq": {"level": "INFO", "handlers": ["all"]}},
})
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, timeout=scaled(20)
    )
    assert done.returncode == 0 and "<mpzmq.container.server>" in done.stderr, done.stderr
    assert "<mpzmq.access>" not in done.stderr


async def test_both_sides_have_a_line_of_a_call_that_succeeded(detailed: pytest.LogCaptureFixture) -> None:
    async with connected(desk(), name="here") as container:
        chosen = uuid4()
        await container.call("add", 1, 2, request_id=chosen)
        await container.stream("count", 1).__anext__()
        with pytest.raises(RemoteError):
            await container.call("fail")
        waiting = asyncio.create_task(container.call("wait"))
        await until(lambda: container.statistics().in_flight)
        waiting.cancel()
        await asyncio.wait([waiting])
    ours = [record for record in told(detailed, "mpzmq.requests") if record.request_id == str(chosen)]
    assert [record.levelname for record in ours] == ["DEBUG", "DEBUG"]
    assert {record.function for record in ours} == {"add"}
    there, here = ours
    assert here.peer == "here" and there.peer not in ("", "here")
    assert here.getMessage().startswith("replied: the call of 'add' to 'here', ")
    lines = [record.getMessage() for record in told(detailed, "mpzmq.requests") if record.peer == "here"]
    assert any(line.startswith("failed with RemoteError: the call of 'fail' to 'here'") for line in lines)
    assert any(line.startswith("cancelled: the call of 'wait' to 'here'") for line in lines)


async def test_it_is_seen_when_somebody_begins_or_ends_to_want_it(caplog: pytest.LogCaptureFixture) -> None:
    async with desk() as server, ComputerEngineWorker(heartbeat=QUICK) as worker:
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"))
        with caplog.at_level(logging.INFO, "mpzmq.access"):
            await until(lambda: REQUEST_LOG.is_on)
            await container.call("add", 1, 2)
            assert len(told(caplog, "mpzmq.access")) == 1
        await until(lambda: not REQUEST_LOG.is_on)
        await container.call("add", 1, 2)
    assert len(told(caplog, "mpzmq.access")) == 1


async def test_a_request_that_waited_for_a_change_of_state_and_was_refused_says_for_how_long(
    access: pytest.LogCaptureFixture, scene: Scene
) -> None:
    let_go = asyncio.Event()

    @scene.server.on_state_change
    async def changing(status: object) -> None:
        await let_go.wait()

    change = asyncio.create_task(scene.container.set_state(Status.STOP))
    await until(lambda: scene.server.statistics().in_flight == 1)
    behind = asyncio.create_task(scene.container.request("data"))
    await until(lambda: scene.server.statistics().in_flight == 2)
    await asyncio.sleep(0.1)  # what is measured
    await scene.container.get_state()  # a later burst, which passes it, does not count
    let_go.set()
    await soon(change)
    with pytest.raises(ContainerStopped):
        await soon(behind)
    (refused,) = [record for record in told(access, "mpzmq.access") if record.outcome == "refused"]
    assert refused.work_ms == 0.0 and refused.waiting_ms >= 100


async def test_a_line_about_a_request_has_it_as_attributes(caplog: pytest.LogCaptureFixture) -> None:
    server = desk()

    @server.function
    def hold() -> None:
        time.sleep(0.11)

    async with connected(server, name="here") as container:
        failed, slow = uuid4(), uuid4()
        with pytest.raises(RemoteError):
            await container.call("fail", request_id=failed)
        await container.call("hold", request_id=slow)

        def progress(_: Progress) -> None:
            raise LookupError("no")

        await container.request(bytes(5 << 20), progress=progress)
    by_id = {record.request_id: record for record in told(caplog, "mpzmq.handlers.dispatcher")}
    assert by_id[str(failed)].function == "fail" and by_id[str(failed)].peer
    (held,) = told(caplog, "mpzmq.handlers.slow_handlers")
    assert (held.request_id, held.function) == (str(slow), "hold")
    (callback,) = told(caplog, "mpzmq.engine.progress_callbacks")
    assert (callback.function, callback.peer) == (None, "here") and callback.request_id in callback.getMessage()


def test_every_line_about_a_request_says_so() -> None:
    """Whoever writes one more is reminded: what names a request in its text, or takes one, has ``about=``."""
    found, missing = 0, []
    for path in sorted((ROOT / "mpzmq").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not re.fullmatch(r"log|_log|self\._log|_access|_requests", ast.unparse(node.func.value)):
                continue
            if re.search(r"\brequest %s|\b_?running\b|\brequest_id\b|\babout\b", ast.unparse(node)):
                found += 1
                if not any(keyword.arg == "about" for keyword in node.keywords):
                    missing.append(f"{path.name}:{node.lineno}")
    assert missing == [] and found > 15


async def test_the_filter_gives_the_request_to_records_of_the_application() -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Lines()
    handler.addFilter(RequestLogFilter())
    handler.setFormatter(logging.Formatter("%(name)s %(request_id)s %(function)s %(peer)s: %(message)s"))
    mine = logging.getLogger("trial.application")
    server = desk()

    @server.function(thread=True)
    def work(context: RequestContext) -> str:
        mine.warning("at work")
        return str(context.peer)

    for logger in (mine, logging.getLogger("mpzmq")):
        logger.addHandler(handler)
    try:
        async with connected(server) as container:
            chosen, failed = uuid4(), uuid4()
            peer = await container.call("work", request_id=chosen)
            mine.warning("outside")
            with pytest.raises(RemoteError):
                await container.call("fail", request_id=failed)
    finally:
        for logger in (mine, logging.getLogger("mpzmq")):
            logger.removeHandler(handler)
    assert lines[:2] == [
        f"trial.application {chosen} work {peer}: at work",
        "trial.application None None None: outside",
    ]
    assert lines[2].startswith(f"mpzmq.handlers.dispatcher {failed} fail {peer}: request {failed}: ")


async def test_the_filter_of_a_logger_by_name(caplog: pytest.LogCaptureFixture) -> None:
    mine = logging.makeLogRecord({"name": "mine.a"})
    other = logging.makeLogRecord({"name": "other"})
    asked = RequestLogFilter("mine")
    server = ContainerServer()

    @server.function
    def work() -> None:
        assert asked.filter(mine) and asked.filter(other)

    async with connected(server) as container:
        await container.call("work")
    assert vars(mine)["function"] == "work" and vars(other)["function"] is None


async def test_functions_of_an_engine_have_their_lines_too(access: pytest.LogCaptureFixture) -> None:
    server = ContainerServer(name="asks")

    @server.function
    async def ask(context: RequestContext) -> Any:
        return await context.call("told")

    async with server, ComputerEngineWorker(limits=Limits()) as worker:
        worker.function(lambda: 1, name="told")
        container = await worker.connect(await server.bind("tcp://127.0.0.1:0"), name="it")
        assert await container.call("ask") == 1
    assert [(record.function, record.peer == "it") for record in told(access, "mpzmq.access")] == [
        ("told", True),
        ("ask", False),
    ]
