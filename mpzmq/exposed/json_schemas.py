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
    if schema.get("contentEncoding") == "base64":
        return _tagged("$b64", {**schema, "type": "string"}, schema)
    keys = schema.get("propertyNames")
    if schema.get("type") == "object" and isinstance(keys, dict) and keys.get("format") == "integer":
        pair = [{"type": "integer"}, as_json(schema.get("additionalProperties", True), is_result=is_result)]
        entry = {"type": "array", "prefixItems": pair, "minItems": 2, "maxItems": 2}
        sizes = {
            there: schema[here]
            for here, there in (("minProperties", "minItems"), ("maxProperties", "maxItems"))
            if here in schema
        }
        return _tagged("$map", {"type": "array", "items": entry, **sizes}, schema)
    shown = dict(schema)
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


def _tagged(tag: str, value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """An object with one key. What the schema says of the whole, such as its description, stays with the whole."""
    whole, _ = _split(schema)
    inner = {key: part for key, part in value.items() if key not in whole}
    return {"type": "object", "properties": {tag: inner}, "required": [tag], "additionalProperties": False, **whole}


def _split(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a schema says of the whole, and what it says of the value."""
    whole: dict[str, Any] = {key: schema[key] for key in ("title", "description", "default") if key in schema}
    return whole, {key: part for key, part in schema.items() if key not in whole}
