"""What a command says of an error speaks of options and commands, never of arguments in Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mpzmq
from mpzmq import ContainerStopped, MpzmqError, RemoteError
from mpzmq.cli import wording
from mpzmq.cli.wording import in_shell_words
from mpzmq.engine import connect_errors
from mpzmq.protocol.requester import error_factory

PYTHON = re.compile(r"\w\(|\b\w+=(?!\w*\.)|Limits\.|Status\.|server_key")
LIBRARY = "".join(
    # A text may go on in the next line of the source.
    re.sub(r'"\n\s*f?"', "", path.read_text("utf-8"))
    for path in sorted(Path(mpzmq.__file__).parent.rglob("*.py"))
    if "cli" not in path.parts
)


@pytest.mark.parametrize("theirs", wording._WORDS)
def test_the_library_says_so(theirs: str) -> None:
    """Else the words have changed there, and the command speaks Python again."""
    assert theirs in LIBRARY


@pytest.mark.parametrize(
    "advice",
    [
        *error_factory._ADVICE.values(),
        *connect_errors._ADVICE.values(),
        *wording._WORDS,
        error_factory.RequestErrors.if_too_large,
    ],
)
def test_no_advice_is_for_python(advice: str) -> None:
    assert not PYTHON.search(in_shell_words(MpzmqError(f"it failed; {advice}")))


def test_the_name_stands_in_the_command() -> None:
    error = ContainerStopped("it is stopped: set_state(remote_id, Status.RUNNING)", name="127.0.0.1:3010")
    assert in_shell_words(error) == "it is stopped: mpzmq state 127.0.0.1:3010 RUNNING"


def test_a_handlers_own_words_stay() -> None:
    text = "give it more time with timeout="
    assert in_shell_words(RemoteError(text)) == text
