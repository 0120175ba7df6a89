"""RL3: the adaptive limit against a second reading of its rule, which keeps every event and reads them all at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holdfast.resilience.adaptive import AdaptiveLimit, AdaptivePermit, AdaptiveSettings
from holdfast.resilience.outcome import Outcome


@dataclass
class Call:
    """One call, and when its three moments were: their places in the order of everything."""

    started: int
    answered: int | None = None
    ended: int | None = None
    outcome: Outcome | None = None


@dataclass
class Story:
    """All that happened, and what the limit has to be after it: nothing of a limit is kept but its settings."""

    settings: AdaptiveSettings
    calls: list[Call] = field(default_factory=list)
    moments: int = 0

    def now(self) -> int:
        self.moments += 1
        return self.moments

    def in_flight(self) -> list[int]:
        """After each moment."""
        moves = [0] * (self.moments + 1)
        for call in self.calls:
            moves[call.started] += 1
            if call.ended is not None:
                moves[call.ended] -= 1
        return list(accumulate(moves))

    def success_at(self, call: Call) -> int | None:
        """When the call was known to be a success: at the first sign of its answer, else at its end."""
        if call.answered is not None:
            return call.answered
        return call.ended if call.outcome is Outcome.SUCCESS else None

    def told(self) -> list[tuple[int, int]]:
        """The limit after each moment that changed or could have changed it."""
        told = [(0, self.settings.initial_limit)]
        since = 0
        while True:
            told += self.grown(since, told[-1][1])
            decrease = self.decrease_after(since)
            if decrease is None:
                return told
            limit = next(limit for at, limit in reversed(told) if at < decrease)
            told = [(at, limit) for at, limit in told if at < decrease]
            told.append((decrease, max(self.settings.min_limit, int(limit * self.settings.decrease))))
            since = decrease

    def decrease_after(self, since: int) -> int | None:
        bad = (Outcome.LIMITED, Outcome.OVERLOAD)
        ends = (call.ended for call in self.calls if call.started > since and call.outcome in bad)
        return min((at for at in ends if at is not None), default=None)

    def grown(self, since: int, limit: int) -> list[tuple[int, int]]:
        """What the limit would be after each success, if nothing lowered it any more."""
        later = (self.success_at(call) for call in self.calls if call.started > since)
        successes = sorted(at for at in later if at is not None)
        grown: list[tuple[int, int]] = []
        in_flight = self.in_flight()
        round_trips, step = 0, self.settings.increase if since else limit
        begun, base, counted = since, limit, 0
        for at in successes:
            if max(in_flight[begun : at + 1]) * 10 < base * 9:
                continue
            counted += 1
            length = base if not since else max(base, 8)
            grown.append((at, min(base + step * counted // length, self.settings.max_limit)))
            if counted == length:
                round_trips += 1
                begun, base, counted = at, grown[-1][1], 0
                if not since or round_trips >= self.settings.restart_after:
                    step = min(2 * step, base)
        return grown


class AdaptiveMachine(RuleBasedStateMachine):
    """Random calls and verdicts, often enough at the limit that it moves."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []
        self.story = Story(
            AdaptiveSettings(min_limit=1, initial_limit=2, max_limit=12, decrease=0.8, restart_after=2)
        )
        self.limit = AdaptiveLimit(self.story.settings, on_change=self.told.append)
        self.running: list[tuple[AdaptivePermit, Call]] = []

    def start(self) -> None:
        self.story.calls.append(Call(self.story.now()))
        self.running.append((self.limit.started(), self.story.calls[-1]))

    def end(self, index: int, outcome: Outcome) -> None:
        permit, call = self.running.pop(index % len(self.running))
        call.ended, call.outcome = self.story.now(), outcome
        permit.leave(outcome)

    @rule(some=st.integers(1, 3))
    def a_few_start(self, some: int) -> None:
        for _ in range(some):
            self.start()

    @rule()
    def as_many_start_as_may(self) -> None:
        while self.limit.in_flight < self.limit.limit:
            self.start()

    @precondition(lambda self: self.running)
    @rule(index=st.integers(0, 30), outcome=st.sampled_from(Outcome))
    def one_ends(self, index: int, outcome: Outcome) -> None:
        self.end(index, outcome)

    @rule(round_trips=st.integers(1, 4))
    def a_crowd_is_served(self, round_trips: int) -> None:
        """The oldest first, with the limit always full."""
        for _ in range(round_trips * self.limit.limit):
            self.as_many_start_as_may()
            self.end(0, Outcome.SUCCESS)

    @precondition(lambda self: self.running)
    @rule(outcome=st.sampled_from([Outcome.LIMITED, Outcome.OVERLOAD]))
    def one_is_refused_and_the_rest_are_served(self, outcome: Outcome) -> None:
        self.as_many_start_as_may()
        self.end(0, outcome)
        while self.running:
            self.end(0, Outcome.SUCCESS)

    @precondition(lambda self: self.running)
    @rule(outcome=st.sampled_from([Outcome.LIMITED, Outcome.OVERLOAD]))
    def all_end_at_once(self, outcome: Outcome) -> None:
        while self.running:
            self.end(0, outcome)

    @precondition(lambda self: self.running)
    @rule(index=st.integers(0, 30))
    def one_answers(self, index: int) -> None:
        permit, call = self.running[index % len(self.running)]
        permit.progressed()
        if call.answered is None:
            call.answered = self.story.now()

    def teardown(self) -> None:
        """Every limit there was is what the whole story says."""
        told = self.story.told()
        assert self.limit.limit == told[-1][1]
        limits = [limit for _, limit in told]
        changes = [limit for before, limit in zip([0, *limits], limits, strict=False) if limit != before]
        assert self.told == changes

    @invariant()
    def it_stays_within_its_bounds(self) -> None:
        assert 1 <= self.limit.limit <= 12

    @invariant()
    def every_place_is_accounted_for(self) -> None:
        assert self.limit.in_flight == len(self.running)


TestAdaptive = AdaptiveMachine.TestCase
