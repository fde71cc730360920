"""Schemas of values as JSON carries them."""

from __future__ import annotations

from mpzmq.exposed.json_schemas import as_json

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


def test_everything_else_is_as_it_was() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": False}

    assert as_json(schema) == schema
    assert as_json(True) is True
