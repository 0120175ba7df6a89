"""The race's rules, one by one, and the turns of the loop in which two things happen at once."""

from __future__ import annotations

import asyncio
import gc
import math
from itertools import repeat
from weakref import ref

import pytest
import uvloop

from holdfast.resilience.race import Cause, Loser, race
from holdfast.testing.virtual_time import run_virtual


class Calls:
    """Scripted calls: each takes so long, and then gives its number or raises."""

    def __init__(self, *seconds: float | Exception | tuple[float, Exception], last_words: float = 0) -> None:
        self.script = seconds
        self.last_words = last_words
        self.started: list[tuple[int, float]] = []
        self.cancelled: list[int] = []
        self.running = 0

    async def __call__(self, index: int) -> str:
        loop = asyncio.get_running_loop()
        self.started.append((index, loop.time()))
        step = self.script[index]
        seconds, error = (
            step if isinstance(step, tuple) else (0, step) if isinstance(step, Exception) else (step, None)
        )
        self.running += 1
        try:
            if seconds:
                await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(index)
            if self.last_words:
                await asyncio.sleep(self.last_words)
            raise
        finally:
            self.running -= 1
        if error is not None:
            raise error
        return f"answer {index}"


def now() -> float:
    return asyncio.get_running_loop().time()


async def nobody_left() -> None:
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_call_that_answers_within_the_delay_runs_alone():
    async def main(_) -> None:
        calls = Calls(0.9, 5)
        assert await race(calls, 2, [1.0]) == (0, "answer 0")
        assert calls.started == [(0, 0.0)]
        assert now() == 0.9
        await nobody_left()

    run_virtual(main)


def test_after_the_delay_another_one_starts_and_may_win():
    async def main(_) -> None:
        calls = Calls(10, 2)
        assert await race(calls, 2, [1.0]) == (1, "answer 1")
        assert (calls.started, calls.cancelled, now()) == ([(0, 0.0), (1, 1.0)], [0], 3.0)
        await nobody_left()

    run_virtual(main)


def test_the_first_may_still_win_after_the_second_started():
    async def main(_) -> None:
        calls = Calls(2, 10)
        assert await race(calls, 2, [1.0]) == (0, "answer 0")
        assert (calls.cancelled, now()) == ([1], 2.0)
        await nobody_left()

    run_virtual(main)


def test_delays_count_from_one_start_to_the_next():
    async def main(_) -> None:
        calls = Calls(100, 100, 100, 1)
        assert await race(calls, 4, [1.0, 2.0, 4.0]) == (3, "answer 3")
        assert calls.started == [(0, 0.0), (1, 1.0), (2, 3.0), (3, 7.0)]
        assert sorted(calls.cancelled) == [0, 1, 2]

    run_virtual(main)


@pytest.mark.parametrize("delays", [[], [math.inf], repeat(math.inf)])
def test_without_a_delay_time_starts_nothing(delays):
    async def main(_) -> None:
        calls = Calls(1000, 1)
        assert await race(calls, 2, delays) == (0, "answer 0")
        assert len(calls.started) == 1

    run_virtual(main)


def test_no_more_than_count_are_started():
    async def main(_) -> None:
        calls = Calls(10, 10, 10)
        await race(calls, 3, repeat(1.0))
        assert [index for index, _ in calls.started] == [0, 1, 2]

    run_virtual(main)


@pytest.mark.parametrize("count", [0, -1])
def test_a_race_of_nobody_is_refused(count):
    async def main(_) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            await race(Calls(), count, [])

    run_virtual(main)


# Failures.


def test_when_all_have_failed_the_next_starts_at_once():
    async def main(_) -> None:
        calls = Calls((0.25, ValueError("a")), (0.25, ValueError("b")), 1)
        assert await race(calls, 3, repeat(100.0)) == (2, "answer 2")
        assert calls.started == [(0, 0.0), (1, 0.25), (2, 0.5)]

    run_virtual(main)


def test_while_another_runs_an_error_waits_for_it():
    async def main(_) -> None:
        calls = Calls((2, ValueError("a")), 3, 1)
        assert await race(calls, 3, [1.0]) == (1, "answer 1")
        assert (len(calls.started), now()) == (2, 4.0)

    run_virtual(main)


