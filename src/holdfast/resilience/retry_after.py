"""Reading when a server wants to be asked again, in every form that servers use."""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_RETRY_AFTER_S", "parse_retry_after"]

MAX_RETRY_AFTER_S = 86_400.0
"""A longer wait than a day is nonsense, and is ignored like any other."""

_NUMBER = re.compile(r"\d{1,12}(\.\d{1,12})?", re.ASCII)


def parse_retry_after(header: Callable[[str], str | None], wall_s: float) -> float | None:
    """Seconds from now, or None where the server said nothing usable.

    Understands ``retry-after-ms`` (milliseconds; it is the more exact one and wins) and ``retry-after`` as whole or decimal
    seconds or as an HTTP date (RFC 9110 §10.2.3). A date in the past means now. Negative, endless and malformed values are
    ignored.

    Args:
        header: looks a header up by its lower-case name.
        wall_s: seconds since 1970 UTC, which a date is compared with.
    """
    milliseconds = _number(header("retry-after-ms"))
    if milliseconds is not None and milliseconds / 1000 <= MAX_RETRY_AFTER_S:
        return milliseconds / 1000
    value = header("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        seconds = _until(value.strip(), wall_s)
    return seconds if seconds is not None and seconds <= MAX_RETRY_AFTER_S else None


def _number(value: str | None) -> float | None:
    if value is None or not _NUMBER.fullmatch(value.strip()):
        return None
    return float(value)


def _until(date: str, wall_s: float) -> float | None:
    try:
        parsed = parsedate_to_datetime(date)
        # asctime's format names no zone: HTTP's dates are UTC, not the machine's own time.
        moment = (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, moment - wall_s) if math.isfinite(moment) else None
