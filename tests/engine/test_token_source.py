"""Tokens of a file, which is looked at now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mpzmq.engine.lobby import TOKENS_LOOK, TokenSource

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_read_again_when_it_has_changed_and_not_at_every_join(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    file.write_text("one first\n")
    source = TokenSource(file)
    assert source.current(0.0).runner("first", 0.0) == ("one", "")
    file.write_text("one second\n")
    assert source.current(TOKENS_LOOK / 2).runner("first", 0.0) == ("one", "")
    now = TOKENS_LOOK
    assert source.current(now).runner("second", 0.0) == ("one", "")
    file.write_text("one third and more words")
    for _ in range(3):  # it stays as it was, and that is said once
        now += TOKENS_LOOK
        assert source.current(now).runner("second", 0.0) == ("one", "")
    assert len(caplog.records) == 1
    assert "third" not in caplog.text


@pytest.mark.parametrize("kind", ["no UTF-8", "directory", "line 1"])
def test_what_is_no_file_of_tokens_is_told_with_its_path_and_without_a_token(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "tokens"
    if kind == "directory":
        file.mkdir()
    else:
        file.write_bytes(b"one hidden\xff" if kind == "no UTF-8" else b"one two three hidden")
    with pytest.raises(ValueError, match=f"{file}.*{kind}") as told:
        TokenSource(file)
    assert "hidden" not in repr(told.value)
