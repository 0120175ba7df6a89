"""What is left of a key's limits, as each provider puts it into headers.

Times of day are told from a fixed instant on: the true one would make two runs of one seed differ.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.chaos.quota import Quota

__all__ = ["anthropic", "go_duration", "openai", "openrouter"]

_BEGIN = datetime(2025, 8, 1, tzinfo=UTC)
_GROUPS = ("tokens", "input-tokens", "output-tokens")


@lru_cache(256)  # without limits, every answer tells the same
def openai(quota: Quota) -> Mapping[str, str]:
    return {
        "x-ratelimit-limit-requests": str(quota.requests_limit),
        "x-ratelimit-limit-tokens": str(quota.tokens_limit),
        "x-ratelimit-remaining-requests": str(quota.requests_left),
        "x-ratelimit-remaining-tokens": str(quota.tokens_left),
        "x-ratelimit-reset-requests": go_duration(quota.requests_reset_s),
        "x-ratelimit-reset-tokens": go_duration(quota.tokens_reset_s),
    }


@lru_cache(256)
def anthropic(quota: Quota) -> Mapping[str, str]:
    """Prompt and answer are counted together here, so that the three groups of tokens tell the same."""
    told = _anthropic_group("requests", quota.requests_limit, quota.requests_left, quota.requests_reset_s)
    for name in _GROUPS:
        told |= _anthropic_group(name, quota.tokens_limit, quota.tokens_left, quota.tokens_reset_s)
    return told


def _anthropic_group(name: str, limit: int, left: int, reset_s: float) -> dict[str, str]:
    return {
        f"anthropic-ratelimit-{name}-limit": str(limit),
        f"anthropic-ratelimit-{name}-remaining": str(left),
        f"anthropic-ratelimit-{name}-reset": _instant(math.ceil(reset_s)),
    }


@lru_cache(256)
def _instant(seconds: int) -> str:
    return f"{_BEGIN + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


@lru_cache(256)
def openrouter(quota: Quota) -> Mapping[str, str]:
    """Requests only; the reset is in milliseconds since 1970."""
    return {
        "x-ratelimit-limit": str(quota.requests_limit),
        "x-ratelimit-remaining": str(quota.requests_left),
        "x-ratelimit-reset": str(int(_BEGIN.timestamp()) * 1000 + _milliseconds(quota.requests_reset_s)),
    }


def go_duration(seconds: float) -> str:
    """``1s``, ``6m0s``, ``120ms``: as Go writes durations, to the next millisecond."""
    whole_s, ms = divmod(_milliseconds(seconds), 1000)
    if not whole_s:
        return f"{ms}ms" if ms else "0s"
    minutes, rest = divmod(whole_s, 60)
    hours, minutes = divmod(minutes, 60)
    told = f"{rest + ms / 1000:g}s"
    if hours:
        return f"{hours}h{minutes}m{told}"
    return f"{minutes}m{told}" if minutes else told


def _milliseconds(seconds: float) -> int:
    """Rounded up, as who comes back too early is refused again; but not for a float's last digit."""
    return math.ceil(round(seconds * 1000, 6))
