"""The pytest plugin, as other people's projects see it: by its entry point, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT
from tests.support.pytests import LEAN
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., pytest.RunResult]

HEAVY = "{'zmq', 'msgpack', 'mpzmq.public', 'mpzmq.engine', 'mpzmq.container'}"

# What a user writes who has read a page of the docs.
TEN_LINES = """
import uuid
from mpzmq import ContainerServer

server = ContainerServer()
server.function(lambda a, b: a + b, name="add")

async def test_add(mpzmq_worker, mpzmq_container):
    served = await mpzmq_container(server)
    container = await mpzmq_worker.connect(uuid.uuid4(), served.endpoint)
    assert await container.call("add", 1, 2) == 3
"""

CONTAINER = """
import os
from mpzmq import ContainerServer

server = ContainerServer()
print("here I am")

@server.function
def pid():
    return os.getpid()
"""

PROCESS = """
import signal
import uuid
import pytest
from mpzmq import LinkDown, LinkUp

async def event_of(events, kind):
    async for event in events:
        if isinstance(event, kind):
            return event

async def test_process(mpzmq_worker, mpzmq_container, tmp_path):
    served = await mpzmq_container("container:server", name="one")
    container = await mpzmq_worker.connect(uuid.uuid4(), served.endpoint, name=served.name)
    events = mpzmq_worker.service().events()
    assert await container.call("pid") == served.pid
    assert served.stderr == "here I am\\n"
    served.kill()
    assert await served.wait() == -signal.SIGKILL
    assert (await event_of(events, LinkDown)).name == "one"
    first = served.pid, served.endpoint
    await served.restart()
    await event_of(events, LinkUp)
    assert served.pid != first[0]
    assert served.endpoint == first[1]
    assert await container.call("pid") == served.pid
    served.send_signal(signal.SIGTERM)
    assert await served.wait() == 0
    await served.close()
    await served.close()
    (tmp_path / "other.py").write_text("from mpzmq import ContainerServer; server = ContainerServer()")
    other = await mpzmq_container("other:server", folder=tmp_path, env={"A": "B"})
    assert other.name == "other:server"
    with pytest.raises(TimeoutError):
        await other.wait(timeout=0.01)

async def test_what_is_no_container(mpzmq_container):
    with pytest.raises(TypeError, match="not int"):
        await mpzmq_container(3)
    from mpzmq import ContainerServer
    with pytest.raises(TypeError, match="name, folder: only for a container in a process"):
        await mpzmq_container(ContainerServer(), name="x", folder=".")
    from mpzmq.testing import StartFailed
    with pytest.raises(StartFailed, match="there is no module 'missing'"):
        await mpzmq_container("missing:server")
"""

FAILING = """
import contextlib, pathlib, uuid
from mpzmq import ContainerServer

log = pathlib.Path(__file__).with_name("log")

def told(name):
    @contextlib.asynccontextmanager
    async def lifespan(server):
        yield
        with log.open("a") as file:
            print("closed", name, file=file)
    return ContainerServer(name=name, lifespan=lifespan)

async def test_fails(mpzmq_container, mpzmq_proxy, mpzmq_worker):
    for name in ("first", "second"):
        served = await mpzmq_container(told(name))
        assert served.name == served.server.name == name
    process = await mpzmq_container("container:server")
    log.write_text(f"{process.pid}\\n")
    proxy = await mpzmq_proxy(process.endpoint)
    container = await mpzmq_worker.connect(uuid.uuid4(), proxy.endpoint)
    assert await container.call("pid") == 0

async def test_closed_early(mpzmq_container):
    served = await mpzmq_container(told("early"))
    await served.close()
    await served.close()
"""

PLAIN = f"""
import sys

def test_plain():
    assert not {HEAVY} & set(sys.modules)
    assert "mpzmq.testing.plugin" in sys.modules
"""

MARK = "import pytest\npytestmark = pytest.mark.asyncio\n"


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest as it is where mpzmq is installed, whether it is so here or not."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    metadata = pytester.mkdir("installed").joinpath("mpzmq_engine-0.dist-info")
    metadata.mkdir()
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: mpzmq-engine\nVersion: 0\n")
    lines = [f"{name} = {module}" for name, module in declared.items()]
    metadata.joinpath("entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(metadata.parent), str(ROOT)]))
    pytester.makepyfile(container=CONTAINER)

    def run(source: str, *args: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=source)
        # pytest-asyncio warns where this is not set, and it has no such option where it is switched off.
        scope = () if "no:asyncio" in args else ("-o", "asyncio_default_fixture_loop_scope=function")
        return pytester.runpytest_subprocess(
            *LEAN, "-W", "error", "-p", "no:cacheprovider", *scope, *args, timeout=scaled(50)
        )

    return run


def test_ten_lines_in_auto_mode(run: Run) -> None:
    run(TEN_LINES, "-o", "asyncio_mode=auto").assert_outcomes(passed=1)


def test_ten_lines_in_strict_mode(run: Run) -> None:
    run(MARK + TEN_LINES, "-o", "asyncio_mode=strict").assert_outcomes(passed=1)


def test_in_a_loop_for_the_whole_session(run: Run) -> None:
    scopes = [f"asyncio_default_{what}_loop_scope=session" for what in ("fixture", "test")]
    second = TEN_LINES.partition("async def test_add")[2]
    source = f"{TEN_LINES}\nasync def test_again{second}"
    run(source, "-o", "asyncio_mode=auto", "-o", scopes[0], "-o", scopes[1]).assert_outcomes(passed=2)


def test_processes(run: Run) -> None:
    run(PROCESS, "-o", "asyncio_mode=auto").assert_outcomes(passed=2)


def test_everything_is_ended_after_a_failure_the_last_first(run: Run, pytester: pytest.Pytester) -> None:
    result = run(FAILING, "-o", "asyncio_mode=auto")
    result.assert_outcomes(failed=1, passed=1)
    pid, *closed = (pytester.path / "log").read_text().splitlines()
    assert closed == ["closed second", "closed first", "closed early"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_switched_off(run: Run) -> None:
    result = run(TEN_LINES, "-o", "asyncio_mode=auto", "-p", "no:mpzmq")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'mpzmq_worker' not found*"])
    run(PLAIN.replace('" in sys', '" not in sys'), "-p", "no:mpzmq").assert_outcomes(passed=1)


def test_without_pytest_asyncio(run: Run) -> None:
    tests = [f"def test_{name}(mpzmq_{name}): raise AssertionError" for name in ("worker", "container", "proxy")]
    result = run("\n".join([PLAIN, *tests]), "-p", "no:asyncio")
    result.assert_outcomes(passed=1, errors=3)
    for name in ("worker", "container", "proxy"):
        result.stdout.fnmatch_lines([f"the fixture mpzmq_{name} needs pytest-asyncio: install it, and see *"])


def test_a_run_that_does_not_use_it_pays_nothing(run: Run) -> None:
    run(PLAIN).assert_outcomes(passed=1)


def test_the_fixtures_are_listed(run: Run) -> None:
    result = run(PLAIN, "--fixtures")
    for name in ("worker", "container", "proxy"):
        result.stdout.fnmatch_lines([f"mpzmq_{name} -- *fixtures.py:*"])


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = ("asyncio", "msgpack", "pytest", "zmq")
    source = f"import sys, mpzmq.testing.plugin; print(sorted({{*{heavy!r}}} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=scaled(30)
    )
    assert result.stdout == "[]\n"
