"""What a token costs, and what an answer's tokens cost together: exact, in integers, rounded once.

Rates are held as integers of a unit small enough that none of them is rounded (``nano-dollars / scale``), so that a cost
is a handful of integer operations and exact before its one rounding, up, to the nano-dollar.
"""

from __future__ import annotations

import enum
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.model.usage import Usage

__all__ = ["EXACT", "KINDS", "MOST_TOKENS", "Band", "Cost", "Flag", "Kind", "Price", "Unit"]

EXACT = Context(prec=96, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])
"""Decimal arithmetic that raises rather than round."""

MOST_TOKENS = 10**12
"""More tokens than this in one answer are a fault of whoever counted."""

Kind = Literal[
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "cache_audio_read",
    "output",
    "output_audio",
    "reasoning",
]
"""Kinds of tokens that may have a price of their own. One without is priced as the total it is part of."""

KINDS: tuple[Kind, ...] = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "cache_audio_read",
    "output",
    "output_audio",
    "reasoning",
)

Flag = Literal["missing", "not_a_count", "negative", "absurd", "inconsistent", "overlap"]
"""What is wrong with a usage.

``missing``: a total wasn't told. ``not_a_count``: not an integer. ``negative``, ``absurd`` (over 10^12):
impossible. ``inconsistent``: parts are more than their total. ``overlap``: how many tokens were both cached and audio
wasn't told, so the dearest reading was taken; only here is there a cost beside the flag.
"""


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


class Band(NamedTuple):
    """Rates in dollars per 1M tokens, for requests with more than ``above`` input tokens."""

    above: int
    rates: Mapping[Kind, Decimal]
    dearest_input: Decimal
    """The highest rate of any kind of input token, also of kinds that usage doesn't tell apart (images, longer caches)."""
    dearest_output: Decimal


class _Rates(NamedTuple):
    """A band in integers. All but ``input`` and ``output`` say how much *more* a token of that kind costs (or less) than one
    of the total that it is part of; ``cache_write_1h`` is part of ``cache_write``."""

    above: int
    input: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    overlap: int
    output: int
    output_audio: int
    reasoning: int
    dearest_input: int
    dearest_output: int


