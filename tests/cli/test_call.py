"""``mpzmq call``, ``describe`` and ``state`` against a real container."""

from __future__ import annotations

import functools
import json
import re
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq import blocking
from mpzmq.cli import call, inspect
from mpzmq.common.json_values import from_json, to_json
from mpzmq.testing import ContainerProcess
from tests.support.commands import SECONDS, SERVER, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., subprocess.Popen[str]]
    Told = tuple[int, str, str]
    Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("call")
    (folder / "desk.py").write_text(SERVER)
    with ContainerProcess("desk:server", folder=folder) as process:
        yield process.endpoint


def called(capsys: Capture, endpoint: str, function: str | None, *args: str, **options: Any) -> Told:
    """Exit code, stdout and stderr; in this process, which is quicker than one of its own."""
    defaults: dict[str, Any] = {"named": (), "data": None, "timeout": 10.0, "idempotent": False, "as_json": False}
    settings = defaults | options
    named, data = settings.pop("named"), settings.pop("data")
    code = call.run(endpoint, function, args, named, data, **settings)
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == (code != 0), "one line for an error, none without"
    assert "\x1b" not in told.out + told.err
    return code, told.out, told.err


def test_json_in_and_out(capsys: Capture, endpoint: str) -> None:
    assert called(capsys, endpoint, "add", "1", "2") == (0, "3\n", "")
    assert called(capsys, endpoint, "add", "-1", named=["b=-5"]) == (0, "-6\n", "")
    assert called(capsys, endpoint, "echo", '{"a": [1, "é", null, {"$b64": "aGk="}]}', idempotent=True) == (
        0,
        '{"a": [1, "é", null, {"$b64": "aGk="}]}\n',
        "",
    )
    assert called(capsys, endpoint, None, data='"plain"') == (0, '"plain"\n', "")


def test_json_document(capsys: Capture, endpoint: str) -> None:
    code, out, _ = called(capsys, endpoint, "add", "1", as_json=True)
    document = json.loads(out)
    assert (code, document["result"], document["status"]) == (0, 2, "RUNNING")
    code, out, err = called(capsys, endpoint, "fail", as_json=True)
    document = json.loads(out)
    assert (code, document["exit_code"], document["error"]["type"]) == (1, 1, "RemoteError")
    assert (document["error"]["executed"], document["error"]["code"]) == ("YES", "funds")
    assert "declined\\x1b[0m\\nreally" in err


def test_what_is_yielded_is_a_line_for_each_item(capsys: Capture, endpoint: str) -> None:
    assert called(capsys, endpoint, "count", "3") == (0, "0\n1\n2\n", "")
    assert called(capsys, endpoint, "count", named=["to=1"]) == (0, "0\n", "")
    # The function's own names, whatever options stream() may have.
    assert called(capsys, endpoint, "count", "0", named=["timeout=5", "wait=1"]) == (
        0,
        '{"timeout": 5, "wait": 1}\n',
        "",
    )
    assert called(capsys, endpoint, "count", "0") == (0, "", "")
    code, out, err = called(capsys, endpoint, "count", "2", "true")
    assert (code, out) == (1, "0\n1\n"), "the error comes behind the items"
    assert "RemoteError: " in err


def test_documents_of_a_stream(capsys: Capture, endpoint: str) -> None:
    code, out, _ = called(capsys, endpoint, "count", "2", as_json=True)
    *items, end = map(json.loads, out.splitlines())
    assert (code, items) == (0, [{"item": 0}, {"item": 1}])
    assert (end["items"], end["status"]) == (2, "RUNNING")
    code, out, _ = called(capsys, endpoint, "count", "1", "true", as_json=True)
    item, end = map(json.loads, out.splitlines())
    assert (code, item, end["error"]["code"], end["exit_code"]) == (1, {"item": 0}, "funds", 1)


def test_a_stream_that_stands_still(capsys: Capture, endpoint: str) -> None:
    code, out, err = called(capsys, endpoint, "follow", "70", timeout=0.2)
    assert (code, out) == (3, '"begun"\n')
    assert "nothing came on it for 0.2 s" in err


