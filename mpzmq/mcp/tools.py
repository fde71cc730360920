"""Tools: what an agent is told of functions, and what of its arguments goes where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from mcp_types import Tool

from ..common.json_values import from_json_types
from ..exposed.json_schemas import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..exposed.functions import ExposedFunction

__all__ = ["Arguments", "Taken", "WrongArguments", "arguments_of", "is_tool_name", "tool_of"]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""What clients take for the name of a tool (MCP 2025-11-25, SEP-986)."""

_TAKES = ("upload", "channel")
_GIVES = ("stream", "channel")


class WrongArguments(Exception):
    """Arguments that no call can be made of; the text says why."""


class Arguments(NamedTuple):
    """The arguments of one call.

    Attributes:
        args: by position.
        kwargs: by name.
        items: what an upload or a channel takes; None: the function takes none.
    """

    args: list[Any]
    kwargs: dict[str, Any]
    items: list[Any] | None = None


class Taken:
    """The items of an upload or a channel, for its function to take.

    Args:
        items: all of them.

    Attributes:
        count: how many have been taken. None is before the container has accepted the request.
    """

    def __init__(self, items: list[Any]) -> None:
        self.count = 0
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self.count += 1
            yield item


def is_tool_name(name: str) -> bool:
    """Whether clients take a name for that of a tool."""
    return _NAME.fullmatch(name) is not None


def tool_of(function: ExposedFunction) -> Tool:
    """What an agent is told of a function."""
    lines = [function.doc] if function.doc else []
    schema = function.schema
    if schema is None:
        lines.append(f"Its parameters, by name: {function.signature}")
        return Tool(
            name=function.name,
            description="\n".join(lines),
            input_schema={"type": "object", "additionalProperties": True},
        )
    lines.append(f"{function.name}{function.signature}")
    if schema["kind"] in _GIVES:
        lines.append("It yields its results one after the other; they are told as progress, and come as a list.")
    return Tool(
        name=function.name,
        description="\n".join(lines),
        input_schema=_input_of(schema),
        output_schema=_output_of(schema),
    )


def _input_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    parameters = as_json(schema["parameters"])
    whole: dict[str, Any] = {**parameters, "properties": dict(parameters["properties"])}
    whole["required"] = list(parameters["required"])
    definitions = dict(parameters.get("$defs", {}))
    for name, part, text in _lists(schema):
        element = as_json(part)
        if isinstance(element, dict) and "$defs" in element:
            definitions |= element["$defs"]
            element = {key: value for key, value in element.items() if key != "$defs"}
        whole["properties"][name] = {"type": "array", "items": element, "description": text}
        if name == _items_name(schema):
            whole["required"].append(name)
    if definitions:
        whole["$defs"] = definitions
    return whole


def _lists(schema: Mapping[str, Any]) -> Iterable[tuple[str, Any, str]]:
    if "rest" in schema:
        yield _rest_name(schema), schema["rest"], "Any number of further arguments, by position."
    if schema["kind"] in _TAKES:
        yield _items_name(schema), schema.get("items", {}), "The items that it takes one after the other."


def _free(name: str, schema: Mapping[str, Any]) -> str:
    while name in schema["parameters"]["properties"]:
        name += "_"
    return name


def _rest_name(schema: Mapping[str, Any]) -> str:
    return _free("args", schema)


def _items_name(schema: Mapping[str, Any]) -> str:
    return _free("items", schema) if schema["kind"] in _TAKES else ""


def _output_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    result = as_json(schema["result"], is_result=True)
    definitions: dict[str, Any] = {}
    if isinstance(result, dict) and "$defs" in result:
        definitions = {"$defs": result["$defs"]}
        result = {key: value for key, value in result.items() if key != "$defs"}
    if schema["kind"] not in _GIVES:
        return {"type": "object", "properties": {"result": result}, "required": ["result"], **definitions}
    cut = {"type": "string", "description": "Why there are no more items, where it was ended before its own end."}
    properties = {"items": {"type": "array", "items": result}, "cut": cut}
    return {"type": "object", "properties": properties, "required": ["items"], **definitions}


def arguments_of(function: ExposedFunction, given: Mapping[str, Any]) -> Arguments:
    """The arguments of a call, as a container takes them.

    Args:
        function: which is called.
        given: what the agent has given, by name.

    Raises:
        WrongArguments: no call can be made of that.
    """
    try:
        kwargs: dict[str, Any] = from_json_types(dict(given))
    except (ValueError, RecursionError) as error:
        raise WrongArguments(str(error)) from None
    if not isinstance(kwargs, dict):
        raise WrongArguments("the arguments are an object, by name")
    schema = function.schema
    if schema is None:
        return Arguments([], kwargs)
    items = _taken_list(kwargs, _items_name(schema)) if schema["kind"] in _TAKES else None
    rest = _taken_list(kwargs, _rest_name(schema)) if "rest" in schema else []
    properties = schema["parameters"]["properties"]
    positional = list(schema.get("positional_only", ()))
    if rest:  # what stands before them has to be given by position, too
        positional = [name for name in properties if name not in schema.get("keyword_only", ())]
    args: list[Any] = []
    for name in positional:
        if name in kwargs:
            args.append(kwargs.pop(name))
        elif rest and "default" in properties[name]:
            args.append(from_json_types(as_json(properties[name])["default"]))
        elif rest or any(later in kwargs for later in positional):
            raise WrongArguments(f"{name} is missing: what stands behind it is given by position")
        else:
            break
    return Arguments(args + rest, kwargs, items)


def _taken_list(kwargs: dict[str, Any], name: str) -> list[Any]:
    value = kwargs.pop(name, [])
    if not isinstance(value, list):
        raise WrongArguments(f"{name} is an array")
    return value
