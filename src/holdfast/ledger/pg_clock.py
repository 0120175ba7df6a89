"""The wall clock of the database, as near as a round trip tells: replicas on machines whose clocks differ have one time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from holdfast.clock import Clock

__all__ = ["NOW_NS", "DatabaseClock"]

NOW_NS: Final = "CAST(extract(epoch FROM clock_timestamp()) * 1000000000 AS BIGINT)"
"""Nanoseconds since 1970 UTC, in whole microseconds, by the server's clock."""

_JUMP_NS: Final = 1_000_000_000
"""A difference to what was expected that no drift explains: the clock was set, or this is another server."""


class DatabaseClock:
    """Dates by the database's clock, durations by this machine's.

    Between two measurements it goes on by the machine's monotonic clock, since its wall clock may be set at any time; before
    the first one it is that wall clock. Read by any thread, set by one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._epoch_ns: int | None = None
        """When the monotonic clock stood at 0."""

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall_ns(self) -> int:
        if self._epoch_ns is None:
            return self._clock.wall_ns()
        return self._epoch_ns + round(self._clock.monotonic() * 1e9)

    def measured(self, now_ns: int, before: float, after: float) -> bool:
        """The database said ``now_ns`` between ``before`` and ``after`` on the monotonic clock.

        Returns:
            Whether that was about what was expected; the first time it is.
        """
        epoch_ns = now_ns - round((before + after) / 2 * 1e9)
        known, self._epoch_ns = self._epoch_ns, epoch_ns
        slack_ns = _JUMP_NS + round((after - before) * 1e9)
        return known is None or abs(epoch_ns - known) < slack_ns
