"""Hedges against every kind of traffic: the budget is never passed, the answers are right, nothing is left behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.hedge import Hedge, HedgeBudget, HedgeSettings
from holdfast.testing.virtual_time import run_virtual


@given(st.integers(0, 1000), st.integers(1, 5), st.lists(st.booleans(), max_size=400))
def test_in_every_stretch_hedges_are_at_most_the_ratio_of_its_requests_and_the_burst(per_mille, burst, asks):
    """And from the start on without the burst. In whole numbers; by brute force over all stretches' ends."""
    budget = HedgeBudget(HedgeSettings(ratio=per_mille / 1000, burst=burst))
    over: list[int] = [
        0
    ]  # hedges × 1000 - requests × ratio, after each event: no stretch may raise it by more than burst
    for is_request in asks:
        if is_request:
            budget.request()
            over.append(over[-1] - per_mille)
        else:
            over.append(over[-1] + 1000 * budget.allow())
        assert over[-1] <= 0
        assert over[-1] - min(over) <= 1000 * burst


@given(st.integers(1, 1000), st.integers(1, 5), st.lists(st.booleans(), max_size=400))
def test_a_hedge_is_refused_only_if_one_more_would_be_too_many(per_mille, burst, asks):
    """A bucket by hand: what is saved never passes the burst, and whatever is there may be spent."""
    budget = HedgeBudget(HedgeSettings(ratio=per_mille / 1000, burst=burst))
    saved = 0
    for is_request in asks:
        if is_request:
            budget.request()
            saved = min(saved + per_mille, 1000 * burst)
        else:
            assert budget.allow() == (saved >= 1000)
            saved -= 1000 if saved >= 1000 else 0


@dataclass(frozen=True)
class Request:
    """One caller's request: when, and what its calls do."""

    at: float
    calls: tuple[tuple[float, bool], ...]
    """Seconds and whether it fails, of the call and its hedges."""
    patience: float | None


# A share of a second of its own for each: see the race's invariants.
OWN_SHARES = (1 / 8, 1 / 16, 1 / 32)
requests = st.builds(
    Request,
    at=st.integers(0, 20).map(float),
    calls=st.tuples(
        *(st.tuples(st.integers(0, 8).map(float(own).__add__), st.booleans()) for own in OWN_SHARES)
    ),
    patience=st.none() | st.integers(0, 10).map(lambda s: s + 1 / 4),
)


@given(
    st.lists(requests, max_size=30),
    st.integers(0, 1000),
    st.integers(1, 2),
    st.none() | st.integers(0, 3).map(float),
)
def test_with_any_traffic_the_ratio_holds_and_each_caller_gets_an_answer_of_its_own(
    story, per_mille, most, delay
):
    begun = hedges = open_calls = 0

    async def main(clock) -> None:
        hedge = Hedge(
            HedgeSettings(delay_s=delay, ratio=per_mille / 1000, max_hedges=most, min_samples=2, burst=1000),
            clock=clock,
        )

        async def caller(number: int, request: Request) -> None:
            nonlocal begun
            await asyncio.sleep(request.at)
            made = 0

            async def call() -> tuple[int, int]:
                nonlocal made, hedges, open_calls
                mine, made = made, made + 1
                hedges += mine > 0
                assert hedges * 1000 <= begun * per_mille
                assert made <= 1 + most
                open_calls += 1
                try:
                    await asyncio.sleep(request.calls[mine][0])
                finally:
                    open_calls -= 1
                if request.calls[mine][1]:
                    raise LookupError(number)
                return number, mine

            begun += 1
            told: object
            try:
                async with asyncio.timeout(request.patience):
                    told = await hedge.call(call)
            except LookupError as error:
                told = error.args
            except TimeoutError:
                told = None
            if told is None:
                assert request.patience is not None
            elif told == (number,):
                assert all(fails for _, fails in request.calls[:made])
            else:
                assert told in [(number, index) for index in range(made) if not request.calls[index][1]]

        await asyncio.gather(*(caller(number, request) for number, request in enumerate(story)))
        assert open_calls == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        state = hedge.snapshot()
        assert (state.requests, state.hedges) == (len(story), hedges)
        assert state.won <= state.hedges

    run_virtual(main)
