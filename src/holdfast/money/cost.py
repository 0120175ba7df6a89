"""Cost: what an attempt cost, and the way between nano-dollars and dollars.

Inside, money is integer nano-dollars; dollars are `Decimal`, and only at the edges.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from holdfast.providers.rates import EXACT, MOST_TOKENS, Cost, Flag, Unit

__all__ = ["NANO", "Cost", "Flag", "Unit", "calculate_cost", "format_usd", "to_nano", "to_usd"]

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""


def to_usd(nano: int) -> Decimal:
    """Nano-dollars as dollars, exactly."""
    return EXACT.scaleb(Decimal(nano), -9)


def to_nano(usd: Decimal) -> int:
    """Dollars as nano-dollars, rounded up.

    Raises:
        TypeError: it isn't a Decimal. A float can't hold most amounts.
    """
    return int(EXACT.scaleb(_dollars("usd", usd), 9).to_integral_value(ROUND_CEILING))


def format_usd(nano: int) -> str:
    """Dollars with nine decimals and no exponent, as headers carry them: ``0.000012345``."""
    dollars, rest = divmod(abs(nano), NANO)
    return f"{'-' if nano < 0 else ''}{dollars}.{rest:09d}"


def calculate_cost(
    input_tokens: int, output_tokens: int, input_price: Decimal, output_price: Decimal, *, unit: Unit
) -> Decimal:
    """Dollars, exact and not rounded: ``input_tokens * input_price + output_tokens * output_price``, per ``unit``.

    Raises:
        TypeError: a price isn't a Decimal, or a count isn't an integer.
        ValueError: anything is negative, not finite or absurdly large.
    """
    for name, tokens in (("input_tokens", input_tokens), ("output_tokens", output_tokens)):
        if type(tokens) is not int:
            raise TypeError(f"{name} must be an integer, not {type(tokens).__name__}")
        if not 0 <= tokens <= MOST_TOKENS:
            raise ValueError(f"{name} must be between 0 and {MOST_TOKENS}, not {tokens}")
    for name, price in (("input_price", input_price), ("output_price", output_price)):
        if _dollars(name, price) < 0:
            raise ValueError(f"{name} must be 0 or more, not {price}")
    total = EXACT.add(
        EXACT.multiply(Decimal(input_tokens), input_price),
        EXACT.multiply(Decimal(output_tokens), output_price),
    )
    return EXACT.divide(total, Decimal(unit.value))


def _dollars(name: str, amount: Decimal) -> Decimal:
    if not isinstance(amount, Decimal):
        raise TypeError(
            f"{name} must be a Decimal, not {type(amount).__name__}: a float can't hold most amounts"
        )
    if not amount.is_finite():
        raise ValueError(f"{name} must be finite, not {amount}")
    return amount
