"""A list of keys that grows: what is kept, and where."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mpzmq import keys
from mpzmq.security import trusted_keys
from mpzmq.security.allow_list import read_users
from mpzmq.security.trusted_keys import TrustedKeys

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = (keys.generate().public for _ in range(2))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "trusted.toml"
    made.write_text("# nobody yet")
    return made


@pytest.mark.parametrize("name", ["one", 'a "b" \\ c.d', "käfer 🐞", "tab\t, line\n, \x7f and \x00", "[x]"])
def test_a_key_is_kept_under_whatever_name_for_the_next_process(file: Path, name: str) -> None:
    assert TrustedKeys(file, lambda: None).keep(name, ONE) == ""
    again = TrustedKeys(file, lambda: None)
    assert (user := again.user(ONE)) is not None
    assert user.name == name
    assert "exchanged" in again.keep(name, TWO)
    assert again.keep(None, TWO) == ""
    assert file.read_text().startswith("# nobody yet\n")
    assert {key: user.name for key, user in read_users(file).items()} == {ONE: name, TWO: TWO}


def test_what_was_written_by_hand_a_moment_ago_counts(file: Path) -> None:
    trusted = TrustedKeys(file, lambda: None)
    file.write_text(f'[one]\npublic-key = "{ONE}"\n')
    assert "exchanged" in trusted.keep("one", TWO)
    file.write_text("")
    assert trusted.keep("one", TWO) == ""
    assert list(read_users(file)) == [TWO]


def test_anybody_may_connect_and_is_nobody_yet(file: Path) -> None:
    trusted = TrustedKeys(file, lambda: None)
    assert trusted.is_allowed(ONE)
    assert trusted.user(ONE) is None


@pytest.mark.parametrize("fault", ["gone", "no file", "no text"])
def test_what_cannot_be_written_down_is_not_trusted(file: Path, fault: str) -> None:
    trusted = TrustedKeys(file, lambda: None)
    if fault != "no text":
        file.unlink()
    if fault == "no file":
        os.mkfifo(file)
    assert trusted.keep("\udc80" if fault == "no text" else "one", ONE) == "its key cannot be kept"
    assert trusted.user(ONE) is None


def test_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted_keys, "MAX_TRUSTED", 1)
    trusted = TrustedKeys((), lambda: None)
    assert trusted.keep(None, ONE) == ""
    assert trusted.keep(None, TWO) == "1 keys are trusted already"
