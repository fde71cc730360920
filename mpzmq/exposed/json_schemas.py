"""Schemas of values as JSON carries them, of schemas of values as mpzmq does.

The two differ where JSON lacks something, and :mod:`mpzmq.common.json_values` writes an object instead: bytes are
``{"$b64": ...}``, and a dict whose keys are not strings is ``{"$map": [[key, value], ...]}``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["as_json"]

_BY_NAME = ("properties", "$defs", "patternProperties")  # keywords with schemas by name
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "contains", "not", "propertyNames")


def as_json(schema: Any) -> Any:
    """The schema of the same values in JSON.

    Args:
        schema: a JSON Schema, as :mod:`mpzmq.typed.schema` makes it; it is not changed.
    """
    if not isinstance(schema, dict):
        return schema
    if schema.get("contentEncoding") == "base64":
        return _tagged("$b64", {**schema, "type": "string"}, schema)
    keys = schema.get("propertyNames")
    if schema.get("type") == "object" and isinstance(keys, dict) and keys.get("format") == "integer":
        pair = [{"type": "integer"}, as_json(schema.get("additionalProperties", True))]
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
            shown[keyword] = {name: as_json(part) for name, part in shown[keyword].items()}
    for keyword in _LISTS:
        if isinstance(shown.get(keyword), list):
            shown[keyword] = [as_json(part) for part in shown[keyword]]
    for keyword in _SCHEMAS:
        if keyword in shown:
            shown[keyword] = as_json(shown[keyword])
    return shown


def _tagged(tag: str, value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """An object with one key. What the schema says of the whole, such as its description, stays with the whole."""
    whole: dict[str, Any] = {key: schema[key] for key in ("title", "description", "default") if key in schema}
    inner = {key: part for key, part in value.items() if key not in whole}
    return {"type": "object", "properties": {tag: inner}, "required": [tag], "additionalProperties": False, **whole}
