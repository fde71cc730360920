"""What functions take and return, as JSON Schema (2020-12) of what travels."""

from __future__ import annotations

import enum
import inspect
from typing import TYPE_CHECKING, Any

from ..common.text import type_name
from .arrays import is_array
from .encoding import is_model
from .models import model_schemas
from .representable import is_representable, representable
from .requirement import msgspec_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .interface import Method

__all__ = ["DIALECT", "document", "function_schema", "interface_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_FORMATS = {
    "DateTimeType": "date-time", "DateType": "date", "TimeType": "time", "TimeDeltaType": "duration",
    "UUIDType": "uuid", "DecimalType": "decimal",
}  # fmt: skip
_PLAIN: dict[str, dict[str, Any]] = {
    "AnyType": {},
    "NoneType": {"type": "null"},
    "BoolType": {"type": "boolean"},
    "IntType": {"type": "integer"},
    "FloatType": {"type": "number"},
    "StrType": {"type": "string"},
    "BytesType": {"type": "string", "contentEncoding": "base64"},
    "ByteArrayType": {"type": "string", "contentEncoding": "base64"},
    "MemoryViewType": {"type": "string", "contentEncoding": "base64"},
}
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"} | {
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_SIZES = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")} | {
    "object": ("minProperties", "maxProperties")
}
_LISTS = ("ListType", "VarTupleType", "SetType", "FrozenSetType", "CollectionType")


