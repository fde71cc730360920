"""An interface, and the types that it needs, written as a module from a schema."""

from __future__ import annotations

import builtins
import json
import math
import re
from typing import TYPE_CHECKING, Any

from .well_formed import is_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["stubs"]

_FORMATS = {
    "date-time": "datetime.datetime", "date": "datetime.date", "time": "datetime.time",
    "duration": "datetime.timedelta", "uuid": "uuid.UUID", "decimal": "decimal.Decimal", "path": "pathlib.Path",
}  # fmt: skip
_PLAIN = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "null": "None"}
_TYPES = {
    int: ("integer", "number"), float: ("number",), str: ("string",), bool: ("boolean",), type(None): ("null",),
    list: ("array",), dict: ("object",),
}  # fmt: skip
"""What a schema calls the values of a type."""

_FACTORIES = ("dict", "list", "set")
_UNTOLD = "msgspec.UNSET"
_BOUNDS = {
    "minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt", "multipleOf": "multiple_of",
    "pattern": "pattern", "minLength": "min_length", "maxLength": "max_length", "minItems": "min_length",
    "maxItems": "max_length", "minProperties": "min_length", "maxProperties": "max_length",
}  # fmt: skip
_IMPORTED = (
    "Annotated", "Any", "AsyncIterable", "AsyncIterator", "Iterable", "Literal", "NamedTuple", "Protocol", "dataclass",
    "field", "msgspec", "numpy",
)  # fmt: skip
_MODULES = ("datetime", "decimal", "enum", "pathlib", "uuid")


def stubs(schema: Mapping[str, Any], interface: str, source: str) -> str:
    """The text of a module with an interface for ``of()``, and with the types that it speaks of.

    Args:
        schema: of the functions; it is well-formed.
        interface: the name of the class.
        source: where the schema is from, in words.
    """
    writer = _Writer(interface)
    methods = [line for name, one in schema["functions"].items() for line in writer.method(name, one)]
    body = "\n".join([f"class {interface}(Protocol):", *(methods or ["    pass"])])
    head = [f'"""{source}: written by ``mpzmq stubs``."""', "", "from __future__ import annotations", ""]
    return "\n".join([*head, *writer.imports(), "", "", *writer.types(), body]) + "\n"


