"""The fair queue: order within a key, turns between keys, whose room is taken, and what it forgets."""

from __future__ import annotations

import timeit

import pytest

from holdfast.resilience.fair_queue import FairQueue


def filled(**backlogs: int) -> FairQueue[str]:
    """So many items of each key, at a cost of 1: ``a1, a2, …``."""
    queue: FairQueue[str] = FairQueue()
    for key, count in backlogs.items():
        for number in range(1, count + 1):
            queue.push(f"{key}{number}", key)
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


class TestOrder:
    def test_one_key_is_first_in_first_out(self):
        assert drained(filled(a=4)) == ["a1", "a2", "a3", "a4"]

    def test_keys_take_turns_however_much_they_have(self):
        """RL2."""
        assert drained(filled(a=4, b=1, c=2)) == ["a1", "b1", "c1", "a2", "c2", "a3", "a4"]

    def test_who_comes_later_waits_for_no_backlog(self):
        """RL2."""
        queue = filled(a=3)
        assert queue.pop() == "a1"
        queue.push("b1", "b")
        assert drained(queue) == ["a2", "b1", "a3"]

    def test_a_key_that_was_empty_stands_last(self):
        queue = filled(a=1, b=2, c=2)
        assert [queue.pop(), queue.pop()] == ["a1", "b1"]
        queue.push("a2", "a")
        assert drained(queue) == ["c1", "b2", "a2", "c2"]

    def test_costs_count_and_not_items(self):
        """RL2: whoever took 4 at once lets the other take 4 before its next turn."""
        queue = filled(b=10)
        for number in (1, 2):
            queue.push(f"a{number}", "a", 4)
        assert drained(queue) == [
            "b1",
            "a1",
            *(f"b{n}" for n in range(2, 6)),
            "a2",
            "b6",
            "b7",
            "b8",
            "b9",
            "b10",
        ]

    def test_one_large_item_at_a_time_is_no_way_to_be_ahead(self):
        """RL2: a key that is never backlogged gets no more than one that is."""
        queue = filled(b=2000)
        taken = {"a": 0, "b": 0}
        queue.push("a", "a", 50)
        for _ in range(1000):
            item = queue.pop()
            taken[item[0]] += 50 if item == "a" else 1
            if item == "a":
                queue.push("a", "a", 50)
        assert taken["a"] <= taken["b"] + 100

    def test_a_large_item_long_ago_makes_no_turn_longer(self):
        """RL2: what a fixed quantum would do."""
        queue = filled(b=3)
        queue.push("a1", "a", 1_000_000)
        assert drained(queue) == ["b1", "a1", "b2", "b3"]
        queue = filled(a=50, b=50)
        queue.push("c", "c", 10)
        for _ in range(40):  # the others catch up with c, and are even again
            queue.pop()
        turns = [queue.pop()[0] for _ in range(20)]
        assert turns in (["a", "b"] * 10, ["b", "a"] * 10)


class TestRemove:
    @pytest.mark.parametrize(
        ("gone", "rest"),
        [
            ("a1", ["b1", "a2", "b2", "a3"]),
            ("a2", ["a1", "b1", "a3", "b2"]),
            ("a3", ["a1", "b1", "a2", "b2"]),
        ],
    )
    def test_from_anywhere(self, gone, rest):
        queue = filled(a=3, b=2)
        assert gone in queue
        assert queue.remove(gone)
        assert gone not in queue
        if gone == "a1":  # it is still a's turn
            rest = ["a2", "b1", "a3", "b2"]
        assert drained(queue) == rest

    def test_what_is_not_there(self):
        queue = filled(a=1)
        assert not queue.remove("b1")
        assert queue.pop() == "a1"
        assert not queue.remove("a1")
        assert len(queue) == 0

    def test_in_the_middle_of_its_turn(self):
        queue = filled(a=5, b=5)
        queue.push("c1", "c", 4)
        assert [queue.pop() for _ in range(4)] == [
            "a1",
            "b1",
            "c1",
            "a2",
        ]  # a has an allowance of 4 in this round
        for item in ("a3", "a4", "a5"):
            queue.remove(item)
        assert [queue.pop() for _ in range(4)] == ["b2", "b3", "b4", "b5"]


class TestMistakes:
    def test_an_item_stands_in_it_once(self):
        queue = filled(a=1)
        with pytest.raises(ValueError, match="this item is in the queue already: 'a1'"):
            queue.push("a1", "b")
        assert drained(queue) == ["a1"]

    @pytest.mark.parametrize("cost", [0, -1])
    def test_costs_begin_at_one(self, cost):
        queue: FairQueue[str] = FairQueue()
        with pytest.raises(ValueError, match=f"cost must be a whole number from 1, not {cost}"):
            queue.push("a", "a", cost)
        assert len(queue) == 0

    def test_nothing_to_pop(self):
        with pytest.raises(IndexError, match="the queue is empty"):
            FairQueue[str]().pop()


class TestDisplace:
    def test_the_newest_of_whoever_has_the_most_goes(self):
        """RL2: a full queue is shared too."""
        queue = filled(a=4, b=2)
        assert queue.displace("c") == "a4"
        assert queue.displace("c") == "a3"
        assert queue.displace("b") is None  # 2 and 2
        assert len(queue) == 4

    @pytest.mark.parametrize(("mine", "gone"), [(0, "a3"), (1, "a3"), (2, None), (3, None)])
    def test_nobody_gains_by_it_who_would_then_have_as_much(self, mine, gone):
        assert filled(a=3, b=mine).displace("b") == gone

    def test_of_equals_the_one_that_grew_last(self):
        assert filled(a=3, b=3, c=1).displace("c") == "b3"

    def test_an_empty_queue_has_no_room_to_give(self):
        assert FairQueue[str]().displace("a") is None

    def test_the_longest_is_known_after_anything(self):
        queue = filled(a=5, b=3)
        for item in ("a1", "a2", "a5"):
            queue.remove(item)
        assert queue.displace("c") == "b3"
        queue.remove("a3")
        assert queue.displace("c") == "b2"
        assert queue.displace("c") is None


class TestMemory:
    def test_keys_vanish_with_their_items(self):
        """A million keys that were here once hold nothing."""
        queue: FairQueue[int] = FairQueue()
        for number in range(1000):
            queue.push(number, f"key {number}")
            queue.pop() if number % 2 else queue.remove(number)
        assert (len(queue), queue._lines, queue._by_length, queue._of) == (0, {}, {}, {})

    def test_it_is_iterated_in_the_order_of_coming(self):
        queue = filled(a=2, b=2)
        queue.pop()
        assert list(queue) == ["a2", "b1", "b2"]

    def test_each_operation_takes_as_long_in_a_long_queue(self):
        """10,000 times as many items: not even 20 times the time, where looking through them would take thousands."""

        def seconds(length: int) -> float:
            queue: FairQueue[int] = FairQueue()
            for number in range(length):
                queue.push(number, str(number % 7))
            fresh = iter(range(length, 10**9))

            def turn() -> None:
                queue.push(next(fresh), "x", 3)
                queue.remove(next(reversed(queue._of)))
                queue.push(next(fresh), "y")
                queue.pop()

            return min(timeit.repeat(turn, number=200, repeat=5))

        assert seconds(100_000) < 20 * seconds(10)
