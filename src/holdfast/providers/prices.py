"""The price book: what a model costs at a provider, at a time, in a service tier.

Stated prices (:mod:`~holdfast.providers.overrides`) go first, then the bundled list
(:mod:`~holdfast.providers.snapshot`). What neither knows has no price, rather than somebody else's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from holdfast.providers import snapshot
from holdfast.providers.override_reading import parse_overrides
from holdfast.providers.overrides import Override, OverrideTable
from holdfast.providers.rates import EXACT, Band, Cost, Flag, Kind, Price, Unit
from holdfast.providers.tiers import DEARER, TIERS, Tier

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from genai_prices.types import ModelInfo, TieredPrices

__all__ = ["Cost", "Flag", "Override", "Price", "PriceBook", "Unit", "parse_overrides"]

_MOST_REMEMBERED: Final = 4_096
"""Names that are remembered. Callers choose model names, so there may be any number of them."""

_LISTED: Final[Mapping[Kind, str]] = {
    "input": "input_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "cache_audio_read": "cache_audio_read_mtok",
    "input_image": "input_image_mtok",
    "cache_image_read": "cache_image_read_mtok",
    "input_video": "input_video_mtok",
    "output": "output_mtok",
    "output_audio": "output_audio_mtok",
    "output_image": "output_image_mtok",
    "output_video": "output_video_mtok",
    "reasoning": "output_reasoning_mtok",
}

_SEARCH: Final = "web_searches_kcount"
_UNTOLD: Final = ("social_searches_kcount", "storage_searches_kcount", "code_executions_kcount")
"""Billed per use, beside tokens. No answer's usage tells their number, so they are not part of its cost."""


class PriceBook:
    """Prices by provider, model, time and tier. Never opens a connection.

    Args:
        overrides: stated prices, from :func:`parse_overrides`.
    """

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        self._overrides = OverrideTable(overrides)
        self._found: dict[tuple[str, str], _Stated | _Listed | None] = {}

    def price(self, provider: str, model: str, at_ns: int, tier: Tier | None = None) -> Price | None:
        """The price of ``model`` at ``provider`` for a request made at ``at_ns``; None if it isn't known.

        A tier that costs less than the standard, and whose price isn't known, has the standard's; one that costs more has
        none: a bill is never below the provider's.

        Args:
            provider: our name of it, in any case.
            model: in any case; a date (``-2024-08-06``), ``models/`` or the provider's prefix may be part of it.
            at_ns: nanoseconds since 1970 UTC. Prices change with the day and, at some providers, the hour.
            tier: from :mod:`holdfast.providers.tiers`; None is the standard.
        """
        if len(model) > snapshot.LONGEST_NAME:
            return None  # and isn't remembered
        key = (provider, model)
        try:
            found = self._found[key]
        except KeyError:
            found = self._find(provider, model)
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            self._found[key] = found
        return None if found is None else found.price(at_ns, tier)

    def load(self) -> None:
        """Read the bundled list now (0.3 s, once) rather than at the first price. Call it in a thread before serving."""
        snapshot.load()

    def listed(self, provider: str, at_ns: int) -> Iterator[tuple[str, dict[Tier | None, Price]]]:
        """The models that the bundled list prices by the token at ``provider``: ids, and prices by tier (None: standard).

        What is stated of them isn't part of it. A tier is there only where it has a price of its own.
        """
        for model in snapshot.models_of(provider):
            found = _Listed(model, _price_id(provider, model), tiers=True)
            standard = found.price(at_ns, None)
            if standard is None:
                continue
            prices: dict[Tier | None, Price] = {None: standard}
            for tier in TIERS if model.price_variants else ():
                price = found.price(at_ns, tier)
                if price is not None and price.id != standard.id:
                    prices[tier] = price
            yield model.id, prices

    def _find(self, provider: str, model: str) -> _Stated | _Listed | None:
        stated = self._overrides.find(provider, model)
        if stated is not None:
            return _Stated(stated)
        listed = snapshot.find(provider, model)
        if listed is None:
            return None
        # Azure's models are found among OpenAI's where its own list lacks them; OpenAI's tiers aren't sold there.
        own = any(model is listed for model in snapshot.models_of(provider))
        return _Listed(listed, _price_id(provider, listed), tiers=own)


