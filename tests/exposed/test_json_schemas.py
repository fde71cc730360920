"""Schemas of values as JSON carries them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import jsonschema
import pydantic
import pytest

from mpzmq.common.json_values import as_json_types
from mpzmq.exposed.json_schemas import as_json
from mpzmq.typed.schema import function_schema

BYTES = {"type": "string", "contentEncoding": "base64"}
B64 = {
    "type": "object",
    "properties": {"$b64": BYTES},
    "required": ["$b64"],
    "additionalProperties": False,
}


def test_bytes_are_an_object_wherever_they_stand() -> None:
    schema = {
        "type": "object",
        "properties": {"data": {**BYTES, "description": "what it is"}, "maybe": {"anyOf": [BYTES, {"type": "null"}]}},
        "additionalProperties": {"type": "array", "items": BYTES},
        "$defs": {"Pair": {"type": "array", "prefixItems": [BYTES, {"$ref": "#/$defs/Pair"}]}},
    }

    assert as_json(schema) == {
        "type": "object",
        "properties": {"data": {**B64, "description": "what it is"}, "maybe": {"anyOf": [B64, {"type": "null"}]}},
        "additionalProperties": {"type": "array", "items": B64},
        "$defs": {"Pair": {"type": "array", "prefixItems": [B64, {"$ref": "#/$defs/Pair"}]}},
    }


def test_a_parameter_called_like_a_keyword_is_a_parameter() -> None:
    schema = {"type": "object", "properties": {"items": BYTES, "contentEncoding": {"type": "integer"}}}

    assert as_json(schema)["properties"] == {"items": B64, "contentEncoding": {"type": "integer"}}


def test_keys_that_are_numbers_are_pairs() -> None:
    schema = {
        "type": "object",
        "propertyNames": {"format": "integer"},
        "additionalProperties": BYTES,
        "minProperties": 1,
        "default": {},
    }

    assert as_json(schema) == {
        "type": "object",
        "properties": {
            "$map": {
                "type": "array",
                "items": {"type": "array", "prefixItems": [{"type": "integer"}, B64], "minItems": 2, "maxItems": 2},
                "minItems": 1,
            }
        },
        "required": ["$map"],
        "additionalProperties": False,
        "default": {},
    }


def test_a_result_may_be_no_finite_number() -> None:
    schema = {"type": "array", "items": {"type": "number", "minimum": 1, "description": "what it is"}}
    odd = {
        "type": "object",
        "properties": {"$float": {"enum": ["nan", "inf", "-inf"]}},
        "required": ["$float"],
        "additionalProperties": False,
    }

    assert as_json(schema) == schema
    assert as_json(schema, is_result=True)["items"] == {
        "anyOf": [{"type": "number", "minimum": 1}, odd],
        "description": "what it is",
    }


class Colour(enum.IntEnum):
    RED = 1


class Fruit(enum.Enum):
    PEAR = "pear"


@dataclass
class Shelf:
    prices: dict[int, float]


class Basket(pydantic.BaseModel):
    prices: dict[int, float]


@pytest.mark.parametrize(
    ("annotation", "fit", "misfit"),
    [
        (dict[str, int], [{}, {"a": 1}, {"$b64": 1}], [{"a": "x"}]),
        (dict[int, int], [{}, {1: 2}], [{"a": 1}, {1: "x"}]),
        (dict[bytes, int], [{}, {b"a": 2}], [{"a": 1}, {b"a": "x"}]),
        (dict[Colour, int], [{}, {1: 2}], [{1: "x"}, {3: 2}]),
        (dict[Fruit, int], [{}, {"pear": 2}], [{"pear": "x"}]),
        (dict[Literal[1, 2], int], [{}, {1: 2}], [{"a": 1}, {3: 2}]),
        (dict[Literal["a"], int], [{}, {"a": 2}], [{"b": 1}, {"a": "x"}]),
        (dict[int | str, int], [{}, {"a": 1}, {1: 2}, {1: 2, "a": 3}], [{"a": "x"}, {1: "x"}]),
        (dict[Any, int], [{}, {"a": 1}, {1: 2}], [{"a": "x"}]),
        (dict[UUID, int], [{}, {"6ba7b810-9dad-41d1-80b4-00c04fd430c8": 1}], []),
        (dict[str, dict[int, bytes]], [{"a": {}}, {"a": {1: b"x"}}], [{"a": {1: "x"}}]),
        (list[dict[int, float]], [[{}, {1: float("nan")}]], [[{"a": 1.0}]]),
        (Shelf, [{"prices": {}}, {"prices": {1: 2.5}}], [{"prices": {"a": 1.0}}]),
        (Basket, [{"prices": {}}, {"prices": {1: float("inf")}}], [{"prices": 3}]),
    ],
)
def test_dicts_are_as_their_schemas_say(annotation: Any, fit: list[Any], misfit: list[Any]) -> None:
    schema = function_schema("call", (), {}, result=annotation)["result"]
    validator = jsonschema.Draft202012Validator(as_json(schema, is_result=True))

    assert [value for value in fit if not validator.is_valid(as_json_types(value))] == []
    assert [value for value in misfit if validator.is_valid(as_json_types(value))] == []


@pytest.mark.parametrize(
    ("annotation", "given"),
    [
        (dict[bytes, int], {"$map": [[{"$b64": "YQ=="}, 2]]}),
        (dict[Colour, int], {"$map": [[1, 2]]}),
        (dict[Literal[1, 2], int], {"$map": [[1, 2]]}),
        (dict[int | str, int], {"$map": [[1, 2], ["a", 3]]}),
        (dict[int | str, int], {"a": 3}),
    ],
)
def test_dicts_can_be_given_as_their_schemas_say(annotation: Any, given: Any) -> None:
    schema = function_schema("call", (), {}, result=annotation)["result"]

    jsonschema.validate(given, as_json(schema), jsonschema.Draft202012Validator)


def test_a_number_of_entries_counts_the_pairs() -> None:
    keys = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    schema = {"type": "object", "propertyNames": keys, "minProperties": 2, "additionalProperties": {}}

    validator = jsonschema.Draft202012Validator(as_json(schema, is_result=True))
    assert validator.is_valid(as_json_types({1: 2, 3: 4}))
    assert not validator.is_valid(as_json_types({1: 2}))


@pytest.mark.parametrize("schema", [BYTES, {"anyOf": [BYTES, {"type": "null"}]}])
def test_a_default_is_written_as_it_would_be_given(schema: dict[str, Any]) -> None:
    assert as_json({**schema, "default": "aGk="})["default"] == {"$b64": "aGk="}


def test_everything_else_is_as_it_was() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": False}

    assert as_json(schema) == schema
    assert as_json(True) is True
