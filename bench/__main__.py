"""The command line: ``python -m bench compare``, ``streams``, ``transfer`` and what else there is."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .charts import draw
from .compare import OURS, Row, compare_row
from .costs import costs, measure_links
from .latency import compare_latency, measure_latency
from .machine import machine
from .movers import DIRECTIONS, MOVERS, move_here, serve_moves_here
from .page import page
from .peers import PEERS, load
from .peers.base import absent
from .processes import PeerFailed, measure_here, serve_here
from .report import as_document, row_lines, target_lines, targets, write_json
from .scenarios import ROWS, SCENARIOS, STREAMS
from .transfer import MAX_MIB, compare_transfer, transfer_lines, transfer_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

FAILED, INTERRUPTED = 1, 130

LOOPS = ("asyncio", "uvloop")

STREAMING = ("mpzmq", "tcp", "grpc")
"""The peers that have streams."""

RESULTS = Path(__file__).parents[1] / "docs" / "benchmarks"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(os.EX_USAGE, f"bench: {message}\n")


def _names(known: Iterable[str], what: str) -> Callable[[str], list[str]]:
    """Reads a list of names, and knows what was meant by a mistyped one."""
    names = list(known)

    def read(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1)
                meant = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
                raise argparse.ArgumentTypeError(f"there is no {what} {name!r}; {meant}")
        return chosen

    return read


def _whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number within bounds."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m bench", description="Measures mpzmq beside its peers.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    commands.add_parser("list", help="the rows and the peers, and which of these can run here")
    compare = commands.add_parser("compare", help="measures, and writes JSON and charts")
    compare.add_argument("--peers", type=_names(PEERS, "peer"), default=list(PEERS), help="a,b,c; all by default")
    compare.add_argument("--scenarios", type=_names(SCENARIOS, "scenario"), default=list(SCENARIOS), help="a,b,c")
    compare.add_argument("--loops", type=_names(LOOPS, "loop"), default=list(LOOPS))
    compare.add_argument("--rounds", type=int, default=5, help="how often each is measured (default 5)")
    compare.add_argument("--seconds", type=float, default=1.0, help="how long each time (default 1.0)")
    compare.add_argument("--output", type=Path, default=RESULTS, help="the folder of what it writes (docs/benchmarks)")
    compare.add_argument("--no-latency", action="store_true", help="leave the open loop out")
    compare.add_argument("--no-costs", action="store_true", help="leave import, memory and idle CPU out")
    compare.add_argument("--strict", action="store_true", help="exit 1 if a peer is missing or has failed")
    streams = commands.add_parser("streams", help="items a second from a container to an engine, beside the peers")
    streams.add_argument("--peers", type=_names(STREAMING, "peer"), default=list(STREAMING), help="a,b,c")
    streams.add_argument("--loops", type=_names(LOOPS, "loop"), default=list(LOOPS))
    streams.add_argument("--rounds", type=_whole(1, 1000), default=5, help="how often each is measured (default 5)")
    streams.add_argument("--seconds", type=float, default=1.0, help="how long a stream is, about (default 1.0)")
    transfer = commands.add_parser("transfer", help="one large payload one way, beside plain pyzmq")
    transfer.add_argument("--mib", type=_whole(1, MAX_MIB), default=1024, help="MiB of the payload (default 1024)")
    transfer.add_argument("--loops", type=_names(LOOPS, "loop"), default=list(LOOPS))
    transfer.add_argument("--rounds", type=_whole(1, 1000), default=5, help="how often each is measured (default 5)")
    profile = commands.add_parser("layers", help="where the time of one small request goes, in microseconds")
    profile.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    profile.add_argument("--rounds", type=_whole(1, 1000), default=40, help="how often each is timed (default 40)")
    again = commands.add_parser("draw", help="writes the page and the charts of a results.json again, beside it")
    again.add_argument("results", type=Path)
    for name in ("serve", "measure", "latency", "links"):  # what the children do
        child = commands.add_parser(name)
        child.add_argument("peer")
        child.add_argument("scenario")
        child.add_argument("--loop", required=True)
        if name != "serve":
            child.add_argument("--seconds", type=float, required=True)
            child.add_argument("--server-pid", type=int, required=True)
            child.add_argument("endpoints", nargs="+")
    for name in ("hold", "move"):  # what the children of a transfer do
        child = commands.add_parser(name)
        child.add_argument("mover", choices=list(MOVERS))
        child.add_argument("direction", choices=DIRECTIONS)
        child.add_argument("--loop", required=True)
        child.add_argument("--mib", type=int, required=True)
        if name == "move":
            child.add_argument("--server-pid", type=int, required=True)
            child.add_argument("endpoints", nargs="+")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    args = _parser().parse_args(argv)
    if args.command == "list":
        for name, scenario in ROWS.items():
            print(f"{name:12} {scenario.title}")
        for name in PEERS:
            print(f"{name:12} {load(name).title}: {load(name).missing() or 'can run here'}")
    elif args.command == "layers":
        # Here: they load most of mpzmq, which a peer may want from elsewhere.
        from .around import middleware_costs
        from .layers import layers
        from .typed import typed_costs

        spent = layers(args.loop, args.rounds)
        print("\n".join(f"{microseconds:6.2f}  {layer}" for layer, microseconds in spent.items()))
        print(f"{sum(spent.values()):6.2f}  together")
        more = middleware_costs(args.loop, args.rounds) | typed_costs(args.loop, args.rounds)
        print("\n".join(f"{microseconds:+6.2f}  {what}" for what, microseconds in more.items()))
    elif args.command == "draw":
        return _draw(args.results)
    elif args.command == "serve":
        serve_here(args.peer, args.scenario, args.loop)
    elif args.command == "measure":
        count = measure_here(args.peer, args.scenario, args.loop, args.seconds, args.server_pid, args.endpoints)
        print(json.dumps(dataclasses.asdict(count)))
    elif args.command == "latency":
        seen = measure_latency(args.peer, args.scenario, args.loop, args.seconds, args.endpoints)
        print(json.dumps(seen))
    elif args.command == "links":
        print(json.dumps(measure_links(args.loop, args.seconds, args.endpoints)))
    elif args.command == "hold":
        serve_moves_here(args.mover, args.direction, args.loop, args.mib)
    elif args.command == "move":
        moved = move_here(args.mover, args.direction, args.loop, args.mib, args.server_pid, args.endpoints[0])
        print(json.dumps(dataclasses.asdict(moved)))
    else:
        return {"compare": _compare, "streams": _streams, "transfer": _transfer}[args.command](args)
    return 0


def _draw(results: Path) -> int:
    try:
        document = json.loads(results.read_text())
    except (OSError, ValueError) as error:
        print(f"bench: {results} cannot be read: {error}", file=sys.stderr)
        return os.EX_USAGE
    print("\n".join(str(path) for path in _show(document, results.parent, print)))
    return 0


def _show(document: dict[str, Any], folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Writes what people look at: the page and the charts."""
    text = folder / "results.md"
    text.write_text(page(document))
    if (missing := absent("matplotlib")) is not None:
        say(f"no charts: {missing}")
        return [text]
    return [text, *draw(document, folder)]


