"""What a model's tokens cost: exact, in integers, rounded once.

Rates are held as integers of a unit small enough that none of them is rounded (``nano-dollars / scale``), so that a cost
is a handful of integer operations and exact before its one rounding, up, to the nano-dollar.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from holdfast.providers.bands import EXACT, KINDS, Band, Kind, compile_band, given_cost, integer, made_cost
from holdfast.providers.counts import MOST_TOKENS, Flag, fault_of, told, wrong_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.model.usage import Usage
    from holdfast.providers.bands import Rates

__all__ = ["EXACT", "KINDS", "MOST_TOKENS", "Band", "Cost", "Flag", "Kind", "Price", "Unit"]


class Unit(enum.Enum):
    """How many tokens a stated price is for. Prices never travel without it."""

    PER_1K = 1_000
    PER_1M = 1_000_000


class Cost(msgspec.Struct, frozen=True):
    """What one attempt cost.

    ``nano`` is in nano-dollars, rounded up, never negative; None means that it isn't known: no price, or a usage that
    can't be believed (``flag``). ``price_id`` names the price it came from.
    """

    nano: int | None
    price_id: str | None = None
    flag: Flag | None = None


class Price:
    """What the tokens of one model cost at one provider at one time. Immutable.

    Args:
        price_id: names the price list, the model and, where it changes, the period.
        bands: from the lowest, which begins at 0, up. All tokens of a request are priced by the band its input reaches.
        per_request: dollars that each request costs beside its tokens.
        per_search: dollars that each web search costs which the provider made for the answer, where it tells their number.
    """

    __slots__ = (
        "_bands",
        "_flat",
        "_request",
        "_scale",
        "_search",
        "bands",
        "id",
        "per_request",
        "per_search",
    )

    def __init__(
        self,
        price_id: str,
        bands: Sequence[Band],
        *,
        per_request: Decimal = Decimal(0),
        per_search: Decimal = Decimal(0),
    ) -> None:
        self.id = price_id
        self.bands = tuple(bands)
        self.per_request = per_request
        self.per_search = per_search
        amounts = [
            *(
                amount
                for band in bands
                for amount in (*band.rates.values(), band.dearest_input, band.dearest_output)
            ),
            per_request,
            per_search,
        ]
        # $1 per 1M tokens is 1,000 nano-dollars a token: three decimals of a rate are integers as they stand.
        finest = max(-_exponent(amount) for amount in amounts)
        self._scale: int = 10 ** max(0, finest - 3)
        self._request = integer(per_request, 10**9 * self._scale)
        self._search = integer(per_search, 10**9 * self._scale)
        self._bands = tuple(compile_band(band, self._scale) for band in bands)
        self._flat = self._bands[0] if len(self._bands) == 1 else None

    def cost(self, usage: Usage) -> Cost:
        """What ``usage`` costs, rounded up to the nano-dollar. A usage that can't be believed has no cost, but a flag."""
        total, flag = self._total(usage)
        return Cost(None if total is None else -(-total // self._scale), self.id, flag)

    def exact_nano(self, usage: Usage) -> Fraction | None:
        """Nano-dollars before rounding, where linearity holds; None where :meth:`cost` has none."""
        total, _ = self._total(usage)
        return None if total is None else Fraction(total, self._scale)

    def bound(self, input_tokens: int, output_tokens: int, *, searches: int = 0) -> int:
        """Most nano-dollars that a request of up to so many tokens can cost, whatever their kinds and its tier.

        Tools that a provider runs on its own are not tokens: of them only ``searches``, where their number is limited, are
        bounded here.

        Raises:
            ValueError: a count is negative.
        """
        if input_tokens < 0 or output_tokens < 0 or searches < 0:
            raise ValueError(f"counts can't be negative: {input_tokens}, {output_tokens}, {searches}")
        # A cheaper higher band must not lower the bound: the request may stay below it.
        bands = [band for band in self._bands if band.above < input_tokens] or self._bands[:1]
        dearest_input = max(band.dearest_input for band in bands)
        dearest_output = max(band.dearest_output for band in bands)
        total = input_tokens * dearest_input + output_tokens * dearest_output
        total += self._request + searches * self._search
        return -(-total // self._scale)

    def _total(self, usage: Usage) -> tuple[int | None, Flag | None]:
        """The exact cost in ``nano / scale``, and what is wrong with the usage; no cost where it can't be believed."""
        flag = fault_of(usage)
        if flag is not None:
            return None, flag
        band = self._flat or self._band(usage.input_tokens or 0)
        given, flag = given_cost(band, usage)
        if given is None:
            return None, flag
        made, made_flag = made_cost(band, usage)
        if made is None:
            return None, made_flag
        total = self._request + given + made
        searches = told(usage, "searches") if self._search else None
        if searches is not None:
            wrong = wrong_count(searches)
            if wrong is not None:
                return None, wrong
            total += searches * self._search
        return total, flag or made_flag

    def _band(self, input_tokens: int) -> Rates:
        reached = self._bands[0]
        for band in self._bands[1:]:
            if input_tokens <= band.above:
                break
            reached = band
        return reached

    def __repr__(self) -> str:
        return f"Price({self.id!r})"


def _exponent(amount: Decimal) -> int:
    exponent = amount.normalize(EXACT).as_tuple().exponent
    if not isinstance(exponent, int) or amount < 0:
        raise ValueError(f"a price must be a finite number of dollars, 0 or more: {amount}")
    return exponent
