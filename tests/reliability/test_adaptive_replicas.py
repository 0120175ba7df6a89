"""RL3 over several processes: each has a limit of its own, and nobody tells anybody of decreases; their sum is the capacity.

From four calls a process on. Below that a limit's steps are too coarse: one call more is a quarter of its share.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.reliability.capacity import SERVICE, World, simulate

ADJUST_S = 30.0
WINDOW_S = 50.0
STEP_AT = ADJUST_S + WINDOW_S
END = STEP_AT + ADJUST_S + WINDOW_S


@settings(max_examples=10)
@given(
    replicas=st.sampled_from([2, 4]),
    each=st.integers(4, 12),
    times=st.sampled_from([0.1, 0.3, 1.0, 3.0, 10.0]),
    service=st.sampled_from(sorted(SERVICE)),
    refusal_s=st.floats(0.0, 0.5),
    seed=st.integers(0, 2**32),
)
@example(replicas=4, each=4, times=10.0, service="exponential", refusal_s=0.3, seed=0)
@example(replicas=2, each=40, times=0.1, service="long tail", refusal_s=0.5, seed=0)
def test_a_step_is_found_within_30_round_trips(replicas, each, times, service, refusal_s, seed):
    before = replicas * each
    after = max(4 * replicas, round(before * times))
    world = World(
        [(0.0, before), (STEP_AT, after)],
        callers=3 * max(before, after) + 2,
        service=service,
        refusal_s=refusal_s,
        seed=seed,
        replicas=replicas,
    )
    run = simulate(world, END)
    assert 0.8 <= run.average(ADJUST_S, STEP_AT) / before <= 1.2, world
    assert 0.8 <= run.average(STEP_AT + ADJUST_S, END) / after <= 1.2, world


@pytest.mark.parametrize("capacity", [16, 40, 160, 800])
def test_all_that_start_again_at_once_begin_where_they_were(capacity):
    """What it saves four processes in their first ten round trips: refusals at a small target, time at a large one."""

    def first_ten(initial: int) -> tuple[float, float]:
        world = World([(0.0, capacity)], callers=3 * capacity, refusal_s=0.3, seed=1, replicas=4)
        run = simulate(world, 10.0, begins=initial)
        return run.average(0.0, 10.0) / capacity, run.refused / run.calls

    (cold, refused_cold), (known, refused_known) = first_ten(0), first_ten(capacity // 4)
    assert 0.8 <= known <= 1.2
    assert refused_known < 0.10
    if capacity < 4 * 10:
        assert refused_cold > 4 * refused_known, "10 calls of each were too many"
    if capacity > 16 * 10:
        assert cold < known - 0.1, "slow start took its time"


@pytest.mark.parametrize("capacity", [40, 100])
@pytest.mark.parametrize("replicas", [1, 3])
def test_one_that_joins_makes_them_all_take_a_share(replicas, capacity):
    """It begins with as much as each of the others has."""
    world = World(
        [(0.0, capacity)],
        callers=3 * capacity,
        refusal_s=0.3,
        seed=1,
        replicas=replicas,
        joins=(STEP_AT, capacity // replicas),
    )
    run = simulate(world, STEP_AT + ADJUST_S)
    assert 0.8 <= run.average(STEP_AT, STEP_AT + ADJUST_S) / capacity <= 1.2
