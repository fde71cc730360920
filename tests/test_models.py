"""The words of the protocol."""

from __future__ import annotations

import dataclasses
import json
import pickle
from uuid import UUID

import pytest

from mpzmq.models import Description, Executed, FunctionDescription, LinkState, Method, Params, Status

ID = UUID(int=5)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (Method, ["INVOKE", "SETSTATE", "GETSTATE"]),
        (Status, ["RUNNING", "STOP"]),
        (Executed, ["NO", "UNKNOWN", "YES"]),
        (LinkState, ["CONNECTING", "ALIVE", "BUSY", "DRAINING", "DOWN", "FAILED", "CLOSED"]),
    ],
)
def test_words_are_their_own_texts(words: type[Method] | type[Status], names: list[str]) -> None:
    assert [word.name for word in words] == names
    for word in words:
        assert word == word.name
        assert str(word) == f"{word}" == word.name
        assert words(word.name) is word
        assert json.dumps({word: word}) == f'{{"{word}": "{word}"}}'
        assert pickle.loads(pickle.dumps(word)) is word


def test_params() -> None:
    params = Params(ID)
    assert (params.id, params.method, params.status, params.data) == (ID, Method.INVOKE, Status.RUNNING, None)
    assert params == Params(ID, Method.INVOKE, Status.RUNNING, None)
    assert params != dataclasses.replace(params, data=1)
    assert pickle.loads(pickle.dumps(params)) == params


@pytest.mark.parametrize(
    "value",
    [
        Params(ID),
        FunctionDescription("add", "(a, b)", "The sum."),
        Description("w", ID, "1", Status.STOP, False, ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_frozen_and_survive_pickle(value: Params | FunctionDescription | Description) -> None:
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
    assert pickle.loads(pickle.dumps(value)) == value
    assert not hasattr(value, "__dict__")
