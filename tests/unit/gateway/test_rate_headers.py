"""A rate limit's state in the callers' own headers."""

import pytest

from holdfast.gateway.rate_headers import rate_headers
from holdfast.resilience.rate_meter import LimitStatus, RateStatus

WALL_NS = 1_795_000_000 * 10**9  # 2026-11-18T11:06:40Z
BOTH = RateStatus(LimitStatus(60, 59, 1.0), LimitStatus(10_000, 0, 90.0))


def said(status: RateStatus, dialect: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in rate_headers(status, dialect, WALL_NS)}


def test_openais_callers_are_told_durations():
    assert said(BOTH, "openai_chat") == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "10000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m30s",
    }


def test_anthropics_callers_are_told_dates():
    assert said(BOTH, "anthropic") == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "59",
        "anthropic-ratelimit-requests-reset": "2026-11-18T11:06:42Z",
        "anthropic-ratelimit-tokens-limit": "10000",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2026-11-18T11:08:11Z",
    }


def test_what_is_not_limited_is_not_mentioned():
    assert said(RateStatus(None, LimitStatus(5, 5, 0.0)), "gemini").keys() == {
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    }
    assert said(RateStatus(None, None), "anthropic") == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0161, "17ms"),
        (0.9999, "1s"),
        (1.5, "1.5s"),
        (59.9991, "1m0s"),
        (60.0, "1m0s"),
        (3600.0, "1h0m0s"),
        (86_399.25, "23h59m59.25s"),
    ],
)
def test_durations_are_rounded_up(seconds, text):
    status = RateStatus(LimitStatus(1, 0, seconds), None)
    assert said(status, "openai_chat")["x-ratelimit-reset-requests"] == text
