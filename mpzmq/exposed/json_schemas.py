"""Schemas of values as JSON carries them, of schemas of values as mpzmq does.

The two differ where JSON lacks something, and :mod:`mpzmq.common.json_values` writes an object instead: bytes are
``{"$b64": ...}``, a dict whose keys are not strings is ``{"$map": [[key, value], ...]}``, and a float may be
``{"$float": "nan"}``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["as_json"]

_BY_NAME = ("properties", "$defs", "patternProperties")  # keywords with schemas by name
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_STRING, _OTHER = "string", "other"  # what the keys of a dict are
_SCHEMAS = ("items", "additionalProperties", "contains", "not", "propertyNames")


def as_json(schema: Any, *, is_result: bool = False) -> Any:
    """The schema of the same values in JSON.

    Args:
        schema: a JSON Schema, as :mod:`mpzmq.typed.schema` makes it; it is not changed.
        is_result: whether it is of what a function gives, where any float may turn out not to be finite. What it takes
            need not be described so: nobody means to send such.
    """
    if not isinstance(schema, dict):
        return schema
    if is_result and schema.get("type") == "number":
        whole, number = _split(schema)
        return {"anyOf": [number, _tagged("$float", {"enum": ["nan", "inf", "-inf"]}, {})], **whole}
    if _is_bytes(schema):
        return _tagged("$b64", {**schema, "type": "string"}, _with_bytes(schema))
    if schema.get("type") == "object" and "properties" not in schema:
        return _dict(schema, is_result=is_result)
    return _parts(schema, is_result=is_result)


def _parts(schema: dict[str, Any], *, is_result: bool) -> dict[str, Any]:
    """The same of a schema that is written as it was, and of what stands in it."""
    shown = _with_bytes(schema) if any(map(_is_bytes, schema.get("anyOf", ()))) else dict(schema)
    for keyword in _BY_NAME:
        if isinstance(shown.get(keyword), dict):
            shown[keyword] = {name: as_json(part, is_result=is_result) for name, part in shown[keyword].items()}
    for keyword in _LISTS:
        if isinstance(shown.get(keyword), list):
            shown[keyword] = [as_json(part, is_result=is_result) for part in shown[keyword]]
    for keyword in _SCHEMAS:
        if keyword in shown:
            shown[keyword] = as_json(shown[keyword], is_result=is_result)
    return shown


def _dict(schema: dict[str, Any], *, is_result: bool) -> dict[str, Any]:
    """Of a dict: an object where the keys are strings, else pairs.

    A result may be either where it does not say what its keys are, as the schemas of pydantic do not. Empty ones are an
    object always, and one whose only key looks like a tag is pairs.
    """
    values = schema.get("additionalProperties", True)
    keys = schema.get("propertyNames", {"type": "string"})
    kinds = _kinds_of_keys(keys)
    if kinds == {_STRING} and not is_result:
        return _parts(schema, is_result=False)
    key = {"type": "integer"} if keys == {"format": "integer"} else as_json(keys, is_result=is_result)
    pair = [key, as_json(values, is_result=is_result)]
    entry = {"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2}
    sizes = {
        there: schema[here]
        for here, there in (("minProperties", "minItems"), ("maxProperties", "maxItems"))
        if here in schema
    }
    whole, rest = _split(schema)
    if _STRING in kinds:
        shown = _parts(rest, is_result=is_result)
        shown.pop("minProperties", None)  # pairs have one property
        if kinds != {_STRING}:
            shown.pop("propertyNames")
        elif "propertyNames" in shown:
            shown["propertyNames"] = {"anyOf": [shown["propertyNames"], {"const": "$map"}]}
        pairs = {"type": "array"} if kinds == {_STRING} else {"type": "array", "items": entry, **sizes}
        return {**shown, "properties": {"$map": pairs}, **whole}
    tagged = _tagged("$map", {"type": "array", "items": entry, **sizes}, schema)
    if is_result and not schema.get("minProperties"):
        del tagged["required"]  # an empty one is {}
    return tagged


def _kinds_of_keys(keys: Any) -> set[str]:
    """Whether keys are strings, or something else, or may be both."""
    if not isinstance(keys, dict) or not keys.keys() - {"title", "description"}:
        return {_STRING, _OTHER}
    if "anyOf" in keys:
        return set().union(*map(_kinds_of_keys, keys["anyOf"]))
    if "enum" in keys:
        return {_STRING if isinstance(value, str) else _OTHER for value in keys["enum"]}
    if "$ref" in keys:  # an enum, whose values stand elsewhere
        return {_STRING, _OTHER}
    return {_STRING if keys.get("type") == "string" and "contentEncoding" not in keys else _OTHER}


def _is_bytes(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("contentEncoding") == "base64"


def _with_bytes(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of what may be bytes, whose default is written as they are."""
    default = schema.get("default")
    return {**schema, "default": {"$b64": default}} if isinstance(default, str) else schema


def _tagged(tag: str, value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """An object with one key. What the schema says of the whole, such as its description, stays with the whole."""
    whole, _ = _split(schema)
    inner = {key: part for key, part in value.items() if key not in whole}
    return {"type": "object", "properties": {tag: inner}, "required": [tag], "additionalProperties": False, **whole}


def _split(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a schema says of the whole, and what it says of the value."""
    whole: dict[str, Any] = {key: schema[key] for key in ("title", "description", "default") if key in schema}
    return whole, {key: part for key, part in schema.items() if key not in whole}