def test_a_stream_whose_reader_has_gone(endpoint: str) -> None:
    script = f"{sys.executable} -m mpzmq call {endpoint} count 1000000 | head -n 2; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, timeout=SECONDS, env=environment())
    assert (result.returncode, result.stdout, result.stderr) == (141, b"0\n1\n", b"")


@pytest.mark.parametrize(
    ("function", "args", "options", "code", "told"),
    [
        ("total", ["1"], {}, 1, "takes a stream of items, which no command can send: a program can, by upload()"),
        ("ehco", ["1"], {}, 1, "no function 'ehco'; did you mean 'echo'?"),
        ("add", [], {}, 1, "InvalidArguments: "),
        ("refuse", [], {}, 1, "not today"),
        ("slow", ["60"], {"timeout": 0.2}, 3, "RequestTimeout: "),
        ("slow", ["60"], {"timeout": 0.2}, 3, "give it more time with --timeout\n"),
        ("add", ["hello"], {}, 65, "argument 1 is no JSON: 'hello'"),
        ("add", ["hello"], {}, 65, "a string needs quotes of its own: '\"hello\"'"),
        ("add", ["1", "NaN"], {}, 65, '{"$float": "nan"}'),
        ("add", ["[" * 100_000], {}, 65, "nested too deeply"),
        ("echo", ['{"$b64": "!"}'], {}, 65, "is no b64"),
        ("echo", ['"\\ud800"'], {}, 65, "cannot send argument 1: a str that is no Unicode (a lone surrogate)\n"),
        ("add", ["0", str(2**70)], {}, 65, "cannot send argument 2: an int of more than 64 bits\n"),
        ("add", [], {"named": [f'b=[{{"x": {2**70}}}]']}, 65, "cannot send --kw b[0]['x']: an int of more than 64"),
        (None, [], {"data": str(2**70)}, 65, "cannot send data: an int of more than 64 bits\n"),
        ("add", ["1"], {"named": ["b"]}, 64, "--kw takes NAME=JSON"),
        ("add", ["1"], {"named": ["b=x"]}, 65, "the value of b is no JSON"),
        (None, [], {}, 64, "name a function"),
        ("add", [], {"data": "1"}, 64, "name a function"),
        (None, [], {"data": "1", "named": ["a=1"]}, 64, "--invoke sends its one value"),
        (None, [], {"data": "{"}, 65, "the data of --invoke is no JSON"),
    ],
)
def test_what_goes_wrong(
    capsys: Capture, endpoint: str, function: str | None, args: list[str], options: dict[str, Any], code: int, told: str
) -> None:
    found, out, err = called(capsys, endpoint, function, *args, **options)
    assert (found, out) == (code, "")
    assert err.startswith("mpzmq call: ")
    assert told in err


def test_an_endpoint_that_is_none(capsys: Capture) -> None:
    assert called(capsys, "nowhere", "add")[0] == 64
    assert called(capsys, "127.0.0.1:1", "add")[0] == 2


def command(*args: str, stdin: bytes = b"") -> tuple[int, str, str]:
    result = subprocess.run(
        [sys.executable, "-m", "mpzmq", *args], input=stdin, capture_output=True, timeout=SECONDS, env=environment()
    )
    return result.returncode, result.stdout.decode(), result.stderr.decode()


def test_as_a_command(endpoint: str) -> None:
    assert command("call", endpoint, "add", "-1", "--kw", "b=-1.5e1") == (0, "-16.0\n", "")
    assert command("call", endpoint, "echo", "-", stdin='["é"]'.encode()) == (0, '["é"]\n', "")
    code, out, err = command("call", endpoint, "echo", "-", stdin=b'"\xff"')
    assert (code, out) == (65, "")
    assert "no UTF-8" in err
    code, out, err = command("call", endpoint, "echo", "-")
    assert (code, out) == (65, "")
    assert "read from standard input" in err


