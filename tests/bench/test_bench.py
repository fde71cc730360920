"""The benchmark runs, counts what it says, and says what is wrong. How fast anything is, no test asserts."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bench.__main__ import STREAMING, main
from bench.compare import compare_row
from bench.costs import import_seconds
from bench.latency import percentile
from bench.movers import MIB, PROBE_INTERVAL, Moved, Probe, check, payload
from bench.peers import PEERS, load, tcp
from bench.peers.base import Count, Stopwatch, take_items
from bench.processes import PeerFailed, Server, run_client
from bench.report import row_lines, target_lines, targets
from bench.scenarios import ROWS, SCENARIOS, STREAMS, TARGETS, Scenario
from bench.transfer import Transfer, compare_transfer, transfer_lines, transfer_targets
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOT = Path(__file__).parents[2]
SECONDS = scaled(50.0)
TINY = ["--rounds", "1", "--seconds", "0.1"]


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python where the benchmark is."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does."""
    return run_python("-m", "bench", *arguments)


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The same in this process, for what starts no other: exit code, stdout, stderr."""
    try:
        code: Any = main(arguments)
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The children find the package in the working directory."""
    monkeypatch.chdir(ROOT)
    yield


@pytest.mark.long
@pytest.mark.usefixtures("here")
def test_a_comparison_ends_in_ratios_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what draws is tested below: it takes longer than all this
    command = ["compare", "--peers", "mpzmq,plain-pyzmq", "--scenarios", "echo-1000", "--loops", "asyncio", *TINY]
    command += ["--no-costs", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench", *command])  # which the results tell
    code, out, err = called(capsys, *command)
    assert code == 0, out + err
    assert "64 B, 1,000 in flight (asyncio)" in out and "latency of mpzmq at 50% of capacity" in out
    document: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())
    (row,) = document["rows"]
    assert set(row["peers"]) == {"mpzmq", "plain-pyzmq"} and row["failures"] == []
    ours, theirs = (row["peers"][name]["requests_per_second"][0] for name in ("mpzmq", "plain-pyzmq"))
    assert row["peers"]["plain-pyzmq"]["mpzmq_by_peer"] == [pytest.approx(ours / theirs, abs=0.001)]
    assert document["machine"]["python"] and document["command"].startswith("python -m bench compare")
    seen = document["latency_ms"]["mpzmq"]["0.5"]
    assert 0 < seen["50"] <= seen["99"] <= seen["100"]


@pytest.mark.long
def test_the_same_results_draw_the_same_charts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the charts need matplotlib, of the extra bench")
    rates = {
        "requests_per_second": [1.0, 3.0, 2.0], "mpzmq_by_peer": [1.0, 3.0, 2.5], "client_us": [7.0],
        "server_us": [8.0], "client_rss_mib": 30.0, "server_rss_mib": 40.0,
    }  # fmt: skip
    row = {"scenario": "echo-1", "loop": "uvloop", "peers": {"mpzmq": rates, "tcp": rates}, "failures": ["it rained"]}
    percentiles = {"rate": 10.0, "50": 1.0, "99": 2.0, "99.9": 2.5, "100": 3.0}
    document = {
        "command": "python -m bench compare",
        "machine": {"python": "3", "cores": "2"},
        "rows": [row],
        "costs": {"import_ratio": 1.25},
        "targets": targets([], {"import_ratio": 1.25}),
        "latency_ms": {"mpzmq": {"0.5": percentiles, "10": percentiles}},
    }
    copies = [tmp_path / name / "results.json" for name in ("one", "two")]
    for results in copies:
        results.parent.mkdir()
        results.write_text(json.dumps(document))
    # matplotlib keeps its fonts open, and takes its time to load: not in this process, and once.
    script = "import sys, bench.__main__ as bench; sys.exit(any([bench.main(['draw', path]) for path in sys.argv[1:]]))"
    done = run_python("-c", script, *map(str, copies))
    files = ("results.md", "rates-uvloop.svg", "summary.svg", "latency.svg")
    assert done.stdout.split() == [str(results.with_name(file)) for results in copies for file in files], done.stderr
    drawn = [[results.with_name(file).read_bytes() for file in files] for results in copies]
    assert drawn[0] == drawn[1]
    text = drawn[0][0].decode()
    assert "| 64 B, 1 in flight | 2 | 2<br>2.50 (1.00 to 3.00) |" in text
    assert "| 64 B, 1 in flight | 7.0 s | 8.0 s | 30 MiB | 40 MiB |" in text and "- it rained" in text
    assert "| mpzmq | 50% | 10 | 1.00 | 2.00 | 2.50 | 3.00 |" in text and text.count("| 50% |") == 1
    assert "| 10 | mpzmq | 1.00 | 2.00 | 2.50 | 3.00 |" in text
    assert "| import mpzmq |  | import zmq, asyncio, msgpack | under 1.5 | 1.25 | reached |" in text
    assert b"mpzmq" in drawn[0][1]


