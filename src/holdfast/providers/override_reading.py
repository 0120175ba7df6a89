"""Reading ``[prices]``: every setting typed strictly, every problem with its path, all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from holdfast.providers.bands import EXACT, KINDS, Kind
from holdfast.providers.counts import MOST_TOKENS
from holdfast.providers.overrides import Offer, Override, StatedBand
from holdfast.providers.rates import Unit
from holdfast.providers.snapshot import normal
from holdfast.providers.tiers import TIERS, Tier

__all__ = ["parse_overrides", "why_no_price"]

_REQUIRED: Final[tuple[Kind, ...]] = ("input", "output")
_SUFFIXES: Final = {"_per_1k": Unit.PER_1K, "_per_1m": Unit.PER_1M}
_FIELDS: Final[Mapping[str, tuple[Kind, Unit]]] = {
    kind + suffix: (kind, unit) for kind in KINDS for suffix, unit in _SUFFIXES.items()
}
_ABOVE, _STARTS_AT = "above", "input_tokens"
_EACH: Final = ("per_request_usd", "per_web_search_usd")
_MOST_DOLLARS: Final = 1_000_000
_FINEST: Final = 18
"""Decimals of a stated price; enough for any real one, and a bound on the integers made of it."""
_MOST_BANDS: Final = 32


class _Read(NamedTuple):
    """What was found while one model's tables were read."""

    units: set[Unit]
    problems: list[str]

    def wrong(self, path: str, problem: str) -> None:
        self.problems.append(f"{path}: {problem}")


def parse_overrides(table: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[Override, ...], list[str]]:
    """Read the ``[prices]`` table of a configuration that was parsed with ``parse_float=Decimal``.

    Returns:
        The overrides that are sound, and the problems of the others, each beginning with its path.
    """
    overrides: dict[tuple[str | None, str], Override] = {}
    problems: list[str] = []
    for key, entry in table.items():
        path = f'prices."{key}"'
        provider, model = _split(key)
        if not model or provider == "":
            problems.append(f'{path}: a price is for "provider/model", or "model" for all who serve it')
            continue
        read = _Read(set(), [])
        override = _override(provider, model, path, entry, read)
        problems += read.problems
        if override is None:
            continue
        if (provider, model) in overrides:
            problems.append(
                f"{path}: this model's price is stated twice (names match without regard to case)"
            )
            continue
        overrides[provider, model] = override
    return tuple(overrides.values()), problems


def why_no_price(value: object) -> str | None:
    """Why ``value`` is no number of dollars, if it isn't."""
    if isinstance(value, float):
        return (
            f"{value!r} is a binary float, which can't hold most prices exactly; give a Decimal or an integer"
        )
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return f"must be a number of dollars, not {type(value).__name__}"
    amount = Decimal(value)
    if not amount.is_finite():
        return f"must be a finite number of dollars, not {amount}"
    if amount < 0:
        return f"must be 0 or more, not {amount}: a negative price would pay the caller"
    if amount > _MOST_DOLLARS:
        return f"must be at most {_MOST_DOLLARS} dollars"
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_FINEST:
        return f"must have at most {_FINEST} decimals"
    return None


def _split(key: str) -> tuple[str | None, str]:
    name = key.strip().lower().removeprefix("models/")
    provider, slash, model = name.partition("/")
    return (provider, normal(provider, model)) if slash else (None, name)


def _override(provider: str | None, model: str, path: str, entry: object, read: _Read) -> Override | None:
    if not isinstance(entry, Mapping):
        read.wrong(path, "must be a table, such as { input_per_1m = 2.5, output_per_1m = 10 }")
        return None
    standard = _offer(path, {name: value for name, value in entry.items() if name not in TIERS}, read)
    tiers: list[tuple[Tier, Offer]] = []
    for tier in TIERS:
        if tier not in entry:
            continue
        inner = entry[tier]
        if not isinstance(inner, Mapping):
            read.wrong(f"{path}.{tier}", "must be a table of that service tier's prices")
            continue
        tiers.append((tier, _offer(f"{path}.{tier}", inner, read)))
    if len(read.units) > 1:
        read.wrong(path, "mixes _per_1k and _per_1m; state all of a model's prices in one unit")
    return None if read.problems else Override(provider, model, standard, tuple(tiers))


def _offer(path: str, table: Mapping[str, Any], read: _Read) -> Offer:
    each = {name: Decimal(0) for name in _EACH}
    tokens: dict[str, Any] = {}
    bands: list[StatedBand] = []
    for name, value in table.items():
        if name in each:
            each[name] = _dollars(f"{path}.{name}", value, read)
        elif name == _ABOVE:
            bands = _above(f"{path}.{name}", value, read)
        else:
            tokens[name] = value
    first = StatedBand(0, _rates(path, tokens, (*_EACH, _ABOVE, *TIERS), read))
    request, search = (each[name] for name in _EACH)
    return Offer((first, *bands), request, search)


def _above(path: str, value: object, read: _Read) -> list[StatedBand]:
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        read.wrong(
            path,
            "must be a list of tables: [{ input_tokens = 200_000, input_per_1m = 5, output_per_1m = 20 }]",
        )
        return []
    if len(value) > _MOST_BANDS:
        read.wrong(path, f"has {len(value)} entries; at most {_MOST_BANDS} are read")
        return []
    bands: dict[int, StatedBand] = {}
    for number, table in enumerate(value):
        inner = f"{path}[{number}]"
        start = table.get(_STARTS_AT)
        rates = _rates(
            inner, {name: each for name, each in table.items() if name != _STARTS_AT}, (_STARTS_AT,), read
        )
        if type(start) is not int or not 0 < start <= MOST_TOKENS:
            read.wrong(
                f"{inner}.{_STARTS_AT}",
                f"must say above how many input tokens this holds, 1 to {MOST_TOKENS}",
            )
        elif start in bands:
            read.wrong(f"{inner}.{_STARTS_AT}", f"{start} is there twice")
        else:
            bands[start] = StatedBand(start, rates)
    return [bands[start] for start in sorted(bands)]


def _rates(
    path: str, table: Mapping[str, Any], others: tuple[str, ...], read: _Read
) -> tuple[tuple[Kind, Decimal], ...]:
    rates: dict[Kind, Decimal] = {}
    before = len(read.problems)
    for name, value in table.items():
        field = _FIELDS.get(str(name))
        if field is None:
            read.wrong(f"{path}.{name}", f"unknown{_near(str(name), others)}")
            continue
        kind, unit = field
        read.units.add(unit)
        dollars = _dollars(f"{path}.{name}", value, read)
        rates[kind] = EXACT.multiply(dollars, Decimal(Unit.PER_1M.value // unit.value))
    if len(read.problems) == before:
        unit_name = next((suffix for suffix, unit in _SUFFIXES.items() if unit in read.units), "_per_1m")
        for kind in _REQUIRED:
            if kind not in rates:
                read.wrong(f"{path}.{kind}{unit_name}", "is missing; write 0 if it is free")
    return tuple(rates.items())


def _near(name: str, others: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, (*_FIELDS, *others), n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(KINDS)}, each with _per_1k or _per_1m; {', '.join(others)}"


def _dollars(path: str, value: object, read: _Read) -> Decimal:
    problem = why_no_price(value)
    if problem is not None:
        read.wrong(path, problem)
        return Decimal(0)
    assert isinstance(value, int | Decimal)  # noqa: S101  # why_no_price has said so; for the type checker
    return Decimal(value)
