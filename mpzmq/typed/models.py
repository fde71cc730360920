"""Models of pydantic, as JSON Schema of what travels."""

from __future__ import annotations

import functools
import sys
from typing import Any

__all__ = ["model_schemas"]


def model_schemas(model: Any) -> tuple[str, dict[str, Any]]:
    """The name of a model, and its schema and those that it refers to, by name.

    Args:
        model: the class.
    """
    schema = model.model_json_schema(schema_generator=_generator(), ref_template="#/$defs/{model}")
    parts = schema.pop("$defs", {})
    if "$ref" in schema:  # it refers to itself
        return schema["$ref"].removeprefix("#/$defs/"), parts
    name = model.__name__
    while name in parts:
        name += "_"
    return name, {name: schema, **parts}


@functools.cache
def _generator() -> type:
    """What pydantic writes of JSON, but for what does not travel as there."""
    base: Any = sys.modules["pydantic"].json_schema.GenerateJsonSchema

    class Carried(base):  # type: ignore[misc]  # pydantic may be missing
        def decimal_schema(self, schema: Any) -> Any:
            return {"type": "string", "format": "decimal"}

        def bytes_schema(self, schema: Any) -> Any:
            return {"type": "string", "contentEncoding": "base64"}

        def enum_schema(self, schema: Any) -> Any:
            members = {member.name: member.value for member in schema["members"]}
            return {**super().enum_schema(schema), "x-members": members}

    return Carried