def test_results_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, "draw", str(tmp_path / "none.json"))
    assert code == os.EX_USAGE and "none.json cannot be read" in err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", PEERS)
def test_every_peer_that_is_here_runs(name: str) -> None:
    if (missing := load(name).missing()) is not None:
        pytest.skip(missing)
    said: list[str] = []
    row = compare_row(SCENARIOS["echo-1"], "asyncio", [name], 1, 0.1, said.append)
    assert said == row.failures == []
    (count,) = row.counts[name]
    assert count.requests > 0 and 0 < count.seconds < 30
    assert count.client_cpu > 0 and count.server_cpu > 0 and count.client_rss > 2**20 < count.server_rss


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["fan-10", "async-1000", "dict-64", "view-1m-8", "1m-8"])
def test_every_kind_of_row_runs(name: str) -> None:
    said: list[str] = []
    row = compare_row(SCENARIOS[name], "asyncio", ["mpzmq", "plain-pyzmq"], 1, 0.1, said.append)
    assert said == []
    assert all(load(peer).supports(SCENARIOS[name]) == (peer in row.counts) for peer in ("mpzmq", "plain-pyzmq"))


@pytest.mark.usefixtures("here")
def test_a_server_that_dies_is_told_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server("tcp", SCENARIOS["echo-1"], "asyncio")
    try:
        server.process.kill()
        server.process.wait()
        command = ["measure", "tcp", "echo-1", "--loop", "asyncio", "--seconds", "0.1"]
        with pytest.raises(PeerFailed, match="tcp: the server for echo-1 has ended with exit code -9"):
            run_client(server, command, 0.1, "tcp in echo-1")
    finally:
        server.close()
    said: list[str] = []
    impossible = Scenario(name="no-such-row", title="")  # its children do not know it, and fail
    row = compare_row(impossible, "asyncio", ["tcp"], 1, 0.1, said.append)
    assert row.failures == said and "tcp: the server for no-such-row did not start: KeyError" in said[0]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("strict", "code"), [([], 0), (["--strict"], 1)])
def test_a_missing_peer_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, strict: list[str], code: int
) -> None:
    for module in ("grpc", "matplotlib"):  # whose fonts stay open in this process
        monkeypatch.setitem(sys.modules, module, None)  # as Python marks what cannot be imported
    command = ["compare", "--peers", "grpc", "--scenarios", "echo-1", "--loops", "asyncio", "--no-latency"]
    command += ["--output", str(tmp_path)]
    assert main([*command, "--no-costs", *TINY, *strict]) == code
    shown = capsys.readouterr().out
    assert "grpc is left out: grpc is not installed: .venv/bin/pip install -e '.[bench]'" in shown
    assert "mpzmq  " in shown, "the others went on"
    assert "no charts: matplotlib is not installed: .venv/bin/pip install -e '.[bench]'" in shown
    assert json.loads((tmp_path / "results.json").read_text())["rows"] and (tmp_path / "results.md").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--peers", "mpzmk"], "there is no peer 'mpzmk'; did you mean 'mpzmq'?"),
        (["--scenarios", "echo-10"], "there is no scenario 'echo-10'; did you mean 'echo-1"),
        (["--scenarios", "?"], "there is no scenario '?'; there are echo-1, "),
        (["--loops", "trio"], "there is no loop 'trio'"),
        (["--rounds", "x"], "invalid int value: 'x'"),
    ],
)
def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, out, err = called(capsys, "compare", *arguments)
    assert (code, out) == (os.EX_USAGE, "")
    assert words in err and len(err.splitlines()) == 1


