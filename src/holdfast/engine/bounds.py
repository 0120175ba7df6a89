"""The most that attempts of one request can cost: known before they are sent.

Input is bounded by its bytes, which takes no time and is three to four times too much. Where a budget has no room for
that, the tokens are counted. What can't be seen in the body has no bound but the model's context window, where the route
says that this may be reserved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from holdfast.dialects.unseen import unseen
from holdfast.engine.billing import bound, most_output
from holdfast.errors import CostUnbounded
from holdfast.providers.models import context_window, max_output
from holdfast.providers.tiers import asked_tier, bound_tier
from holdfast.providers.tokens import count_request_async
from holdfast.providers.tokens.bounds import bound_input_tokens
from holdfast.providers.unknown_price import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.dialects.base import Envelope
    from holdfast.engine.billing import Bill
    from holdfast.engine.policy import Target
    from holdfast.model import Request
    from holdfast.providers.prices import Price, PriceBook
    from holdfast.providers.tiers import Tier
    from holdfast.providers.unknown_price import UnknownPrice

__all__ = ["Bounds"]

_ADDED: Final = 256
"""Bytes that a body may grow by on its way to a provider: another model's name, usage asked for. So the first attempt's
bound, which the intent has, is hardly ever passed by what is then sent."""
_SHORTEST_ANSWER: Final = 16
"""Tokens. A shorter one is of no use, and some providers refuse to write it."""
_OUTPUT_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Names of the output limit that a route or a target may set, over the caller's."""
_ESCAPED: Final = b"\\u006"
"""A letter between a and o, spelt as a number: of "image", all but one."""
_encode: Final = msgspec.json.Encoder().encode
_MESSAGES: Final = ("messages", "contents", "input", "system", "systemInstruction", "system_instruction")
_TAUGHT: Final = ("tools", "response_format", "text", "output_config", "output_format", "generationConfig")
"""Fields that providers may tell their models about in words of their own."""


