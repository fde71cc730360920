"""``mpzmq conformance``: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import socket
import sys

import pytest

from mpzmq.conformance import containers, engines
from tests.conformance.judging import python_container
from tests.support import ROOT
from tests.support.commands import called, environment, run
from tests.support.ports import free_port
from tests.support.waiting import scaled, soon

QUICK = ["--check", "hello-is-welcome", "--check", "started-is-told"]


async def conformance(*args: str) -> tuple[int, str, str]:
    result = await asyncio.to_thread(run, "conformance", *args)
    return result.returncode, result.stdout, result.stderr


async def test_a_container_that_passes() -> None:
    async with python_container() as served:
        code, out, err = await conformance(served.endpoint, *QUICK)
    assert (code, err) == (0, "")
    *lines, summary = out.splitlines()
    assert [line.split()[0] for line in lines] == ["passed", "passed"]
    assert "level 1  rule 13, section 3" in out and summary == "2 passed"


async def test_a_container_that_does_not() -> None:
    from mpzmq import ContainerServer

    async with ContainerServer() as server:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        code, out, err = await conformance(endpoint, *QUICK, "--level", "1", "--check", "a-stream-goes-on")
        assert (code, err) == (1, "")
        assert "FAILED   level 1  rule 13, section 3       started-is-told" in out
        assert "\n         expected: STARTED comes for what takes longer" in out
        assert "\n         came: where STARTED was due: ERROR " in out and "no function 'later'" in out
        assert out.endswith("level 4 is not announced, and was not judged\n1 passed, 1 FAILED, 1 skipped\n")


async def test_json() -> None:
    async with python_container() as served:
        code, out, _ = await conformance(served.endpoint, *QUICK, "--json")
    document = json.loads(out)
    assert code == 0 and document["ok"] and document["counts"] == {"passed": 2, "FAILED": 0, "skipped": 0}
    assert [check["name"] for check in document["checks"]] == ["hello-is-welcome", "started-is-told"]
    assert document["checks"][0]["rule"] == 11 and document["checks"][0]["outcome"] == "passed"


@pytest.mark.parametrize(("args", "code"), [(["127.0.0.1:PORT"], 2), (["--listen", "127.0.0.1:0", "--wait", "0.2"], 3)])
def test_json_of_what_could_not_be_judged(args: list[str], code: int) -> None:
    port = str(free_port())
    result = called("conformance", *(arg.replace("PORT", port) for arg in args), "--json")
    document = json.loads(result.stdout)
    assert result.returncode == document["exit_code"] == code
    assert not document["ok"] and document["checks"] == []
    assert document["error"]["message"] in result.stderr


def test_what_accepts_and_says_nothing_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        result = called("conformance", endpoint, "--timeout", "0.5")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"no connection to tcp://{endpoint} within 0.5 s" in result.stderr


async def test_an_engine_that_passes() -> None:
    judge = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mpzmq", "conformance", "--listen", "127.0.0.1:0", "--check", "hello-comes-first"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert judge.stdout is not None and judge.stderr is not None
    line = (await soon(judge.stderr.readline())).decode()
    assert line.startswith("mpzmq conformance: waiting for the engine's driver at tcp://127.0.0.1:")
    driver = await asyncio.create_subprocess_exec(
        sys.executable, str(ROOT / "examples" / "conform_engine.py"), line.split()[-1], env=environment()
    )
    out = (await soon(judge.stdout.read(), scaled(20.0))).decode()
    assert (await soon(judge.wait()), await soon(driver.wait())) == (0, 0)
    assert out.splitlines()[-1] == "1 passed"


def test_the_list() -> None:
    result = called("conformance", "--list")
    assert result.returncode == 0
    for check in (*containers.CHECKS, *engines.CHECKS):
        assert check.expected in result.stdout
    listed = json.loads(called("conformance", "--list", "--json").stdout)
    assert [check["name"] for check in listed if check["judges"] == "engine"] == [
        check.name for check in engines.CHECKS
    ]


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        ([], 64, "give ENDPOINT, of a container, or --listen ENDPOINT, for an engine"),
        (["127.0.0.1:1", "--listen", "127.0.0.1:2"], 64, "give ENDPOINT"),
        (["nowhere"], 64, "nowhere"),
        (["127.0.0.1:1", "--check", "no-such-check"], 64, "there is no check no-such-check of this side"),
        (["--listen", "0.0.0.0:0"], 64, "give one address of this host"),
        (["--listen", "127.0.0.1:0", "--wait", "0.2"], 3, "the driver did not come"),
        (["no-such-host.invalid:3010"], 2, "'no-such-host.invalid' is unknown"),
        (["127.0.0.1:PORT"], 2, "nothing listens at tcp://127.0.0.1:PORT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_how_it_ends_otherwise(args: list[str], code: int, text: str) -> None:
    port = str(free_port())
    result = called("conformance", *(arg.replace("PORT", port) for arg in args))
    assert (result.returncode, result.stdout) == (code, "")
    assert text.replace("PORT", port) in result.stderr


async def test_an_endpoint_that_is_taken() -> None:
    async with python_container() as served:
        code, out, err = await conformance("--listen", served.endpoint)
    assert (code, out) == (71, "") and "ddress already in use" in err