def test_a_delay_counts_on_while_others_fail():
    async def main(_) -> None:
        calls = Calls(100, (0.5, ValueError("b")), 1)
        assert await race(calls, 3, [1.0, 2.0]) == (2, "answer 2")
        assert calls.started == [(0, 0.0), (1, 1.0), (2, 3.0)]

    run_virtual(main)


def test_if_all_fail_the_error_is_that_of_the_first_call_with_notes_of_the_others():
    async def main(_) -> None:
        first = KeyError("one")
        calls = Calls((5, first), (1, ValueError("two")), (1, OSError("three")))
        with pytest.raises(KeyError) as raised:
            await race(calls, 3, [1.0, 1.0])
        assert raised.value is first
        assert first.__notes__ == [
            "call 1 of the race failed too: ValueError: two",
            "call 2 of the race failed too: OSError: three",
        ]
        await nobody_left()

    run_virtual(main)


def test_an_error_object_that_is_raised_again_and_again_collects_no_notes():
    async def main(_) -> None:
        same, other = ValueError("same"), OSError("other")
        for _ in range(3):
            with pytest.raises(ValueError, match="same"):
                await race(Calls(same, other, same), 3, [])
        assert same.__notes__ == ["call 1 of the race failed too: OSError: other"]

    run_virtual(main)


def test_a_call_that_cannot_even_be_made_has_failed():
    def start(index: int):
        if index == 0:
            raise LookupError("no such call")
        return asyncio.sleep(1, "fine")

    async def main(_) -> None:
        assert await race(start, 2, []) == (1, "fine")

    run_virtual(main)


def test_a_call_that_was_cancelled_by_somebody_else_has_failed():
    async def start(index: int) -> str:
        if index == 0:
            raise asyncio.CancelledError
        return "fine"

    async def main(_) -> None:
        assert await race(start, 2, []) == (1, "fine")
        with pytest.raises(asyncio.CancelledError):
            await race(start, 1, [])
        assert asyncio.current_task().cancelling() == 0

    run_virtual(main)


# Who may start.


def test_each_start_but_the_first_is_asked_for_with_its_cause():
    asked: list[tuple[int, Cause]] = []

    def allow(index: int, cause: Cause) -> bool:
        asked.append((index, cause))
        return True

    async def main(_) -> None:
        calls = Calls((3, ValueError()), (1, ValueError()), 1)
        await race(calls, 3, [1.0], allow=allow)
        assert asked == [(1, Cause.SLOW), (2, Cause.FAILED)]

    run_virtual(main)


def test_after_a_no_time_starts_nothing_and_failure_still_may():
    asked: list[tuple[int, Cause]] = []

    def allow(index: int, cause: Cause) -> bool:
        asked.append((index, cause))
        return cause is Cause.FAILED

    async def main(_) -> None:
        calls = Calls((10, ValueError()), 1)
        assert await race(calls, 2, repeat(1.0), allow=allow) == (1, "answer 1")
        assert calls.started == [(0, 0.0), (1, 10.0)]
        assert asked == [(1, Cause.SLOW), (1, Cause.FAILED)]

    run_virtual(main)


def test_nothing_is_asked_for_if_a_call_has_answered_when_the_delay_is_over():
    async def main(_) -> None:
        asked: list[int] = []
        answer = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_at(1.0, answer.set_result, "on the dot")

        async def start(_: int) -> str:
            return await answer

        won = await race(start, 2, [1.0], allow=lambda index, _: bool(asked.append(index)))
        assert (won, asked) == ((0, "on the dot"), [])

    run_virtual(main)


def test_what_asking_raises_ends_the_race():
    def allow(index: int, cause: Cause) -> bool:
        raise LookupError(index)

    async def main(_) -> None:
        calls = Calls(10, 10)
        with pytest.raises(LookupError):
            await race(calls, 2, [1.0], allow=allow)
        assert (calls.cancelled, calls.running) == ([0], 0)
        await nobody_left()

    run_virtual(main)


# Losers.


def losers_of(told: list[Loser[str]]) -> list[tuple[int, str | None, type | None]]:
    return [(loser.index, loser.result, loser.error and type(loser.error)) for loser in told]


