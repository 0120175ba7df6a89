"""What each attempt cost, and how that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from holdfast.errors import ConnectFailed, ProviderError
from holdfast.money.rules import Amount
from holdfast.providers.counts import fault_of
from holdfast.providers.models import max_output
from holdfast.providers.tiers import billed_tier, bound_tier

if TYPE_CHECKING:
    from holdfast.dialects.base import Envelope
    from holdfast.engine.policy import Target
    from holdfast.errors import HoldfastError
    from holdfast.ledger.entry import Billed
    from holdfast.model.usage import Usage
    from holdfast.providers.prices import Price, PriceBook
    from holdfast.providers.tiers import Tier
    from holdfast.providers.unknown_price import UnknownPrice

__all__ = ["Bill", "Delivered", "bound", "most_output", "settle"]


class Bill(msgspec.Struct, frozen=True):
    """What an attempt cost, and how that is known."""

    nano: int | None
    """Nano-dollars; None: nobody knows the price."""
    source: Billed
    price_id: str | None = None
    tokens: int | None = 0
    """Of input and output; None: nobody can tell how many."""
    flag: str | None = None
    """Why the usage that the provider told wasn't believed."""

    @property
    def amount(self) -> Amount:
        return Amount(self.nano, self.tokens)


_NOTHING = Bill(0, "none")


class Delivered(msgspec.Struct, frozen=True):
    """What came of an attempt whose usage nobody told, or nobody can believe."""

    output_tokens: int
    """About so many arrived."""
    so_far: Usage | None = None
    """What the provider had counted when it ended, or told wrongly."""


def settle(
    book: PriceBook,
    pricing: UnknownPrice,
    target: Target,
    envelope: Envelope,
    *,
    usage: Usage | None,
    answered_as: str | None,
    error: HoldfastError | None,
    sent: bool,
    status: int | None,
    at_ns: int,
    input_tokens: int,
    tier: Tier | None = None,
    free: bool = False,
    delivered: Delivered | None = None,
) -> Bill:
    """The bill of one attempt that is over; ``status`` is the provider's, if it answered, and ``input_tokens`` the most that
    the input can be.

    Usage that arrived is exact, whatever became of the attempt; a count so far is none. What was never sent costs nothing,
    nor does an error status. Whatever was sent and not accounted for (cut, cancelled, unanswered, complete without usage, or
    ended by an error inside a 200, up to which the provider may have worked) counts at its upper bound, or as ``delivered``
    where that is given.
    What providers do for nothing (``free``) costs nothing.
    An alias that has no price is priced as the model that the answer names (``answered_as``), and what has none either at
    the ceiling of ``pricing``, where there is one. ``tier`` is the service tier that was asked for by name.
    """
    if free:
        return _NOTHING
    flag: str | None = None
    if usage is not None:
        paid = billed_tier(target.provider, tier, usage)
        price = book.price(target.provider, target.model, at_ns, paid)
        if price is None and answered_as:
            price = book.price(target.provider, answered_as, at_ns, paid)
        if price is None:
            price = pricing.ceiling
        flag = fault_of(usage) or _nothing_told(usage)
        if flag is None:
            tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
            if price is None:
                return Bill(None, "provider", tokens=tokens)
            cost = price.cost(usage)
            if cost.nano is not None:
                return Bill(cost.nano, "provider", cost.price_id, tokens, cost.flag)
            flag = cost.flag
        # A usage that can't be believed is no usage: fall through to the bound.
    refused = isinstance(error, ProviderError) and status is not None and not 200 <= status < 300
    if refused or not sent or isinstance(error, ConnectFailed):  # a proxy's own refusal comes after sending
        return _NOTHING
    most = most_output(target, envelope)
    price = book.price(target.provider, target.model, at_ns, bound_tier(tier)) or pricing.ceiling
    bill = (
        _bound(price, input_tokens, most)
        if delivered is None
        else _estimated(price, input_tokens, most, delivered)
    )
    return bill if flag is None else replace(bill, flag=flag)


def _nothing_told(usage: Usage) -> str | None:
    """No request is without input: who says so hasn't counted."""
    return None if usage.input_tokens or usage.output_tokens else "missing"


def bound(
    book: PriceBook,
    pricing: UnknownPrice,
    target: Target,
    envelope: Envelope,
    *,
    at_ns: int,
    input_tokens: int,
    tier: Tier | None = None,
    free: bool = False,
) -> Bill:
    """The most that one attempt can cost, with no more input than that, and no more output than was asked for."""
    if free:
        return _NOTHING
    price = book.price(target.provider, target.model, at_ns, bound_tier(tier)) or pricing.ceiling
    return _bound(price, input_tokens, most_output(target, envelope))


def most_output(target: Target, envelope: Envelope) -> int | None:
    """The most output tokens of an attempt, in all of its choices; None: nobody knows a limit."""
    output = envelope.max_output_tokens
    if output is None or output < 0:  # to some servers, a negative limit is none
        output = max_output(target.model)
    return None if output is None else output * envelope.choices


def _bound(price: Price | None, input_tokens: int, most: int | None) -> Bill:
    if most is None:
        return Bill(None, "bound", price.id if price is not None else None, None)
    if price is None:
        return Bill(None, "bound", None, input_tokens + most)
    return Bill(price.bound(input_tokens, most), "bound", price.id, input_tokens + most)


def _estimated(price: Price | None, input_tokens: int, most: int | None, delivered: Delivered) -> Bill:
    """The input and what arrived: by the provider's own counts, as far as it told any that can be believed."""
    output = delivered.output_tokens if most is None else min(delivered.output_tokens, most)
    told = delivered.so_far
    if told is not None and fault_of(told) in (None, "missing"):
        output = max(output, told.output_tokens or 0)
        counted = replace(told, output_tokens=output)
        if counted.input_tokens and fault_of(counted) is None:
            tokens = counted.input_tokens + output
            if price is None:
                return Bill(None, "delivered", None, tokens)
            cost = price.cost(counted)
            if cost.nano is not None:  # what is counted in its details can be believed, too
                return Bill(cost.nano, "delivered", cost.price_id, tokens)
    return replace(_bound(price, input_tokens, output), source="delivered")
