"""Checks: what each is called, what it stands for in docs/protocol.md, and how it ends."""

from __future__ import annotations

import enum
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Check", "Checks", "NotJudged", "Outcome", "Verdict", "Violation", "expect"]


class Violation(Exception):
    """The peer did not do as the rule says; the text tells what it did."""


class NotJudged(Exception):
    """The rule does not concern this peer; the text says why."""


class Outcome(enum.StrEnum):
    """How a check ends."""

    PASSED = "passed"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule, judged.

    Attributes:
        name: what it is called, for ``--check``.
        level: the level to which the rule belongs.
        rule: its number in section 17.
        section: where the rule is told in full.
        expected: what a peer does that keeps to it, in one sentence.
        run: judges a peer.
        last: whether the peer serves no longer behind it, so that all others go first.
    """

    name: str
    level: int
    rule: int
    section: str
    expected: str
    run: Callable[[Any], Awaitable[None]] = field(repr=False)
    last: bool = False

    @property
    def place(self) -> str:
        """Where the rule stands."""
        return f"rule {self.rule}, section {self.section}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one check.

    Attributes:
        check: which one.
        outcome: how it ended.
        came: what the peer did instead, or why it was not judged.
    """

    check: Check
    outcome: Outcome
    came: str = ""


class Checks(list[Check]):
    """The checks of one level and one side, in the order in which they are written."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def add(self, rule: int, section: str, *, last: bool = False) -> Callable[[Any], Any]:
        """Makes a coroutine function a check: its name with hyphens, its docstring the sentence of what is expected."""

        def register(run: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
            expected = " ".join((inspect.getdoc(run) or "").split())
            name = run.__name__.replace("_", "-")
            self.append(Check(name, self._level, rule, section, expected, run, last))
            return run

        return register


def expect(holds: bool, came: str) -> None:
    """Ends the check with what came, unless a condition holds."""
    if not holds:
        raise Violation(came)
