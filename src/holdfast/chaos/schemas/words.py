"""The keywords of a schema, read with care: it is the caller's text, and any of them may have any shape."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from holdfast.chaos.schemas.errors import SchemaError

__all__ = ["LARGEST", "Bounds", "bounds", "list_of_names", "size", "table_of", "types_of"]

LARGEST = 10_000
"""Characters of a string, or values in all, that a schema may demand of us."""


def types_of(schema: dict[str, Any]) -> list[str] | None:
    """The names of types, in lower case (Gemini's own schemas shout them); None where none is said."""
    kind = schema.get("type")
    if kind is None:
        return None
    kinds = [kind] if isinstance(kind, str) else kind
    if not isinstance(kinds, list) or not kinds or not all(isinstance(name, str) for name in kinds):
        raise SchemaError(f"{kind!r} is no type")
    return [name.lower() for name in kinds]


def size(schema: dict[str, Any], word: str, default: int | None) -> int | None:
    """A number of characters, items or properties; Gemini's are texts. Raises :class:`SchemaError`."""
    found = schema.get(word)
    if found is None:
        return default
    if isinstance(found, str) and found.isdecimal() and len(found) < 20:
        found = int(found)
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise SchemaError(f"{word} is {found!r}; 0 to {LARGEST} can be served")
    if word.startswith("min") and found > LARGEST:
        raise SchemaError(f"{word} is {found!r}; 0 to {LARGEST} can be served")
    return found


def table_of(schema: dict[str, Any], word: str) -> dict[str, Any]:
    """A keyword's object; empty where it isn't there. Raises :class:`SchemaError`."""
    found = schema.get(word)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SchemaError(f"{word} is not an object")
    return found


def list_of_names(schema: dict[str, Any], word: str) -> list[str]:
    """A keyword's list of texts; empty where it isn't there. Raises :class:`SchemaError`."""
    found = schema.get(word)
    if found is None:
        return []
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        raise SchemaError(f"{word} is no list of names")
    return list(found)


class Bounds(NamedTuple):
    """Of a number."""

    low: float | None
    above: bool
    """Whether ``low`` itself is too low."""
    high: float | None
    below: bool
    step: float | None


def bounds(schema: dict[str, Any]) -> Bounds:
    """Raises :class:`SchemaError` where they aren't numbers."""
    low, above = _tighter(schema, "minimum", "exclusiveMinimum", low=True)
    high, below = _tighter(schema, "maximum", "exclusiveMaximum", low=False)
    step = _number(schema, "multipleOf")
    if step is not None and step <= 0:
        raise SchemaError(f"multipleOf is {step!r}; it must be above 0")
    return Bounds(low, above, high, below, step)


def _tighter(schema: dict[str, Any], word: str, exclusive: str, *, low: bool) -> tuple[float | None, bool]:
    within = _number(schema, word)
    if isinstance(schema.get(exclusive), bool):  # draft 4
        return within, schema[exclusive]
    beyond = _number(schema, exclusive)
    if beyond is None:
        return within, False
    if within is None:
        return beyond, True
    return (beyond, True) if (beyond >= within if low else beyond <= within) else (within, False)


def _number(schema: dict[str, Any], word: str) -> float | None:
    found = schema.get(word)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise SchemaError(f"{word}: {found!r} bounds no number")
    return found
