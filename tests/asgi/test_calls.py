"""Calls over HTTP: arguments, answers, and what is refused before anybody is asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ContainerServer, NotPermitted
from mpzmq.asgi import gateway
from mpzmq.testing import connected
from tests.asgi.visit import JSON, LINES, Visit, ask, call, visiting
from tests.support.waiting import until

if TYPE_CHECKING:
    from mpzmq.asgi import Gateway
    from tests.asgi.conftest import Served


async def test_arguments_by_position_and_by_name(app: Gateway) -> None:
    answer = await call(app, "add", 1, 2)

    assert (answer.status, answer.json) == (200, {"result": 3})
    assert answer.headers == {
        "content-type": "application/json",
        "content-length": str(len(answer.body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }
    assert (await call(app, "add", a=4)).json == {"result": 5}
    assert (await ask(app, "/call/add", b"[1]", {"Content-Type": "Application/JSON; charset=utf-8"})).json[
        "result"
    ] == 2


@pytest.mark.parametrize(
    "value",
    [None, True, 1.5, "ü\u2028</script>", [1, [2]], {"a": {"b": 1}}, {"$b64": "aGk="}, {"$map": [[1, "one"]]}],
)
async def test_values_come_back(app: Gateway, value: Any) -> None:
    assert (await call(app, "echo", value)).json == {"result": value}


async def test_a_uuid_and_a_time_come_back_as_json_schema_has_them(app: Gateway) -> None:
    given = {"$uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}
    assert (await call(app, "echo", given)).json["result"] == given["$uuid"]
    assert (await call(app, "echo", {"$time": "2026-01-31T12:00:00+00:00"})).json[
        "result"
    ] == "2026-01-31T12:00:00+00:00"


@pytest.mark.parametrize("path", ["/call/%C3%BCml%C3%A4ut", "/call/a%2Fb", "/call/a/b"])
async def test_names_in_a_path(app: Gateway, path: str) -> None:
    assert (await ask(app, path, b"[]")).status == 200


async def test_nobody_is_told_what_is_not_open(app: Gateway) -> None:
    closed, unknown = await call(app, "secret"), await call(app, "missing")

    assert closed.status == unknown.status == 404
    assert closed.error == {"type": "Unsupported", "message": "there is no function 'secret' here", "executed": "NO"}
    assert unknown.error["message"] == "there is no function 'missing' here"
    assert b"secret" not in unknown.body


async def test_everything_may_be_open(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["*"])
        assert (await call(app, "secret")).json == {"result": "hidden"}
        assert b"secret" not in (await call(app, "nothing")).body


@pytest.mark.parametrize(
    ("body", "status", "kind", "words"),
    [
        (b"", 400, "NotJson", "the body is no JSON"),
        (b"{", 400, "NotJson", "no JSON"),
        (b"[NaN]", 400, "NotJson", "NaN"),
        (b"\xff", 400, "NotJson", "utf-8"),
        (b"[" * 100_000, 400, "NotJson", "nested too deeply"),
        (b"9" * 5000, 400, "NotJson", "digits"),
        (b'[{"$uuid": "x"}]', 400, "NotJson", "no uuid"),
        (b'[{"$uuid": {"$map": [[[1], 2], [null, 3]]}}]', 400, "NotJson", "no map"),
        (b'[{"$uuid": {"$map": [[1, 2], [null, 3]]}}]', 400, "NotJson", "no uuid"),
        (b'[{"$float": 1%s}]' % (b"0" * 400), 400, "NotJson", "no float"),
        (b"[1e999]", 400, "NotJson", "1e999 is more than a float holds"),
        (b"1", 422, "WrongArguments", "a JSON array"),
        (b'{"$map": [[1, 2]]}', 422, "WrongArguments", "a JSON array"),
        (b'["a"]', 502, "RemoteError", "concatenate"),
        (b"[1, 2, 3]", 422, "InvalidArguments", "add"),
        (b'{"c": 1}', 422, "InvalidArguments", "add"),
        (b"[%d]" % 2**70, 422, "EncodeError", "args[0]"),
        (b"[" * 80 + b"]" * 80, 422, "EncodeError", "args[0]"),
    ],
)
async def test_wrong_arguments(app: Gateway, body: bytes, status: int, kind: str, words: str) -> None:
    answer = await ask(app, "/call/add", body)

    assert (answer.status, answer.error["type"]) == (status, kind)
    assert words in answer.error["message"]
    assert answer.error["executed"] == ("YES" if status == 502 else "NO")


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ([("Content-Type", "text/plain")], 415, "application/json"),
        ([("Origin", "https://example.org")], 415, "application/json"),
        ([("Sec-Fetch-Site", "cross-site")], 415, "application/json"),
        ([("Content-Type", "application/x-www-form-urlencoded"), ("Origin", "null")], 415, "application/json"),
        ([*JSON.items(), *JSON.items()], 400, "more than once"),
        ([*JSON.items(), ("Accept", "text/html")], 406, "text/event-stream"),
        ([*JSON.items(), ("Accept", "application/json;q=0, */*")], 406, "accept application/json"),
        ([*JSON.items(), ("Mpzmq-Timeout", "soon")], 400, "number of seconds"),
        ([*JSON.items(), ("Mpzmq-Timeout", "nan")], 400, "number of seconds"),
        ([*JSON.items(), ("Mpzmq-Timeout", "0")], 400, "number of seconds"),
        ([*JSON.items(), ("Idempotency-Key", "1")], 400, "a UUID"),
        ([*JSON.items(), ("Idempotency-Key", "00000000-0000-0000-0000-000000000000")], 400, "nil"),
        ([*JSON.items(), ("Content-Length", "2000000")], 413, "1,048,576"),
        ([*JSON.items(), ("Content-Length", "9" * 5000)], 413, "1,048,576"),
    ],
)
async def test_heads_that_cannot_be(app: Gateway, headers: list[tuple[str, str]], status: int, words: str) -> None:
    answer = await ask(app, "/call/add", b"[1]", headers)

    assert answer.status == status
    assert words in answer.error["message"]


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded"])
async def test_programs_need_not_say_that_it_is_json(app: Gateway, kind: str) -> None:
    headers = [("Content-Type", kind)] if kind else []
    assert (await ask(app, "/call/add", b"[1]", headers)).json == {"result": 2}
    assert (await ask(app, "/call/add", b"a=1", headers)).error["type"] == "NotJson"


@pytest.mark.parametrize("name", ["add", "nothing"])
async def test_nothing_is_open_that_was_not_allowed(served: Served, name: str) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=[])
        assert (await call(app, name, 1)).status == 404
        assert (await ask(app, "/openapi.json", method="GET")).json["paths"] == {}


@pytest.mark.parametrize("accept", ["*/*", "", "text/html, application/*;q=0.1", "application/json;q=x, */*"])
async def test_wildcards_take_json(app: Gateway, accept: str) -> None:
    answer = await call(app, "add", 1, headers={"accept": accept})
    assert answer.status == (406 if "q=x" in accept else 200)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/call/add", "POST"),
        ("HEAD", "/call/add", "POST"),
        ("OPTIONS", "/call/add", "POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ],
)
async def test_methods(app: Gateway, method: str, path: str, allow: str) -> None:
    answer = await ask(app, path, method=method)

    assert (answer.status, answer.headers["allow"]) == (405, allow)
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert (answer.body == b"") is (method == "HEAD")


async def test_other_paths(app: Gateway) -> None:
    for path in ("/", "/call/", "/call", "/docs", "/callx/add"):
        assert (await ask(app, path, b"[1]")).status == 404


async def test_a_body_has_a_bound(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["echo"], max_body=100)
        assert (await ask(app, "/call/echo", json.dumps(["x" * 96]).encode())).status == 200
        answer = await ask(app, "/call/echo", json.dumps(["x" * 97]).encode())
        assert (answer.status, answer.error["type"]) == (413, "BodyTooLarge")


async def test_a_slow_body_has_an_end(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["echo"], timeout=0.05)
        for headers in (JSON, LINES):
            async with visiting(app, "/call/echo", None, headers) as visit:
                visit.say(b"[", more=True)
            assert (visit.status, visit.error["type"]) == (408, "BodyTooSlow")


async def test_a_body_in_pieces(app: Gateway) -> None:
    async with visiting(app, "/call/add", None, JSON) as visit:
        for piece in (b"[", b"1, ", b"", b"2]"):
            visit.say(piece, more=piece != b"2]")
    assert visit.json == {"result": 3}


async def test_a_deadline(app: Gateway, served: Served) -> None:
    answer = await call(app, "slow", headers={"mpzmq-timeout": "0.05"})

    assert (answer.status, answer.error["type"]) == (504, "RequestTimeout")
    assert answer.error["executed"] in ("UNKNOWN", "YES")  # as soon as its container has said that it began
    await until(lambda: served.ended == 1)
    for given, most in (("1e9", 30.0), ("5", 5.0)):
        _, _, remaining = (await call(app, "who", headers={"mpzmq-timeout": given})).json["result"]
        assert most - 5 < remaining < most + 0.1  # it counts from when it was read


async def test_metadata(served: Served) -> None:
    async def of_the_scope(scope: Any) -> dict[str, Any] | None:
        headers = dict(scope["headers"])
        if b"authorization" not in headers:
            raise NotPermitted("say who you are")
        return {"user": headers[b"authorization"].decode()}

    async with connected(served.server) as container:
        app = gateway(container, allow=["who"], metadata=of_the_scope)
        answer = await call(app, "who")
        assert (answer.status, answer.error["message"]) == (403, "say who you are")
        assert (await call(app, "who", headers={"authorization": "Ada"})).json["result"][0] == {"user": "Ada"}
        assert (await call(gateway(container, allow=["who"], metadata={"by": 1}), "who")).json["result"][0] == {"by": 1}


async def test_an_error_of_the_application_is_for_its_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(served.server) as container:
        answer = await call(gateway(container, allow=["add"], metadata=lambda scope: 1 / 0), "add", 1)  # type: ignore[arg-type]
        assert (answer.status, answer.error["type"]) == (500, "InternalError")
        assert b"division" not in answer.body
        assert "division by zero" in caplog.text


async def test_there_are_only_so_many_at_a_time(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["slow", "add"], max_requests=1)
        async with visiting(app, "/call/slow", b"[]", JSON) as visit:
            await until(lambda: served.begun)
            refused = await call(app, "add", 1)
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert (await ask(app, "/healthz", method="GET")).status == 200
            served.may_go_on.set()
        assert visit.json == {"result": "done"}
        assert (await call(app, "add", 1)).status == 200


async def test_lifespan_opens_and_closes_a_source() -> None:
    server = ContainerServer()
    server.function(lambda: "here", name="hello")
    async with server:
        app = gateway(await server.bind("127.0.0.1:0"), allow=["hello"])
        visit = Visit("", {})
        said: list[str] = []

        async def send(message: Any) -> None:
            said.append(message["type"])
            if message["type"] == "lifespan.startup.complete":
                assert (await call(app, "hello")).json == {"result": "here"}
                assert (await ask(app, "/healthz", method="GET")).json == {"status": "ok"}
                visit.say(b"")  # of whatever type: it is the second one that ends it

        visit.say(b"")
        await app({"type": "lifespan"}, visit.receive, send)
        assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        closed = await call(app, "hello")
        assert (closed.status, closed.error["type"]) == (503, "NotConnected")


async def test_it_is_mounted_below_a_path() -> None:
    server = ContainerServer()
    server.function(lambda: "here", name="hello")
    async with server, gateway(await server.bind("127.0.0.1:0"), allow=["hello"]) as app:
        visit = Visit("/rpc/call/hello", JSON)
        visit.scope["root_path"] = "/rpc"
        visit.say(b"[]")
        await app(visit.scope, visit.receive, visit.send)
        assert visit.json == {"result": "here"}


async def test_health_is_true() -> None:
    async with gateway("127.0.0.1:1", allow=["add"]) as app:
        assert (await ask(app, "/healthz", method="GET")).status == 503
        assert (await call(app, "add", 1, headers={"mpzmq-timeout": "0.05"})).status in (503, 504)
    server = ContainerServer()
    async with connected(server) as container:
        assert (await ask(gateway(container, allow=["*"]), "/healthz", method="HEAD")).status == 200


async def test_no_websockets(app: Gateway) -> None:
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    visit = Visit("", {})
    visit.say(b"")
    await app({"type": "websocket"}, visit.receive, send)
    assert said == [{"type": "websocket.close", "code": 1008}]
    with pytest.raises(RuntimeError, match="does not know"):
        await app({"type": "other"}, visit.receive, send)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"allow": "add"}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"max_body": 0}, ValueError),
        ({"max_requests": True}, TypeError),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        gateway("127.0.0.1:1", **{"allow": ["add"], **options})
