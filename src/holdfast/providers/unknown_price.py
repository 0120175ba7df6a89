"""What becomes of a request whose price nobody knows.

It is served, and its cost is null. Under a budget in dollars that can't be: nobody could say when the budget is spent, so it
is refused, unless the operator states a ceiling, which then is its price.
"""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003  # msgspec reads the annotations at run time
from functools import cached_property
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from holdfast.providers.bands import Band
from holdfast.providers.rates import Price

__all__ = ["ACTIONS", "Action", "Refused", "UnknownPrice"]

Action = Literal["serve", "refuse"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)


class Refused(NamedTuple):
    """Why a request may not be sent, in words for its sender, with the remedy."""

    reason: str


class UnknownPrice(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The policy. Both ceilings or neither; with ``refuse`` there are none."""

    action: Action = "serve"
    ceiling_input: Decimal | None = None
    """Dollars per 1M tokens."""
    ceiling_output: Decimal | None = None

    @cached_property
    def ceiling(self) -> Price | None:
        """The price of every model that has none, of any kind of token."""
        given, made = self.ceiling_input, self.ceiling_output
        if given is None or made is None:
            return None
        band = Band(0, {"input": given, "output": made}, dearest_input=given, dearest_output=made)
        return Price(f"ceiling:{given.normalize():f}/{made.normalize():f}", [band])

    def price_for(self, provider: str, model: str, *, limited: bool) -> Price | Refused | None:
        """The price to bound and to bill by where ``model`` at ``provider`` has none.

        Args:
            provider, model: as they are told to who is refused.
            limited: whether a hard budget in dollars counts the request.

        Returns:
            The ceiling, if one is stated; else why the request is refused; None: it is served, and its cost is null.
        """
        if self.ceiling is not None:
            return self.ceiling
        if not limited and self.action == "serve":
            return None
        why = "and a budget in dollars counts it" if limited else "and [pricing] refuses what has none"
        return Refused(
            f"no price is known for {provider}/{model}, {why}; "
            f'state one under [prices."{provider}/{model}"], or a ceiling in [pricing]'
        )