class _Stated:
    """What an operator says, at any time."""

    __slots__ = ("_prices",)

    def __init__(self, prices: Mapping[Tier | None, Price]) -> None:
        self._prices = prices

    def price(self, at_ns: int, tier: Tier | None) -> Price | None:
        del at_ns
        if tier in self._prices:
            return self._prices[tier]
        return None if tier in DEARER else self._prices[None]


class _Listed:
    """A listed model's prices: a standard one by time, and what tiers have differently, by time as well."""

    __slots__ = ("_id", "_latest", "_made", "_model", "_only", "_variants")

    def __init__(self, model: ModelInfo, price_id: str, *, tiers: bool) -> None:
        self._id = price_id
        self._model = model
        self._variants = tuple(model.price_variants or ()) if tiers else ()
        self._made: dict[tuple[int, tuple[int, ...]], Price | None] = {}
        steady = not isinstance(model.prices, list)
        self._only = self._make(0, (), None) if steady else None
        self._latest: tuple[int, Tier | None, Price | None] | None = None

    def price(self, at_ns: int, tier: Tier | None) -> Price | None:
        if tier is None and self._only is not None:
            return self._only
        second = at_ns // 1_000_000_000
        latest = self._latest
        if latest is not None and latest[0] == second and latest[1] == tier:
            return latest[2]  # looking at each condition takes 10 µs, and conditions are no finer
        price = self._at(second, tier)
        self._latest = (second, tier, price)
        return price

    def _at(self, second: int, tier: Tier | None) -> Price | None:
        at = datetime.fromtimestamp(second, UTC)
        period, variants = self._period(at), self._held(at, tier)
        if not variants and tier in DEARER:
            return None
        key = (period, variants)
        if key not in self._made:
            self._made[key] = self._make(period, variants, tier)
        return self._made[key]

    def _period(self, at: datetime) -> int:
        """The last whose condition holds, else the first: the list's own rule."""
        prices = self._model.prices
        if isinstance(prices, list):
            for number in range(len(prices) - 1, 0, -1):
                constraint = prices[number].constraint
                if constraint is None or constraint.active(at):
                    return number
        return 0

    def _held(self, at: datetime, tier: Tier | None) -> tuple[int, ...]:
        """Which variants hold in ``tier``, by their places."""
        if tier is None:
            return ()
        context = {
            "processing": tier,
            "service_tier": tier,
            "speed": tier,
        }  # the list's words for one and the same
        return tuple(
            number
            for number, variant in enumerate(self._variants)
            if (variant.constraint is None or variant.constraint.active(at))
            and all(context.get(name) == value for name, value in variant.when.items())
        )

    def _make(self, period: int, variants: tuple[int, ...], tier: Tier | None) -> Price | None:
        prices = self._model.prices
        standard = prices[period].prices if isinstance(prices, list) else prices
        amounts = {key: amount for key, amount in vars(standard).items() if amount is not None}
        for number in reversed(variants):  # the first that has a price for a kind goes before the others
            own = vars(self._variants[number].prices)
            amounts |= {key: amount for key, amount in own.items() if amount is not None}
        name = f"{self._id}#{period}" if isinstance(prices, list) else self._id
        return _listed_price(self._model.id, amounts, f"{name}@{tier}" if variants else name)


def _price_id(provider: str, model: ModelInfo) -> str:
    return f"genai-prices-{snapshot.version()}:{provider.lower()}/{model.id}"


def _listed_price(model: str, amounts: dict[str, Decimal | TieredPrices], price_id: str) -> Price | None:
    per_search = amounts.pop(_SEARCH, Decimal(0))
    for key in _UNTOLD:
        amounts.pop(key, None)
    if not amounts and model.endswith(":free"):
        return Price(price_id, [Band(0, {}, Decimal(0), Decimal(0))])
    per_request = amounts.pop("requests_kcount", Decimal(0))
    if "input_mtok" not in amounts or not all(key.endswith("_mtok") for key in amounts):
        return None  # billed by the hour, the page or the character, which usage doesn't tell
    if not isinstance(per_request, Decimal) or not isinstance(per_search, Decimal):
        return None
    starts = sorted(
        {0, *(tier.start for amount in amounts.values() for tier in getattr(amount, "tiers", ()))}
    )
    bands = [
        _band(start, {key: _amount(amount, start) for key, amount in amounts.items()}) for start in starts
    ]
    return Price(
        price_id,
        bands,
        per_request=EXACT.divide(per_request, Decimal(1_000)),
        per_search=EXACT.divide(per_search, Decimal(1_000)),
    )


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
