"""What the bundled price list has: ``prices.md``."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Final

from docs.tables.markdown import table

from holdfast.providers import snapshot
from holdfast.providers.prices import PriceBook

if TYPE_CHECKING:
    from collections.abc import Callable

    from docs.tables.markdown import Parts

    from holdfast.providers.rates import Price
    from holdfast.providers.tiers import Tier

__all__ = ["PARTS"]

_MEDIA: Final = ("audio", "image", "video")


def _edges(prices: dict[Tier | None, Price]) -> bool:
    return len(prices[None].bands) > 1


def _media(prices: dict[Tier | None, Price]) -> bool:
    return any(part in kind for kind in prices[None].bands[0].rates for part in _MEDIA)


COLUMNS: Final[dict[str, Callable[[dict[Tier | None, Price]], bool]]] = {
    "models": lambda _: True,
    "cached input": lambda prices: "cache_read" in prices[None].bands[0].rates,
    "long inputs": _edges,
    "audio, images, video": _media,
    "batch": lambda prices: "batch" in prices,
    "flex": lambda prices: "flex" in prices,
    "priority or fast": lambda prices: bool({"priority", "fast"} & prices.keys()),
    "web searches": lambda prices: bool(prices[None].per_search),
}


def covered() -> str:
    """By seller, how many models have a price of each sort: as of the newest day that the list speaks of."""
    newest = datetime.combine(snapshot.newest(date(2100, 1, 1)), time(), UTC)
    at_ns = int(newest.timestamp()) * 1_000_000_000
    book = PriceBook()
    names: dict[str, list[str]] = {}
    for name, seller in snapshot.SELLERS.items():
        names.setdefault(seller, []).append(name)
    rows = []
    for ours in names.values():
        prices = [prices for _, prices in book.listed(ours[0], at_ns)]
        counts = [sum(map(has, prices)) for has in COLUMNS.values()]
        rows.append((", ".join(f"`{name}`" for name in ours), *(str(count or "–") for count in counts)))
    return table(("provider", *COLUMNS), sorted(rows))


PARTS: Parts = {"price-coverage": covered}
