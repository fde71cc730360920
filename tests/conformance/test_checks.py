"""What the kit judges is what the page says: names, rules and sections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mpzmq.conformance import containers, engines
from tests.support import ROOT

if TYPE_CHECKING:
    from mpzmq.conformance.checks import Check

PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")
LEVELS = PAGE.split("## 17. Levels")[1].split("## 18. Vectors")[0]
RULES = {int(number) for number in re.findall(r"^(\d+)\. ", LEVELS, re.M)}
SECTIONS = set(re.findall(r"^## (\d+)\. ", PAGE, re.M))
BOTH = {1, 2, 3, 22, 23, 24, 25, 26, 27, 28}
OF_CONTAINERS = {*range(11, 16), 19, 20, 21, 32, 33, 34}
OF_ENGINES = {*range(4, 11), 16, 17, 18, 29, 30, 31}


def level_of(rule: int) -> int:
    """The level under whose heading a rule stands."""
    head = LEVELS[: re.search(rf"^{rule}\. ", LEVELS, re.M).start()]  # type: ignore[union-attr]
    return int(re.findall(r"^### Level (\d)", head, re.M)[-1])


@pytest.mark.parametrize("checks", [containers.CHECKS, engines.CHECKS], ids=["containers", "engines"])
def test_a_check_stands_for_a_rule_of_the_page(checks: list[Check]) -> None:
    assert len({check.name for check in checks}) == len(checks)
    for check in checks:
        assert check.rule in RULES, check.name
        assert check.section in SECTIONS, check.name
        assert check.expected.endswith("."), check.name
        assert level_of(check.rule) <= check.level, check.name


def test_every_rule_is_judged() -> None:
    assert {*BOTH, *OF_CONTAINERS, *OF_ENGINES} == RULES
    assert {check.rule for check in containers.CHECKS} == BOTH | OF_CONTAINERS
    assert {check.rule for check in engines.CHECKS} == (BOTH | OF_ENGINES) - {
        28
    }  # what it sends in CHUNKs is judged with rule 30


def test_what_ends_the_container_is_judged_last() -> None:
    assert [check.name for check in containers.CHECKS if check.last] == ["it-drains"]
