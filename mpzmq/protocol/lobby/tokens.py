"""Tokens: what a container has to know to be let in, and for how long that is good."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from datetime import datetime

from ...common.text import is_unicode, without_comment

__all__ = ["EXPIRED", "MAX_TOKENS", "NO_BLANKS", "Tokens", "given_tokens", "parse_tokens"]

MAX_TOKENS = 10_000
MAX_TOKEN = 1024
"""Characters of one token."""

EXPIRED = "its token has expired"

NO_BLANKS = ", as a file ends with a line feed: strip it, or pass the Path of the file"
"""What to do about white space at an end of a token, which no file of tokens could have."""

_Entry = tuple[str | None, str, float | None]


class Tokens:
    """The tokens that are good now.

    Args:
        entries: the runner (None: whoever has the token), the token, and when it expires (Unix time; None: never).

    Raises:
        ValueError: one is empty, too long, no Unicode, with white space at an end or named twice, or there are too
            many.
    """

    def __init__(self, entries: list[_Entry]) -> None:
        if len(entries) > MAX_TOKENS:
            raise ValueError(f"there are more than {MAX_TOKENS} tokens")
        # Found by a digest under a key that nobody else knows: how long that takes says nothing of the tokens.
        self._key = secrets.token_bytes(32)
        self._entries: dict[bytes, _Entry] = {}
        for entry in entries:
            runner, token, _ = entry
            if not token or len(token) > MAX_TOKEN:
                whose = "the token" if runner is None else f"the token of {runner!r}"
                raise ValueError(f"{whose} is empty, or has more than {MAX_TOKEN} characters")
            if token != token.strip():
                whose = "the token" if runner is None else f"the token of {runner!r}"
                raise ValueError(f"{whose} begins or ends with white space{NO_BLANKS}")
            if not (is_unicode(token) and is_unicode(runner or "")):
                whose = "the token" if runner is None else f"the token of {runner!a}, or that name,"
                raise ValueError(f"{whose} cannot be written in UTF-8: no container could send it")
            digest = self._digest(token)
            if digest in self._entries:
                raise ValueError(f"the token of {runner!r} is that of {self._entries[digest][0]!r}, too")
            self._entries[digest] = entry

    def runner(self, token: str, wall_time: float) -> tuple[str | None, str]:
        """Whose token that is.

        Args:
            token: as a container has sent it.
            wall_time: the Unix time.

        Returns:
            The runner (None for a token of everybody), and what is wrong with the token: empty, nothing is.
        """
        entry = self._entries.get(self._digest(token))
        if entry is None or not hmac.compare_digest(entry[1].encode(), token.encode("utf-8", "replace")):
            return None, "its token is wrong"
        runner, _, expires = entry
        if expires is not None and wall_time >= expires:
            return runner, EXPIRED
        return runner, ""

    def _digest(self, token: str) -> bytes:
        return hmac.digest(self._key, token.encode("utf-8", "replace"), "sha256")


def given_tokens(tokens: str | Mapping[str, str]) -> Tokens:
    """The tokens that a program has given.

    Raises:
        TypeError: they are neither a str, nor a mapping of str to str.
        ValueError: as for :class:`Tokens`; or there are none.
    """
    if isinstance(tokens, str):
        return Tokens([(None, tokens, None)])
    if not isinstance(tokens, Mapping):
        raise TypeError(f"tokens is a str, a mapping of runners to tokens, or a Path, not {type(tokens).__name__}")
    for runner, token in tokens.items():
        if not (isinstance(runner, str) and isinstance(token, str)):
            raise TypeError("tokens is a mapping of str to str")
        if not runner:
            raise ValueError("tokens: a runner's name is not empty")
    if not tokens:
        raise ValueError("tokens is empty: nobody could join")
    return Tokens([(runner, token, None) for runner, token in tokens.items()])


def parse_tokens(text: str) -> Tokens:
    """The tokens of a file: ``RUNNER TOKEN [EXPIRES]`` on each line; a word that begins with ``#`` is a comment,
    with all behind it.

    ``EXPIRES`` is an ISO 8601 time with its zone, such as ``2027-01-31T12:00:00Z``. A line with one word is a token
    of whoever has it.

    Raises:
        ValueError: a line is of another form; the text names its number, and not the token.
    """
    entries: list[_Entry] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = without_comment(line).split()
        if not words:
            continue
        if len(words) > 3:
            raise ValueError(f"line {number} is not 'RUNNER TOKEN [EXPIRES]'")
        expires = None
        if len(words) == 3:
            try:
                expires = _unix_time(words[2])
            except ValueError:
                # Not shown: behind a name of two words it is the token.
                text = f"line {number}: its third word is no time with a zone, such as 2027-01-31T12:00:00Z"
                raise ValueError(text) from None
        entries.append((None, words[0], None) if len(words) == 1 else (words[0], words[1], expires))
    return Tokens(entries)


def _unix_time(text: str) -> float:
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError("it has no time zone")
    return when.timestamp()
