"""Prices that an operator states: ``[prices."openai/gpt-4o"] input_per_1m = 2.5``.

A stated price is the whole price: kinds of tokens it leaves out cost what the total they are part of does. The same holds
for what it says of long inputs (``above``) and of a service tier.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from holdfast.providers.bands import EXACT, OUTPUTS, Band, Kind
from holdfast.providers.rates import Price
from holdfast.providers.snapshot import normal, undated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from holdfast.providers.tiers import Tier

__all__ = ["Offer", "Override", "OverrideTable", "StatedBand"]

Rates = tuple[tuple[Kind, Decimal], ...]


class StatedBand(msgspec.Struct, frozen=True):
    """Rates for requests with more than ``above`` input tokens, in dollars per 1M tokens."""

    above: int
    rates: Rates

    def band(self) -> Band:
        return Band(
            above=self.above,
            rates=dict(self.rates),
            dearest_input=max(amount for kind, amount in self.rates if kind not in OUTPUTS),
            dearest_output=max(amount for kind, amount in self.rates if kind in OUTPUTS),
        )


class Offer(msgspec.Struct, frozen=True):
    """What is charged in one service tier. Bands rise; the first begins at 0."""

    bands: tuple[StatedBand, ...]
    per_request: Decimal = Decimal(0)
    per_search: Decimal = Decimal(0)

    def price(self, name: str) -> Price:
        """The price; its id carries a digest of what was stated."""
        digest = hashlib.sha256(self._stated().encode()).hexdigest()[:12]
        return Price(
            f"override:{name}#{digest}",
            [band.band() for band in self.bands],
            per_request=self.per_request,
            per_search=self.per_search,
        )

    def _stated(self) -> str:
        parts = [
            f"{kind}>{band.above}={_plain(amount)}"
            for band in self.bands
            for kind, amount in sorted(band.rates)
        ]
        return ";".join((*parts, f"request={_plain(self.per_request)}", f"search={_plain(self.per_search)}"))


class Override(msgspec.Struct, frozen=True):
    """One model's stated prices. ``provider`` is None where they hold for the model wherever it is served."""

    provider: str | None
    model: str
    standard: Offer
    tiers: tuple[tuple[Tier, Offer], ...] = ()

    @property
    def name(self) -> str:
        """As it may stand in the file: ``provider/model`` or ``model``."""
        return self.model if self.provider is None else f"{self.provider}/{self.model}"

    def prices(self) -> dict[Tier | None, Price]:
        """By tier; None is the standard one."""
        made: dict[Tier | None, Price] = {None: self.standard.price(self.name)}
        return made | {tier: offer.price(f"{self.name}@{tier}") for tier, offer in self.tiers}


class OverrideTable:
    """Overrides by name. What is said of a provider's model goes before what is said of a model anywhere, and a dated
    name before the same without its date."""

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        self._prices = {(override.provider, override.model): override.prices() for override in overrides}

    def find(self, provider: str, model: str) -> Mapping[Tier | None, Price] | None:
        """The stated prices by tier (None: the standard one), or None."""
        if not self._prices:
            return None
        name = normal(provider, model)
        for seller in (provider.lower(), None):
            for form in (name, undated(name)):
                prices = self._prices.get((seller, form))
                if prices is not None:
                    return prices
        return None


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize(EXACT):f}"
