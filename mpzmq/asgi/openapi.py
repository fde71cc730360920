"""OpenAPI 3.1 of the functions that are open: of typed ones with the schemas of what they take and return."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .._version import __version__
from ..exposed.json_schemas import as_json
from .errors import STATUSES
from .heads import JSON, NDJSON, SSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..exposed.functions import ExposedFunction

__all__ = ["openapi_document"]

_REF = "#/components/"
_PARAMETERS: dict[str, dict[str, Any]] = {
    "timeout": {
        "name": "Mpzmq-Timeout", "in": "header", "description": "Seconds that it may take.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    "key": {
        "name": "Idempotency-Key", "in": "header",
        "description": "The id of the request: sent again with the same body it is the same request, and runs once.",
        "schema": {"type": "string", "format": "uuid"},
    },
}  # fmt: skip
_EXECUTED = {"enum": ["NO", "UNKNOWN", "YES"], "description": "Whether a handler has worked for the request."}
_ERROR = {
    "type": "object",
    "required": ["error", "executed"],
    "properties": {
        "executed": _EXECUTED,
        "error": {
            "type": "object",
            "required": ["type", "message", "executed"],
            "properties": {
                "type": {"type": "string", "description": "The name of its class."},
                "message": {"type": "string"},
                "executed": _EXECUTED,
                "request_id": {"type": "string", "format": "uuid"},
                "code": {"type": "string", "description": "A word for programs, which the function has chosen."},
                "data": {"description": "What the function has added."},
                "error_type": {"type": "string"},
                "retry_after": {"type": "number", "description": "Seconds."},
            },
        },
    },
}
_OWN = [400, 404, 405, 406, 408, 413, 415, 500]
"""Statuses of the gateway itself."""

_FAILURES = sorted({*_OWN, *(status.value for status in STATUSES.values())})


def openapi_document(functions: Iterable[ExposedFunction], root_path: str = "") -> dict[str, Any]:
    """The document.

    Args:
        functions: those that are open.
        root_path: below which this is mounted.
    """
    components = _Components()
    paths = {f"/call/{quote(one.name, safe='')}": {"post": _operation(one, components)} for one in functions}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "mpzmq gateway", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "parameters": _PARAMETERS,
            "responses": {
                f"E{status}": {
                    "description": HTTPStatus(status).phrase,
                    "content": {JSON: {"schema": {"$ref": f"{_REF}schemas/mpzmq.Error"}}},
                }
                for status in _FAILURES
            },
        },
    }
    if root_path:
        document["servers"] = [{"url": root_path}]
    return document


def _operation(function: ExposedFunction, components: _Components) -> dict[str, Any]:
    kind = function.kind
    parameters = [{"$ref": f"{_REF}parameters/timeout"}]
    if kind in (None, "call"):
        parameters.append({"$ref": f"{_REF}parameters/key"})
    shown: dict[str, Any] = {"operationId": function.name, "description": f"{function.name}{function.signature}"}
    if function.doc:
        shown["summary"] = function.doc
    schema = function.schema or {}
    arguments = components.moved(_arguments(schema)) if schema else {"type": ["object", "array"]}
    result = components.moved(as_json(schema.get("result", {}), is_result=True))
    one = {"schema": {"type": "object", "required": ["result"], "properties": {"result": result}}}
    lines = {"schema": {"type": "object", "properties": {"item": result, "end": {"type": "object"}}}}
    events = {"schema": {"type": "string", "description": "Each event has an item as JSON; the last one is 'end'."}}
    many = {SSE: events, NDJSON: lines}
    items = {"schema": {"type": "string", "description": "The arguments in the first line, then an item on each."}}
    bodies: dict[str, Any] = {}
    if kind in (None, "call", "stream"):
        bodies[JSON] = {"schema": arguments}
    if kind in (None, "upload", "channel"):
        bodies[NDJSON] = items
    answers: dict[str, Any] = {}
    if kind in (None, "call", "upload"):
        answers[JSON] = one
    if kind in (None, "stream", "channel"):
        answers |= many
    return {
        **shown,
        "parameters": parameters,
        "requestBody": {"required": True, "content": bodies},
        "responses": {"200": {"description": "What it has returned, or yielded.", "content": answers}}
        | {str(status): {"$ref": f"{_REF}responses/E{status}"} for status in _FAILURES},
    }


def _arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a function: an object, by name, or an array, by position; whichever it can be called with."""
    whole = as_json(schema["parameters"])
    definitions = whole.pop("$defs", {})
    required, properties = whole["required"], whole["properties"]
    by_position_only, by_name_only = schema.get("positional_only", []), schema.get("keyword_only", [])
    forms = []
    if not set(by_position_only) & set(required):
        named = {name: part for name, part in properties.items() if name not in by_position_only}
        forms.append({**whole, "properties": named})
    if not set(by_name_only) & set(required):
        names = [name for name in properties if name not in by_name_only]
        array: dict[str, Any] = {"type": "array"}
        if names:
            array["prefixItems"] = [properties[name] for name in names]
        if least := sum(name in required for name in names):
            array["minItems"] = least
        rest = as_json(schema["rest"]) if "rest" in schema else False
        if isinstance(rest, dict):
            definitions |= rest.pop("$defs", {})
        forms.append({**array, "items": rest})
    found: dict[str, Any] = forms[0] if len(forms) == 1 else {"oneOf": forms}
    return {**found, "$defs": definitions} if definitions else found


class _Components:
    """The schemas that others refer to, of all functions: what has the same name and is another one gets a number."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {"mpzmq.Error": _ERROR}
        self._texts: dict[str, str] = {"mpzmq.Error": ""}

    def moved(self, schema: Any) -> Any:
        """A schema whose definitions stand here."""
        if not isinstance(schema, dict) or not schema.get("$defs"):
            return schema
        definitions = schema["$defs"]
        names = {name: self._name(name, definitions) for name in definitions}
        for name, there in names.items():
            if there not in self.schemas:
                self.schemas[there] = _renamed(definitions[name], names)
        return _renamed({key: part for key, part in schema.items() if key != "$defs"}, names)

    def _name(self, name: str, definitions: Mapping[str, Any]) -> str:
        text = json.dumps(_reached(name, definitions), sort_keys=True)
        plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
        number, found = 1, plain
        while self._texts.setdefault(found, text) != text:
            number += 1
            found = f"{plain}-{number}"
        return found


def _reached(name: str, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with all that it refers to."""
    found: dict[str, Any] = {}
    waiting = [name]
    while waiting:
        if (one := waiting.pop()) not in found and one in definitions:
            found[one] = definitions[one]
            waiting += re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(definitions[one]))
    return {"": name, **found}


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, list):
        return [_renamed(part, names) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"{_REF}schemas/{names[part.removeprefix('#/$defs/')]}"
        if key == "$ref" and isinstance(part, str) and part.removeprefix("#/$defs/") in names
        else _renamed(part, names)
        for key, part in schema.items()
    }
