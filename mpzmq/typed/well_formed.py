"""Whether what claims to be a schema is one: it comes from elsewhere, and Python is made of it."""

from __future__ import annotations

import keyword
import math
from typing import TYPE_CHECKING, Any

from ..common.text import repr_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_document", "is_name"]

_KINDS = ("call", "stream", "upload", "channel")
_REF = "#/$defs/"
_BELOW = ("items", "additionalProperties", "propertyNames")
_BELOW_LISTS = ("anyOf", "prefixItems")
_NUMBERS = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties",
)  # fmt: skip
_TEXTS = ("$ref", "format", "pattern", "title", "contentEncoding", "x-type")


def is_name(text: object) -> bool:
    """Whether it can be a name in Python."""
    return isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)


def check_document(document: Any) -> None:
    """Looks at the schema of all functions of a container, as far as others rely on it.

    Raises:
        ValueError: it is none, and where.
    """
    functions = _of(dict, document, "functions")
    for name, function in functions.items():
        _expect(isinstance(name, str), name, "a name")
        _expect(_of(str, function, "kind") in _KINDS, function, "a function")
        _of(str, function, "doc", optional=True)
        parameters = _of(dict, function, "parameters")
        known = _of(dict, parameters, "properties")
        _expect(all(map(is_name, known)), list(known), "names of parameters")
        for names in (
            _of(list, parameters, "required"),
            _of(list, function, "positional_only", optional=True) or (),
            _of(list, function, "keyword_only", optional=True) or (),
        ):
            _expect(all(isinstance(one, str) and one in known for one in names), names, "names of its parameters")
        _whole(parameters)
        for part in ("items", "rest", "result"):
            if part in function or part == "result":
                _whole(function.get(part))


def _expect(is_so: bool, value: Any, what: str) -> None:
    if not is_so:
        raise ValueError(f"{repr_of(value, 80)} is not {what}")


def _of(kind: type, holder: Any, key: str, *, optional: bool = False) -> Any:
    _expect(isinstance(holder, dict), holder, f"an object with {key!r}")
    value = holder.get(key)
    _expect(isinstance(value, kind) or (optional and value is None), value, f"what {key!r} says")
    return value


def _whole(schema: Any) -> None:
    """A schema with the definitions that it refers to."""
    definitions = _of(dict, schema, "$defs", optional=True) or {} if isinstance(schema, dict) else {}
    for name, definition in definitions.items():
        _expect(isinstance(name, str), name, "a name")
        _written(definition, definitions)
    for name, definition in definitions.items():
        seen = {name}
        while "$ref" in definition:
            name = definition["$ref"].removeprefix(_REF)
            _expect(name not in seen, name, "a type: it refers to nothing but itself")
            seen.add(name)
            definition = definitions[name]
    _written(schema, definitions)


def _written(schema: Any, definitions: Mapping[str, Any]) -> None:
    """A schema of several words: True and False stand for one in few places only."""
    _expect(isinstance(schema, dict), schema, "a schema of a value")
    _schema(schema, definitions)


def _schema(schema: Any, definitions: Mapping[str, Any]) -> None:
    if isinstance(schema, bool):
        return
    _expect(isinstance(schema, dict), schema, "a schema")
    for key in _TEXTS:
        _of(str, schema, key, optional=True)
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        _expect(schema["$ref"].startswith(_REF) and name in definitions, schema["$ref"], "a type that is defined")
    for key in _NUMBERS:
        value = schema.get(key)
        _expect(value is None or (isinstance(value, int | float) and math.isfinite(value)), value, f"what {key!r} says")
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        _expect(kind is None or isinstance(kind, str), kind, "a type")
    _of(list, schema, "enum", optional=True)
    for key in _BELOW:
        if key in schema:
            _schema(schema[key], definitions)
    for key in _BELOW_LISTS:
        for one in _of(list, schema, key, optional=True) or ():
            _written(one, definitions)
    properties = _of(dict, schema, "properties", optional=True) or {}
    for name, one in properties.items():
        _expect(isinstance(name, str), name, "a name")
        _written(one, definitions)
    required = _of(list, schema, "required", optional=True) or []
    _expect(all(isinstance(name, str) and name in properties for name in required), required, "names of its fields")
    _expect(
        all(isinstance(name, str) for name in _of(dict, schema, "x-members", optional=True) or ()), schema, "an enum"
    )
    if "x-names" in schema:
        names = _of(list, schema, "x-names")
        fields = [part for part in _of(list, schema, "prefixItems") if not (isinstance(part, dict) and "const" in part)]
        _expect(all(map(is_name, names)) and len(names) == len(fields), names, "names of fields")
