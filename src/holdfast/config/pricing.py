"""``[prices]`` as a file has it, and ``[pricing]``: what becomes of models without a price."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainValidator

from holdfast.config.fields import as_number, shown, wrong
from holdfast.config.substitute import Substituted
from holdfast.providers.override_reading import why_no_price
from holdfast.providers.unknown_price import UnknownPrice

if TYPE_CHECKING:
    from holdfast.config.source import Source

__all__ = ["Dollars", "as_price", "pricing_of"]

_PATH = "pricing"
_CEILINGS = ("ceiling_input_per_1m", "ceiling_output_per_1m")


def _dollars(value: Any) -> Decimal:
    number = as_number(value) if isinstance(value, Substituted) else value
    problem = why_no_price(number)
    if problem is not None and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        raise wrong(problem)
    if problem is not None or number is None:  # what a variable held isn't shown: it may be a secret
        raise wrong(f"must be a number of dollars, not {shown(value)}")
    return Decimal(number)


Dollars = Annotated[Decimal, PlainValidator(_dollars)]
"""Exact: what TOML parsed as a binary float is refused."""


def pricing_of(source: Source) -> UnknownPrice:
    """The policy for models without a price; what can't be meant together is in ``source.problems``."""
    table = source.doc.pricing
    given, made = table.ceiling_input_per_1m, table.ceiling_output_per_1m
    for name, value, other in zip(_CEILINGS, (given, made), _CEILINGS[::-1], strict=True):
        if value is None and getattr(table, other) is not None and not source.was_written(_PATH, name):
            source.wrong(
                (_PATH, name), f"is missing: a ceiling needs it beside {other}; write 0 if it is free"
            )
    if table.unknown == "refuse" and (given is not None or made is not None):
        source.wrong(
            (_PATH, "unknown"),
            'refuses what the ceiling would price; leave one of them out, or write "serve"',
        )
    return UnknownPrice(action=table.unknown, ceiling_input=given, ceiling_output=made)


def as_price(value: Any) -> Any:
    """A price as the file has it: what variables filled in is read as a number, in tables and lists as well."""
    if isinstance(value, dict):
        return {name: as_price(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_price(each) for each in value]
    if not isinstance(value, Substituted):
        return value
    number = as_number(value)
    return str(value) if number is None else number