class Bounds:
    """For one request.

    Args:
        envelope: the request, with the output limit that holds.
        free: providers do it for nothing.
        window: a target's context window, where it is known.
        limitless: whether a target is sent no output limit, whoever asks for one; None: each is.
        whole: whether what can't be seen may be reserved as a whole context window.
        overrides: what the route sets in every request; targets set theirs over it.
    """

    __slots__ = (
        "_book",
        "_counted",
        "_free",
        "_limitless",
        "_overhead",
        "_overrides",
        "_pricing",
        "_started_ns",
        "_unseen",
        "_whole",
        "_window",
        "envelope",
    )

    def __init__(
        self,
        envelope: Envelope,
        *,
        book: PriceBook,
        pricing: UnknownPrice,
        started_ns: int,
        free: bool,
        window: Callable[[Target], int | None],
        limitless: Callable[[Target], bool] | None,
        whole: bool,
        overrides: Mapping[str, Any],
    ) -> None:
        self.envelope = envelope
        self._book = book
        self._pricing = pricing
        self._started_ns = started_ns
        self._free = free
        self._window = window
        self._limitless = limitless
        self._whole = whole
        self._overrides = overrides
        self._counted: dict[tuple[str, str], int] = {}
        self._overhead: tuple[int, int, int] | None = None
        self._unseen: str | None = None

    def look(self, targets: Sequence[Target]) -> None:
        """Looks for what can't be seen, in the request and in what is set for it: a hard budget wants to know.

        Raises:
            CostUnbounded: there is something, and the route doesn't say that a whole context window may be reserved for it.
        """
        if self._free:
            return
        self._unseen = unseen(self.envelope.fields)
        for overrides in (self._overrides, *(target.set for target in targets)):
            if overrides and self._unseen is None:
                self._unseen = unseen(
                    {name: msgspec.Raw(_encode(value)) for name, value in overrides.items()}
                )
        if self._unseen is not None and not self._whole:
            raise CostUnbounded(
                "a budget limits this request, and how many tokens it will read isn't told by what it says "
                f'({self._unseen}): leave that out, or let the route say unbounded = "window", which sets a whole '
                "context window aside",
                param=self._unseen.partition(":")[0],
            )

    def of(self, target: Target, body_bytes: int = 0, at_ns: int | None = None) -> Bill:
        """The most that an attempt at ``target`` can cost.

        Args:
            target: who is asked.
            body_bytes: of what it is sent, once that is made.
            at_ns: when; prices change with the hour. None: when the request came.
        """
        return bound(
            self._book,
            self._pricing,
            target,
            self.asked(target),
            at_ns=self._started_ns if at_ns is None else at_ns,
            input_tokens=self.input_tokens(target, body_bytes),
            tier=self.tier(target),
            free=self._free,
        )

    def asked(self, target: Target) -> Envelope:
        """The request as its bound at ``target`` sees it: what is set there holds, whatever the caller said."""
        overrides = {**self._overrides, **target.set} if target.set else self._overrides
        limitless = self._limitless is not None and self._limitless(target)
        if not overrides and not limitless:  # nearly always
            return self.envelope
        limits = [limit for name in _OUTPUT_LIMITS if isinstance(limit := overrides.get(name), int)]
        choices = overrides.get("n")
        sent = None if limitless else self.envelope.max_output_tokens
        return replace(
            self.envelope,
            max_output_tokens=max(limits) if limits else sent,
            choices=choices if isinstance(choices, int) else self.envelope.choices,
        )

    def tier(self, target: Target) -> Tier | None:
        """The service tier that is asked of ``target`` by name."""
        return asked_tier(target.provider, self.envelope.fields, self._overrides, target.set)

    def input_tokens(self, target: Target, body_bytes: int = 0) -> int:
        """The most input tokens of an attempt at ``target``."""
        if self._free:
            return 0
        counted = self._counted.get((target.provider, target.model))
        if self._unseen is not None:
            # What is seen comes on top: a window that is known too small must not make the bound too small.
            return (self._context(target) or 0) + self._by_bytes(target, body_bytes)
        return self._by_bytes(target, body_bytes) if counted is None else counted + self._set_bytes(target)

    def check_price(self, target: Target, *, limited: bool) -> None:
        """``limited``: a hard budget in dollars counts the request.

        Raises:
            CostUnbounded: what ``target`` costs must be known, and isn't.
        """
        if self._free:
            return
        if self._unseen is not None and self._context(target) is None:
            raise CostUnbounded(
                f"nobody can tell how many tokens {self._unseen} will be, and the context window of {target} isn't known",
                param=self._unseen.partition(":")[0],
            )
        if limited and most_output(target, self.asked(target)) is None:
            raise CostUnbounded(
                f"nobody can tell how long an answer of {target} may get: it is sent no limit that holds, and how much "
                "the model can write at most isn't known"
            )
        tier = bound_tier(self.tier(target))
        if self._book.price(target.provider, target.model, self._started_ns, tier) is not None:
            return
        verdict = self._pricing.price_for(target.provider, target.model, limited=limited)
        if isinstance(verdict, Refused):
            raise CostUnbounded(verdict.reason, param="model")

    async def count(self, target: Target, request: Callable[[], Request | None]) -> bool:
        """Counts the input's tokens for ``target``, off the loop if they are many; whether that made the bound tighter."""
        place = (target.provider, target.model)
        if self._free or self._unseen is not None or place in self._counted:
            return False
        neutral = request()
        if neutral is None:
            return False
        counted = await count_request_async(neutral, target.model, target.provider)
        if counted.unseen or counted.upper + self._set_bytes(target) >= self.input_tokens(target):
            return False
        self._counted[place] = counted.upper
        return True

    def affordable(
        self, targets: Sequence[Target], room_nano: int | None, room_tokens: int | None
    ) -> int | None:
        """The longest answer, in tokens, that there is room for at every target whose price is known, if it matters.

        Never longer than what was asked for; None: none worth having.
        """
        limits = []
        for target in targets:
            asked = self.asked(target)
            price = self._price(target)
            limit = asked.max_output_tokens
            most = limit if limit is not None else max_output(target.model)
            if most is None or (price is None and room_nano is not None):
                continue
            rooms = (price, room_nano, room_tokens)
            limits.append(_longest(most, asked.choices, self.input_tokens(target), rooms))
        longest = min(limits, default=0)
        return longest if longest >= _SHORTEST_ANSWER else None

    def _context(self, target: Target) -> int | None:
        """Where nobody knows what this provider's reads, its maker does."""
        return self._window(target) or context_window(target.model)

    def _price(self, target: Target) -> Price | None:
        tier = bound_tier(self.tier(target))
        return (
            self._book.price(target.provider, target.model, self._started_ns, tier) or self._pricing.ceiling
        )

    def _by_bytes(self, target: Target, body_bytes: int) -> int:
        overhead = self._overhead
        if overhead is None:
            overhead = self._overhead = self._measure()
        tools, messages, images = overhead
        return bound_input_tokens(
            max(body_bytes, self.envelope.size + _ADDED),
            target.provider,
            target.model,
            tools=tools,
            messages=messages,
            images=images,
        )

    def _set_bytes(self, target: Target) -> int:
        """Of what is set for it, and so isn't counted with the request's own words."""
        overrides = {**self._overrides, **target.set}
        return len(_encode(overrides)) if overrides else 0

    def _measure(self) -> tuple[int, int, int]:
        """At least so many tools, messages and parts, and images as there are: each is an object, an image says so."""
        fields = self.envelope.fields
        messages = images = 0
        for name in _MESSAGES:
            if (raw := fields.get(name)) is not None:
                text = bytes(raw)
                messages += text.count(b"{") + 1
                images += text.count(b"image") + text.count(_ESCAPED)
        tools = sum(bytes(fields[name]).count(b"{") for name in _TAUGHT if name in fields)
        return tools, messages, images


def _longest(
    most: int, choices: int, input_tokens: int, rooms: tuple[Price | None, int | None, int | None]
) -> int:
    """The most output that fits, by halving: bounds grow with the output, but not evenly."""
    price, room_nano, room_tokens = rooms
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        output = middle * choices
        fits = (price is None or room_nano is None or price.bound(input_tokens, output) <= room_nano) and (
            room_tokens is None or input_tokens + output <= room_tokens
        )
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