class _Writer:
    """Writes types as they are met; each definition once."""

    def __init__(self, interface: str) -> None:
        self._taken = {interface, *_IMPORTED, *_MODULES, *dir(builtins)}
        self._used: set[str] = {"Protocol"}
        self._written: dict[str, tuple[Any, str]] = {}  # by name: what it was made of, and its text
        self._order: list[str] = []
        self._aliases: tuple[str, ...] = ()  # that are being written, each within the one before

    def imports(self) -> Iterator[str]:
        """The import statements of all that was written."""
        for module in _MODULES:
            if module in self._used:
                yield f"import {module}"
        abstract = sorted(self._used & {"AsyncIterable", "AsyncIterator", "Iterable"})
        if abstract:
            yield f"from collections.abc import {', '.join(abstract)}"
        if "dataclass" in self._used:
            yield f"from dataclasses import dataclass{', field' if 'field' in self._used else ''}"
        special = self._used & {"Annotated", "Any", "Literal", "NamedTuple", "Protocol"}
        yield f"from typing import {', '.join(sorted(special))}"
        outside = [f"import {module}" for module in ("msgspec", "numpy") if module in self._used]
        if outside:
            yield ""
            yield from outside

    def types(self) -> Iterator[str]:
        """The definitions of all types that were met, what others need first: aliases may speak of each class."""
        texts = [self._written[name][1] for name in self._order]
        for text in sorted(texts, key=_is_alias):
            yield text
            yield ""
            yield ""

    def method(self, name: str, function: Mapping[str, Any]) -> Iterator[str]:
        """A method that calls a function."""
        if not is_name(name) or name.startswith("_"):
            yield f"    # {json.dumps(name)} is no name of a method: call it by container.call()"
            return
        parameters = function["parameters"]
        names = parameters["properties"]
        shown = [_free("self", names)]
        if "items" in function:
            self._used |= {"AsyncIterable", "Iterable"}
            item = self._type(function["items"], function["items"])
            shown.append(f"{_free('items', names)}: AsyncIterable[{item}] | Iterable[{item}], /")
        by_position: list[tuple[str, str]] = []
        by_name: list[tuple[str, str]] = []
        for parameter, schema in parameters["properties"].items():
            text = f"{parameter}: {self._type(schema, parameters)}"
            if parameter not in parameters["required"]:
                text += f" = {self._default(schema, parameters)}"
            (by_name if parameter in function.get("keyword_only", ()) else by_position).append((parameter, text))
        only = function.get("positional_only", ())
        shown += [text for parameter, text in by_position if parameter in only]
        if only:
            shown.append("/")
        shown += [text for parameter, text in by_position if parameter not in only]
        if "items" in function and only:
            shown.remove(shown[1])
            shown.insert(1, f"{_free('items', names)}: AsyncIterable[{item}] | Iterable[{item}]")
        if "rest" in function:
            shown.append(f"*{_free('rest', names)}: {self._type(function['rest'], function['rest'])}")
        elif by_name:
            shown.append("*")
        shown += [text for _, text in by_name]
        others = parameters.get("additionalProperties", True)
        if others is not False:
            shown.append(f"**{_free('others', names)}: {self._type(others, parameters)}")
        result = self._type(function["result"], function["result"])
        streamed = function["kind"] in ("stream", "channel")
        if streamed:
            self._used.add("AsyncIterator")
            result = f"AsyncIterator[{result}]"
        front = "def" if streamed else "async def"
        line = f"    {front} {name}({', '.join(shown)}) -> {result}:"
        if function.get("doc"):
            yield line
            yield f"        {_docstring(function['doc'])}"
            yield "        ..."
        else:
            yield f"{line} ..."

    def _default(self, schema: Any, whole: Mapping[str, Any]) -> str:
        """A default as Python has it; where that cannot be told, the container knows it."""
        if not isinstance(schema, dict) or "default" not in schema or {"format", "contentEncoding"} & set(schema):
            return "..."
        default = schema["default"]
        if "anyOf" in schema:
            told = {
                self._default({**one, "default": default}, whole)
                for one in schema["anyOf"]
                if _may_be(one, whole, default)
            }
            return told.pop() if len(told) == 1 else "..."
        if "$ref" in schema:
            definition = whole["$defs"][schema["$ref"].removeprefix("#/$defs/")]
            members = _members(definition) if isinstance(definition, dict) and "enum" in definition else {}
            found = [key for key, value in members.items() if (type(value), value) == (type(default), default)]
            return f"{self._type(schema, whole)}.{found[0]}" if found else "..."
        is_plain = isinstance(default, bool | int | str) or (isinstance(default, float) and math.isfinite(default))
        return repr(default) if is_plain or default is None else "..."

    def _type(self, schema: Any, whole: Mapping[str, Any]) -> str:
        """A schema as an annotation."""
        kind = self._unbounded(schema, whole)
        if not isinstance(schema, dict) or "prefixItems" in schema:
            return kind
        bounds = [f"{word}={schema[key]!r}" for key, word in _BOUNDS.items() if key in schema]
        if not bounds:
            return kind
        self._used |= {"Annotated", "msgspec"}
        return f"Annotated[{kind}, msgspec.Meta({', '.join(bounds)})]"

    def _unbounded(self, schema: Any, whole: Mapping[str, Any]) -> str:
        if not isinstance(schema, dict) or schema is True:
            return self._use("Any")
        if "$ref" in schema:
            return self._named(schema["$ref"].removeprefix("#/$defs/"), whole)
        if "anyOf" in schema:
            return " | ".join(dict.fromkeys(self._type(member, whole) for member in schema["anyOf"]))
        if "enum" in schema or "const" in schema:
            self._used.add("Literal")
            choices = schema["enum"] if "enum" in schema else [schema["const"]]
            return f"Literal[{', '.join(map(repr, choices))}]"
        if "x-type" in schema:
            return f"{self._use('numpy')}.ndarray" if schema["x-type"] == "numpy.ndarray" else self._use("Any")
        kind = schema.get("type")
        if kind == "string":
            if "contentEncoding" in schema:
                return "bytes"
            found = _FORMATS.get(schema.get("format", ""), "str")
            self._used.add(found.partition(".")[0])
            return found
        if kind == "array":
            return self._array(schema, whole)
        if kind == "object":
            value = self._type(schema.get("additionalProperties", True), whole)
            return f"dict[{self._key(schema.get('propertyNames', {}), whole)}, {value}]"
        return _PLAIN.get(str(kind)) or self._use("Any")

    def _key(self, names: Any, whole: Mapping[str, Any]) -> str:
        if names == {"format": "integer"}:
            return "int"
        return self._type(names, whole) if names else "str"

    def _array(self, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
        if "prefixItems" in schema:
            return f"tuple[{', '.join(self._type(item, whole) for item in schema['prefixItems']) or '()'}]"
        kind = "set" if schema.get("uniqueItems") else "list"
        return f"{kind}[{self._type(schema.get('items', True), whole)}]"

    def _use(self, name: str) -> str:
        self._used.add(name)
        return name

    def _named(self, name: str, whole: Mapping[str, Any]) -> str:
        definition = whole["$defs"][name]
        shown = re.sub(r"\W", "_", name)
        if not is_name(shown):
            shown = f"_{shown}"
        while shown in self._taken or (shown in self._written and self._written[shown][0] != definition):
            shown += "_"
        if shown in self._aliases:
            return self._use("Any")  # an alias is evaluated at once, other than the annotations of a class
        if shown not in self._written:
            self._written[shown] = definition, ""  # it may speak of itself
            self._written[shown] = definition, self._definition(shown, definition, whole)
            self._order.append(shown)
        return shown

    def _definition(self, name: str, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
        aliases, self._aliases = self._aliases, ()
        try:
            text = self._class_of_its_own(name, schema, whole)
            if text is None:
                self._aliases = (*aliases, name)
                text = f"{name} = {self._type(schema, whole)}"
            return text
        finally:
            self._aliases = aliases

    def _class_of_its_own(self, name: str, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str | None:
        if "x-members" in schema or "enum" in schema:
            self._used.add("enum")
            members = _members(schema)
            base = "enum.Flag" if "enum" not in schema else "enum.Enum"
            return "\n".join([f"class {name}({base}):", *(f"    {key} = {value!r}" for key, value in members.items())])
        if "x-names" in schema and not any("const" in part for part in schema["prefixItems"]):
            self._used.add("NamedTuple")
            parts = zip(schema["x-names"], schema["prefixItems"], strict=True)
            required = schema.get("minItems", 0)
            lines = [
                f"    {key}: {self._type(part, whole)}"
                + (f" = {self._default(part, whole)}" if index >= required else "")
                for index, (key, part) in enumerate(parts)
            ]
            return "\n".join([f"class {name}(NamedTuple):", *lines])
        if schema.get("type") == "object" and "properties" in schema:
            return self._class(name, schema, whole)
        return None

    def _class(self, name: str, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
        properties = dict(schema["properties"])
        tags = {key: part["const"] for key, part in properties.items() if "const" in part}
        required = schema.get("required", ())
        untold = [
            key for key in properties if key not in required and self._field_default(properties[key], whole) == _UNTOLD
        ]
        if len(tags) == 1 or untold or not all(map(is_name, properties)):
            self._used.add("msgspec")
            marks = "".join(f", tag_field={key!r}, tag={value!r}" for key, value in tags.items())
            lines = [f"class {name}(msgspec.Struct, kw_only=True, frozen=True{marks}):"]
            for key in tags:
                del properties[key]
            is_struct = True
        else:
            self._used.add("dataclass")
            lines, is_struct = ["@dataclass(kw_only=True, frozen=True)", f"class {name}:"], False
        for key, part in properties.items():
            shown = key if is_name(key) else "_" + re.sub(r"\W", "_", key)
            kind, default = self._type(part, whole), None if key in required else self._field_default(part, whole)
            if default == _UNTOLD:
                kind = f"{kind} | msgspec.UnsetType"
            if shown != key:
                made = "default_factory" if default in _FACTORIES else "default"
                default = f"msgspec.field(name={key!r}{'' if default is None else f', {made}={default}'})"
            elif default in _FACTORIES:
                front = "msgspec.field" if is_struct else self._use("field")
                default = f"{front}(default_factory={default})"
            lines.append(f"    {shown}: {kind}" + ("" if default is None else f" = {default}"))
        return "\n".join(lines if schema["properties"] else [*lines, "    pass"])

    def _field_default(self, part: Any, whole: Mapping[str, Any]) -> str:
        """A default of a field, or what makes one: where the container's cannot be told, it is left out."""
        default = self._default(part, whole)
        if default != "...":
            return default
        if not isinstance(part, dict) or "prefixItems" in part or part.get("default") not in ([], {}):
            return _UNTOLD
        return {"array": "set" if part.get("uniqueItems") else "list", "object": "dict"}.get(
            str(part.get("type")), _UNTOLD
        )


def _is_alias(text: str) -> bool:
    return not text.startswith(("class ", "@"))


def _may_be(schema: Any, whole: Mapping[str, Any], value: Any) -> bool:
    """Whether a value may be meant by one of the schemas of a union."""
    if not isinstance(schema, dict):
        return False
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        if not isinstance(schema, dict):
            return False
    if "enum" in schema:
        return any((type(one), one) == (type(value), value) for one in schema["enum"])
    return schema.get("type") in _TYPES.get(type(value), ())


def _members(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an enum, by names that Python takes."""
    told = definition.get("x-members") or dict(enumerate(definition["enum"]))
    return {
        key if is_name(key) and not key.startswith("_") else f"VALUE_{n}": value
        for n, (key, value) in enumerate(told.items())
    }


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


def _docstring(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{plain}{" " if plain.endswith(chr(34)) else ""}"""'
