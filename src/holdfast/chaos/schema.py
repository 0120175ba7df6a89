"""A value for a JSON schema: small, deterministic, the same for the same schema and nonce.

Covers what structured output allows: object, array, string, number, integer, boolean, null, enum, const, anyOf, oneOf,
allOf, ``$ref`` into the same document, bounds on numbers, lengths and items, and the common string formats. A string's
``pattern`` is not honoured.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

__all__ = ["SchemaError", "text_for", "value_for"]

_ENOUGH = 4  # depth from which only what is required is made, so that optional recursion ends
_TOO_DEEP = 64
_LARGEST = 10_000  # characters of a string, or values in all, that a schema may demand of us
_FORMATS = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class SchemaError(ValueError):
    """No finite value follows the schema, or it isn't one."""


def text_for(schema: Any, nonce: str) -> str:
    """JSON text that follows ``schema``; strings carry ``nonce`` and a number."""
    return msgspec.json.encode(value_for(schema, nonce)).decode()


def value_for(schema: Any, nonce: str) -> Any:
    """A value that follows ``schema``. Raises :class:`SchemaError`."""
    try:
        return _Maker(schema, nonce).make(schema, 0)
    except SchemaError:
        raise
    except (TypeError, AttributeError, ValueError, KeyError, ArithmeticError) as error:
        # A schema is the caller's text: any of its keywords may have any shape.
        raise SchemaError(f"this is no JSON schema: {error}") from None


class _Maker:
    def __init__(self, root: Any, nonce: str) -> None:
        self._root = root
        self._nonce = nonce
        self._count = 0
        self._left = _LARGEST

    def make(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise SchemaError(f"the schema demands more than {_LARGEST} values")
        if depth > _TOO_DEEP:
            raise SchemaError("the schema demands an endless value")
        if schema is True:
            return {}
        if not isinstance(schema, dict):
            raise SchemaError(f"a schema is an object, not {schema!r}")
        if "$ref" in schema:
            return self.make(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(options := schema.get("enum"), list) and options:
            return options[0]
        for word in ("anyOf", "oneOf"):
            if isinstance(branches := schema.get(word), list) and branches:
                return self.make(_pick(branches, depth), depth + 1)
        if isinstance(every := schema.get("allOf"), list) and every:
            return self.make(self._merged(schema, every), depth + 1)
        return self._typed(schema, _type_of(schema, depth), depth)

    def _typed(self, schema: dict[str, Any], kind: str, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer" | "number":
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return True
            case "null":
                return None
        raise SchemaError(f"unknown type {kind!r}")

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or ()
        if not isinstance(properties, dict):
            raise SchemaError("properties is not an object")
        return {
            name: self.make(inner, depth + 1)
            for name, inner in properties.items()
            if name in required or depth < _ENOUGH
        }

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least = _size(schema, "minItems", 0)
        most = _size(schema, "maxItems", _LARGEST)
        count = max(least, min(most, 2 if depth < _ENOUGH else 0))
        return [self.make(schema.get("items", {"type": "string"}), depth + 1) for _ in range(count)]

    def _string(self, schema: dict[str, Any]) -> str:
        if (known := _FORMATS.get(schema.get("format", ""))) is not None:
            return known
        text = f"{self._nonce}:{self._count}"
        self._count += 1
        least = _size(schema, "minLength", 0)
        return text.ljust(least, ".")[: _size(schema, "maxLength", max(_LARGEST, least))]

    def _resolve(self, pointer: Any) -> Any:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise SchemaError(f"$ref {pointer!r} leaves the document")
        node = self._root
        for step in filter(None, pointer[1:].split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or name not in node:
                raise SchemaError(f"$ref {pointer!r} leads nowhere")
            node = node[name]
        return node

    def _merged(self, schema: dict[str, Any], every: list[Any]) -> dict[str, Any]:
        merged = {name: value for name, value in schema.items() if name != "allOf"}
        for given in every:
            part = self._resolve(given["$ref"]) if isinstance(given, dict) and "$ref" in given else given
            if not isinstance(part, dict):
                raise SchemaError("allOf holds something that is no schema")
            for name, value in part.items():
                if name == "properties":
                    merged[name] = {**merged.get(name, {}), **value}
                elif name == "required":
                    merged[name] = [*merged.get(name, ()), *value]
                else:
                    merged.setdefault(name, value)
        return merged


def _pick(branches: list[Any], depth: int) -> Any:
    """The first branch; null only where it ends a recursion."""
    nulls = [b for b in branches if isinstance(b, dict) and b.get("type") == "null"]
    others = [b for b in branches if b not in nulls]
    return (nulls or others)[0] if depth >= _ENOUGH else (others or nulls)[0]


def _type_of(schema: dict[str, Any], depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = (
            "null" if depth >= _ENOUGH and "null" in kind else next((k for k in kind if k != "null"), "null")
        )
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind).lower()  # Gemini's own schemas shout their types


def _size(schema: dict[str, Any], name: str, default: int) -> int:
    size = schema.get(name, default)
    if not isinstance(size, int) or not 0 <= size <= _LARGEST:
        raise SchemaError(f"{name} is {size!r}; 0 to {_LARGEST} can be served")
    return size


def _number(schema: dict[str, Any], *, whole: bool) -> int | float:
    """The smallest value ≥ 1 that keeps the bounds, or the largest below."""
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = schema.get("multipleOf", 1 if whole else None)
    for bound in (low, high, step):
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
            raise SchemaError(f"{bound!r} bounds no number")
    if step is not None and step <= 0:
        raise SchemaError(f"multipleOf is {step!r}; it must be above 0")
    value: float = 1 if whole else 1.5
    if low is not None and (value < low or (value == low and "exclusiveMinimum" in schema)):
        value = low + (0 if "minimum" in schema else (step or 0.5))
    if high is not None and (value > high or (value == high and "exclusiveMaximum" in schema)):
        value = high - (0 if "maximum" in schema else (step or 0.5))
    if step:
        up = math.ceil(value / step) * step
        value = math.floor(value / step) * step if high is not None and up > high else up
    return int(value) if whole else value