def test_each_loser_is_told_once():
    async def main(_) -> None:
        told: list[Loser[str]] = []
        calls = Calls((2, ValueError("a")), 100, 2, 100)
        await race(calls, 4, [1.0, 1.0, 1.0], on_loser=told.append)
        assert losers_of(told) == [
            (0, None, ValueError),
            (1, None, asyncio.CancelledError),
            (3, None, asyncio.CancelledError),
        ]

    run_virtual(main)


def test_where_all_fail_all_are_losers():
    async def main(_) -> None:
        told: list[Loser[str]] = []
        with pytest.raises(ValueError, match="a"):
            await race(Calls(ValueError("a"), OSError("b")), 2, [], on_loser=told.append)
        assert losers_of(told) == [(0, None, ValueError), (1, None, OSError)]

    run_virtual(main)


def test_of_two_answers_in_one_turn_the_first_call_wins_and_the_other_is_handed_over():
    """It may have been paid for."""

    async def main(_) -> None:
        told: list[Loser[str]] = []
        gate = asyncio.Event()

        async def start(index: int) -> str:
            await gate.wait()
            return f"answer {index}"

        asyncio.get_running_loop().call_later(5, gate.set)
        assert await race(start, 3, repeat(1.0), on_loser=told.append) == (0, "answer 0")
        assert losers_of(told) == [(1, "answer 1", None), (2, "answer 2", None)]

    run_virtual(main)


def test_a_call_that_answers_in_spite_of_being_cancelled_is_handed_over():
    async def main(_) -> None:
        told: list[Loser[str]] = []

        async def start(index: int) -> str:
            try:
                await asyncio.sleep(100 if index == 0 else 1)
            except asyncio.CancelledError:
                return "too late"
            return "fine"

        assert await race(start, 2, [1.0], on_loser=told.append) == (1, "fine")
        assert losers_of(told) == [(0, "too late", None)]

    run_virtual(main)


def test_the_winner_waits_for_the_losers_last_words():
    async def main(_) -> None:
        calls = Calls(100, 1, last_words=0.25)
        assert await race(calls, 2, [1.0]) == (1, "answer 1")
        assert (calls.running, now()) == (0, 2.25)

    run_virtual(main)


def test_it_waits_for_them_no_longer_than_grace():
    async def main(_) -> None:
        told: list[Loser[str]] = []
        calls = Calls(100, 1, last_words=50)
        assert await race(calls, 2, [1.0], on_loser=told.append, grace_s=0.5) == (1, "answer 1")
        assert (calls.running, told, now()) == (1, [], 2.5)
        await asyncio.sleep(60)
        assert calls.running == 0
        assert losers_of(told) == [(0, None, asyncio.CancelledError)]
        await nobody_left()

    run_virtual(main)


def test_without_grace_nobody_is_waited_for():
    async def main(_) -> None:
        calls = Calls(100, 1, last_words=1)
        assert await race(calls, 2, [1.0], grace_s=0) == (1, "answer 1")
        assert now() == 2.0
        await asyncio.sleep(2)
        assert (calls.cancelled, calls.running) == ([0], 0)

    run_virtual(main)


def test_a_reporter_that_fails_takes_nothing_from_the_winner():
    def broken(loser: Loser[str]) -> None:
        raise LookupError("no ledger")

    async def main(_) -> None:
        heard: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: heard.append(context["exception"])
        )
        assert await race(Calls(100, 1), 2, [1.0], on_loser=broken) == (1, "answer 1")
        assert [type(error) for error in heard] == [LookupError]

    run_virtual(main)


# The caller leaves.


async def cancelled_after(seconds: float, calls: Calls, told: list[Loser[str]], **settings: object) -> None:
    task = asyncio.ensure_future(
        race(calls, len(calls.script), repeat(1.0), on_loser=told.append, **settings)
    )
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("seconds", "running"), [(0.5, 1), (1.5, 2), (2.5, 3)])
def test_a_caller_that_leaves_ends_all_of_them(seconds, running):
    async def main(_) -> None:
        told: list[Loser[str]] = []
        calls = Calls(100, 100, 100, last_words=0.125)
        await cancelled_after(seconds, calls, told)
        assert (calls.running, now()) == (0, seconds + 0.125)
        assert losers_of(told) == [(index, None, asyncio.CancelledError) for index in range(running)]
        await nobody_left()

    run_virtual(main)


