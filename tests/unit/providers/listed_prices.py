"""Every model that the bundled list prices by the token, usages of it, and what the list's own arithmetic makes of them."""

import functools
from datetime import UTC, datetime
from decimal import localcontext
from fractions import Fraction

import genai_prices
from hypothesis import strategies as st

from holdfast.model.usage import Usage
from holdfast.providers import snapshot
from holdfast.providers.counts import told as told_of
from holdfast.providers.prices import PriceBook
from holdfast.providers.tiers import TIERS

NOW_NS = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * 10**9


@functools.cache
def priced_models():
    """(provider, model) of every listed model that has a token price and is found by its own id."""
    book = PriceBook()
    return [
        (provider, listed.id)
        for provider, seller_id in snapshot.SELLERS.items()
        for listed in snapshot.load()[seller_id].models
        if snapshot.find(provider, listed.id) is listed
        and book.price(provider, listed.id, NOW_NS) is not None
    ]


models = st.deferred(lambda: st.sampled_from(priced_models()))
tiers = st.sampled_from([None, *TIERS])
times = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001  # given UTC
    lambda at: int(at.timestamp()) * 10**9
)


def told(*, images_in=0, video_in=0, images_out=0, video_out=0, searches=0):
    """``Usage.extra`` that says how many, as Google and Anthropic do."""
    return {
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 1},
            {"modality": "IMAGE", "tokenCount": images_in},
            {"modality": "VIDEO", "tokenCount": video_in},
        ],
        "candidatesTokensDetails": [
            {"modality": "IMAGE", "tokenCount": images_out},
            {"modality": "VIDEO", "tokenCount": video_out},
        ],
        "server_tool_use": {"web_search_requests": searches},
    }


@st.composite
def usages(draw, most=2_000_000, searches=30):
    """Usages that can be believed. Cached and seen or heard input don't come together: their overlap isn't told."""
    input_tokens = draw(st.integers(0, most) | st.sampled_from([128_000, 200_000, 200_001, 272_000, 272_001]))
    output_tokens = draw(st.integers(0, most))
    written = draw(st.integers(0, input_tokens))
    part = draw(st.integers(0, input_tokens - written))
    kind = draw(st.sampled_from(["cached", "audio", "image", "video"]))
    spoken = draw(st.integers(0, output_tokens))
    reasoning = draw(st.integers(0, output_tokens - spoken))
    drawn = draw(st.integers(0, output_tokens - spoken - reasoning))
    filmed = draw(st.integers(0, output_tokens - spoken - reasoning - drawn))
    return Usage(
        input_tokens=input_tokens,
        cache_read_tokens=part if kind == "cached" else 0,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        input_audio_tokens=part if kind == "audio" else 0,
        output_tokens=output_tokens,
        output_audio_tokens=spoken,
        reasoning_tokens=reasoning,
        extra=told(
            images_in=part if kind == "image" else 0,
            video_in=part if kind == "video" else 0,
            images_out=drawn,
            video_out=filmed,
            searches=draw(st.integers(0, searches)),
        ),
    )


def oracle(provider, model, usage, at_ns, tier=None):
    """What genai-prices itself makes of it, in nano-dollars before rounding."""
    listed = snapshot.find(provider, model)
    with localcontext(prec=100):
        answer = listed.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                cache_write_1h_tokens=usage.cache_write_1h_tokens,
                input_audio_tokens=usage.input_audio_tokens,
                input_image_tokens=told_of(usage, "input_image"),
                input_video_tokens=told_of(usage, "input_video"),
                output_tokens=usage.output_tokens,
                output_audio_tokens=usage.output_audio_tokens,
                output_image_tokens=told_of(usage, "output_image"),
                output_video_tokens=told_of(usage, "output_video"),
                output_reasoning_tokens=usage.reasoning_tokens,
                web_searches=told_of(usage, "searches"),
            ),
            snapshot.load()[snapshot.SELLERS[provider]],
            genai_request_timestamp=datetime.fromtimestamp(at_ns // 10**9, UTC),
            price_context=None if tier is None else {"processing": tier, "service_tier": tier, "speed": tier},
        )
    return Fraction(answer.total_price) * 10**9