def document(functions: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of all functions of a container.

    Args:
        functions: that of each, by name.
    """
    return {"$schema": DIALECT, "functions": dict(functions)}


def interface_schema(methods: Mapping[str, Method]) -> dict[str, Any]:
    """The same for what an interface wants."""
    return document(
        {
            name: function_schema(
                method.way.value,
                method.parameters,
                method.hints,
                items=None if method.items is None else method.hints.get(method.items.name, Any),
                result=method.result.annotation,
            )
            for name, method in methods.items()
        }
    )


def function_schema(
    way: str,
    parameters: Iterable[inspect.Parameter],
    hints: Mapping[str, Any],
    *,
    items: Any = None,
    result: Any,
    doc: str = "",
) -> dict[str, Any]:
    """What one function takes and returns.

    Args:
        way: how it is asked: call, stream, upload or channel.
        parameters: what callers give, without the items of an upload.
        hints: their annotations.
        items: the annotation of an item; None: it takes none.
        result: that of what it returns, or yields.
        doc: the first line of its docstring.
    """
    writer = _Writer()
    shown: dict[str, Any] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    kinds: dict[str, list[str]] = {"positional_only": [], "keyword_only": []}
    rest = None
    for parameter in parameters:
        name, schema = parameter.name, writer.of(hints.get(parameter.name, Any))
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = schema
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            shown["additionalProperties"] = schema or True
            continue
        if parameter.default is parameter.empty:
            shown["required"].append(name)
        else:
            schema = _with_default(schema, parameter.default)
        shown["properties"][name] = schema
        if parameter.kind is parameter.POSITIONAL_ONLY:
            kinds["positional_only"].append(name)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            kinds["keyword_only"].append(name)
    whole: dict[str, Any] = {"kind": way, "doc": doc, "parameters": _whole(shown, writer.defs)}
    whole |= {kind: names for kind, names in kinds.items() if names}
    if rest is not None:
        whole["rest"] = _whole(rest, writer.defs)
    if items is not None:
        whole["items"] = _whole(writer.of(items), writer.defs)
    whole["result"] = _whole(writer.of(result), writer.defs)
    return whole


def _whole(schema: dict[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that can be read by itself: with the definitions that it refers to."""
    needed: dict[str, Any] = {}
    waiting = [schema]
    while waiting:
        for name in _references(waiting.pop()):
            if name not in needed:
                needed[name] = defs[name]
                waiting.append(defs[name])
    return {**schema, "$defs": needed} if needed else schema


def _references(schema: Any) -> Iterable[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value.removeprefix("#/$defs/")
            elif key not in ("default", "enum", "const"):
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _with_default(schema: dict[str, Any], default: Any) -> dict[str, Any]:
    try:
        shown = msgspec_for("a schema").to_builtins(default)
    except Exception:  # it has no form in JSON: then it is not told
        return schema
    return {**schema, "default": shown} if is_representable(shown) else schema


class _Writer:
    """Writes the schemas of types, and the definitions of those that have a name.

    Attributes:
        defs: the definitions, by name.
    """

    def __init__(self) -> None:
        self.defs: dict[str, Any] = {}
        self._msgspec = msgspec_for("a schema")
        self._named: dict[Any, str] = {}
        self._kept: list[Any] = []  # whose ids are in use

    def of(self, annotation: Any) -> dict[str, Any]:
        """The schema of an annotation."""
        if annotation is inspect.Parameter.empty:
            return {}
        return self.schema(self._msgspec.inspect.type_info(type(None) if annotation is None else annotation))

    def schema(self, info: Any) -> dict[str, Any]:
        """The schema of one type, as msgspec sees it."""
        kind = type_name(info)
        if kind == "Metadata":
            return {**self.schema(info.type), **representable(info.extra_json_schema or {})}
        if kind in _PLAIN:
            return _bounded(dict(_PLAIN[kind]), info)
        if kind in _FORMATS:
            return {"type": "string", "format": _FORMATS[kind]}
        if kind in _LISTS:
            unique = {"uniqueItems": True} if kind in ("SetType", "FrozenSetType") else {}
            return _bounded({"type": "array", "items": self.schema(info.item_type), **unique}, info)
        writer: Callable[[Any], dict[str, Any]] = getattr(self, f"_{kind}")
        return writer(info)

    def _LiteralType(self, info: Any) -> dict[str, Any]:  # by the name of msgspec's class
        return {"enum": list(info.values)}

    def _UnionType(self, info: Any) -> dict[str, Any]:
        return {"anyOf": [self.schema(member) for member in info.types]}

    def _TupleType(self, info: Any) -> dict[str, Any]:
        return _fixed([self.schema(item) for item in info.item_types], len(info.item_types))

    def _DictType(self, info: Any) -> dict[str, Any]:
        result: dict[str, Any] = {"type": "object", "additionalProperties": self.schema(info.value_type)}
        key = self.schema(info.key_type)
        if key.get("type") == "integer":  # the names of JSON's properties are always text
            key = {"format": "integer"}
        if key not in ({}, {"type": "string"}):
            result["propertyNames"] = key
        return _bounded(result, info)

    def _EnumType(self, info: Any) -> dict[str, Any]:
        members = {member.name: member.value for member in info.cls}
        values = {"type": "integer"} if issubclass(info.cls, enum.Flag) else {"enum": list(members.values())}
        return self._named_schema(info, info.cls, lambda: {**values, "x-members": members})

    def _CustomType(self, info: Any) -> dict[str, Any]:
        if is_model(info.cls):
            return self._model(info.cls)
        if info.cls is object:
            return {}
        return {"x-type": "numpy.ndarray"} if is_array(info.cls) else {"type": "string", "format": "path"}

    def _model(self, cls: Any) -> dict[str, Any]:
        name = self._named.get(cls)
        if name is None:
            own, parts = model_schemas(cls)
            names = {}
            for part in parts:
                names[part] = part
                while names[part] in self.defs:
                    names[part] += "_"
            self.defs |= {names[part]: _renamed(representable(schema), names) for part, schema in parts.items()}
            name = self._named[cls] = names[own]
        return {"$ref": f"#/$defs/{name}"}

    def _StructType(self, info: Any) -> dict[str, Any]:
        return self._named_schema(info, info.cls, lambda: self._object(info))

    _DataclassType = _TypedDictType = _StructType

    def _NamedTupleType(self, info: Any) -> dict[str, Any]:
        return self._named_schema(info, info.cls, lambda: self._row(info))

    def _object(self, info: Any) -> dict[str, Any]:
        if getattr(info, "array_like", False):
            return self._row(info)
        tag = getattr(info, "tag", None)
        properties: dict[str, Any] = {} if tag is None else {info.tag_field: {"const": tag}}
        required = list(properties)
        for field in info.fields:
            properties[field.encode_name] = self._field(field)
            if field.required:
                required.append(field.encode_name)
        closed = {"additionalProperties": False} if getattr(info, "forbid_unknown_fields", False) else {}
        return {"type": "object", "properties": properties, "required": required, **closed}

    def _row(self, info: Any) -> dict[str, Any]:
        """What travels as a list, though its elements have names."""
        tag = getattr(info, "tag", None)
        front = [] if tag is None else [{"const": tag}]
        parts = front + [self._field(field) for field in info.fields]
        required = len(front) + sum(field.required for field in info.fields)
        return {**_fixed(parts, required), "x-names": [field.name for field in info.fields]}

    def _field(self, field: Any) -> dict[str, Any]:
        schema = self.schema(field.type)
        if field.default is not self._msgspec.NODEFAULT:
            return _with_default(schema, field.default)
        made = field.default_factory
        return _with_default(schema, made()) if made in (list, dict, set) else schema

    def _named_schema(self, info: Any, cls: Any, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        # A generic class is another one with other parameters.
        key = id(info) if getattr(cls, "__parameters__", ()) else cls
        name = self._named.get(key)
        if name is None:
            name = cls.__name__
            while name in self.defs:
                name += "_"
            self._named[key] = name
            self._kept.append(info)
            place = self.defs[name] = {"title": cls.__name__}
            place |= write()
        return {"$ref": f"#/$defs/{name}"}


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """A schema that refers to other names, in the words of the others: pydantic's ``oneOf`` says nothing more here."""
    if isinstance(schema, list):
        return [_renamed(value, names) for value in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {"anyOf" if key == "oneOf" else key: _renamed(value, names) for key, value in schema.items()}
    if "$ref" in schema:
        renamed["$ref"] = f"#/$defs/{names[schema['$ref'].removeprefix('#/$defs/')]}"
    return renamed


def _fixed(parts: Sequence[Any], required: int) -> dict[str, Any]:
    return {"type": "array", "prefixItems": list(parts), "items": False, "minItems": required, "maxItems": len(parts)}


def _bounded(schema: dict[str, Any], info: Any) -> dict[str, Any]:
    for name, keyword in _BOUNDS.items():
        if (bound := getattr(info, name, None)) is not None:
            schema[keyword] = bound
    for name, keyword in zip(("min_length", "max_length"), _SIZES.get(schema.get("type", ""), ()), strict=False):
        if (bound := getattr(info, name, None)) is not None:
            schema[keyword] = bound
    return schema
