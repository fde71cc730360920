"""Tokens: what they are read from, and for how long they are good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.protocol.lobby.tokens import MAX_TOKENS, Tokens, given_tokens, parse_tokens

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1)
written_words = words.filter(lambda word: word[0] != "#")


def test_one_token_is_good_for_everybody() -> None:
    tokens = given_tokens("secret")
    assert tokens.runner("secret", 0.0) == (None, "")
    for wrong in ("", "secre", "secret ", "Secret"):
        assert tokens.runner(wrong, 0.0) == (None, "its token is wrong")


@given(st.dictionaries(words, words, min_size=1), words)
def test_a_token_is_that_of_its_runner(entries: dict[str, str], other: str) -> None:
    if len(set(entries.values())) < len(entries):
        with pytest.raises(ValueError, match="is that of"):
            given_tokens(entries)
        return
    tokens = given_tokens(entries)
    for runner, token in entries.items():
        assert tokens.runner(token, 0.0) == (runner, "")
    if other not in entries.values():
        assert tokens.runner(other, 0.0) == (None, "its token is wrong")


def test_a_token_is_good_until_it_expires_and_not_then() -> None:
    tokens = parse_tokens(f"one secret {NOON.isoformat()}")
    at = NOON.timestamp()
    assert tokens.runner("secret", at - 0.001) == ("one", "")
    assert tokens.runner("secret", at) == ("one", "its token has expired")


@given(st.lists(st.tuples(written_words, written_words), unique_by=lambda entry: entry[1]), st.integers(-12, 12))
def test_a_file_says_what_was_written_into_it(entries: list[tuple[str, str]], hours: int) -> None:
    there = NOON.astimezone(timezone(timedelta(hours=hours)))
    text = "# runners\n\n" + "".join(f"{runner} {token} {there.isoformat()}  # good\n" for runner, token in entries)
    tokens = parse_tokens(text)
    for runner, token in entries:
        assert tokens.runner(token, NOON.timestamp() - 1) == (runner, "")
        assert tokens.runner(token, NOON.timestamp() + 1)[1] == "its token has expired"


def test_a_token_may_have_what_begins_a_comment_elsewhere() -> None:
    tokens = parse_tokens("one se#cret#  # good\neverybody#\t#\n#two secret\n")
    assert tokens.runner("se#cret#", 0.0) == ("one", "")
    assert tokens.runner("everybody#", 0.0) == (None, "")
    for wrong in ("se", "secret", "everybody"):
        assert tokens.runner(wrong, 0.0) == (None, "its token is wrong")


def test_a_line_with_one_word_is_a_token_of_everybody() -> None:
    tokens = parse_tokens("everybody\none two\n")
    assert tokens.runner("everybody", 0.0) == (None, "")
    assert tokens.runner("two", 0.0) == ("one", "")
    assert tokens.runner("one", 0.0) == (None, "its token is wrong")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a hidden tomorrow", "line 1: its third word is no time"),
        ("runner a hidden", "line 1: its third word is no time"),
        ("\na hidden 2027-01-31T12:00:00", "line 2: its third word is no time with a zone"),
        ("a hidden 2027-01-31T12:00:00Z more", "line 1 is not"),
        ("a hidden\nb hidden", "the token of 'b' is that of 'a', too"),
        (f"a {'h' * 1025}", "the token of 'a' is empty, or has more than 1024"),
    ],
)
def test_a_malformed_file_is_told_without_its_tokens(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as told:
        parse_tokens(text)
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize("tokens", [b"secret", None, {"a": b"x"}, {1: "x"}, ["x"]])
def test_what_are_no_tokens_is_a_type_error(tokens: object) -> None:
    with pytest.raises(TypeError):
        given_tokens(tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize("token", ["hidden\n", " hidden", "hidden\r\n", "\n"])
def test_a_token_that_was_read_with_its_line_feed_is_refused_and_not_shown(token: str) -> None:
    for tokens in (token, {"a": token}):
        with pytest.raises(ValueError, match=r"begins or ends with white space.* strip it, or pass the Path") as told:
            given_tokens(tokens)
        assert "hidden" not in str(told.value)


def test_there_are_neither_none_nor_too_many() -> None:
    for none in ("", {}, {"a": ""}):
        with pytest.raises(ValueError, match="empty"):
            given_tokens(none)
    with pytest.raises(ValueError, match="more than"):
        Tokens([(None, str(number), None) for number in range(MAX_TOKENS + 1)])


@pytest.mark.parametrize("tokens", ["hidden\udc80", {"a": "hidden\udc80"}, {"a\udc80": "hidden"}])
def test_what_no_container_could_send_is_no_token(tokens: str | dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be written in UTF-8") as told:
        given_tokens(tokens)
    assert "hidden" not in str(told.value)


def test_a_token_expires_at_the_end_of_time() -> None:
    assert parse_tokens("a x 9999-12-31T23:59:59-05:00").runner("x", 4e9) == ("a", "")


def test_a_token_that_is_no_utf_8_is_wrong() -> None:
    assert given_tokens("secret").runner("\udc80", 0.0) == (None, "its token is wrong")
