"""Checks objects against docs/json, with as much of JSON Schema as those files use."""

from __future__ import annotations

import json
from pathlib import Path

SCHEMAS = Path(__file__).parent.parent.parent / "docs" / "json"
KNOWN = {
    "$schema", "title", "description", "type", "properties", "required", "additionalProperties",
    "items", "enum", "anyOf",
}  # fmt: skip
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def check(value, name):
    """Raise AssertionError with the place where the value is not what the schema says."""
    faults = list(
        _faults(value, json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8")), "$")
    )
    assert faults == [], faults


def _faults(value, schema, place):
    assert set(schema) <= KNOWN, f"{place}: this checker does not know {set(schema) - KNOWN}"
    if "anyOf" in schema:
        if all(list(_faults(value, each, place)) for each in schema["anyOf"]):
            yield f"{place}: fits none of the alternatives: {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is none of {schema['enum']}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{place}: {value!r} is not {schema['type']}"
        return
    if isinstance(value, dict):
        yield from _object_faults(value, schema, place)
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from _faults(item, schema["items"], f"{place}[{number}]")


def _object_faults(value, schema, place):
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{place}: lacks {key}"
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, item in value.items():
        if key in properties:
            yield from _faults(item, properties[key], f"{place}.{key}")
        elif others is False:
            yield f"{place}: has {key}, which the schema does not know"
        elif isinstance(others, dict):
            yield from _faults(item, others, f"{place}.{key}")


def _is(value, types):
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, TYPES[name]) for name in names)
