"""Every error has a status, and one document tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mpzmq
from mpzmq import MpzmqError, Status
from mpzmq.asgi import gateway
from mpzmq.asgi.errors import STATUSES, error_answer, status_of
from mpzmq.testing import connected
from tests.asgi.visit import call

if TYPE_CHECKING:
    from mpzmq.asgi import Gateway
    from tests.asgi.conftest import Served

WANTED = {
    "AddressNotFound": 503, "AuthenticationFailed": 502, "ConnectError": 503, "ConnectRefused": 503,
    "ConnectTimeout": 503, "ConnectionClosed": 502, "ConnectionLost": 502, "ContainerDraining": 503,
    "ContainerStopped": 503, "EncodeError": 422, "HandshakeFailed": 502, "InsecureBind": 500, "InvalidArguments": 422,
    "MessageTooLarge": 413, "MpzmqError": 500, "NotConnected": 503, "NotPermitted": 403, "Overloaded": 429,
    "ProtocolError": 502, "Refused": 409, "RemoteError": 502, "RequestCancelled": 502, "RequestError": 500,
    "RequestIdReused": 422, "RequestTimeout": 504, "ResultMismatch": 502, "Unsupported": 404,
}  # fmt: skip


def errors() -> dict[str, type[MpzmqError]]:
    found = {name: getattr(mpzmq, name) for name in mpzmq.__all__}
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, MpzmqError)}


def test_each_class_has_its_status() -> None:
    assert {name: status_of(kind("x")) for name, kind in errors().items()} == WANTED
    assert set(STATUSES) <= set(errors().values())


@pytest.mark.parametrize("name", sorted(WANTED))
def test_each_class_is_told(name: str) -> None:
    answer = error_answer(errors()[name]("what \ud800 happened"))

    assert answer.status == WANTED[name]
    assert f'"type":"{name}","message":"what \\ud800 happened","executed":"'.encode() in answer.body
    assert (answer.headers == {"retry-after": "1"}) is (name == "Overloaded")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.1, "1"), (1.0, "1"), (1.2, "2"), (-3, "1"), (float("nan"), "1"), (float("inf"), "1"), ("x", "1")],
)
def test_retry_after_is_in_whole_seconds(seconds: Any, told: str) -> None:
    error = mpzmq.Overloaded()
    error.retry_after = seconds
    assert error_answer(error).headers == {"retry-after": told}


@pytest.mark.parametrize(
    ("name", "status", "facts"),
    [
        (
            "fail",
            502,
            {
                "type": "RemoteError", "executed": "YES", "code": "funds", "message": "declined",
                "data": {"by": "00000000-0000-0000-0000-000000000007", "raw": {"$b64": "aGk="}},
            },
        ),
        ("crash", 502, {"type": "RemoteError", "executed": "YES", "error_type": "ValueError", "message": "a bug"}),
        ("refuse", 409, {"type": "Refused", "executed": "NO"}),
        ("forbid", 403, {"type": "NotPermitted", "executed": "NO"}),
        ("full", 429, {"type": "Overloaded", "executed": "NO", "retry_after": 1.2}),
    ],
)  # fmt: skip
async def test_what_a_container_answers(app: Gateway, name: str, status: int, facts: dict[str, Any]) -> None:
    answer = await call(app, name)

    assert answer.status == status
    assert answer.error.items() >= facts.items()
    assert len(answer.error["request_id"]) == 36
    assert answer.headers.get("retry-after") == ("2" if status == 429 else None)


async def test_containers_that_do_not_serve(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["add"])
        await container.set_state(Status.STOP)
        answer = await call(app, "add", 1)
        assert (answer.status, answer.error["type"]) == (503, "ContainerStopped")
        await container.disconnect()
        answer = await call(app, "add", 1)
        assert (answer.status, answer.error["type"], answer.error["executed"]) == (503, "NotConnected", "NO")