def _peers_here(names: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """mpzmq, and those of the peers that can run here."""
    peers = [OURS] if OURS not in names else []
    for name in names:
        missing = load(name).missing()
        if missing is None:
            peers.append(name)
        else:
            say(f"{name} is left out: {missing}")
    return peers


def _loops_here(names: Sequence[str], say: Callable[[str], None]) -> list[str]:
    """Those of the event loops that can run here."""
    if "uvloop" in names and (missing := absent("uvloop")) is not None:
        say(f"uvloop is left out: {missing}")
        return [loop for loop in names if loop != "uvloop"]
    return list(names)


def _say(words: str) -> None:
    print(words, flush=True)


def _streams(args: argparse.Namespace) -> int:
    """Measures the streams; what fails is said, and makes the exit code."""
    rows = []
    try:
        peers, loops = _peers_here(args.peers, _say), _loops_here(args.loops, _say)
        print(", ".join(f"{key} {value}" for key, value in machine().items()))
        for loop in loops:
            for scenario in STREAMS.values():
                rows.append(compare_row(scenario, loop, peers, args.rounds, args.seconds, _say))
                _say("\n".join(row_lines(rows[-1])))
    except KeyboardInterrupt:
        return INTERRUPTED
    _say("\n".join(["What mpzmq has set itself:", *target_lines(targets(rows, {}))]))
    return FAILED if any(row.failures for row in rows) else 0


def _transfer(args: argparse.Namespace) -> int:
    """Measures the transfers; what fails is said, and makes the exit code."""
    rows = []
    try:
        loops = _loops_here(args.loops, _say)
        print(", ".join(f"{key} {value}" for key, value in machine().items()))
        for loop in loops:
            for direction in DIRECTIONS:
                rows.append(compare_transfer(direction, loop, args.mib, args.rounds, _say))
                _say("\n".join(transfer_lines(rows[-1])))
    except KeyboardInterrupt:
        return INTERRUPTED
    _say("\n".join(["What mpzmq has set itself:", *target_lines(transfer_targets(rows))]))
    return FAILED if any(row.failures for row in rows) else 0


def _compare(args: argparse.Namespace) -> int:
    failures: list[str] = []

    def say(words: str) -> None:
        failures.append(words)
        print(words, flush=True)

    peers, loops = _peers_here(args.peers, say), _loops_here(args.loops, say)
    seen = machine()
    print(", ".join(f"{key} {value}" for key, value in seen.items()))
    rows: list[Row] = []
    latency: dict[str, dict[str, dict[str, float]]] = {}
    spent: dict[str, float] = {}
    interrupted = False
    try:
        for loop in loops:
            for scenario in args.scenarios:
                rows.append(compare_row(SCENARIOS[scenario], loop, peers, args.rounds, args.seconds, say))
                print("\n".join(row_lines(rows[-1])), flush=True)
        if not args.no_latency:
            latency = compare_latency(peers, loops[-1], 3 * args.seconds, say)
            for name, shares in latency.items():
                for key, at in shares.items():
                    told = ", ".join(f"p{percent} {at[percent]:.2f}" for percent in ("50", "99", "99.9", "100"))
                    where = f"{float(key):.0%} of capacity, " if float(key) < 1 else ""
                    print(f"latency of {name} at {where}{at['rate']:,.0f}/s: {told} ms")
        if not args.no_costs:
            spent = costs(loops[-1])
            print("\n".join(f"{key}: {value:.2f}" for key, value in spent.items()))
    except PeerFailed as error:
        say(str(error))
    except KeyboardInterrupt:
        interrupted = True
    shown = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    document = as_document(rows, latency, spent, seen, shown)
    if document["targets"]:
        print("\n".join(["What mpzmq has set itself:", *target_lines(document["targets"])]))
    if rows and not interrupted:
        args.output.mkdir(parents=True, exist_ok=True)
        write_json(args.output / "results.json", document)
        written = [args.output / "results.json", *_show(document, args.output, say)]
        print("\n".join(f"wrote {path}" for path in written))
    if interrupted:
        return INTERRUPTED
    return FAILED if failures and args.strict else 0


if __name__ == "__main__":
    sys.exit(main())
