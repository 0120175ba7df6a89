"""What is watched of idempotency keys (ID1, ID2): told which request is whose, what was sent, and what callers read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.replicas.keys import Key

__all__ = ["KeyWatch"]

_SLACK_S: Final = 1.0
"""Between clocks, and between a run's end and what is said of it."""
_UNKNOWN: Final = "idempotency_outcome_unknown"


@dataclass(slots=True)
class _Run:
    """One request of a key's callers that was sent to a provider."""

    n: int
    transient: bool = False
    """It ended in a failure: the key is free."""
    ok: bool = False
    over_at: float | None = None
    """It ended, or was given up: from then on its key stands for as long as was asked."""


@dataclass(slots=True)
class _Story:
    """Of one key."""

    runs: list[_Run] = field(default_factory=list)
    given_up: bool = False
    bodies: set[bytes] = field(default_factory=set)


class KeyWatch:
    """All keys.

    Args:
        broken: told the promise, what happened, and of which request. now: seconds. ttl_s: for how long a key stands.
    """

    def __init__(
        self, broken: Callable[[str, str, int], None], now: Callable[[], float], *, ttl_s: float
    ) -> None:
        self._broken = broken
        self._now = now
        self._ttl_s = ttl_s
        self._once: dict[int, str] = {}
        self._stories: dict[str, _Story] = {}

    def asked(self, n: int, once: str) -> None:
        self._once[n] = once
        self._stories.setdefault(once, _Story())

    def sent(self, n: int) -> None:
        """Something has an effect now: no other run of its key may have had one that stands."""
        story = self._of(n)
        if story is None or any(run.n == n for run in story.runs):
            return
        for run in story.runs:
            if not (run.transient or self._expired(run)):
                what = f"key {self._once[n]}: it is run, and {run.n} was"
                self._broken("ID1", what, n)
        story.runs.append(_Run(n))

    def ended(self, n: int, *, ok: bool) -> None:
        for run in self._runs(n):
            run.ok, run.transient, run.over_at = ok, not ok, self._now()

    def given_up(self, n: int) -> None:
        story = self._of(n)
        if story is not None:
            story.given_up = True
        for run in self._runs(n):
            if run.over_at is None:
                run.over_at = self._now()

    def answered(self, n: int, how: str, body: bytes) -> None:
        """Of as many runs as went well, there are as many answers."""
        story = self._of(n)
        if story is None:
            return
        if how == _UNKNOWN and not story.given_up:
            self._broken("ID1", f"key {self._once[n]}: it is unknown, and no run was lost", n)
        if how == "ok":
            story.bodies.add(body)
            if len(story.bodies) > sum(run.ok for run in story.runs):
                self._broken("ID2", f"key {self._once[n]}: {len(story.bodies)} answers were told", n)

    def at_the_end(self, keys: list[Key]) -> None:
        """Nothing runs any more."""
        for each in keys:
            if each.state == "running":
                self._broken("LIVE", f"key {each.key} runs for ever", -1)

    def _of(self, n: int) -> _Story | None:
        once = self._once.get(n)
        return None if once is None else self._stories[once]

    def _runs(self, n: int) -> list[_Run]:
        story = self._of(n)
        return [] if story is None else [run for run in story.runs if run.n == n]

    def _expired(self, run: _Run) -> bool:
        return run.over_at is not None and self._now() >= run.over_at + self._ttl_s - _SLACK_S
