"""docs/architecture.md says what the code does: its tables are compared with the code's."""

from __future__ import annotations

import ast
import enum
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import pytest
import zmq

from mpzmq import ComputerEngineWorker, ContainerServer
from mpzmq.engine.link_driver import LinkDriver
from mpzmq.protocol.link.states import TRANSITIONS, Phase, Signal
from mpzmq.protocol.responder.session_state import SESSION_TRANSITIONS, SessionSignal, SessionState
from mpzmq.runtime.transports import AnyRouter
from mpzmq.transport.libzmq.dealer import ZmqDealer
from mpzmq.transport.libzmq.router import ZmqRouter
from tests.test_layers import FLOORS, LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mpzmq"

_State = TypeVar("_State", bound=enum.Enum)
_Signal = TypeVar("_Signal", bound=enum.Enum)


def page() -> str:
    return (ROOT / "docs" / "architecture.md").read_text("utf-8")


def section(title: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    text = page()
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.M)
    assert found is not None, f"docs/architecture.md has no section {title!r}"
    rest = text[found.end() :]
    following = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.M)
    return rest[: following.start()] if following else rest


def rows(text: str) -> list[list[str]]:
    """The rows of all tables in a text, without heads and rulers."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not re.fullmatch(r"[|\- :]+", line) and not re.fullmatch(r"\|[|\- :]+", following):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


# State machines


def state_table(
    states: type[_State], signals: type[_Signal], transitions: Mapping[tuple[_State, _Signal], _State]
) -> str:
    """A state machine as the page shows it: a row for each state, a column for each signal."""
    lines = ["| state | " + " | ".join(signal.name for signal in signals) + " |"]
    lines.append("|---" * (len(signals) + 1) + "|")
    for state in states:
        targets = (transitions.get((state, signal)) for signal in signals)
        lines.append(f"| {state.name} | " + " | ".join(target.name if target else "" for target in targets) + " |")
    return "\n".join(lines)


def test_the_states_of_a_link() -> None:
    expected = state_table(Phase, Signal, TRANSITIONS)
    assert expected in section("The link"), f"the table should be:\n{expected}"


def test_the_states_of_a_peer() -> None:
    expected = state_table(SessionState, SessionSignal, SESSION_TRANSITIONS)
    assert expected in section("The session"), f"the table should be:\n{expected}"


@pytest.mark.parametrize(("title", "signals"), [("The link", Signal), ("The session", SessionSignal)])
def test_every_signal_is_explained(title: str, signals: type[enum.Enum]) -> None:
    told = {row[0]: row[1] for row in rows(section(title)) if len(row) == 2}
    assert told == {f"`{signal.name}`": signal.value for signal in signals}


# The house


def listing() -> dict[str, str]:
    """The modules of the page's listing, each with what is said of it."""
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in section("The house").splitlines():
        if entry := re.fullmatch(r"((?:  )+)(\w+(?:\.py|/)) +(\S.*)", line):
            indent, name, text = entry.groups()
            del folders[len(indent) // 2 - 1 :]
            if name.endswith("/"):
                folders.append(name)
            else:
                found["".join(folders) + name] = text
    return found


def modules() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        only_says_what_it_is = path.name == "__init__.py" and len(ast.parse(path.read_text("utf-8")).body) == 1
        if not only_says_what_it_is:
            yield str(path.relative_to(PACKAGE))


def test_the_listing_names_every_module() -> None:
    assert set(listing()) == set(modules())


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:mpzmq|tests|docs|bench|examples)/[\w/]+\.\w+)`", page()))
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_what_docstrings_refer_to_exists() -> None:
    """Sphinx looks at those of public names only."""
    referred = re.compile(r":(?:class|func|meth|data|attr|exc):`~?(mpzmq(?:\.\w+)+)`")
    named = {name for path in PACKAGE.rglob("*.py") for name in referred.findall(path.read_text("utf-8"))}
    missing = []
    for name in sorted(named):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert named and missing == []


@pytest.mark.parametrize(("head", "heights"), [("level", LEVELS), ("floor", FLOORS)])
def test_the_heights_are_those_that_are_kept(head: str, heights: dict[str, int]) -> None:
    text = section("Who may import whom")
    table = text[text.index(f"| {head} |") :].split("\n\n", 1)[0]
    told = {name: int(row[0]) for row in rows(table) for name in re.findall(r"`(\w+)`", row[1])}
    assert told == {name or "__init__": height for name, height in heights.items()}


# Socket options

NOT_READABLE = {"ROUTER_MANDATORY"}
"""Options that libzmq sets but does not tell."""


def option_table() -> dict[str, tuple[str, str]]:
    """For each option its value on an engine's socket and on a container's, with the defaults."""
    return {row[0].strip("`"): (row[1], row[2]) for row in rows(section("Socket options")) if row[0].startswith("`")}


def options_of(source: Path) -> set[str]:
    """The options that a module sets."""
    text = source.read_text("utf-8")
    return set(re.findall(r"\.set\(zmq\.(\w+)", text)) | set(re.findall(r"^ +zmq\.(\w+): settings\.", text, re.M))


def test_the_option_table_is_complete() -> None:
    transport = PACKAGE / "transport"
    used = set().union(*(options_of(path) for path in transport.rglob("*.py")))
    assert set(option_table()) == used


async def test_the_option_table_agrees_with_the_sockets() -> None:
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        container = await worker.connect(uuid4(), await server.bind("tcp://127.0.0.1:0"))
        assert server._driver is not None
        assert isinstance(server._driver.router._accepted, AnyRouter)
        router = server._driver.router._accepted._zmq
        dealer = container._connection._dealer
        assert isinstance(container._connection, LinkDriver)
        assert isinstance(router, ZmqRouter)
        assert isinstance(dealer, ZmqDealer)
        assert dealer._socket is not None
        dealer_socket, router_socket = dealer._socket.raw, router._socket.raw
        for name, (engine, serving) in option_table().items():
            if name in NOT_READABLE:
                continue
            for socket, shown in ((dealer_socket, engine), (router_socket, serving)):
                if re.fullmatch(r"[\d,]+", shown):
                    assert socket.get(getattr(zmq, name)) == int(shown.replace(",", "")), name
