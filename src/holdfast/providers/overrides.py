"""Prices that an operator states: ``[prices."openai/gpt-4o"] input_per_1m = 2.5``.

A stated price is the whole price: kinds of tokens it leaves out cost what the total they are part of does.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.providers.rates import EXACT, Band, Kind, Price, Unit
from holdfast.providers.snapshot import normal, undated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Override", "OverrideTable", "parse_overrides"]

_FIELDS: tuple[Kind, ...] = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "input_audio",
    "output_audio",
    "reasoning",
)
_REQUIRED: tuple[Kind, ...] = ("input", "output")
_SUFFIXES = {"_per_1k": Unit.PER_1K, "_per_1m": Unit.PER_1M}

_MOST_DOLLARS = 1_000_000
_FINEST = 18
"""Decimals of a stated price; enough for any real one, and a bound on the integers made of it."""


class Override(msgspec.Struct, frozen=True):
    """One stated price. ``provider`` is None where it holds for the model wherever it is served."""

    provider: str | None
    model: str
    rates: tuple[tuple[Kind, Decimal], ...]
    """Dollars per 1M tokens."""

    def price(self) -> Price:
        """The price itself; its id carries a digest of what was stated."""
        stated = ";".join(f"{kind}={amount.normalize(EXACT):f}" for kind, amount in sorted(self.rates))
        digest = hashlib.sha256(stated.encode()).hexdigest()[:12]
        name = self.model if self.provider is None else f"{self.provider}/{self.model}"
        rates = dict(self.rates)
        band = Band(
            above=0,
            rates=rates,
            dearest_input=max(amount for kind, amount in self.rates if not _is_output(kind)),
            dearest_output=max(amount for kind, amount in self.rates if _is_output(kind)),
        )
        return Price(f"override:{name}#{digest}", [band])


class OverrideTable:
    """Overrides by name. What is said of a provider's model goes before what is said of a model anywhere, and a dated
    name before the same without its date."""

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        self._prices = {(override.provider, override.model): override.price() for override in overrides}

    def find(self, provider: str, model: str) -> Price | None:
        if not self._prices:
            return None
        name = normal(provider, model)
        for seller in (provider.lower(), None):
            for form in (name, undated(name)):
                price = self._prices.get((seller, form))
                if price is not None:
                    return price
        return None


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
        rates, wrong = _rates(path, entry)
        problems += wrong
        if wrong:
            continue
        if (provider, model) in overrides:
            problems.append(
                f"{path}: this model's price is stated twice (names match without regard to case)"
            )
            continue
        overrides[provider, model] = Override(provider, model, rates)
    return tuple(overrides.values()), problems


def _split(key: str) -> tuple[str | None, str]:
    name = key.strip().lower().removeprefix("models/")
    provider, slash, model = name.partition("/")
    return (provider, normal(provider, model)) if slash else (None, name)


def _rates(path: str, entry: object) -> tuple[tuple[tuple[Kind, Decimal], ...], list[str]]:
    if not hasattr(entry, "items"):
        return (), [f"{path}: must be a table, such as {{ input_per_1m = 2.5, output_per_1m = 10 }}"]
    rates: dict[Kind, Decimal] = {}
    units: set[Unit] = set()
    problems: list[str] = []
    for name, value in entry.items():
        kind, unit = _field(str(name))
        if kind is None or unit is None:
            problems.append(
                f"{path}.{name}: unknown; known are {', '.join(_FIELDS)}, each with _per_1k or _per_1m"
            )
            continue
        units.add(unit)
        problem = _why_not(value)
        if problem is not None:
            problems.append(f"{path}.{name}: {problem}")
            continue
        rates[kind] = EXACT.multiply(Decimal(value), Decimal(Unit.PER_1M.value // unit.value))
    if len(units) > 1:
        problems.append(f"{path}: mixes _per_1k and _per_1m; state all of a model's prices in one unit")
    if not problems:
        problems += [
            f"{path}.{kind}_per_1m: is missing; write 0 if it is free"
            for kind in _REQUIRED
            if kind not in rates
        ]
    return tuple(rates.items()), problems


def _field(name: str) -> tuple[Kind | None, Unit | None]:
    for suffix, unit in _SUFFIXES.items():
        for kind in _FIELDS:
            if name == kind + suffix:
                return kind, unit
    return None, None


def _why_not(value: object) -> str | None:
    """Why ``value`` is no price, if it isn't."""
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


def _is_output(kind: Kind) -> bool:
    return kind in {"output", "output_audio", "reasoning"}
