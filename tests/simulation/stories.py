"""What is known of each request so far, put together from the events; and where broken promises are written down."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.simulation.draw import Ask, Plan, ProviderPlan
    from tests.simulation.providers import Journal, Served
    from tests.simulation.trace import (
        Accepted,
        Asked,
        Attempted,
        Back,
        Ended,
        Entered,
        Entering,
        Gone,
        Opened,
        Over,
        TurnedAway,
    )

    from holdfast.money.budgets import Budgets

__all__ = ["Stories", "Story", "Violation"]


class Violation(msgspec.Struct, frozen=True):
    """A promise that was broken."""

    promise: str
    """Its id in the list of promises, or what else always holds (``LIVE``, ``QUIET``, ``CRASH``)."""
    at: float
    n: int
    what: str


@dataclass(slots=True)
class Story:
    """One request."""

    ask: Ask
    asked: Asked
    reading_since: float
    """When its client last began to wait for something."""
    id: str = ""
    accepted_at: float | None = None
    opened: Opened | None = None
    text: str = ""
    ending: str | None = None
    over_at: float | None = None
    gone_at: float | None = None
    ended: Ended | None = None
    rows: list[Attempted] = field(default_factory=list)
    refusals: list[TurnedAway] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    silent: set[str] = field(default_factory=set)
    """Targets that timed out without a byte."""
    not_before: dict[str, float] = field(default_factory=dict)
    out_of_time: bool = False
    """A gate let it through so late that nothing could begin, or its budgets did."""
    permits: dict[int, str] = field(default_factory=dict)
    last_act_at: float = 0.0
    """When something of it last came to an end: an attempt, or a wait at a gate."""


def _no_budgets() -> Budgets:
    raise RuntimeError("nobody said where the budgets are")


class Stories:
    """Listens first of all, so that every monitor sees the story as of the event that it is told."""

    def __init__(
        self, plan: Plan, journal: Journal, call_later: Callable[[float, Callable[[], None]], object]
    ) -> None:
        self.plan = plan
        self.journal = journal
        self.call_later = call_later
        self.by_n: dict[int, Story] = {}
        self.violations: list[Violation] = []
        self.providers: Mapping[str, ProviderPlan] = {each.name: each for each in plan.providers}
        self.gated = True
        """Attempts ask a gate first."""
        self.asks: dict[int, Ask] = {}
        self.wall_ns: Callable[[], int] = lambda: 0
        self.budgets: Callable[[], Budgets] = _no_budgets

    def broken(self, promise: str, at: float, n: int, what: str) -> None:
        self.violations.append(Violation(promise, at, n, what))

    def served(self, n: int, target: str) -> list[Served]:
        """What one provider did for one request, in order."""
        return [served for served in self.journal.of(n) if served.provider == target]

    def on_asked(self, event: Asked) -> None:
        self.by_n[event.n] = Story(self.asks[event.n], event, event.at)

    def on_opened(self, event: Opened) -> None:
        self.by_n[event.n].opened = event

    def on_over(self, event: Over) -> None:
        self.by_n[event.n].over_at = event.at

    def on_gone(self, event: Gone) -> None:
        self.by_n[event.n].gone_at = event.at

    def on_accepted(self, event: Accepted) -> None:
        story = self.by_n[event.n]
        story.id = event.id
        story.accepted_at = story.last_act_at = event.at

    def on_attempted(self, event: Attempted) -> None:
        story = self.by_n[event.n]
        story.rows.append(event)
        story.last_act_at = event.at
        if not self.gated:
            story.tried[event.target] += 1
        if event.outcome == "timed_out" and event.silent:
            story.silent.add(event.target)
        served = self.served(event.n, event.target)
        if served and served[-1].not_before is not None and served[-1].status == event.status:
            story.not_before[event.target] = served[-1].not_before

    def on_turned_away(self, event: TurnedAway) -> None:
        story = self.by_n[event.n]
        story.refusals.append(event)
        story.out_of_time |= event.label == "no_time_left"
        story.tried[event.target] += 1
        story.last_act_at = event.at

    def on_entering(self, event: Entering) -> None:
        self.by_n[event.n].last_act_at = event.at

    def on_entered(self, event: Entered) -> None:
        story = self.by_n[event.n]
        story.permits[event.permit] = event.target
        story.tried[event.target] += 1

    def on_back(self, event: Back) -> None:
        story = self.by_n[event.n]
        story.permits.pop(event.permit, None)
        story.out_of_time |= event.label == "no_time_left"
        story.last_act_at = event.at

    def on_ended(self, event: Ended) -> None:
        story = self.by_n[event.n]
        if story.ended is None:
            story.ended = event
