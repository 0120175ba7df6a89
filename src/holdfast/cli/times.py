"""Dates as people write and read them. The ledger's own are nanoseconds since 1970 UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["instant_ns", "iso_utc", "local", "span_s", "zone"]

_AGO: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def instant_ns(text: str, *, now_ns: int) -> int:
    """``30m`` (ago), or an ISO date or time, local unless it names its zone, as nanoseconds since 1970 UTC.

    Raises:
        ValueError: it is neither; the message says what would be.
    """
    if ago := _AGO.fullmatch(text):
        return _storable(now_ns - int(ago[1]) * _UNITS[ago[2]] * 1_000_000_000)
    try:
        # astimezone reads a time without a zone as local, which is what a person at this terminal means
        since_epoch = datetime.fromisoformat(text).astimezone() - _EPOCH
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is neither how long ago (30m, 2h, 7d) nor a time (2026-01-31T12:00)"
        ) from None
    return _storable(since_epoch // timedelta(microseconds=1) * 1_000)


def span_s(text: str) -> int:
    """``90s``, ``30m``, ``24h`` or ``7d`` as seconds.

    Raises:
        ValueError: it is none; the message says what would be.
    """
    span = _AGO.fullmatch(text)
    if span is None:
        raise ValueError(f"{text!r} is no span of time such as 90s, 30m, 24h or 7d")
    return int(span[1]) * _UNITS[span[2]]


def iso_utc(ns: int) -> str:
    """``2026-01-31T12:00:00.123456789Z``: nothing is rounded away."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{_at(seconds):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def local(ns: int) -> str:
    """``2026-01-31T13:00:00``, on this machine's clock (see :func:`zone`)."""
    return f"{_at(ns // 1_000_000_000).astimezone():%Y-%m-%dT%H:%M:%S}"


def zone(ns: int) -> str:
    """The name of this machine's zone at that time."""
    return _at(ns // 1_000_000_000).astimezone().tzname() or "local"


def _storable(ns: int) -> int:
    """The nearest time that a ledger can hold: an integer of 64 bits, which ends in 2262."""
    return max(0, min(ns, 2**63 - 1))


def _at(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)