def test_the_list_names_every_row_and_peer() -> None:
    done = bench("list")
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} == {*ROWS, *PEERS}


def test_ratios_are_taken_within_a_round() -> None:
    row = compare_row(SCENARIOS["echo-1"], "uvloop", [], 0, 0.1, print)
    for peer, requests in (("mpzmq", [10, 20, 90]), ("fd-reader", [10, 10, 10])):
        row.counts[peer] = [Count(number, 1.0, 0.0, 0.0, 0, 0) for number in requests]
    assert row.ratios("fd-reader") == [1.0, 2.0, 9.0] and row.ratio("fd-reader") == 2.0
    assert row.ratio("tcp") is None
    found = targets([row], {"import_ratio": 1.6, "idle_cpu_percent": 4.9})
    assert [target["verdict"] for target in found] == ["reached", "missed", "reached"]
    assert [line.split()[-1] for line in target_lines(found)] == ["reached", "missed", "reached"]


def test_targets_name_rows_and_peers() -> None:
    assert all(target.scenario in ROWS and target.peer in PEERS for target in TARGETS)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", STREAMING)
def test_every_streaming_peer_that_is_here_streams(name: str) -> None:
    if (missing := load(name).missing()) is not None:
        pytest.skip(missing)
    said: list[str] = []
    row = compare_row(STREAMS["stream"], "asyncio", [name], 1, 0.1, said.append)
    assert said == row.failures == []
    (count,) = row.counts[name]
    assert count.requests > 0 and count.client_cpu > 0 and count.server_cpu > 0
    assert "items/s" in row_lines(row)[1]


def test_streams_end_in_ratios() -> None:
    done = bench("streams", "--peers", "tcp", "--loops", "asyncio", *TINY)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs, _, wanted = done.stdout.partition("64 B items, one stream (asyncio)")[2].splitlines()[2:]
    assert ours.split()[0] == "mpzmq" and theirs.split()[0] == "tcp" and float(theirs.split()[2]) > 0
    assert "bare asyncio TCP, batched" in wanted and "at least 0.4" in wanted


async def test_a_stream_that_loses_an_item_is_no_result() -> None:
    async def short(count: int) -> AsyncIterator[bytes]:
        for _ in range(count - 1):
            yield bytes(64)

    with pytest.raises(RuntimeError, match="63,936 bytes arrived, not 1,000 items of 64 B"):
        await take_items(short, STREAMS["stream"], 0.1, Stopwatch(os.getpid()))


