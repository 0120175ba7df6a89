"""Prices by kind of token, and what the kinds of one answer cost together, before rounding.

An answer's totals contain its kinds. What isn't told apart, though it has prices of its own, counts as the dearest that it
may be: a bill is never below the provider's.
"""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from holdfast.providers.counts import told, wrong_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.model.usage import Usage
    from holdfast.providers.counts import Flag

__all__ = [
    "EXACT", "KINDS", "OUTPUTS", "Band", "Given", "Kind", "Rates", "compile_band", "given_cost", "integer", "made_cost",
]  # fmt: skip  # a list

EXACT = Context(prec=96, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])
"""Decimal arithmetic that raises rather than round."""

Kind = Literal[
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input_audio",
    "cache_audio_read",
    "input_image",
    "cache_image_read",
    "input_video",
    "output",
    "output_audio",
    "output_image",
    "output_video",
    "reasoning",
]
"""Kinds of tokens that may have a price of their own. One without is priced as the total it is part of."""

KINDS: tuple[Kind, ...] = get_args(Kind)
OUTPUTS: frozenset[Kind] = frozenset(("output", "output_audio", "output_image", "output_video", "reasoning"))


class Band(NamedTuple):
    """Rates in dollars per 1M tokens, for requests with more than ``above`` input tokens."""

    above: int
    rates: Mapping[Kind, Decimal]
    dearest_input: Decimal
    """The highest rate of any kind of input token, also of kinds that usage doesn't tell apart."""
    dearest_output: Decimal


class Given(NamedTuple):
    """What input tokens of one kind cost, fresh and read from a cache."""

    fresh: int
    cached: int


class Rates(NamedTuple):
    """A band in integers. Names with ``more`` say how much more (or less) than the total that they are part of."""

    above: int
    text: Given
    audio: Given
    image: Given
    video: Given
    unseen: Given
    """Of tokens that may be text, image or video: the dearest of them."""
    write_more: int
    write_1h_more: int
    """Beside ``write_more``: tokens kept for an hour are part of those written."""
    output: int
    audio_more: int
    image_more: int
    video_more: int
    reasoning_more: int
    sees: bool
    """Whether images or video given have a price of their own, so that their number matters."""
    draws: bool
    """Likewise of those made."""
    dearest_input: int
    dearest_output: int


def compile_band(band: Band, scale: int) -> Rates:
    def rate(amount: Decimal) -> int:
        return integer(amount, 1_000 * scale)  # $1 per 1M tokens = 1,000 nano-dollars a token

    own = {kind: rate(amount) for kind, amount in band.rates.items()}
    base, output = own.get("input", 0), own.get("output", 0)
    cached, written = own.get("cache_read", base), own.get("cache_write", base)

    def given(kind: Kind, read: Kind | None = None) -> Given:
        fresh = own.get(kind, base)
        if read in own:
            return Given(fresh, own[read])
        if kind in own and "cache_read" in own:
            return Given(
                fresh, max(cached, fresh)
            )  # no price of its own: the dearer of the two it could have
        return Given(fresh, cached + fresh - base)  # the only one that is priced, or neither

    text = Given(base, cached)
    image, video = given("input_image", "cache_image_read"), given("input_video")
    seen = (text, image, video)
    return Rates(
        above=band.above,
        text=text,
        audio=given("input_audio", "cache_audio_read"),
        image=image,
        video=video,
        unseen=Given(max(each.fresh for each in seen), max(each.cached for each in seen)),
        write_more=written - base,
        write_1h_more=own.get("cache_write_1h", written) - written,
        output=output,
        audio_more=own.get("output_audio", output) - output,
        image_more=own.get("output_image", output) - output,
        video_more=own.get("output_video", output) - output,
        reasoning_more=own.get("reasoning", output) - output,
        sees=any(each != text for each in seen),
        draws=any(own.get(kind, output) != output for kind in _DRAWN),
        dearest_input=rate(band.dearest_input),
        dearest_output=rate(band.dearest_output),
    )


