"""The price book: what a model costs at a provider, at a time.

Stated prices (:mod:`~holdfast.providers.overrides`) go first, then the bundled list
(:mod:`~holdfast.providers.snapshot`). What neither knows has no price, rather than somebody else's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from holdfast.providers import snapshot
from holdfast.providers.overrides import Override, OverrideTable, parse_overrides
from holdfast.providers.rates import EXACT, Band, Cost, Flag, Kind, Price, Unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, TieredPrices

__all__ = ["Cost", "Flag", "Override", "Price", "PriceBook", "Unit", "parse_overrides"]

_MOST_REMEMBERED = 4_096
"""Names that are remembered. Callers choose model names, so there may be any number of them."""

_LISTED: Mapping[Kind, str] = {
    "input": "input_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "cache_audio_read": "cache_audio_read_mtok",
    "output": "output_mtok",
    "output_audio": "output_audio_mtok",
    "reasoning": "output_reasoning_mtok",
}

_ON_TOP = {
    "web_searches_kcount",
    "social_searches_kcount",
    "storage_searches_kcount",
    "code_executions_kcount",
}
"""Billed per use, beside tokens. An answer's usage doesn't tell the number, so they are not part of its cost."""


class _Period(NamedTuple):
    condition: ConditionalPrice | None
    price: Price | None


class PriceBook:
    """Prices by provider, model and time. Never opens a connection.

    Args:
        overrides: stated prices, from :func:`parse_overrides`.
    """

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        self._overrides = OverrideTable(overrides)
        self._found: dict[tuple[str, str], tuple[_Period, ...]] = {}

    def price(self, provider: str, model: str, at_ns: int) -> Price | None:
        """The price of ``model`` at ``provider`` for a request made at ``at_ns``; None if it isn't known.

        Args:
            provider: our name of it, in any case.
            model: in any case; a date (``-2024-08-06``), ``models/`` or the provider's prefix may be part of it.
            at_ns: nanoseconds since 1970 UTC. Prices change with the day and, at some providers, the hour.
        """
        if len(model) > snapshot.LONGEST_NAME:
            return None  # and isn't remembered
        key = (provider, model)
        periods = self._found.get(key)
        if periods is None:
            periods = self._find(provider, model)
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            self._found[key] = periods
        if len(periods) == 1:
            return periods[0].price
        return _in_force(periods, at_ns)

    def load(self) -> None:
        """Read the bundled list now (0.3 s, once) rather than at the first price. Call it in a thread before serving."""
        snapshot.load()

    def _find(self, provider: str, model: str) -> tuple[_Period, ...]:
        stated = self._overrides.find(provider, model)
        if stated is not None:
            return (_Period(None, stated),)
        listed = snapshot.find(provider, model)
        if listed is None:
            return (_Period(None, None),)
        price_id = f"genai-prices-{snapshot.version()}:{provider.lower()}/{listed.id}"
        return _periods(listed, price_id)


def _in_force(periods: tuple[_Period, ...], at_ns: int) -> Price | None:
    """The last period whose condition holds, else the first: the list's own rule."""
    at = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC)
    for condition, price in reversed(periods):
        if condition is None or condition.constraint is None or condition.constraint.active(at):
            return price
    return periods[0].price


def _periods(listed: ModelInfo, price_id: str) -> tuple[_Period, ...]:
    if not isinstance(listed.prices, list):
        return (_Period(None, _listed_price(listed, listed.prices, price_id)),)
    return tuple(
        _Period(condition, _listed_price(listed, condition.prices, f"{price_id}#{number}"))
        for number, condition in enumerate(listed.prices)
    )


def _listed_price(listed: ModelInfo, prices: ModelPrice, price_id: str) -> Price | None:
    amounts: dict[str, Decimal | TieredPrices] = {
        key: amount for key, amount in vars(prices).items() if amount is not None and key not in _ON_TOP
    }
    if not amounts and listed.id.endswith(":free"):
        return Price(price_id, [Band(0, {}, Decimal(0), Decimal(0))])
    per_request = amounts.pop("requests_kcount", Decimal(0))
    if "input_mtok" not in amounts or not all(key.endswith("_mtok") for key in amounts):
        return None  # billed by the hour, the page or the character, which usage doesn't tell
    if not isinstance(per_request, Decimal):
        return None
    starts = sorted(
        {0, *(tier.start for amount in amounts.values() for tier in getattr(amount, "tiers", ()))}
    )
    bands = [
        _band(start, {key: _amount(amount, start) for key, amount in amounts.items()}) for start in starts
    ]
    return Price(price_id, bands, per_request=EXACT.divide(per_request, Decimal(1_000)))


def _band(start: int, amounts: Mapping[str, Decimal]) -> Band:
    dearest_output = max((amounts[key] for key in amounts if key.startswith("output_")), default=Decimal(0))
    rates = {kind: amounts[key] for kind, key in _LISTED.items() if key in amounts}
    # Listed without a price for plain output: the dearest output there is (images, speech), or none (embeddings).
    rates.setdefault("output", dearest_output)
    return Band(
        above=start,
        rates=rates,
        dearest_input=max(amounts[key] for key in amounts if not key.startswith("output_")),
        dearest_output=dearest_output,
    )


def _amount(amount: Decimal | TieredPrices, start: int) -> Decimal:
    """What is charged above ``start`` input tokens."""
    if isinstance(amount, Decimal):
        return amount
    reached = amount.base
    for tier in amount.tiers:
        if tier.start <= start:
            reached = tier.price
    return reached
