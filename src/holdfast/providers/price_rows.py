"""The price list as people look through it: a row for each model that has a price, stated ones first."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.providers import snapshot
from holdfast.providers.catalog import PROVIDERS
from holdfast.providers.overrides import OverrideTable
from holdfast.providers.prices import PriceBook
from holdfast.providers.tiers import DEARER, TIERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.providers.overrides import Override
    from holdfast.providers.rates import Price
    from holdfast.providers.tiers import Tier

__all__ = ["ANY", "Row", "nearest_names", "of_model", "rows"]

ANY: Final = "any"
"""The provider of a price that is stated for a model wherever it is served."""


class Row(NamedTuple):
    """What a model costs at a provider. ``prices`` has the standard one (None), and each tier's that has one of its own."""

    provider: str
    model: str
    prices: Mapping[Tier | None, Price]
    stated: bool

    def price(self, tier: Tier | None) -> Price | None:
        """What is paid in ``tier``: without a price of its own the standard one, unless it costs more than that."""
        if tier in self.prices:
            return self.prices[tier]
        return None if tier in DEARER else self.prices[None]


def rows(
    overrides: Sequence[Override], at_ns: int, *, provider: str | None = None, model: str | None = None
) -> list[Row]:
    """Every model that has a price at ``at_ns``: stated ones in file order, then the bundled list.

    Args:
        overrides: they go before what is listed.
        at_ns: nanoseconds since 1970 UTC.
        provider: only there, in any case.
        model: only names that this is part of, in any case.
    """
    part = (model or "").lower()
    own = [
        Row(override.provider or ANY, override.model, override.prices(), stated=True)
        for override in overrides
        if provider is None or (override.provider or ANY) in (provider.lower(), ANY)
    ]
    return [row for row in (*own, *_listed(overrides, at_ns, provider)) if part in row.model.lower()]


def of_model(
    overrides: Sequence[Override],
    model: str,
    at_ns: int,
    *,
    provider: str | None = None,
    tier: Tier | None = None,
) -> list[Row]:
    """What ``model`` costs, wherever it has a price in ``tier``: at ``provider``, or where its name says
    (``openai/gpt-5``), or at everybody."""
    book = PriceBook(overrides)
    before, slash, rest = model.partition("/")
    if provider is not None:
        return _found(book, overrides, [(provider, model)], at_ns, tier)
    if slash and before.lower() in _names(overrides):
        there = _found(book, overrides, [(before, rest)], at_ns, tier)
        if there:
            return there
    everybody = [(name, model) for name in _names(overrides)]
    return _found(book, overrides, everybody, at_ns, tier)


def nearest_names(overrides: Sequence[Override], model: str, provider: str | None) -> list[str]:
    """Up to three ``provider/model`` that were perhaps meant."""
    known: dict[str, str] = {}
    for name in _names(overrides) if provider is None else (provider.lower(),):
        for listed in snapshot.models_of(name):
            known.setdefault(listed.id.lower(), f"{name}/{listed.id}")
    known |= {override.model: override.name for override in overrides}
    wanted = snapshot.normal(provider or "", model)
    before, slash, rest = wanted.partition("/")
    short = rest if slash and before in _names(overrides) else wanted
    near = difflib.get_close_matches(short[: snapshot.LONGEST_NAME], known, n=3, cutoff=0.7)
    return [known[name] for name in near]


def _found(
    book: PriceBook,
    overrides: Sequence[Override],
    names: Sequence[tuple[str, str]],
    at_ns: int,
    tier: Tier | None,
) -> list[Row]:
    table = OverrideTable(overrides)
    found: dict[str, Row] = {}
    for provider, model in names:
        standard = book.price(provider, model, at_ns)
        if standard is None:
            continue
        stated = table.find(provider, model) is not None
        listed = None if stated else snapshot.find(provider, model)
        prices: dict[Tier | None, Price] = {None: standard}
        for each in TIERS:
            price = book.price(provider, model, at_ns, each)
            if price is not None and price.id != standard.id:
                prices[each] = price
        name = snapshot.normal(provider, model) if listed is None else listed.id
        everywhere = (
            stated and table.find("", model) is not None and standard.id.startswith(f"override:{name}#")
        )
        row = Row(ANY if everywhere else provider.lower(), name, prices, stated)
        if row.price(tier) is not None:
            found.setdefault(standard.id, row)  # what is stated for all is there once
    return list(found.values())


def _listed(overrides: Sequence[Override], at_ns: int, provider: str | None) -> Iterator[Row]:
    book, table = PriceBook(), OverrideTable(overrides)
    for name in _sellers() if provider is None else (provider.lower(),):
        for model, prices in book.listed(name, at_ns):
            if table.find(name, model) is None:
                yield Row(name, model, prices, stated=False)


def _sellers() -> tuple[str, ...]:
    """One name for each seller: Google is there as Gemini, and not again as Vertex."""
    return tuple({seller: name for name, seller in reversed(tuple(snapshot.SELLERS.items()))}.values())[::-1]


def _names(overrides: Sequence[Override]) -> tuple[str, ...]:
    stated = [override.provider for override in overrides if override.provider is not None]
    return tuple(dict.fromkeys((*PROVIDERS, *_sellers(), *stated)))
