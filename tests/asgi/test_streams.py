"""Streams, uploads and channels over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator  # noqa: TC003  (handlers are annotated with it)
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import CallDetails, ComputerEngineWorker, ContainerServer, Proceed
from mpzmq.asgi import gateway, streams
from mpzmq.testing import connected
from tests.asgi.visit import JSON, LINES, ask, call, visiting
from tests.support.waiting import until

if TYPE_CHECKING:
    from mpzmq.asgi import Gateway
    from tests.asgi.conftest import Served

EVENTS = {"accept": "text/event-stream"}
ITEMS = {"accept": "application/x-ndjson"}


async def test_server_sent_events(app: Gateway) -> None:
    answer = await call(app, "count", 3, headers=EVENTS)

    assert answer.status == 200
    assert answer.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\nevent: end\ndata: {}\n\n"
    assert answer.headers == {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-accel-buffering": "no",
    }


async def test_lines(app: Gateway) -> None:
    assert (await call(app, "count", 2, headers=ITEMS)).lines == [{"item": 0}, {"item": 1}, {"end": {}}]
    many = (await call(app, "count", 5000, headers=ITEMS)).lines
    assert many == [*({"item": number} for number in range(5000)), {"end": {}}]


async def test_an_item_is_one_line_for_every_reader(app: Gateway) -> None:
    word = "one\ntwo\rthree\x85four\u2028five\u2029six\x0bseven\x1c"
    body = json.dumps([""]).encode() + b"\n" + json.dumps(word).encode()
    for accept in (EVENTS, ITEMS):
        text = (await ask(app, "/call/talk", body, LINES | accept)).body.decode()
        assert text.splitlines() == text.split("\n")[:-1]
        first = text.splitlines()[0].removeprefix("data: ")
        assert json.loads(first) == (word if accept is EVENTS else {"item": word})


async def test_an_error_behind_items(app: Gateway) -> None:
    *items, error = (await call(app, "count", 2, True, headers=ITEMS)).lines
    assert items == [{"item": 0}, {"item": 1}]
    assert error["error"].items() >= {"type": "RemoteError", "code": "funds", "executed": "YES"}.items()

    events = (await call(app, "count", 1, True, headers=EVENTS)).body.split(b"\n\n")
    assert events[0] == b"data: 0" and events[1].startswith(b'event: error\ndata: {"error":{"type":"RemoteError"')


async def test_an_error_before_any_item_has_its_status(app: Gateway) -> None:
    assert (await call(app, "count", 0, True, headers=EVENTS)).status == 502
    assert (await call(app, "count", headers=EVENTS)).status == 422
    assert (await call(app, "missing", headers=EVENTS)).status == 404


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("count", {}, 200),
        ("count", {"accept": "*/*"}, 200),
        ("count", {"accept": "text/*"}, 200),
        ("count", {"accept": "application/json"}, 406),
        ("total", {}, 406),
        ("add", EVENTS, 406),
        ("count", {"accept": "application/json, text/event-stream"}, 200),
        ("count", {"accept": "text/event-stream, */*"}, 200),
        ("add", {"accept": "text/event-stream, application/json;q=0.5"}, 200),
    ],
)
async def test_a_function_is_asked_in_its_way(app: Gateway, name: str, headers: dict[str, str], status: int) -> None:
    answer = await call(app, name, 1, headers=headers)

    assert answer.status == status
    if status == 406:
        hint = {
            "count": "accept text/event-stream",
            "total": "send application/x-ndjson",
            "add": "accept application/json",
        }
        assert hint[name] in answer.error["message"]
    else:
        assert answer.headers["content-type"] == ("application/json" if name == "add" else "text/event-stream")


async def test_of_typed_functions_it_is_told_how() -> None:
    server = ContainerServer(typed=True)

    @server.function
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @server.function
    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @server.function
    def add(a: int, b: int) -> int:
        return a + b

    async with connected(server) as container:
        app = gateway(container, allow=["*"])
        for name, headers, status, words in (
            (
                "count",
                JSON | {"accept": "application/json"},
                406,
                "accept text/event-stream or application/x-ndjson for the items that it yields",
            ),
            ("total", JSON, 415, "send application/x-ndjson for the items that it takes"),
            ("add", LINES, 415, "it takes no items, so send application/json"),
            ("add", JSON | EVENTS, 406, "it yields nothing, so accept application/json"),
        ):
            answer = await ask(app, f"/call/{name}", b"[1]\n", headers)
            assert (answer.status, answer.error["message"].partition(": ")[2]) == (status, words)
        wrong = await ask(app, "/call/total", b'[]\n"x"\n', LINES)
        assert (wrong.status, wrong.error["code"]) == (502, "invalid_item")


async def test_signs_of_life(app: Gateway, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BEGIN_AFTER", 0.01)
    monkeypatch.setattr(streams, "IDLE_SECONDS", 0.01)
    async with visiting(app, "/call/stuck", b"[]", JSON | EVENTS) as visit:
        await visit.shows(b": still here\n\n: still here\n\n")
        served.may_go_on.set()
    assert visit.body.endswith(b'data: "late"\n\nevent: end\ndata: {}\n\n')


async def test_a_deadline_beyond_every_timer(app: Gateway) -> None:
    answer = await call(app, "count", 1, headers=EVENTS | {"mpzmq-timeout": "1e9"})
    assert answer.body.endswith(b"event: end\ndata: {}\n\n")


async def test_a_deadline_of_a_stream(app: Gateway) -> None:
    answer = await call(app, "follow", headers=EVENTS | {"mpzmq-timeout": "0.1"})

    assert answer.body.startswith(b'data: "begun"\n\nevent: error\ndata: {"error":{"type":"RequestTimeout"')


async def test_items_wait_for_the_client(served: Served) -> None:
    given = 0

    @served.server.function
    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(1000)

    async with connected(served.server) as container:
        app = gateway(container, allow=["endless"])
        async with visiting(app, "/call/endless", b"[]", JSON | EVENTS) as visit:
            await visit.shows(b"data")
            visit.takes.clear()
            before = -1
            while before != given:  # it comes to rest
                before = given
                for _ in range(200):
                    await container.call("add", 1)
            assert given < 20_000
            visit.leave()


async def test_a_client_that_takes_nothing_is_left(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["follow"], timeout=0.2)
        async with visiting(app, "/call/follow", b"[]", JSON | EVENTS) as visit:
            visit.takes.clear()
        assert not visit.is_over
        await until(lambda: served.begun == served.ended == 1)


async def test_an_upload(app: Gateway) -> None:
    assert (await ask(app, "/call/total", b"[]\n1\n2\n\n3", LINES)).json == {"result": 6}
    assert (await ask(app, "/call/total", b'{"start": 10}\r\n1\r\n', LINES)).json == {"result": 11}
    many = b"[0]\n" + b"1\n" * 100_000
    async with visiting(app, "/call/total", None, LINES) as visit:
        for begin in range(0, len(many), 30_001):
            visit.say(many[begin : begin + 30_001], more=True)
        visit.say(b"")
    assert visit.json == {"result": 100_000}


@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson, application/json", "text/event-stream, */*;q=0.1"])
async def test_no_item_is_lost_in_finding_out_how_a_function_is_asked(app: Gateway, accept: str) -> None:
    body = b"[]\n" + b"1\n" * 3000
    assert (await ask(app, "/call/total", body, LINES | {"accept": accept})).json == {"result": 3000}
    words = b'["!"]\n' + b'"word"\n' * 3000
    assert (await ask(app, "/call/talk", words, LINES | {"accept": accept})).body.count(b"word!") == 3000


async def test_an_item_that_is_no_json_comes_behind_others_that_were_sent(app: Gateway) -> None:
    answer = await ask(app, "/call/total", b"[]\n1\nx\n", LINES)
    assert (answer.status, answer.error["executed"]) == (400, "UNKNOWN")
    assert (await ask(app, "/call/total", b"x\n1\n", LINES)).error["executed"] == "NO"


async def test_a_body_waits_for_the_function(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["take_nothing"], timeout=0.5)
        piece = b'"%b"\n' % (b"x" * 1000) * 64
        async with visiting(app, "/call/take_nothing", None, LINES) as visit:
            visit.say(b"[]\n", more=True)
            for _ in range(1000):
                visit.say(piece, more=True)
            visit.leave()  # of which nobody can hear in front of all the rest
        assert (visit.status, visit.error["type"]) == (504, "RequestTimeout")
        assert visit.unread > 500
        await until(lambda: served.ended == 1)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "the first line of the body is no JSON"),
        (b"1\n2\n", 422, "the first line of the body has the arguments"),
        (b"[]\n1\nx\n", 400, "line 3 of the body is no JSON"),
        (b"[]\n" + b"1" * 200, 413, "line 2 of the body has more than 100 bytes"),
        (b"[]\n" + b"1" * 101 + b"\n", 413, "line 2 of the body has more than 100 bytes"),
        (b"[1, 2, 3]\n1\n", 422, "total"),
        (b'[]\n"x"\n', 502, "unsupported operand"),
    ],
)
async def test_uploads_that_fail(served: Served, body: bytes, status: int, words: str) -> None:
    async with connected(served.server) as container:
        answer = await ask(gateway(container, allow=["total"], max_body=100), "/call/total", body, LINES)

        assert answer.status == status
        assert words in answer.error["message"]
        await until(lambda: not served.running)


async def test_a_channel(app: Gateway) -> None:
    async with visiting(app, "/call/talk", None, LINES | ITEMS) as visit:
        visit.say(b'["!"]\n"a"\n', more=True)
        await visit.shows(b"a!")
        visit.say(b'"b"\n', more=True)
        await visit.shows(b"b!")
        visit.say(b"")
    assert visit.lines == [{"item": "a!"}, {"item": "b!"}, {"end": {}}]


async def test_a_channel_whose_client_says_no_json(app: Gateway, served: Served) -> None:
    async with visiting(app, "/call/talk", None, LINES | ITEMS) as visit:
        visit.say(b'["!"]\n"a"\n', more=True)
        await visit.shows(b"a!")
        visit.say(b"b\n", more=True)
    assert visit.lines[-1]["error"]["type"] == "NotJson"
    await until(lambda: not served.running)
    early = await ask(app, "/call/talk", b'["!"]\nb\n', LINES | ITEMS)
    assert (early.status, early.error["type"]) == (400, "NotJson")


async def test_over_a_group(served: Served) -> None:
    other = type(served)()
    async with connected(served.server, other.server) as group:
        app = gateway(group, allow=["*"])
        assert (await call(app, "add", 1)).json == {"result": 2}
        assert (await call(app, "count", 2, headers=ITEMS)).lines == [{"item": 0}, {"item": 1}, {"end": {}}]
        assert (await call(app, "count", headers=ITEMS)).status == 422
        assert (await call(app, "count", 1)).body.startswith(b"data: 0")
        assert (await ask(app, "/call/total", b"[]\n1\n2\n", LINES)).json == {"result": 3}
        both = await ask(app, "/call/talk", b'["!"]\n"a"\n', LINES | ITEMS)
        assert both.lines == [{"item": "a!"}, {"end": {}}]
        async with visiting(app, "/call/follow", b"[]", JSON | EVENTS) as visit:
            await visit.shows(b"begun")
            visit.leave()
        await until(lambda: served.ended + other.ended == 1)


async def test_through_middleware_of_the_worker(served: Served) -> None:
    worker = ComputerEngineWorker()

    @worker.middleware
    async def around(call: CallDetails, proceed: Proceed) -> Any:
        async def twice(items: Any) -> AsyncIterator[Any]:
            async for item in items:
                yield item * 2
                if item == "fails":
                    raise ValueError("a bug")

        return twice(await proceed(call)) if call.function in ("count", "talk") else await proceed(call)

    async with served.server, worker:
        app = gateway(await worker.connect(await served.server.bind("127.0.0.1:0")), allow=["*"])
        assert (await call(app, "count", 3, headers=ITEMS)).lines[2] == {"item": 4}
        fails = await ask(app, "/call/talk", b'[""]\n"fails"\n', LINES | ITEMS)
        assert fails.lines[0] == {"item": "failsfails"}
        assert fails.lines[1]["error"]["type"] == "InternalError"
