"""What processes of xdist import before they collect (`tests/support/ahead.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import ahead

if TYPE_CHECKING:
    import pytest


def test_each_module_is_in_one_share() -> None:
    shares = [ahead.share(number, 3) for number in range(3)]
    assert sorted(name for names in shares for name in names) == sorted(ahead.test_modules())
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_names_are_those_that_pytest_gives(request: pytest.FixtureRequest) -> None:
    """Under another name a module would be imported twice: in a run of all tests this sees every one."""
    collected = {item.module.__name__ for item in request.session.items if hasattr(item, "module")}
    assert __name__ in collected and collected <= set(ahead.test_modules())
