"""A form: one plain way to follow a schema, all that holds at once put together, with no alternatives left in it."""

from __future__ import annotations

from fractions import Fraction
from itertools import zip_longest
from math import lcm
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.schemas.check import dependent_names, items_of, property_schemas, same
from holdfast.chaos.schemas.errors import SchemaError
from holdfast.chaos.schemas.words import Bounds, bounds, list_of_names, size, table_of, types_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ANYTHING", "Contains", "Form", "all_of", "both", "form_of"]

_SAYING = frozenset(
    (
        "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
        "maxLength", "pattern", "format", "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems",
        "contains", "minContains", "maxContains", "properties", "patternProperties", "additionalProperties", "required",
        "propertyNames", "minProperties", "maxProperties", "dependentRequired", "dependencies", "propertyOrdering",
        "contentMediaType",
    )
)  # fmt: skip  # a list of words
_SURE = frozenset(
    (
        "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "minimum", "maximum",
        "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "propertyOrdering",
    )
)  # fmt: skip  # a list of words
_NO_BOUNDS = Bounds(None, above=False, high=None, below=False, step=None)


class Contains(msgspec.Struct, frozen=True):
    schema: Any
    least: int
    most: int | None


class Form(msgspec.Struct, frozen=True):
    """What must hold; by default nothing."""

    types: tuple[str, ...] | None = None
    options: tuple[Any, ...] | None = None
    """Of ``enum`` or ``const``."""
    number: Bounds = _NO_BOUNDS
    length: tuple[int, int | None] = (0, None)
    patterns: tuple[str, ...] = ()
    format: str | None = None
    content: Any = None
    """The schema of the JSON that a text holds; None: it holds none."""
    items: tuple[int, int | None] = (0, None)
    prefix: tuple[Any, ...] = ()
    rest: Any = True
    """The schema of items beyond ``prefix``."""
    unique: bool = False
    contains: tuple[Contains, ...] = ()
    size: tuple[int, int | None] = (0, None)
    """Of an object."""
    properties: Mapping[str, Any] = {}
    by_pattern: Mapping[str, Any] = {}
    others: Any = True
    """The schema of properties that neither of the two names."""
    required: tuple[str, ...] = ()
    beside: Mapping[str, list[str]] = {}
    """Property -> those that must stand beside it."""
    names: Any = True
    """The schema of properties' names."""
    order: tuple[str, ...] = ()
    sure: bool = False
    """Whether every value that is made of it follows it, and needn't be looked at again."""

    def property(self, name: str) -> Any:
        """The schema of that property."""
        return all_of(
            property_schemas(
                {
                    "properties": self.properties,
                    "patternProperties": self.by_pattern,
                    "additionalProperties": self.others,
                },
                name,
            )
        )

    def guessed(self) -> tuple[str, ...]:
        """Types, where the schema names none: what its other words are about comes first."""
        about = {
            "object": self.properties or self.required or self.by_pattern or self.others is not True,
            "array": self.prefix or self.rest is not True or self.contains or self.items != (0, None),
            "string": self.patterns or self.format or self.length != (0, None),
            "number": self.number != _NO_BOUNDS,
        }
        first = [kind for kind, said in about.items() if said]
        return tuple(dict.fromkeys((*first, "string", "integer", "boolean", "array", "object", "null")))


ANYTHING = Form()


def all_of(schemas: list[Any]) -> Any:
    """One schema for several."""
    said = [schema for schema in schemas if schema is not True]
    return True if not said else said[0] if len(said) == 1 else {"allOf": said}


def form_of(schema: dict[str, Any]) -> Form:
    """What a schema itself says, apart from its references and combinations. Raises :class:`SchemaError`."""
    said = _SAYING & schema.keys()
    if not said:
        return ANYTHING
    types = types_of(schema)
    prefix, rest = items_of(schema)
    contains: tuple[Contains, ...] = ()
    if "contains" in schema:
        least = size(schema, "minContains", 1) or 0
        contains = (Contains(schema["contains"], least, size(schema, "maxContains", None)),)
    kind = schema.get("format")
    return Form(
        types=None if types is None else tuple(types),
        options=_options(schema),
        number=bounds(schema),
        length=_sizes(schema, "Length"),
        patterns=_patterns(schema),
        format=kind if isinstance(kind, str) else None,
        content=_content(schema),
        items=_sizes(schema, "Items"),
        prefix=tuple(prefix),
        rest=rest,
        unique=bool(schema.get("uniqueItems")),
        contains=contains,
        size=_sizes(schema, "Properties"),
        properties=table_of(schema, "properties"),
        by_pattern=table_of(schema, "patternProperties"),
        others=schema.get("additionalProperties", True),
        required=tuple(list_of_names(schema, "required")),
        beside=dependent_names(schema),
        names=schema.get("propertyNames", True),
        order=tuple(list_of_names(schema, "propertyOrdering")),
        sure=types is not None and said <= _SURE,
    )