def test_a_caller_that_leaves_before_anything_ran():
    async def main(_) -> None:
        calls = Calls(100)
        task = asyncio.ensure_future(race(calls, 1, []))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert calls.started == []
        await nobody_left()

    run_virtual(main)


def test_the_winner_is_handed_over_if_the_caller_leaves_while_the_losers_end():
    async def main(_) -> None:
        told: list[Loser[str]] = []
        calls = Calls(100, 1, last_words=0.5)
        await cancelled_after(2.25, calls, told)
        assert (calls.running, now()) == (0, 2.5)
        assert losers_of(told) == [(0, None, asyncio.CancelledError), (1, "answer 1", None)]

    run_virtual(main)


def test_an_answer_in_the_turn_in_which_the_caller_leaves_is_handed_over():
    async def main(_) -> None:
        told: list[Loser[str]] = []
        answer = asyncio.get_running_loop().create_future()

        async def start(_: int) -> str:
            return await answer

        task = asyncio.ensure_future(race(start, 1, [], on_loser=told.append))
        await asyncio.sleep(1)
        answer.set_result("just in time")
        await asyncio.sleep(0)  # the call has ended, and the race has not heard of it
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert losers_of(told) == [(0, "just in time", None)]

    run_virtual(main)


def test_a_caller_that_leaves_twice_is_not_held_up():
    async def main(_) -> None:
        told: list[Loser[str]] = []
        calls = Calls(100, last_words=0.75)
        task = asyncio.ensure_future(race(calls, 1, [], on_loser=told.append))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(0.25)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (calls.running, told, now()) == (1, [], 1.25)
        await asyncio.sleep(1)
        assert (calls.running, calls.cancelled) == (0, [0])
        assert losers_of(told) == [(0, None, asyncio.CancelledError)]

    run_virtual(main)


def test_grace_holds_for_a_caller_that_leaves_while_the_losers_end():
    async def main(_) -> None:
        calls = Calls(100, 1, last_words=50)
        await cancelled_after(2.25, calls, [], grace_s=0.5)
        assert now() == 2.5
        await asyncio.sleep(60)

    run_virtual(main)


def test_last_words_are_not_cut_short_by_a_second_cancel():
    async def main(_) -> None:
        said: list[str] = []

        async def start(index: int) -> str:
            try:
                return await asyncio.sleep(100 if index == 0 else 1, "fine")
            except asyncio.CancelledError:
                await asyncio.sleep(0.5)
                said.append("goodbye")
                raise

        task = asyncio.ensure_future(race(start, 2, [1.0]))
        await asyncio.sleep(2.25)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert said == ["goodbye"]

    run_virtual(main)


# The loop's own.


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_on_real_loops(loop):
    async def main() -> None:
        never = asyncio.Event()
        told: list[Loser[str]] = []

        async def start(index: int) -> str:
            if index == 0:
                await never.wait()
            return "fine"

        assert await race(start, 2, [0.001], on_loser=told.append) == (1, "fine")
        assert losers_of(told) == [(0, None, asyncio.CancelledError)]
        await nobody_left()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


def test_a_race_that_is_over_leaves_nothing_to_the_collector():
    """Errors hold their frames, and frames what ran in them: a cycle would keep an answer until the next collection."""

    class Answer:
        pass

    async def main(_) -> None:
        seen: list[ref[Answer]] = []

        async def start(index: int) -> Answer:
            answer = Answer()
            seen.append(ref(answer))
            await asyncio.sleep(1)
            if index < 2:
                raise ValueError(answer)
            return answer

        await race(start, 3, [])
        with pytest.raises(ValueError, match="Answer"):
            await race(start, 2, [])
        await asyncio.sleep(0)
        assert [alive for alive in seen if alive() is not None] == []

    gc.collect()
    gc.disable()
    try:
        run_virtual(main)
    finally:
        gc.enable()
