"""What an agent is told of functions, and what of its arguments goes where."""

from __future__ import annotations

from typing import Any

import pytest

from mpzmq.exposed.functions import ExposedFunction
from mpzmq.mcp.tools import Arguments, WrongArguments, arguments_of, is_tool_name, tool_of

N = {"type": "integer"}


def function(kind: str = "call", **more: Any) -> ExposedFunction:
    """``f(a, b=7)``, and what else is said."""
    parameters = {
        "type": "object",
        "properties": {"a": N, "b": {**N, "default": 7}},
        "required": ["a"],
        "additionalProperties": False,
    }
    schema = {"kind": kind, "doc": "", "parameters": parameters, "result": N, **more}
    return ExposedFunction("f", "(a: int, b: int = 7) -> int", "Does it.", schema)


def test_a_typed_function_is_told_whole() -> None:
    tool = tool_of(function())

    assert tool.name == "f"
    assert tool.description == "Does it.\nf(a: int, b: int = 7) -> int"
    assert tool.input_schema == {
        "type": "object",
        "properties": {"a": N, "b": {**N, "default": 7}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert tool.output_schema == {"type": "object", "properties": {"result": N}, "required": ["result"]}


def test_an_untyped_function_takes_an_object_and_says_of_what() -> None:
    tool = tool_of(ExposedFunction("f", "(a, b)", ""))

    assert tool.input_schema == {"type": "object", "additionalProperties": True}
    assert tool.description == "Its parameters, by name: (a, b)"
    assert tool.output_schema is None


def test_types_stand_at_the_root() -> None:
    ref = {"$ref": "#/$defs/Job"}
    job = {"title": "Job", "type": "object", "properties": {"data": {"type": "string", "contentEncoding": "base64"}}}
    tool = tool_of(function("channel", items={**ref, "$defs": {"Job": job}}, result={**ref, "$defs": {"Job": job}}))

    b64 = {
        "type": "object",
        "properties": {"$b64": {"type": "string", "contentEncoding": "base64"}},
        "required": ["$b64"],
        "additionalProperties": False,
    }
    defs = {"Job": {**job, "properties": {"data": b64}}}
    assert tool.input_schema["$defs"] == defs
    assert tool.input_schema["properties"]["items"]["items"] == ref
    assert "items" in tool.input_schema["required"]
    assert tool.output_schema is not None
    assert tool.output_schema["$defs"] == defs
    assert tool.output_schema["properties"]["items"] == {"type": "array", "items": ref}


@pytest.mark.parametrize(
    ("more", "given", "expected"),
    [
        ({}, {"a": 1}, Arguments([], {"a": 1})),
        ({}, {"a": {"$b64": "aGk="}}, Arguments([], {"a": b"hi"})),
        ({"positional_only": ["a", "b"]}, {"a": 1, "b": 2}, Arguments([1, 2], {})),
        ({"positional_only": ["a", "b"]}, {"a": 1}, Arguments([1], {})),
        ({"positional_only": ["a", "b"]}, {}, Arguments([], {})),
        ({"rest": N}, {"a": 1}, Arguments([], {"a": 1})),
        ({"rest": N}, {"a": 1, "args": [3, 4]}, Arguments([1, 7, 3, 4], {})),
        ({"rest": N, "keyword_only": ["b"]}, {"a": 1, "b": 2, "args": [3]}, Arguments([1, 3], {"b": 2})),
        ({"kind": "upload", "items": N}, {"a": 1, "items": [1, 2]}, Arguments([], {"a": 1}, [1, 2])),
        ({"kind": "upload", "items": N}, {"a": 1}, Arguments([], {"a": 1}, [])),
    ],
)
def test_arguments_go_where_they_belong(more: dict[str, Any], given: dict[str, Any], expected: Arguments) -> None:
    assert arguments_of(function(**more), given) == expected


def test_a_default_that_is_bytes_goes_as_bytes() -> None:
    data = {"type": "string", "contentEncoding": "base64", "default": "aGk="}
    parameters = {"type": "object", "properties": {"data": data}, "required": []}
    tool = function(parameters=parameters, rest=N)

    assert tool_of(tool).input_schema["properties"]["data"]["default"] == {"$b64": "aGk="}
    assert arguments_of(tool, {"args": [3]}) == Arguments([b"hi", 3], {})


@pytest.mark.parametrize(
    ("more", "given", "words"),
    [
        ({}, {"a": {"$b64": 3}}, "is no b64"),
        ({"positional_only": ["a", "b"]}, {"b": 2}, "a is missing"),
        ({"rest": N}, {"args": [3]}, "a is missing"),
        ({"rest": N}, {"args": 3}, "args is an array"),
        ({"kind": "upload", "items": N}, {"items": {}}, "items is an array"),
    ],
)
def test_what_no_call_can_be_made_of_is_told(more: dict[str, Any], given: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongArguments, match=words):
        arguments_of(function(**more), given)


def test_names_that_clients_take() -> None:
    assert all(map(is_tool_name, ["add", "shop.buy", "a-b_C9", "x" * 128]))
    assert not any(map(is_tool_name, ["", "ä", "a b", "a/b", "x" * 129, "add\n"]))