async def test_bare_tcp_waits_for_a_slow_reader() -> None:
    sources: list[tcp.Source] = []

    def source() -> tcp.Source:
        sources.append(tcp.Source(64))
        return sources[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(source, "127.0.0.1", 0)
    transport, sink = await loop.create_connection(tcp.Sink, *server.sockets[0].getsockname())
    count, taken = 300_000, 0
    async for _ in sink.stream(count):
        if not taken:
            await sink.held.wait()
            waiting = sink.items.qsize()
            for _ in range(2 * count // tcp.BATCH):  # passes in which the source could write all of it
                await asyncio.sleep(0)
            assert sink.items.qsize() == waiting
            assert sources[0].transport.get_write_buffer_size() < 2**20  # type: ignore[attr-defined]
        taken += 1
    assert taken == count
    transport.close()
    server.close()
    await server.wait_closed()


def test_a_transfer_ends_in_ratios_memory_and_latencies() -> None:
    done = bench("transfer", "--mib", "1", "--rounds", "1", "--loops", "asyncio")
    assert done.returncode == 0, done.stdout + done.stderr
    for title in ("1 MiB, engine to container (asyncio)", "1 MiB, container to engine (asyncio)"):
        _, _, ours, theirs, echoes, pings, events, *_ = done.stdout.partition(title)[2].splitlines()
        assert [line.split()[0] for line in (ours, theirs, echoes, pings)] == [
            "mpzmq",
            "plain-pyzmq",
            "echoes",
            "pings",
        ]
        assert float(theirs.split()[2]) > 0 and all(float(memory) > 0 for memory in ours.split()[-2:])
        assert "p50" in echoes and "p99" in pings and events.endswith("meanwhile: none")
    wanted = done.stdout.partition("What mpzmq has set itself:\n")[2].splitlines()
    assert len(wanted) == 10 and all(line.split()[-1] in ("reached", "missed") for line in wanted)


def test_what_a_transfer_wants_is_taken_from_all_rounds() -> None:
    row = Transfer("up", "uvloop", 100)
    assert row.ratios() == [] and transfer_targets([row]) == []
    fast = Moved(1.0, 150 * MIB, 229 * MIB, [1.0] * 99, [2.0])
    slow = Moved(4.0, 160 * MIB, 110 * MIB, [60.0] * 2, [3.0], ["LinkBusy"])
    plain = Moved(2.0, 0, 0)
    row.moved = {"mpzmq": [fast, None, slow, fast], "plain-pyzmq": [plain, plain, plain, None]}
    assert row.ratios() == [2.0, 0.5]
    assert row.memory("mpzmq") == (60.0, 129.0)
    found = transfer_targets([row])
    assert [target["seen"] for target in found] == ["1.25", "60", "129", "1.0", "3.0"]
    assert [target["verdict"] for target in found] == ["reached", "reached", "missed", "reached", "reached"]
    assert "events of the link meanwhile: LinkBusy" in transfer_lines(row)[-1]


@pytest.mark.usefixtures("here")
def test_a_transfer_that_fails_is_told() -> None:
    said: list[str] = []
    row = compare_transfer("sideways", "asyncio", 1, 1, said.append)
    assert row.moved == {"mpzmq": [None], "plain-pyzmq": [None]} and row.failures == said
    assert len(said) == 2 and "mpzmq: the server for sideways did not start: bench: argument direction" in said[0]


@pytest.mark.parametrize("content", [b"", bytes(MIB), payload(1)[1:], memoryview(bytes(payload(1)[:-1]) + b"x")])
def test_another_payload_is_no_result(content: bytes | memoryview) -> None:
    check(payload(1), 1)
    with pytest.raises(RuntimeError, match="which are not the 1,048,576 that were sent"):
        check(content, 1)


async def test_probes_hide_nothing_of_a_loop_that_is_held_up() -> None:
    async def call() -> None: ...

    probe = Probe(call)
    await asyncio.sleep(0)
    time.sleep(20 * PROBE_INTERVAL)  # noqa: ASYNC251 - it is to hold the loop up
    latencies = await probe.end(time.perf_counter())
    assert len(latencies) >= 20 and max(latencies) >= 19 * PROBE_INTERVAL * 1000

    async def refused() -> None:
        raise ConnectionRefusedError

    probe = Probe(refused)
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await probe.end(time.perf_counter())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transfer", "--mib", "2048"], "'2048' is not a whole number from 1 to 2047"),
        (["transfer", "--rounds", "0"], "'0' is not a whole number from 1 to 1000"),
        (["transfer", "--loops", "trio"], "there is no loop 'trio'"),
        (["streams", "--peers", "nats"], "there is no peer 'nats'"),
    ],
)
def test_wrong_usage_of_streams_and_transfers_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, out, err = called(capsys, *arguments)
    assert (code, out) == (os.EX_USAGE, "")
    assert words in err and len(err.splitlines()) == 1


def test_every_layer_takes_time() -> None:
    done = bench("layers", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    *layers, together = lines[:-5]
    assert len(layers) == 9 and all(float(microseconds) > 0 for microseconds, _ in layers)
    assert float(together[0]) == pytest.approx(sum(float(microseconds) for microseconds, _ in layers), abs=0.1)
    more = [what.partition(":")[0] for _, what in lines[-5:]]
    assert more == ["middleware", "middleware", "typed", "typed", "of which is bare msgspec.convert"]
    assert all(float(microseconds) for microseconds, _ in lines[-5:])


def test_percentiles() -> None:
    ordered = [float(number) for number in range(1, 1001)]
    assert [percentile(ordered, p) for p in (50, 99, 99.9, 100)] == [500.0, 990.0, 999.0, 1000.0]
    assert percentile([7.0], 50) == percentile([7.0], 100) == 7.0


def test_an_import_takes_time() -> None:
    assert import_seconds("import mpzmq") > 0
