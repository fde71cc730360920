"""Whether who was written for one schema can go on with another one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from ..common.text import repr_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["breaks"]

_MAX_MISFITS = 100

_LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_SAME = ("pattern", "multipleOf", "format", "contentEncoding", "x-type")
"""Keywords that say something of a value, and of which one does not imply another."""

_TYPES = {
    str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array", dict: "object",
}  # fmt: skip


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What a caller of the old functions cannot rely on with the new ones; empty: nothing.

    Args:
        old: the schema that callers were written for; it is well-formed.
        new: that of what they call now; it is, too.
    """
    found: list[str] = []
    functions = new["functions"]
    for name, before in old["functions"].items():
        now = functions.get(name)
        if now is None:
            found.append(f"{name}: the function is gone")
        elif before["kind"] != now["kind"]:
            found.append(f"{name}: it was asked by {before['kind']}(), and is now by {now['kind']}()")
        else:
            found += [f"{name}: {what}" for what in _function(before, now)]
    return found


def _function(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    yield from _parameters(old, new)
    if "items" in old or "items" in new:
        for what in _Fit(old.get("items", {}), new.get("items", {})).misfits("an item"):
            yield f"what callers send does not fit any more: {what}"
    for what in _Fit(new["result"], old["result"]).misfits(
        "an item" if old["kind"] in ("stream", "channel") else "the result"
    ):
        yield f"what comes back does not fit what callers expect: {what}"


def _parameters(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, now = old["parameters"], new["parameters"]
    known, others = now["properties"], now.get("additionalProperties", True)
    for name, schema in before["properties"].items():
        if name in known or others is not False:
            accepted = _alone(known.get(name, others), now)
            for what in _Fit(_alone(schema, before), accepted).misfits(name):
                yield f"what callers pass does not fit any more: {what}"
        else:
            yield f"the parameter {name!r} is gone"
    for name in now["required"]:
        if name not in before["required"]:
            why = "has no default any more" if name in before["properties"] else "is new and has no default"
            yield f"the parameter {name!r} {why}"
    yield from _places(old, new)
    if before.get("additionalProperties", True) is not False:
        if others is False:
            yield "it takes no other keywords any more"
        else:
            extra = _Fit(_alone(before.get("additionalProperties", True), before), _alone(others, now))
            for what in extra.misfits("another keyword"):
                yield f"what callers pass does not fit any more: {what}"


def _places(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What callers that pass by position, or by name, cannot do any more."""
    before, now = _positional(old), _positional(new)
    for index, name in enumerate(before):
        if index < len(now):
            if now[index] != name:
                yield f"the positional argument {index + 1} was {name!r}, and is now {now[index]!r}"
                break
        elif name in new["parameters"]["properties"]:
            yield f"the parameter {name!r} is keyword-only now"
    for name in new.get("positional_only", ()):
        if name in old["parameters"]["properties"] and name not in old.get("positional_only", ()):
            yield f"the parameter {name!r} is positional-only now"
    if "rest" in old:
        if "rest" not in new:
            yield "it takes no more positional arguments than have names"
        else:
            for what in _Fit(old["rest"], new["rest"]).misfits("a further argument"):
                yield f"what callers pass does not fit any more: {what}"
        if len(now) > len(before):
            yield f"the positional argument {len(before) + 1} is now {now[len(before)]!r}"


def _positional(function: Mapping[str, Any]) -> list[str]:
    return [name for name in function["parameters"]["properties"] if name not in function.get("keyword_only", ())]


def _alone(schema: Any, within: Mapping[str, Any]) -> dict[str, Any]:
    if schema is True:
        return {}
    return {**schema, "$defs": within.get("$defs", {})}


class _Fit:
    """Whether every value of one schema is one of another."""

    def __init__(self, given: Mapping[str, Any], accepted: Mapping[str, Any]) -> None:
        self._given, self._accepted = given, accepted
        self._under_way: set[tuple[str, str]] = set()
        self._fitting: set[tuple[str, str]] = set()

    def misfits(self, path: str) -> list[str]:
        """What does not fit, each with its path; of very many the first ones."""
        return list(itertools.islice(self._compare(self._given, self._accepted, path), _MAX_MISFITS))

    def _compare(self, given: Any, accepted: Any, path: str) -> Iterator[str]:
        pair = _name_of(given), _name_of(accepted)
        if pair in self._under_way or pair in self._fitting:
            return  # one type within itself: what is to be found is found already
        if all(pair):
            self._under_way.add(pair)
        try:
            fits = True
            for misfit in self._compare_resolved(
                _resolved(given, self._given), _resolved(accepted, self._accepted), path, given
            ):
                fits = False
                yield misfit
            if fits and all(pair):
                self._fitting.add(pair)  # types that are used in many places would take very long
        finally:
            self._under_way.discard(pair)

    def _compare_resolved(self, given: Any, accepted: Any, path: str, named: Any) -> Iterator[str]:
        if accepted is True or given is False or not _says(accepted):
            return
        if accepted is False:
            yield f"{path}: nothing may stand there"
        elif given is True or not _says(given):
            yield f"{path}: anything, where only {_shown(accepted)} is expected"
        elif "anyOf" in given:
            for member in given["anyOf"]:
                yield from self._compare(member, accepted, path)
        elif "anyOf" in accepted:
            # By its name, by which it is known where it is within itself.
            if not any(self._fits(named, member, path) for member in accepted["anyOf"]):
                yield f"{path}: {_shown(given)}, where {_shown(accepted)} is expected"
        elif "enum" in given or "const" in given:
            yield from _values(given, accepted, path)
        elif "enum" in accepted or "const" in accepted:
            yield f"{path}: any {_shown(given)}, where only {_shown(accepted)} is expected"
        elif not _type_fits(given.get("type"), accepted.get("type")):
            yield f"{path}: {_shown(given)}, where {_shown(accepted)} is expected"
        else:
            yield from _bounds(given, accepted, path)
            yield from self._object(given, accepted, path)
            yield from self._array(given, accepted, path)

    def _fits(self, given: Any, accepted: Any, path: str) -> bool:
        return next(self._compare(given, accepted, path), None) is None

    def _object(self, given: Any, accepted: Any, path: str) -> Iterator[str]:
        if accepted.get("type") != "object":
            return
        own, wanted = given.get("properties", {}), accepted.get("properties", {})
        for name in accepted.get("required", ()):
            if name not in given.get("required", ()):
                yield (
                    f"{path}.{name}: it may be missing, and is required"
                    if name in own
                    else (f"{path}.{name}: it is missing, and is required")
                )
        others = accepted.get("additionalProperties", True)
        for name, schema in own.items():
            if name in wanted:
                yield from self._compare(schema, wanted[name], f"{path}.{name}")
            elif others is False:
                yield f"{path}.{name}: there is no such field"
            elif others is not True:
                yield from self._compare(schema, others, f"{path}.{name}")
        if own or wanted:
            return  # the fields of a class: what else an object of it might have is not sent
        yield from self._compare(given.get("additionalProperties", True), others, f"{path}[...]")
        yield from self._compare(
            given.get("propertyNames", True), accepted.get("propertyNames", True), f"{path}, a key"
        )

    def _array(self, given: Any, accepted: Any, path: str) -> Iterator[str]:
        if accepted.get("type") != "array":
            return
        own, wanted = given.get("prefixItems", []), accepted.get("prefixItems", [])
        for index in range(max(len(own), len(wanted))):
            one = own[index] if index < len(own) else given.get("items", True)
            other = wanted[index] if index < len(wanted) else accepted.get("items", True)
            if one is not False:
                yield from self._compare(one, other, f"{path}[{index}]")
        yield from self._compare(given.get("items", True), accepted.get("items", True), f"{path}[...]")


def _name_of(schema: Any) -> str:
    return schema.get("$ref", "") if isinstance(schema, dict) else ""


def _resolved(schema: Any, whole: Mapping[str, Any]) -> Any:
    while isinstance(schema, dict) and "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if isinstance(schema, dict) and isinstance(schema.get("type"), list):
        return {"anyOf": [{**schema, "type": kind} for kind in schema["type"]]}
    return schema


def _says(schema: Any) -> bool:
    """Whether a schema says anything of a value."""
    if not isinstance(schema, dict):
        return True
    if "anyOf" in schema:
        return all(map(_says, schema["anyOf"]))
    told = ("$ref", "type", "enum", "const", "propertyNames", *_SAME, *_LOWER, *_UPPER)
    return any(keyword in schema for keyword in told)


def _type_fits(given: Any, accepted: Any) -> bool:
    return accepted is None or given == accepted or (given == "integer" and accepted == "number")


def _values(given: Any, accepted: Any, path: str) -> Iterator[str]:
    for value in _choices(given):
        if "enum" in accepted or "const" in accepted:
            if value not in _choices(accepted):
                yield f"{path}: {repr_of(value)} is not one of {_shown(accepted)}"
        elif not _type_fits(_TYPES.get(type(value)), accepted.get("type")):
            yield f"{path}: {repr_of(value)}, where {_shown(accepted)} is expected"


def _choices(schema: Any) -> Sequence[Any]:
    return [schema["const"]] if "const" in schema else list(schema["enum"])


def _bounds(given: Any, accepted: Any, path: str) -> Iterator[str]:
    for keyword, bound in accepted.items():
        own = given.get(keyword)
        if keyword in _SAME and own != bound:
            yield f"{path}: {_shown(given)}, where {_shown(accepted)} is expected"
            return
        if (keyword in _LOWER and (own is None or own < bound) and not _implied(given, keyword, bound)) or (
            keyword in _UPPER and (own is None or own > bound)
        ):
            yield f"{path}: {keyword} is {'not said' if own is None else own}, and {bound} is expected"
    is_text = accepted.get("type") == "string" and not {"format", "contentEncoding"} & set(accepted)
    if is_text and ("contentEncoding" in given or given.get("format") in ("date-time", "uuid")):  # others are text
        yield f"{path}: {_shown(given)}, where {_shown(accepted)} is expected"


def _implied(given: Any, keyword: str, bound: Any) -> bool:
    """Whether another bound says as much."""
    if keyword == "exclusiveMinimum":
        return bool(given.get("minimum", bound) > bound)
    return keyword == "minimum" and bool(given.get("exclusiveMinimum", float("-inf")) >= bound)


def _shown(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "anything"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(_shown, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return ", ".join(map(repr_of, _choices(schema)))
    if "$ref" in schema:
        return str(schema["$ref"].removeprefix("#/$defs/"))
    for keyword in ("title", "x-type", "format"):
        if keyword in schema:
            return str(schema[keyword])
    return "bytes" if "contentEncoding" in schema else str(schema.get("type", "anything"))
