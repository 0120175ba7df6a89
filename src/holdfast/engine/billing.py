"""What each attempt cost, and how that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.errors import ConnectFailed, ProviderError
from holdfast.providers.models import max_output

if TYPE_CHECKING:
    from holdfast.dialects.base import Envelope
    from holdfast.engine.policy import Target
    from holdfast.errors import HoldfastError
    from holdfast.ledger.entry import Billed
    from holdfast.model.usage import Usage
    from holdfast.providers.prices import PriceBook

__all__ = ["Bill", "bound", "settle"]


class Bill(msgspec.Struct, frozen=True):
    """``nano`` nano-dollars; None where nobody knows the price. ``source`` says how the amount is known."""

    nano: int | None
    source: Billed
    price_id: str | None = None


_NOTHING = Bill(0, "none")


def settle(
    book: PriceBook,
    target: Target,
    envelope: Envelope,
    *,
    usage: Usage | None,
    answered_as: str | None,
    error: HoldfastError | None,
    sent: bool,
    status: int | None,
    at_ns: int,
    free: bool = False,
) -> Bill:
    """The bill of one attempt that is over; ``status`` is the provider's, if it answered.

    Usage that arrived is exact, whatever became of the attempt. What was never sent costs nothing, nor does an error
    status. Whatever was sent and not accounted for (cut, cancelled, unanswered, complete without usage, or ended by an
    error inside a 200, up to which the provider may have worked) counts at its upper bound.
    What providers do for nothing (``free``) costs nothing.
    An alias that has no price is priced as the model that the answer names (``answered_as``).
    """
    if free:
        return _NOTHING
    if usage is not None:
        price = book.price(target.provider, target.model, at_ns)
        if price is None and answered_as:
            price = book.price(target.provider, answered_as, at_ns)
        if price is None:
            return Bill(None, "provider")
        cost = price.cost(usage)
        if cost.nano is not None:
            return Bill(cost.nano, "provider", cost.price_id)
        # A usage that can't be believed is no usage: fall through to the bound.
    refused = isinstance(error, ProviderError) and status is not None and not 200 <= status < 300
    if refused or not sent or isinstance(error, ConnectFailed):  # a proxy's own refusal comes after sending
        return _NOTHING
    return bound(book, target, envelope, at_ns=at_ns)


def bound(book: PriceBook, target: Target, envelope: Envelope, *, at_ns: int) -> Bill:
    """The most that one attempt can cost: a token is at least one byte, and the output at most what was asked for."""
    price = book.price(target.provider, target.model, at_ns)
    output = (
        envelope.max_output_tokens if envelope.max_output_tokens is not None else max_output(target.model)
    )
    if price is None or output is None:
        return Bill(None, "bound", price.id if price is not None else None)
    return Bill(price.bound(envelope.size, max(0, output) * envelope.choices), "bound", price.id)