class Price:
    """What the tokens of one model cost at one provider at one time. Immutable.

    Args:
        price_id: names the price list, the model and, where it changes, the period.
        bands: from the lowest, which begins at 0, up. All tokens of a request are priced by the band its input reaches.
        per_request: dollars that each request costs beside its tokens.
    """

    __slots__ = ("_bands", "_flat", "_request", "_scale", "id")

    def __init__(self, price_id: str, bands: Sequence[Band], *, per_request: Decimal = Decimal(0)) -> None:
        self.id = price_id
        amounts = [
            *(
                amount
                for band in bands
                for amount in (*band.rates.values(), band.dearest_input, band.dearest_output)
            ),
            per_request,
        ]
        # $1 per 1M tokens is 1,000 nano-dollars a token: three decimals of a rate are integers as they stand.
        finest = max(-_exponent(amount) for amount in amounts)
        self._scale: int = 10 ** max(0, finest - 3)
        self._request = _integer(per_request, 10**9 * self._scale)
        self._bands = tuple(_compile(band, self._scale) for band in bands)
        self._flat = self._bands[0] if len(self._bands) == 1 else None

    def cost(self, usage: Usage) -> Cost:
        """What ``usage`` costs, rounded up to the nano-dollar. A usage that can't be believed has no cost, but a flag."""
        flag = _fault(usage)
        if flag is not None:
            return Cost(None, self.id, flag)
        total, overlap = self._total(usage)
        return Cost(-(-total // self._scale), self.id, "overlap" if overlap else None)

    def exact_nano(self, usage: Usage) -> Fraction | None:
        """Nano-dollars before rounding, where linearity holds; None where :meth:`cost` has none."""
        if _fault(usage) is not None:
            return None
        return Fraction(self._total(usage)[0], self._scale)

    def bound(self, input_tokens: int, output_tokens: int) -> int:
        """Most nano-dollars that a request of up to so many tokens can cost, whatever their kinds and its tier.

        Searches and other tools that a provider runs on its own are not tokens and not bounded here.

        Raises:
            ValueError: a count is negative.
        """
        if input_tokens < 0 or output_tokens < 0:
            raise ValueError(f"token counts can't be negative: {input_tokens}, {output_tokens}")
        # A cheaper higher band must not lower the bound: the request may stay below it.
        bands = [band for band in self._bands if band.above < input_tokens] or self._bands[:1]
        dearest_input = max(band.dearest_input for band in bands)
        dearest_output = max(band.dearest_output for band in bands)
        total = input_tokens * dearest_input + output_tokens * dearest_output + self._request
        return -(-total // self._scale)

    def _total(self, usage: Usage) -> tuple[int, bool]:
        """The exact cost in ``nano / scale``, and whether a guess about overlap was needed."""
        input_tokens = usage.input_tokens or 0
        band = self._flat or self._band(input_tokens)
        cached = usage.cache_read_tokens or 0
        audio = usage.input_audio_tokens or 0
        total = self._request + input_tokens * band.input + (usage.output_tokens or 0) * band.output
        if cached:
            total += cached * band.cache_read
        if audio:
            total += audio * band.input_audio
        if usage.cache_write_tokens:
            total += usage.cache_write_tokens * band.cache_write
            if usage.cache_write_1h_tokens:
                total += usage.cache_write_1h_tokens * band.cache_write_1h
        if usage.output_audio_tokens:
            total += usage.output_audio_tokens * band.output_audio
        if usage.reasoning_tokens:
            total += usage.reasoning_tokens * band.reasoning
        if cached and audio:
            extra, guessed = _overlap(band, usage)
            return total + extra, guessed
        return total, False

    def _band(self, input_tokens: int) -> _Rates:
        reached = self._bands[0]
        for band in self._bands[1:]:
            if input_tokens <= band.above:
                break
            reached = band
        return reached

    def __repr__(self) -> str:
        return f"Price({self.id!r})"


def _compile(band: Band, scale: int) -> _Rates:
    def rate(amount: Decimal) -> int:
        return _integer(amount, 1_000 * scale)  # $1 per 1M tokens = 1,000 nano-dollars a token

    own = {kind: rate(amount) for kind, amount in band.rates.items()}
    base, output = own.get("input", 0), own.get("output", 0)
    cached, audio = own.get("cache_read", base), own.get("input_audio", base)
    written = own.get("cache_write", base)
    if "cache_audio_read" in own:
        both = own["cache_audio_read"]
    elif "cache_read" in own and "input_audio" in own:
        both = max(cached, audio)  # no price of its own: the dearer of the two it could have
    else:
        both = cached + audio - base  # the only one that is priced, or neither
    return _Rates(
        above=band.above,
        input=base,
        cache_read=cached - base,
        cache_write=written - base,
        cache_write_1h=own.get("cache_write_1h", written) - written,
        input_audio=audio - base,
        overlap=both - cached - audio + base,
        output=output,
        output_audio=own.get("output_audio", output) - output,
        reasoning=own.get("reasoning", output) - output,
        dearest_input=rate(band.dearest_input),
        dearest_output=rate(band.dearest_output),
    )


def _overlap(rates: _Rates, usage: Usage) -> tuple[int, bool]:
    """What tokens that are both cached and audio change, at the dearest reading; whether that reading was a guess.

    Providers tell how many input tokens were cached and how many audio, but seldom how many were both.
    """
    total, written = usage.input_tokens or 0, usage.cache_write_tokens or 0
    cached, audio = usage.cache_read_tokens or 0, usage.input_audio_tokens or 0
    least = max(0, cached + written + audio - total)
    most = min(cached, audio)
    return (most if rates.overlap > 0 else least) * rates.overlap, rates.overlap != 0 and least != most


def _fault(usage: Usage) -> Flag | None:
    """Why ``usage`` can't be believed, if it can't. Types are checked too: it came from somebody else's JSON."""
    for count in (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.input_audio_tokens,
        usage.output_audio_tokens,
        usage.reasoning_tokens,
    ):
        if count is None:
            continue
        if type(count) is not int:
            return "not_a_count"
        if count < 0:
            return "negative"
        if count > MOST_TOKENS:
            return "absurd"
    total_in, total_out = usage.input_tokens, usage.output_tokens
    if total_in is None or total_out is None:
        return "missing"
    read_or_heard = max(usage.cache_read_tokens or 0, usage.input_audio_tokens or 0)  # may be the same tokens
    if (usage.cache_write_tokens or 0) + read_or_heard > total_in:
        return "inconsistent"
    if (usage.cache_write_1h_tokens or 0) > (usage.cache_write_tokens or 0):
        return "inconsistent"
    if (usage.output_audio_tokens or 0) + (usage.reasoning_tokens or 0) > total_out:
        return "inconsistent"
    return None


def _exponent(amount: Decimal) -> int:
    exponent = amount.normalize(EXACT).as_tuple().exponent
    if not isinstance(exponent, int) or amount < 0:
        raise ValueError(f"a price must be a finite number of dollars, 0 or more: {amount}")
    return exponent


def _integer(amount: Decimal, factor: int) -> int:
    return int(EXACT.multiply(amount, Decimal(factor)).to_integral_exact(context=EXACT))