def test_a_closed_pipe(endpoint: str) -> None:
    script = f"{sys.executable} -m mpzmq call {endpoint} echo - | head -c 1; exit ${{PIPESTATUS[0]}}"
    large = json.dumps("x" * 1_000_000).encode()
    result = subprocess.run(
        ["bash", "-c", script], input=large, capture_output=True, timeout=SECONDS, env=environment()
    )
    assert (result.returncode, result.stdout, result.stderr) == (141, b'"', b"")


def test_without_any_stream(endpoint: str) -> None:
    script = f"{sys.executable} -m mpzmq call {endpoint} add 1 <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", script], timeout=SECONDS, env=environment()).returncode in (0, 1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_call(start: Start, endpoint: str, number: signal.Signals, code: int) -> None:
    seconds = 1000 + number
    process = start("call", endpoint, "slow", str(seconds))
    with blocking.connect(endpoint) as watching:
        wait_for_request(process, watching)
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (code, "")
        assert "Traceback" not in err
        while seconds not in watching.call("was_cancelled"):
            pass


def wait_for_request(process: subprocess.Popen[str], watching: blocking.BlockingContainer) -> None:
    """Until the handler of the call runs."""
    while watching.call("running") < 1:
        assert process.poll() is None, process.communicate()


# describe and state


def test_describe(capsys: Capture, endpoint: str) -> None:
    assert inspect.describe(endpoint, timeout=10.0, as_json=False) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.startswith("desk\\x1b[31m  RUNNING  mpzmq ")
    assert "  takes plain requests" in out
    assert re.search(r"^  add\(a: int, b: int = 1\) -> int +Adds \\x1b\[2Jtwo numbers\.$", out, re.M)
    assert "  total(numbers: collections.abc.AsyncIterator[int])\n" in out
    assert "Not shown" not in out

    assert inspect.describe(endpoint, timeout=10.0, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "RUNNING"
    assert {"name": "refuse", "signature": "()", "doc": ""} in document["functions"]


def test_state(capsys: Capture, endpoint: str) -> None:
    try:
        assert inspect.state(endpoint, "STOP", timeout=10.0, as_json=True) == 0
        assert json.loads(capsys.readouterr().out) == {"status": "STOP"}
        code, _, err = called(capsys, endpoint, "add", "1")
        assert code == 4
        assert "ContainerStopped" in err
    finally:
        assert inspect.state(endpoint, "RUNNING", timeout=10.0, as_json=False) == 0
    assert capsys.readouterr().out == "RUNNING\n"
    assert inspect.state(endpoint, None, timeout=10.0, as_json=False) == 0
    assert capsys.readouterr().out == "RUNNING\n"


@pytest.mark.parametrize("ask", [inspect.describe, functools.partial(inspect.state, wanted=None)])
def test_nobody_there(capsys: Capture, ask: Callable[..., int]) -> None:
    assert ask("127.0.0.1:1", timeout=10.0, as_json=True) == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["type"] == "ConnectRefused"
    assert len(told.err.splitlines()) == 1


# Values as JSON

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.datetimes(timezones=st.just(UTC))
)
KEYS = st.text() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.sampled_from(["$b64", "$map", "$uuid"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


@given(VALUES)
def test_a_value_survives_json(value: Any) -> None:
    text = to_json(value)
    json.loads(text)
    assert from_json(text) == value


def test_what_json_cannot_say() -> None:
    assert to_json({1: b"a", "x": (1, float("inf"))}) == (
        '{"$map": [[1, {"$b64": "YQ=="}], ["x", [1, {"$float": "inf"}]]]}'
    )
    assert to_json(memoryview(b"ab").cast("B")) == '{"$b64": "YWI="}'
    identity = uuid.uuid4()
    assert from_json(f'{{"$uuid": "{identity}"}}') == identity
    assert from_json('{"$time": "2026-01-31T12:00:00+00:00"}') == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert from_json('{"$b64": "YQ==", "more": 1}') == {"$b64": "YQ==", "more": 1}


@pytest.mark.parametrize("text", ['{"$uuid": 3}', '{"$time": "never"}', '{"$map": 3}', '{"$map": [[1]]}', "{", ""])
def test_a_malformed_value(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no \w+: |char|Expecting"):
        from_json(text)
