"""``mpzmq call ENDPOINT FUNCTION --help``: what one function takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..common.text import printable
from .outcome import CommandFailed, carry_out
from .output import OK, USAGE, say
from .schema import described_with_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .schema import Keys

__all__ = ["run"]


def run(endpoint: str, function: str, *, timeout: float, security: Keys = (None, None)) -> int:
    """Prints what a function takes and returns; returns the exit code."""

    async def ask() -> int:
        found = await described_with_schema(endpoint, timeout, security)
        one = next((known for known in found.functions if known.name == function), None)
        if one is None:
            names = ", ".join(known.name for known in found.functions) or "none at all"
            raise CommandFailed(f"{endpoint} has no function {function!r}; it has {names}", USAGE)
        schema = None if found.schema is None else found.schema["functions"].get(function)
        lines = [f"{one.name}{one.signature}", one.doc] if schema is None else typed_help(endpoint, function, schema)
        for line in lines:
            say(printable(line))
        return OK

    return carry_out("mpzmq call", ask)


def typed_help(endpoint: str, name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """The help of a typed function, line by line."""
    parameters = schema["parameters"]
    only = schema.get("keyword_only", ())
    required = parameters["required"]
    places = [key for key in parameters["properties"] if key not in only]
    words = [key.upper() if key in required else f"[{key.upper()}]" for key in places]
    words += [f"--kw {key}=JSON" if key in required else f"[--kw {key}=JSON]" for key in only]
    yield " ".join(["Usage: mpzmq call", endpoint, name, *words])
    if schema.get("doc"):
        yield ""
        yield f"  {schema['doc']}"
    yield ""
    rows = []
    if "items" in schema:
        rows.append(("(items)", f"{shown(schema['items'])}; by upload() or channel(), not by this command"))
    for key, part in parameters["properties"].items():
        state = f"default {json.dumps(part['default'])}" if "default" in part else "optional"
        state = "required" if key in required else state
        rows.append((key, f"{shown(part)}, {state}"))
    if "rest" in schema:
        rows.append(("...", f"{shown(schema['rest'])}, any number of them"))
    if parameters.get("additionalProperties", True) is not False:
        rows.append(("--kw", f"{shown(parameters['additionalProperties'])}, by any other name"))
    rows.append(("result" if schema["kind"] in ("call", "upload") else "each item", shown(schema["result"])))
    width = max(len(key) for key, _ in rows)
    for key, text in rows:
        yield f"  {key:<{width}}  {text}"
    definitions = {**parameters.get("$defs", {}), **schema["result"].get("$defs", {})}
    if definitions:
        yield ""
        yield "Types:"
        for key, part in definitions.items():
            yield f"  {key}: {_definition(part)}"


def _definition(part: Mapping[str, Any]) -> str:
    if part.get("type") == "object" and "properties" in part:
        required = part.get("required", ())
        fields = [f'"{key}"{"" if key in required else "?"}: {shown(one)}' for key, one in part["properties"].items()]
        return "{" + ", ".join(fields) + "}"
    return shown(part)


def shown(part: Any) -> str:
    """A schema in a few words."""
    if not isinstance(part, dict) or part is True:
        return "anything"
    if "$ref" in part:
        return str(part["$ref"].removeprefix("#/$defs/"))
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(map(shown, part["anyOf"])))
    if "enum" in part or "const" in part:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in part.get("enum", [part.get("const")]))
    if "x-type" in part:
        return f"{part['x-type']} (not from the command line)"
    if "contentEncoding" in part:
        return 'bytes, as {"$b64": "..."}'
    kind = str(part.get("format") or part.get("type") or "anything")
    if kind == "array":
        if "prefixItems" in part:
            return "[" + ", ".join(map(shown, part["prefixItems"])) + "]"
        return f"[{shown(part.get('items', True))}, ...]"
    if kind == "object":
        return "{" + f'"...": {shown(part.get("additionalProperties", True))}' + "}"
    return kind + _bounds(part)


def _bounds(part: Mapping[str, Any]) -> str:
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<", "pattern": "matching"}
    signs |= {"minLength": "length >=", "maxLength": "length <=", "multipleOf": "multiple of"}
    return "".join(f" {sign} {part[key]}" for key, sign in signs.items() if key in part)
