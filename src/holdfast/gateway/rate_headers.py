"""How a caller's rate limit stands, in the headers that its SDK reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.resilience.rate_meter import LimitStatus, RateStatus

__all__ = ["rate_headers"]

Headers = list[tuple[bytes, bytes]]


def rate_headers(status: RateStatus, dialect: str, wall_ns: int) -> Headers:
    """Anthropic's callers are told dates, all others durations. What isn't limited isn't mentioned.

    Args:
        status: of the limit.
        dialect: the caller's, by name.
        wall_ns: nanoseconds since 1970 UTC, for dates.
    """
    say = _anthropic if dialect.startswith("anthropic") else _openai
    headers: Headers = []
    for kind, limit in (("requests", status.requests), ("tokens", status.tokens)):
        if limit is not None:
            headers += say(kind, limit, wall_ns)
    return headers


def _openai(kind: str, limit: LimitStatus, _wall_ns: int) -> Headers:
    return _named(
        lambda part: f"x-ratelimit-{part}-{kind}", limit.limit, limit.remaining, _duration(limit.reset_s)
    )


def _anthropic(kind: str, limit: LimitStatus, wall_ns: int) -> Headers:
    # Rounded up to the whole second: who comes at that second comes in time.
    moment = datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC) + timedelta(seconds=limit.reset_s + 1)
    date = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return _named(lambda part: f"anthropic-ratelimit-{kind}-{part}", limit.limit, limit.remaining, date)


def _named(name: Callable[[str], str], limit: int, remaining: int, reset: str) -> Headers:
    said = {"limit": str(limit), "remaining": str(remaining), "reset": reset}
    return [(name(part).encode(), value.encode()) for part, value in said.items()]


def _duration(seconds: float) -> str:
    """``1m30s``, ``17ms``: rounded up to the millisecond, as OpenAI writes it."""
    ms = -int(-seconds * 1000 // 1)
    if ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    said = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes or hours else "")
    return said + f"{ms / 1000:g}s"
