"""RL2: the fair queue against the bound of its paper, over any order of events."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.resilience.fair_queue import FairQueue

COSTS = st.integers(1, 30) | st.sampled_from((1, 100))


def jain(shares: list[int]) -> float:
    """R. Jain's index of fairness: 1 where all are equal, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


@given(
    costs=st.tuples(st.lists(COSTS, min_size=1, max_size=5), st.lists(COSTS, min_size=1, max_size=5)),
    backlogs=st.tuples(
        st.integers(2, 40), st.integers(2, 40)
    ),  # with 1 it has nothing whenever that is given out
)
@example(costs=([1], [300]), backlogs=(40, 2))
@example(costs=([1], [1]), backlogs=(2, 40))
def test_two_backlogged_keys_get_the_same(costs, backlogs):
    """RL2: Jain index ≥ 0.95, with any costs and any backlogs.

    Once 14 times the largest cost was given out: by the bound of three times it, the index is at least
    1 / (1 + (3 / 14)²) = 0.956.
    """
    queue: FairQueue[object] = FairQueue()
    of: dict[object, tuple[str, int]] = {}
    pushed = {"a": 0, "b": 0}

    def push(key: str) -> None:
        mine = costs[key == "b"]
        item, cost = object(), mine[pushed[key] % len(mine)]
        pushed[key] += 1
        of[item] = (key, cost)
        queue.push(item, key, cost)

    for key, backlog in zip("ab", backlogs, strict=True):
        for _ in range(backlog):
            push(key)
    given_out = {"a": 0, "b": 0}
    largest = max(*costs[0], *costs[1])
    enough = 14 * largest
    while sum(given_out.values()) < 3 * enough:
        key, cost = of.pop(queue.pop())
        given_out[key] += cost
        push(key)
        if sum(given_out.values()) >= enough:
            assert jain(list(given_out.values())) >= 0.95
    assert len(queue) == sum(backlogs)


EVENTS = st.lists(
    st.tuples(st.just("push"), st.sampled_from("abcd"), COSTS)
    | st.tuples(st.just("pop"), st.none(), st.none())
    | st.tuples(st.just("remove"), st.integers(0, 100), st.none()),
    max_size=120,
)


@given(events=EVENTS, backlog=st.lists(st.tuples(st.sampled_from("abcd"), COSTS), max_size=60))
def test_any_two_keys_are_even_whenever_both_have_something(events, backlog):
    """RL2: in every stretch of time in which two keys had items, they were given the same cost to within 3 × the largest,
    which may have been a third key's, just before: all catch up with it.

    Hence nobody starves: whoever has items is given as much as any other, within that. Within a key: first in first out.
    """
    queue: FairQueue[int] = FairQueue()
    waiting: dict[str, list[tuple[int, int]]] = defaultdict(list)
    history: list[tuple[str, int, frozenset[str]]] = []  # who was given what, and who had items then
    script = [("push", key, cost) for key, cost in backlog] + events
    for number, (what, which, cost) in enumerate([*script, *[("pop", None, None)] * len(script)]):
        had = frozenset(key for key, items in waiting.items() if items)
        if what == "push":
            queue.push(number, which, cost)
            waiting[which].append((number, cost))
        elif what == "pop" and len(queue):
            item = queue.pop()
            key = next(key for key, items in waiting.items() if items and items[0][0] == item)
            _, its_cost = waiting[key].pop(0)
            history.append((key, its_cost, had))
        elif what == "remove":
            items = [(key, pair) for key, pairs in sorted(waiting.items()) for pair in pairs]
            if not items:
                continue
            key, pair = items[which % len(items)]
            assert queue.remove(pair[0])
            waiting[key].remove(pair)
            if not waiting[key]:
                history.append((key, 0, had - {key}))  # nothing was given, and its backlog ended
        assert len(queue) == sum(map(len, waiting.values()))
    assert not any(waiting.values())

    for one, other in combinations("abcd", 2):
        for start in range(len(history)):
            ahead, largest = 0, max((cost for _, cost, _ in history[:start]), default=1)
            for key, cost, had in history[start:]:
                if not {one, other} <= had:
                    break
                largest = max(largest, cost)
                ahead += cost if key == one else -cost if key == other else 0
                assert abs(ahead) <= 3 * largest


@given(
    events=st.lists(
        st.tuples(st.sampled_from(("push", "push", "pop", "remove")), st.integers(0, 5)), max_size=150
    )
)
def test_room_is_taken_from_whoever_has_the_most(events):
    """RL2: whatever has happened before, and only if the newcomer would still have less."""
    queue: FairQueue[tuple[int, int]] = FairQueue()
    held: dict[int, list[tuple[int, int]]] = {key: [] for key in range(6)}
    for number, (what, key) in enumerate(events):
        if what == "push":
            queue.push((key, number), str(key))
            held[key].append((key, number))
        elif what == "remove" and held[key]:
            queue.remove(held[key].pop(number % len(held[key])))
        elif what == "pop" and len(queue):
            item = queue.pop()
            held[item[0]].remove(item)
        most = max(map(len, held.values()))
        newcomer = number % 6
        displaced = queue.displace(str(newcomer))
        if displaced is None:
            assert most - len(held[newcomer]) < 2
            continue
        assert len(held[displaced[0]]) == most >= len(held[newcomer]) + 2
        assert held[displaced[0]].pop() == displaced
