"""What ``holdfast prices`` shows, in tables and in JSON. Dollars are exact: nothing here is a float."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from holdfast.cli.output import clean, say, say_table
from holdfast.cli.times import iso_utc
from holdfast.money.cost import format_usd
from holdfast.providers import snapshot
from holdfast.providers.bands import EXACT, KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from fractions import Fraction

    from holdfast.config.price_check import PriceCheck
    from holdfast.model.usage import Usage
    from holdfast.providers.price_rows import Row
    from holdfast.providers.rates import Price
    from holdfast.providers.tiers import Tier

__all__ = ["check_json", "listing_json", "say_check", "say_listing", "say_model", "shown_json"]

_NONE: Final = "–"


def say_listing(found: Sequence[Row], at_ns: int, *, today: date) -> None:
    """A line for each model: its main prices, and what else it has."""
    say_table(
        ("provider", "model", "input", "cached", "output", "also", "from"),
        [
            (
                row.provider,
                row.model,
                _first(row, "input"),
                _first(row, "cache_read"),
                _first(row, "output"),
                ", ".join(_also(row)),
                "your file" if row.stated else "",
            )
            for row in found
        ],
        right=("input", "cached", "output"),
    )
    say()
    say(f"Dollars for 1M tokens, of {iso_utc(at_ns)[:16]}Z. {_list_line(today)}")


def say_model(
    found: Sequence[Row], tier: Tier | None, usage: Usage | None, at_ns: int, *, today: date
) -> None:
    """Everything of each row's price, and what ``usage`` costs there."""
    for row in found:
        chosen = row.price(tier)
        shown = row.prices if tier is None or chosen is None else {tier: chosen}
        say(
            f"{clean(row.provider)}/{clean(row.model)}, {'as your file states' if row.stated else 'as listed'}:"
        )
        names = [which or "standard" for which in shown]
        say_table(("dollars for", *names), _lines(list(shown.values())), right=names)
        for name, price in zip(names, shown.values(), strict=True):
            say(f"{name}: {clean(price.id)}")
        if usage is not None and chosen is not None:
            say(_cost_line(chosen, usage))
        say()
    say(f"Of {iso_utc(at_ns)[:16]}Z. {_list_line(today)}")


def _cost_line(price: Price, usage: Usage) -> str:
    cost, exact = price.cost(usage), price.exact_nano(usage)
    if cost.nano is None or exact is None:
        return f"cost: not known: {cost.flag}"
    guess = ", at the dearest reading: not everything is told apart" if cost.flag else ""
    return f"cost: ${_exact_usd(exact)} exactly, billed as ${format_usd(cost.nano)}{guess}"


def say_check(found: PriceCheck, *, today: date) -> None:
    """What lacks, one line each, and a sum."""
    for problem in found.problems:
        say(f"error  {clean(str(problem))}")
    for note in found.notes:
        say(f"note   {clean(str(note))}")
    count, wrong = len(found.targets), len(found.problems)
    reached = f"{count} model{'' if count == 1 else 's'} can be reached"
    verdict = "good" if not wrong else f"{wrong} problem{'' if wrong == 1 else 's'}"
    say(f"{reached}; {verdict}. {_list_line(today)}")


def listing_json(found: Sequence[Row], at_ns: int, *, today: date) -> dict[str, Any]:
    return {**_head(at_ns, today), "prices": [_row_json(row) for row in found]}


def shown_json(
    found: Sequence[Row], tier: Tier | None, usage: Usage | None, at_ns: int, *, today: date
) -> dict[str, Any]:
    return {**_head(at_ns, today), "prices": [_row_json(row) | _cost_json(row, tier, usage) for row in found]}


def check_json(found: PriceCheck, at_ns: int, *, today: date) -> dict[str, Any]:
    return {
        **_head(at_ns, today),
        "ok": not found.problems,
        "targets": [{"target": name, "price_id": price_id} for name, price_id in found.targets],
        "problems": [str(problem) for problem in found.problems],
        "notes": [str(note) for note in found.notes],
    }


def _head(at_ns: int, today: date) -> dict[str, Any]:
    newest = snapshot.newest(today)
    return {
        "at": iso_utc(at_ns),
        "list": {"name": "genai-prices", "version": snapshot.version(), "newest": newest.isoformat()},
    }


def _list_line(today: date) -> str:
    """Which list, and how old: it has no date of its own, but speaks of days."""
    newest = snapshot.newest(today)
    days = (today - newest).days
    return f"The list is genai-prices {snapshot.version()}, of {newest} or later ({days} days ago)."


def _row_json(row: Row) -> dict[str, Any]:
    tiers = {tier: _price_json(price) for tier, price in row.prices.items() if tier is not None}
    return {
        "provider": row.provider,
        "model": row.model,
        "stated": row.stated,
        **_price_json(row.prices[None]),
        "tiers": tiers,
    }


def _price_json(price: Price) -> dict[str, Any]:
    first, *above = price.bands
    return {
        "price_id": price.id,
        "per_1m": _rates_json(first.rates),
        "above": [{"input_tokens": band.above, "per_1m": _rates_json(band.rates)} for band in above],
        "per_request_usd": _plain(price.per_request),
        "per_web_search_usd": _plain(price.per_search),
    }


def _rates_json(rates: Any) -> dict[str, str]:
    return {kind: _plain(amount) for kind, amount in rates.items()}


def _cost_json(row: Row, tier: Tier | None, usage: Usage | None) -> dict[str, Any]:
    price = row.price(tier)
    if usage is None or price is None:
        return {}
    cost, exact = price.cost(usage), price.exact_nano(usage)
    return {
        "cost": {
            "tier": tier,
            "exact_usd": None if exact is None else _exact_usd(exact),
            "cost_usd": None if cost.nano is None else format_usd(cost.nano),
            "cost_nano": cost.nano,
            "flag": cost.flag,
        }
    }


def _first(row: Row, kind: str) -> str:
    rates: Any = row.prices[None].bands[0].rates
    return _plain(rates[kind]) if kind in rates else _NONE


def _also(row: Row) -> Iterator[str]:
    price = row.prices[None]
    for band in price.bands[1:]:
        yield f"above {_tokens(band.above)}"
    yield from (kind for kind in price.bands[0].rates if kind not in ("input", "output", "cache_read"))
    if price.per_request:
        yield "per request"
    if price.per_search:
        yield "web search"
    yield from (str(tier) for tier in row.prices if tier is not None)


def _lines(prices: Sequence[Price]) -> Iterator[tuple[str, ...]]:
    """A line for each kind and band that any of ``prices`` has, and a cell for each price."""
    starts = sorted({band.above for price in prices for band in price.bands})
    for start in starts:
        bands = [next((band for band in price.bands if band.above == start), None) for price in prices]
        above = f", input above {_tokens(start)}" if start else ""
        for kind in KINDS:
            rates = [band.rates.get(kind) if band is not None else None for band in bands]
            if any(rate is not None for rate in rates):
                yield (
                    f"1M {kind.replace('_', ' ')}{above}",
                    *(_NONE if rate is None else _plain(rate) for rate in rates),
                )
    each = {"a request": [price.per_request for price in prices]}
    each["a web search"] = [price.per_search for price in prices]
    yield from ((name, *map(_plain, amounts)) for name, amounts in each.items() if any(amounts))


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize(EXACT):f}"


def _tokens(count: int) -> str:
    return f"{count:,}".replace(",", "_")


def _exact_usd(nano: Fraction) -> str:
    """Every digit: a price has finitely many decimals, and so has a cost."""
    return _plain(EXACT.divide(Decimal(nano.numerator), Decimal(nano.denominator * 10**9)))
