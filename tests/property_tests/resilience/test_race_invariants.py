"""Races of every kind against a calendar that says who has to win, and when: no call is lost, none is left behind."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from hypothesis import event, given
from hypothesis import strategies as st

from holdfast.resilience.race import Cause, Loser, race
from holdfast.testing.virtual_time import run_virtual

# Times are whole numbers of seconds where calls begin and wait, with a fraction of its own for each kind of end: so no two
# things happen at the same moment, and what would be decided by the order of timers isn't part of it.
CALL_ENDS = [1 / 16, 1 / 32, 1 / 64, 1 / 128]
CALLER_LEAVES = 1 / 2


class Broken(Exception):
    """A call's own error."""


@dataclass(frozen=True)
class Call:
    """One call of a plan."""

    seconds: int
    fails: bool
    last_words: int
    """Seconds that it takes to end once it is cancelled."""
    unmoved: bool
    """It answers with a result though it was cancelled."""


@dataclass(frozen=True)
class Plan:
    """A race."""

    calls: tuple[Call, ...]
    delays: tuple[float, ...]
    allowed: frozenset[Cause]
    leaves_at: int | None
    grace_s: float

    def ends(self, index: int, begun: float) -> float:
        return begun + self.calls[index].seconds + CALL_ENDS[index]


@dataclass
class Course:
    """What has to happen."""

    started: dict[int, float]
    decided: float
    winner: int | None
    over: float
    told: dict[int, str]


def calendar(plan: Plan) -> Course:
    """From one event to the next, with the whole plan known beforehand."""
    leaves = math.inf if plan.leaves_at is None else plan.leaves_at + CALLER_LEAVES
    started = {0: 0.0}
    failed: dict[int, float] = {}
    winner: int | None = None
    by_time = True
    while True:
        latest = max(started)
        running = [index for index in started if index not in failed]
        more = latest + 1 < len(plan.calls)
        due = math.inf
        if more and by_time and latest < len(plan.delays):
            due = started[latest] + plan.delays[latest]
        first = min(running, key=lambda index: plan.ends(index, started[index]), default=None)
        ends = math.inf if first is None else plan.ends(first, started[first])
        at = min(ends, due, leaves)
        if first is None:
            at = max(failed.values())
            if not more or Cause.FAILED not in plan.allowed:
                break
            started[latest + 1] = at
            by_time = True
        elif at == leaves:
            break
        elif at == due:
            if Cause.SLOW in plan.allowed:
                started[latest + 1] = at
            else:
                by_time = False
        elif plan.calls[first].fails:
            failed[first] = at
        else:
            winner = first
            break
    cancelled = [index for index in started if index not in failed and index != winner]
    over = max([at, *(at + plan.calls[index].last_words for index in cancelled)])
    over = min(over, at + plan.grace_s)
    if winner is not None and leaves < over:  # nobody is there any more to take the answer
        told = {winner: "answer"}
        winner = None
    else:
        told = {}
    for index in failed:
        told[index] = "error"
    for index in cancelled:
        told[index] = "answer" if plan.calls[index].unmoved else "cancelled"
    return Course(started, at, winner, over, told)


calls = st.builds(Call, st.integers(0, 6), st.booleans(), st.integers(0, 3), st.booleans())
plans = st.builds(
    Plan,
    calls=st.lists(calls, min_size=1, max_size=len(CALL_ENDS)).map(tuple),
    delays=st.lists(st.integers(0, 4).map(float) | st.just(math.inf), max_size=4).map(tuple),
    allowed=st.sampled_from([frozenset(Cause)] * 3 + [frozenset([cause]) for cause in Cause] + [frozenset()]),
    leaves_at=st.none() | st.integers(0, 12),
    grace_s=st.sampled_from([0.0, 1.25, 1000.0]),
)


@given(plans)
def test_every_race_goes_as_the_calendar_says(plan):
    course = calendar(plan)
    started: dict[int, float] = {}
    ended: set[int] = set()
    told: list[Loser[int]] = []

    async def start(index: int) -> int:
        call, loop = plan.calls[index], asyncio.get_running_loop()
        assert index not in started
        started[index] = loop.time()
        try:
            await asyncio.sleep(call.seconds + CALL_ENDS[index])
        except asyncio.CancelledError:
            if call.last_words:
                await asyncio.sleep(call.last_words)
            if call.unmoved:
                return index
            raise
        finally:
            ended.add(index)
        if call.fails:
            raise Broken(index)
        return index

    async def main(_) -> None:
        loop = asyncio.get_running_loop()
        running = asyncio.ensure_future(
            race(
                start,
                len(plan.calls),
                plan.delays,
                allow=lambda _, cause: cause in plan.allowed,
                on_loser=told.append,
                grace_s=plan.grace_s,
            )
        )
        if plan.leaves_at is not None:
            loop.call_at(plan.leaves_at + CALLER_LEAVES, running.cancel)
        await asyncio.wait({running})
        assert math.isclose(loop.time(), course.over, abs_tol=1e-6)
        outcome = "cancelled" if running.cancelled() else "failed" if running.exception() else "won"
        event(outcome)
        assert (outcome == "won") == (course.winner is not None)
        if course.winner is not None:
            assert running.result() == (course.winner, course.winner)
        elif outcome == "failed":
            assert str(running.exception()) == "0"
            assert len(running.exception().__notes__ if len(course.started) > 1 else []) == len(started) - 1
        # What was cancelled and is no longer waited for ends all the same, and soon.
        await asyncio.sleep(5)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main)
    assert set(started) == set(course.started) == ended
    for index, at in started.items():
        assert math.isclose(at, course.started[index], abs_tol=1e-6)
    kinds = {
        loser.index: "answer"
        if loser.error is None
        else "cancelled"
        if isinstance(loser.error, asyncio.CancelledError)
        else "error"
        for loser in told
    }
    assert len(told) == len(kinds), "nobody is told twice"
    assert kinds == course.told
    assert all(loser.result == loser.index for loser in told if loser.error is None)
