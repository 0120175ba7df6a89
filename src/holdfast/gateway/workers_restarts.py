"""When a worker that died is started again: soon, but ever later while it dies young."""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST_S", "MOST_YOUNG", "YOUNG_S", "Restarts"]

YOUNG_S: Final = 10.0
"""A worker that lived shorter than this died young: likely of what kills the next one, too."""
MOST_YOUNG: Final = 5
"""Young deaths in a row after which it isn't tried any more, unless others serve."""
LONGEST_S: Final = 30.0
_FIRST_S: Final = 0.5


class Restarts:
    """Of one worker's place."""

    __slots__ = ("young",)

    def __init__(self) -> None:
        self.young = 0
        """Deaths in a row that came too soon."""

    def died(self, *, lived_s: float) -> float:
        """Seconds to wait before the next one: none after a life that was long enough, else 0.5, 1, 2, … 30."""
        if lived_s >= YOUNG_S:
            self.young = 0
            return 0.0
        self.young += 1
        return min(_FIRST_S * float(1 << min(self.young - 1, 16)), LONGEST_S)

    @property
    def hopeless(self) -> bool:
        return self.young >= MOST_YOUNG
