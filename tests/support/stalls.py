"""How long the machine stood still: what a test that measures a time must not count against the product.

A thread beats every few milliseconds. Where a beat is late and this process has computed nothing meanwhile, nobody let it
run. A process that is late because it computes, or because it waits for a timer, has no such gaps.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["Stalls", "undisturbed"]

T = TypeVar("T")

_BEAT_S: Final = 0.005
_STILL_S: Final = 0.1
_TRIES: Final = 10
_PATIENCE_S: Final = 30.0


class Stalls:
    """``with Stalls() as stalls: …; stalls.since(moment)``. Moments are ``time.monotonic()``'s."""

    def __init__(self) -> None:
        self._gaps: list[tuple[float, float]] = []
        self._beats = 0
        self._beaten = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="stalls", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def since(self, moment: float) -> float:
        """Seconds after ``moment`` that nobody can be blamed for."""
        return sum(stood_s for at, stood_s in self._told() if at >= moment)

    def longest(self) -> float:
        """Seconds of the longest of all."""
        return max((stood_s for _, stood_s in self._told()), default=0.0)

    def _told(self) -> list[tuple[float, float]]:
        """Waits for the next beat: what is just over is told by it."""
        with self._beaten:
            beats = self._beats
            assert self._beaten.wait_for(lambda: self._beats > beats, _PATIENCE_S)
            return list(self._gaps)

    def _beat(self) -> None:
        last, computed = time.monotonic(), time.process_time()
        while not self._over.wait(_BEAT_S):
            now, worked = time.monotonic(), time.process_time()
            stood_s = now - last - (worked - computed) - _BEAT_S
            with self._beaten:
                if stood_s > _BEAT_S:
                    self._gaps.append((now, stood_s))
                self._beats += 1
                self._beaten.notify_all()
            last, computed = now, worked


def undisturbed(measure: Callable[[], T]) -> T:
    """``measure()``, once more where the machine stood still meanwhile: what came of that says nothing."""
    for _ in range(_TRIES):
        with Stalls() as stalls:
            measured = measure()
            if stalls.longest() < _STILL_S:
                return measured
    raise AssertionError("the machine stands still again and again")