def both(one: Form, other: Form) -> Form | None:
    """What follows both; None where nothing can."""
    if one is ANYTHING:
        return None if other.options == () else other
    if other is ANYTHING:
        return one
    types = _types(one.types, other.types)
    options = _common(one.options, other.options)
    if types == () or options == ():
        return None
    names = dict.fromkeys((*one.properties, *other.properties))
    return Form(
        types=types,
        options=options,
        number=_bounds(one.number, other.number),
        length=_within(one.length, other.length),
        patterns=tuple(dict.fromkeys(one.patterns + other.patterns)),
        format=one.format or other.format,
        content=one.content if other.content is None else other.content,
        items=_within(one.items, other.items),
        prefix=_prefix(one, other),
        rest=all_of([one.rest, other.rest]),
        unique=one.unique or other.unique,
        contains=one.contains + other.contains,
        size=_within(one.size, other.size),
        properties={name: all_of([one.property(name), other.property(name)]) for name in names},
        by_pattern=_united(one.by_pattern, other.by_pattern),
        others=all_of([one.others, other.others]),
        required=tuple(dict.fromkeys(one.required + other.required)),
        beside={
            name: [*one.beside.get(name, ()), *other.beside.get(name, ())]
            for name in (*one.beside, *other.beside)
        },
        names=all_of([one.names, other.names]),
        order=one.order or other.order,
    )


def _options(schema: dict[str, Any]) -> tuple[Any, ...] | None:
    found = schema.get("enum")
    if found is not None and not isinstance(found, list):
        raise SchemaError("enum is no list")
    options = None if found is None else tuple(found)
    return _common(options, (schema["const"],)) if "const" in schema else options


def _common(one: tuple[Any, ...] | None, other: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(option for option in one if any(same(option, choice) for choice in other))


def _patterns(schema: dict[str, Any]) -> tuple[str, ...]:
    found = schema.get("pattern")
    if found is None:
        return ()
    if not isinstance(found, str):
        raise SchemaError("pattern is no text")
    return (found,)


def _content(schema: dict[str, Any]) -> Any:
    return schema.get("contentSchema", True) if schema.get("contentMediaType") == "application/json" else None


def _sizes(schema: dict[str, Any], of: str) -> tuple[int, int | None]:
    return size(schema, f"min{of}", 0) or 0, size(schema, f"max{of}", None)


def _within(one: tuple[int, int | None], other: tuple[int, int | None]) -> tuple[int, int | None]:
    most = [bound for bound in (one[1], other[1]) if bound is not None]
    return max(one[0], other[0]), min(most, default=None)


def _types(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    common = [kind for kind in one if kind in other]
    # Whole numbers are numbers.
    if ("integer" in one and "number" in other) or ("number" in one and "integer" in other):
        common = [kind for kind in common if kind != "number"] + ["integer"] * ("integer" not in common)
    return tuple(common)


def _bounds(one: Bounds, other: Bounds) -> Bounds:
    # Of two equal bounds the one that excludes itself is tighter.
    lows = [(b.low, b.above) for b in (one, other) if b.low is not None]
    highs = [(b.high, not b.below) for b in (one, other) if b.high is not None]
    steps = [b.step for b in (one, other) if b.step is not None]
    low, above = max(lows, default=(None, False))
    high, reached = min(highs, default=(None, True))
    return Bounds(low, above, high, not reached, _step(steps))


def _step(steps: list[float]) -> float | None:
    if len(steps) < 2:
        return steps[0] if steps else None
    one, other = (Fraction(str(step)) for step in steps)
    common = Fraction(
        lcm(one.numerator * other.denominator, other.numerator * one.denominator),
        one.denominator * other.denominator,
    )
    return int(common) if common.denominator == 1 else float(common)


def _prefix(one: Form, other: Form) -> tuple[Any, ...]:
    absent = object()
    return tuple(
        all_of([one.rest if mine is absent else mine, other.rest if theirs is absent else theirs])
        for mine, theirs in zip_longest(one.prefix, other.prefix, fillvalue=absent)
    )


def _united(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {name: all_of([table[name] for table in (one, other) if name in table]) for name in (*one, *other)}