_DRAWN: tuple[Kind, ...] = ("output_image", "output_video")


def given_cost(band: Rates, usage: Usage) -> tuple[int | None, Flag | None]:
    """What the input costs in ``nano / scale``, and what is wrong with its counts."""
    total = usage.input_tokens or 0
    cached, written = usage.cache_read_tokens or 0, usage.cache_write_tokens or 0
    cost = total * band.text.fresh
    if written:
        cost += written * band.write_more + (usage.cache_write_1h_tokens or 0) * band.write_1h_more
    audio = usage.input_audio_tokens or 0
    if not audio and not band.sees:
        return cost + cached * (band.text.cached - band.text.fresh), None
    text, image, video = band.text, 0, 0
    untold = False
    if band.sees:
        seen, watched = told(usage, "input_image"), told(usage, "input_video")
        wrong = wrong_count(seen, watched)
        if wrong is not None:
            return None, wrong
        image, video = seen or 0, watched or 0
        untold = seen is None and watched is None
    plain = total - written - audio - image - video
    if plain < 0:
        return None, "inconsistent"
    if untold:
        text = band.unseen
        cost += plain * (text.fresh - band.text.fresh)
    for count, rates in ((audio, band.audio), (image, band.image), (video, band.video)):
        cost += count * (rates.fresh - band.text.fresh)
    kinds = [(plain, text), (audio, band.audio), (image, band.image), (video, band.video)]
    both = told(usage, "cache_audio") if cached and audio else None
    if both is not None:
        wrong = wrong_count(both)
        if wrong is not None or both > min(audio, cached):
            return None, wrong or "inconsistent"
        cost += both * (band.audio.cached - band.audio.fresh)
        cached -= both
        del kinds[1]
    saved, guessed = _cached(kinds, cached)
    if saved is None:
        return None, "inconsistent"
    return cost + saved, "untold" if untold and plain else "overlap" if guessed else None


def _cached(kinds: list[tuple[int, Given]], cached: int) -> tuple[int | None, bool]:
    """What ``cached`` tokens, of whichever kinds they were, change at the dearest reading; whether that is a guess.

    Providers tell how many input tokens were cached and how many were audio, but seldom how many were both.
    """
    dearest_first = sorted(
        ((rates.cached - rates.fresh, count) for count, rates in kinds if count), reverse=True
    )
    if sum(count for _, count in dearest_first) < cached:
        return None, False
    most = _spend(dearest_first, cached)
    return most, most != _spend(dearest_first[::-1], cached)


def _spend(kinds: list[tuple[int, int]], cached: int) -> int:
    change = 0
    for difference, count in kinds:
        taken = min(count, cached)
        change += taken * difference
        cached -= taken
    return change


def made_cost(band: Rates, usage: Usage) -> tuple[int | None, Flag | None]:
    """What the output costs in ``nano / scale``, and what is wrong with its counts."""
    total = usage.output_tokens or 0
    audio, reasoning = usage.output_audio_tokens or 0, usage.reasoning_tokens or 0
    cost = total * band.output + audio * band.audio_more + reasoning * band.reasoning_more
    if not band.draws:
        return cost, None
    image, video = told(usage, "output_image"), told(usage, "output_video")
    plain = total - audio - reasoning
    if image is None and video is None:
        return cost + plain * max(0, band.image_more, band.video_more), "untold" if plain else None
    wrong = wrong_count(image, video)
    if wrong is None and (image or 0) + (video or 0) > plain:
        wrong = "inconsistent"
    if wrong is not None:
        return None, wrong
    return cost + (image or 0) * band.image_more + (video or 0) * band.video_more, None


def integer(amount: Decimal, factor: int) -> int:
    """``amount * factor``, which must be whole."""
    return int(EXACT.multiply(amount, Decimal(factor)).to_integral_exact(context=EXACT))
