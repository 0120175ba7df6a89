"""Whether a value follows a schema: what was made is looked at again, before it is told.

Only annotations (``format``, ``title`` …) go unchecked, and what no structured output knows (``unevaluatedItems``,
``$dynamicRef`` …).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from holdfast.chaos.schemas.automaton import compiled
from holdfast.chaos.schemas.errors import SchemaError
from holdfast.chaos.schemas.words import bounds, list_of_names, size, table_of, types_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.schemas.document import Document

__all__ = ["Check", "divides", "same"]

_MOST_STEPS = 100_000
_TOO_DEEP = 300


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: ``1`` is ``1.0``, but ``true`` isn't ``1``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    return bool(one == other)


def divides(step: float, value: float) -> bool:
    """Whether ``value`` is a multiple of ``step``: as decimal numbers, and in floating point too, as others look at it."""
    exact = Fraction(str(value)) % Fraction(str(step)) == 0
    if isinstance(step, int) and isinstance(value, int):
        return exact
    quotient = value / step
    return exact and quotient == int(quotient)


class Check:
    """Checks against schemas of one document, within a number of steps."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = _MOST_STEPS
        self._open: set[tuple[int, int]] = set()
        """References that are being followed, and for which value."""

    def holds(self, schema: Any, value: Any, depth: int = 0) -> bool:
        """Raises :class:`SchemaError` where ``schema`` isn't one, or where it takes too long to tell."""
        self._left -= 1
        if self._left < 0 or depth > _TOO_DEEP:
            raise SchemaError("the schema takes too long to check")
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise SchemaError(f"a schema is an object, not {schema!r}")
        if value is None and schema.get("nullable") is True:
            return True
        if "$ref" in schema and not self._referred(schema["$ref"], value, depth + 1):
            return False
        if (kinds := types_of(schema)) is not None and not any(_is(value, kind) for kind in kinds):
            return False
        if "const" in schema and not same(schema["const"], value):
            return False
        if "enum" in schema and not any(same(option, value) for option in schema["enum"]):
            return False
        return self._combined(schema, value, depth + 1) and self._typed(schema, value, depth + 1)

    def _referred(self, pointer: Any, value: Any, depth: int) -> bool:
        target = self._document.resolve(pointer)
        here = (id(target), id(value))
        if here in self._open:  # it leads back to itself: what no other branch holds, this one doesn't
            return False
        self._open.add(here)
        try:
            return self.holds(target, value, depth)
        finally:
            self._open.discard(here)

    def _combined(self, schema: dict[str, Any], value: Any, depth: int) -> bool:
        if not all(self.holds(part, value, depth) for part in schema.get("allOf", ())):
            return False
        if "anyOf" in schema and not any(self.holds(part, value, depth) for part in schema["anyOf"]):
            return False
        if "oneOf" in schema and sum(self.holds(part, value, depth) for part in schema["oneOf"]) != 1:
            return False
        if "not" in schema and self.holds(schema["not"], value, depth):
            return False
        if "if" in schema:
            word = "then" if self.holds(schema["if"], value, depth) else "else"
            return self.holds(schema.get(word, True), value, depth)
        return True

    def _typed(self, schema: dict[str, Any], value: Any, depth: int) -> bool:
        match value:
            case bool() | None:
                return True
            case str():
                return self._string(schema, value)
            case int() | float():
                return _number(schema, value)
            case list():
                return self._array(schema, value, depth)
            case dict():
                return self._object(schema, value, depth)
        return True

    def _string(self, schema: dict[str, Any], value: str) -> bool:
        least, most = size(schema, "minLength", 0), size(schema, "maxLength", None)
        if len(value) < (least or 0) or (most is not None and len(value) > most):
            return False
        return "pattern" not in schema or compiled(schema["pattern"]).found_in(value)

    def _array(self, schema: dict[str, Any], value: list[Any], depth: int) -> bool:
        least, most = size(schema, "minItems", 0), size(schema, "maxItems", None)
        if len(value) < (least or 0) or (most is not None and len(value) > most):
            return False
        prefix, rest = items_of(schema)
        for part, item in zip(prefix, value, strict=False):
            if not self.holds(part, item, depth):
                return False
        if rest is not True and not all(self.holds(rest, item, depth) for item in value[len(prefix) :]):
            return False
        if schema.get("uniqueItems") and self._repeats(value):
            return False
        if "contains" not in schema:
            return True
        found = sum(self.holds(schema["contains"], item, depth) for item in value)
        most = size(schema, "maxContains", None)
        return (size(schema, "minContains", 1) or 0) <= found and (most is None or found <= most)

    def _repeats(self, value: list[Any]) -> bool:
        self._left -= len(value) * len(value) // 16
        return any(same(item, other) for i, item in enumerate(value) for other in value[:i])

    def _object(self, schema: dict[str, Any], value: dict[str, Any], depth: int) -> bool:
        least, most = size(schema, "minProperties", 0), size(schema, "maxProperties", None)
        if len(value) < (least or 0) or (most is not None and len(value) > most):
            return False
        if not all(name in value for name in list_of_names(schema, "required")):
            return False
        for name, inner in value.items():
            if not all(self.holds(part, inner, depth) for part in property_schemas(schema, name)):
                return False
            if "propertyNames" in schema and not self.holds(schema["propertyNames"], name, depth):
                return False
        return self._dependent(schema, value, depth)

    def _dependent(self, schema: dict[str, Any], value: dict[str, Any], depth: int) -> bool:
        for name, needed in dependent_names(schema).items():
            if name in value and not all(other in value for other in needed):
                return False
        parts = dependent_schemas(schema)
        return all(self.holds(part, value, depth) for name, part in parts.items() if name in value)


def items_of(schema: dict[str, Any]) -> tuple[list[Any], Any]:
    """The schemas of the first items, one by one, and that of all others; older drafts have other words for it."""
    items = schema.get("items", True)
    if isinstance(items, list):
        return items, schema.get("additionalItems", True)
    prefix = schema.get("prefixItems", [])
    if not isinstance(prefix, list):
        raise SchemaError("prefixItems is no list of schemas")
    return prefix, items


def property_schemas(schema: dict[str, Any], name: str) -> list[Any]:
    """What a property of that name must follow."""
    properties = table_of(schema, "properties")
    found = [properties[name]] if name in properties else []
    found += [
        part
        for pattern, part in table_of(schema, "patternProperties").items()
        if compiled(pattern).found_in(name)
    ]
    if not found and "additionalProperties" in schema:
        found.append(schema["additionalProperties"])
    return found


def dependent_names(schema: dict[str, Any]) -> dict[str, list[str]]:
    """Property -> those that must stand beside it."""
    found = {
        name: needed for name, needed in table_of(schema, "dependencies").items() if isinstance(needed, list)
    }
    return {**found, **table_of(schema, "dependentRequired")}


def dependent_schemas(schema: dict[str, Any]) -> dict[str, Any]:
    """Property -> what holds for the whole object where it is there."""
    found = {
        name: part for name, part in table_of(schema, "dependencies").items() if not isinstance(part, list)
    }
    return {**found, **table_of(schema, "dependentSchemas")}


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    test = _KINDS.get(kind)
    if test is None:
        raise SchemaError(f"unknown type {kind!r}")
    return test(value)


_KINDS: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _number(schema: dict[str, Any], value: float) -> bool:
    found = bounds(schema)
    if found.low is not None and (value < found.low or (found.above and value == found.low)):
        return False
    if found.high is not None and (value > found.high or (found.below and value == found.high)):
        return False
    return found.step is None or divides(found.step, value)
