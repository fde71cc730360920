"""The names that may be called from outside."""

from __future__ import annotations

from typing import Any

import pytest

from mpzmq.exposed.allowed import Allowed


def test_only_what_is_named_is_allowed() -> None:
    allowed = Allowed(["add", "shop.buy", "add"])

    assert "add" in allowed
    assert "shop.buy" in allowed
    assert "shop" not in allowed
    assert "*" not in allowed
    assert allowed.names == ("add", "shop.buy")


def test_a_star_stands_for_everything() -> None:
    allowed = Allowed(["add", "*"])

    assert "anything" in allowed
    assert allowed.everything
    assert allowed.names == ("add",)


@pytest.mark.parametrize("allow", ["add", b"add", None, 3, [3], [""], [None]])
def test_what_is_no_list_of_names_is_refused(allow: Any) -> None:
    with pytest.raises(TypeError, match="names of functions"):
        Allowed(allow)


def test_nothing_is_not_everything() -> None:
    assert "add" not in Allowed([])
