"""The tree of errors: its shape, its builtin bases, its facts, and that all of it survives pickle and copy."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any
from uuid import UUID

import pytest

import mpzmq
from mpzmq import errors
from mpzmq.errors import (
    ConnectError,
    ConnectionLost,
    EncodeError,
    InsecureBind,
    MessageTooLarge,
    MpzmqError,
    Overloaded,
    RemoteError,
    RequestError,
)
from mpzmq.models import Executed
from tests.support.odd import Lazy, NoText, NoTraceback, Twin

NO, UNKNOWN, YES = Executed.NO, Executed.UNKNOWN, Executed.YES

# The whole tree: name, its base in the tree, its builtin base, and what a new one says of the handler.
TREE: list[tuple[str, str, type[Exception] | None, Executed | None]] = [
    ("MpzmqError", "", Exception, None),
    ("ConnectError", "MpzmqError", ConnectionError, None),
    ("ConnectRefused", "ConnectError", ConnectionRefusedError, None),
    ("AddressNotFound", "ConnectError", None, None),
    ("ConnectTimeout", "ConnectError", TimeoutError, None),
    ("HandshakeFailed", "ConnectError", None, None),
    ("AuthenticationFailed", "ConnectError", PermissionError, None),
    ("InsecureBind", "MpzmqError", ValueError, None),
    ("RequestError", "MpzmqError", None, NO),
    ("NotConnected", "RequestError", ConnectionError, NO),
    ("ConnectionLost", "RequestError", ConnectionResetError, UNKNOWN),
    ("ConnectionClosed", "ConnectionLost", BrokenPipeError, UNKNOWN),
    ("RequestTimeout", "RequestError", TimeoutError, UNKNOWN),
    ("RequestCancelled", "RequestError", None, YES),
    ("Overloaded", "RequestError", None, NO),
    ("Unsupported", "RequestError", None, NO),
    ("InvalidArguments", "RequestError", None, NO),
    ("ContainerStopped", "RequestError", None, NO),
    ("ContainerDraining", "RequestError", None, NO),
    ("Refused", "RequestError", None, NO),
    ("NotPermitted", "Refused", PermissionError, NO),
    ("RequestIdReused", "RequestError", ValueError, NO),
    ("RemoteError", "RequestError", None, YES),
    ("ResultMismatch", "RequestError", None, YES),
    ("ProtocolError", "RequestError", None, UNKNOWN),
    ("MessageTooLarge", "MpzmqError", ValueError, None),
    ("EncodeError", "MpzmqError", TypeError, None),
]
REQUEST_ERRORS = [name for name, _, _, executed in TREE if executed is not None]
REQUEST_ID, REMOTE_ID = UUID(int=7), UUID(int=8)


def error_class(name: str) -> type[MpzmqError]:
    found: type[MpzmqError] = getattr(errors, name)
    assert issubclass(found, MpzmqError)
    return found


def facts_of(cls: type[MpzmqError]) -> dict[str, Any]:
    """A fact of every kind that a class takes, none of them its default."""
    if issubclass(cls, ConnectError):
        return {"address": "host:1", "name": "w", "attempts": 3}
    if issubclass(cls, InsecureBind):
        return {"endpoint": "tcp://0.0.0.0:1"}
    if issubclass(cls, MessageTooLarge):
        return {"size": 9, "limit": 8}
    if issubclass(cls, EncodeError):
        return {"path": "data[0]"}
    facts: dict[str, Any] = {}
    if issubclass(cls, RequestError):
        facts = {"request_id": REQUEST_ID, "remote_id": REMOTE_ID, "name": "w", "fallback_sent": True}
        facts["executed"] = NO if cls.executed is not NO else YES
    if issubclass(cls, RemoteError):
        facts |= {"code": "broke", "data": {"a": [1]}, "error_type": "KeyError", "error_message": "'a'"}
    return facts


def test_the_tree_has_exactly_these_classes() -> None:
    assert sorted(errors.__all__) == sorted(name for name, *_ in TREE)
    here = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, MpzmqError)]
    assert sorted(thing.__name__ for thing in here) == sorted(errors.__all__)


@pytest.mark.parametrize(("name", "base", "builtin", "executed"), TREE, ids=[row[0] for row in TREE])
def test_bases(name: str, base: str, builtin: type[Exception] | None, executed: Executed | None) -> None:
    expected = tuple(cls for cls in (error_class(base) if base else None, builtin) if cls is not None)
    assert error_class(name).__bases__ == expected


@pytest.mark.parametrize(("name", "executed"), [(name, executed) for name, _, _, executed in TREE])
def test_executed_is_known_to_the_class(name: str, executed: Executed | None) -> None:
    cls = error_class(name)
    assert getattr(cls, "executed", None) is executed
    if executed is not None:
        assert getattr(cls("text"), "executed") is executed  # noqa: B009


def test_the_docstring_draws_the_tree() -> None:
    """Indentation is ancestry; the builtin bases stand in parentheses, `executed` behind."""
    drawn: list[tuple[str, str, str, str]] = []
    ancestors: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ( *)([A-Z]\w+)(?:\((\w+)\))?(?: +(.*))?", line)
        if match is None:
            continue
        indent, name, builtin, text = len(match[1]), match[2], match[3] or "", match[4] or ""
        ancestors = {key: value for key, value in ancestors.items() if key < indent}
        base = ancestors[max(ancestors)] if ancestors else ""
        ancestors[indent] = name
        drawn.append((name, base, builtin, text))
    assert [(name, base) for name, base, *_ in drawn] == [(name, base) for name, base, *_ in TREE]
    for (name, _, builtin, executed), (_, _, shown, text) in zip(TREE, drawn, strict=True):
        assert shown == (builtin.__name__ if builtin is not None and builtin is not Exception else ""), name
        words = set(re.findall(r"\b(?:NO|UNKNOWN|YES)\b", text))
        assert not words or executed in words, name


def test_all_are_public() -> None:
    for name, *_ in TREE:
        assert getattr(mpzmq, name) is error_class(name)


@pytest.mark.parametrize("name", [row[0] for row in TREE])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_facts_and_text_survive_pickle(name: str, protocol: int) -> None:
    cls = error_class(name)
    error = cls("what happened", **facts_of(cls))
    _check(pickle.loads(pickle.dumps(error, protocol)), error)


@pytest.mark.parametrize("name", [row[0] for row in TREE])
def test_facts_and_text_survive_copy(name: str) -> None:
    cls = error_class(name)
    error = cls("what happened", **facts_of(cls))
    _check(copy.copy(error), error)
    _check(copy.deepcopy(error), error)


@pytest.mark.parametrize("name", [row[0] for row in TREE])
def test_an_error_without_facts(name: str) -> None:
    cls = error_class(name)
    empty = cls()
    assert str(empty) == ""
    _check(pickle.loads(pickle.dumps(empty)), empty)
    assert str(cls("text")) == "text"


def _check(found: MpzmqError, error: MpzmqError) -> None:
    assert type(found) is type(error)
    assert found is not error
    assert found.args == error.args
    assert str(found) == str(error)
    assert vars(found) == vars(error)
    for fact, value in facts_of(type(error)).items() if vars(error) and str(error) else ():
        assert getattr(found, fact) == value


def test_facts_set_later_survive_too() -> None:
    lost = ConnectionLost("text", executed=NO)
    assert lost.instance_changed is None
    lost.instance_changed = True
    full = Overloaded("text")
    assert full.retry_after == 0.1
    full.retry_after = 2.5
    for error, fact, value in ((lost, "instance_changed", True), (full, "retry_after", 2.5)):
        for found in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert getattr(found, fact) == value
    assert ConnectionLost.instance_changed is None
    assert Overloaded.retry_after == 0.1


def test_notes_survive_pickle() -> None:
    error = RemoteError("text")
    error.add_note("seen in the log")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["seen in the log"]


@pytest.mark.parametrize("name", REQUEST_ERRORS)
def test_request_errors_have_their_facts(name: str) -> None:
    cls = error_class(name)
    assert issubclass(cls, RequestError)
    error = cls("text", request_id=REQUEST_ID, remote_id=REMOTE_ID, name="w")
    assert (error.request_id, error.remote_id, error.name) == (REQUEST_ID, REMOTE_ID, "w")
    assert error.executed is cls.executed
    assert error.fallback_sent is False
    bare = cls("text")
    assert (bare.request_id, bare.remote_id, bare.name) == (None, None, "")
    for executed in Executed:
        assert cls("text", executed=executed).executed is executed


def test_remote_error_has_a_default_for_every_fact() -> None:
    error = RemoteError("declined", code="insufficient_funds", data={"balance": -3})
    assert (error.code, error.data) == ("insufficient_funds", {"balance": -3})
    assert (error.error_type, error.error_message) == ("RemoteError", "declined")
    assert RemoteError("shown", error_message="raised").error_message == "raised"
    assert RemoteError("shown", error_message="").error_message == ""


def test_operating_system_errors_keep_their_text() -> None:
    """OSError takes two arguments for an errno and would show them in its own way."""
    error = errors.ConnectRefused("cannot connect", address="a:1")
    assert str(error) == "cannot connect"
    assert isinstance(error, OSError)
    assert error.errno is None


def test_the_text_of_whatever_was_given() -> None:
    for given, text in ((ValueError("bad"), "bad"), (404, "404"), (None, "None"), (b"x", "b'x'"), (Twin("a"), "a")):
        for cls in (MpzmqError, RequestError, RemoteError):
            error = cls(given)
            assert (str(error), error.args, type(error.args[0])) == (text, (text,), str)
        assert RemoteError(given).error_message == text
    for odd in (NoText(), NoTraceback(), Lazy()):
        assert type(odd).__name__ in str(RemoteError(odd))
        assert pickle.loads(pickle.dumps(RemoteError(odd))).error_message == str(RemoteError(odd))


def test_a_word_for_programs_is_a_str() -> None:
    for name in ("code", "error_type"):
        for given in (404, ValueError, NoText(), b"x"):
            words: dict[str, Any] = {name: given}
            with pytest.raises(TypeError, match=f"the {name} of a RemoteError is a str, and not .*its message is 'm'"):
                RemoteError("m", **words)
        words = {name: Twin("a")}
        assert type(getattr(RemoteError("m", **words), name)) is str
    assert RemoteError("m").code is None
