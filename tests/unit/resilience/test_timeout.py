"""Cheap time limits: as asyncio's own in everything but the price, on every loop."""

from __future__ import annotations

import asyncio
import gc
import random
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING
from weakref import ref

import pytest
import uvloop
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.resilience.timeout import SLOT_S, Limit, Timers, timers
from holdfast.testing.virtual_time import VirtualLoop, run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing.virtual_time import VirtualClock

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop, "virtual": VirtualLoop}


def run(main, loop: str = "virtual"):
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(main)


# The same as asyncio's own.


class Theirs:
    """asyncio's limit, ended on the slot it falls into."""

    def __init__(self, when: float) -> None:
        self._limit = asyncio.timeout_at(when)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, *error: object) -> bool | None:
        return await self._limit.__aexit__(*error)


class Ours:
    def __init__(self, when: float) -> None:
        self._limit = Limit(timers(), when)

    async def __aenter__(self) -> None:
        self._limit.__enter__()

    async def __aexit__(self, *error: object) -> bool | None:
        return self._limit.__exit__(*error)


@dataclass(frozen=True)
class Story:
    """Limits within limits around a sleep, and somebody who cancels from outside. All in slots."""

    limits: tuple[int, ...]
    sleep: int
    cancels: tuple[int, ...]
    swallow: int | None
    """The limit (from outside) whose TimeoutError is caught on the spot, with another sleep after it."""


async def live(story: Story, limit: type[Theirs | Ours]) -> tuple[object, ...]:
    loop = asyncio.get_running_loop()

    async def within(depth: int) -> str:
        if depth == len(story.limits):
            # A third of a slot off: ties with a limit's end would be decided by the order of timers.
            await asyncio.sleep((story.sleep + 1 / 3) * SLOT_S)
            return "slept"
        try:
            async with limit(story.limits[depth] * SLOT_S):
                return await within(depth + 1)
        except TimeoutError:
            if depth != story.swallow:
                raise
            await asyncio.sleep(2 / 3 * SLOT_S)
            return f"caught at {depth}"

    task = asyncio.ensure_future(within(0))
    for at in story.cancels:
        loop.call_at((at + 1 / 2) * SLOT_S, task.cancel)
    await asyncio.wait({task})
    at = round(loop.time(), 6)
    if task.cancelled():
        return "cancelled", at, task.cancelling()
    return repr(task.exception()) if task.exception() else task.result(), at, task.cancelling()


stories = st.builds(
    Story,
    limits=st.lists(st.integers(0, 6), max_size=3).map(tuple),
    sleep=st.integers(0, 6),
    cancels=st.lists(st.integers(0, 6), max_size=2).map(tuple),
    swallow=st.none() | st.integers(0, 2),
)


@given(stories)
@example(Story((3, 3), 6, (), 1))
@example(Story((3, 5), 6, (3,), 0))
@example(Story((0,), 0, (), None))
def test_it_ends_as_asyncios_own_would(story):
    assert run(live(story, Ours)) == run(live(story, Theirs))


def test_somebody_elses_cancellation_is_seen_even_if_the_limit_ran_out_as_well():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        loop.call_at(0.02, task.cancel)
        with pytest.raises(asyncio.CancelledError), Limit(timers(), 0.02):
            await asyncio.Event().wait()
        assert task.uncancel() == 0

    run(main())


def test_a_limit_that_ends_in_time_leaves_nothing_behind():
    async def main() -> None:
        with Limit(timers(), 1.0):
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.0)
        assert asyncio.current_task().cancelling() == 0

    run(main())


def test_other_errors_pass_through():
    async def fails_on_the_way_out() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("on the way out")

    async def main() -> None:
        with pytest.raises(KeyError), Limit(timers(), 1.0):
            raise KeyError("mine")
        with pytest.raises(ValueError, match="on the way out"), Limit(timers(), 0.1):
            await fails_on_the_way_out()
        assert asyncio.current_task().cancelling() == 0

    run(main())


def test_outside_a_task_it_is_refused():
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(RuntimeError):
            Limit(Timers(loop), 1.0).__enter__()
    finally:
        loop.close()


# On time.


@given(st.lists(st.floats(0.0, 30.0, allow_subnormal=False), min_size=1, max_size=30))
def test_never_early_and_at_most_a_slot_late(whens):
    async def main(clock: VirtualClock) -> list[tuple[float, float]]:
        rang: list[tuple[float, float]] = []
        for when in whens:
            timers().call_at(when, lambda when=when: rang.append((when, clock.monotonic())))
        await asyncio.sleep(31.0)
        return rang

    rang = run_virtual(main)
    assert sorted(when for when, _ in rang) == sorted(whens)
    for when, at in rang:
        assert when - 1e-9 <= at <= when + SLOT_S + 1e-6


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_on_a_real_loop_too(loop):
    """uvloop's timers count whole milliseconds, so its earliest is one too soon."""

    async def main() -> list[float]:
        rang: list[float] = []
        done = asyncio.Event()
        began = monotonic()
        whens = [began + 0.005 * n for n in range(1, 21)]
        random.Random(1).shuffle(whens)
        left = len(whens)

        def ring(when: float) -> None:
            nonlocal left
            left -= 1
            rang.append(monotonic() - when)
            if not left:
                done.set()

        for when in whens:
            timers().call_at(when, lambda when=when: ring(when))
        await done.wait()
        return rang

    late = run(main(), loop)
    assert len(late) == 20
    assert min(late) >= -0.0011
    assert sorted(late)[10] <= SLOT_S + 0.02, "the median: a busy machine may hold back some"


@pytest.mark.parametrize("loop", LOOPS)
def test_a_limit_runs_out_on_every_loop(loop):
    async def main() -> None:
        now = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError), Limit(timers(), now + 0.03):
            await asyncio.Event().wait()
        assert asyncio.get_running_loop().time() >= now + 0.028

    run(main(), loop)


def test_a_limit_in_the_past_ends_at_the_first_await_that_waits():
    async def main() -> None:
        await asyncio.sleep(1.0)
        with pytest.raises(TimeoutError), Limit(timers(), 0.5):
            await asyncio.Event().wait()
        assert asyncio.get_running_loop().time() == pytest.approx(1.0, abs=SLOT_S)

    run(main())


def test_alarms_of_one_slot_ring_in_the_order_they_were_set():
    """Else two runs of one seed would differ: what times out first draws its jitter first."""

    async def main() -> list[int]:
        rang: list[int] = []
        for n in range(100):
            timers().call_at(0.011 + n * 1e-5, lambda n=n: rang.append(n))
        await asyncio.sleep(0.1)
        return rang

    assert run(main()) == list(range(100))


def test_an_alarm_may_cancel_a_later_one_and_set_new_ones():
    async def main() -> list[str]:
        rang: list[str] = []
        clock = timers()

        def first() -> None:
            rang.append("first")
            second.cancel()
            second.cancel()
            clock.call_at(0.0, lambda: rang.append("past"))
            clock.call_at(0.05, lambda: rang.append("later"))

        alarm = clock.call_at(0.01, first)
        second = clock.call_at(0.01, lambda: rang.append("second"))
        await asyncio.sleep(0.1)
        alarm.cancel()
        return rang

    assert run(main()) == ["first", "past", "later"]


def test_an_earlier_alarm_is_not_kept_waiting_by_a_later_one():
    async def main() -> list[float]:
        rang: list[float] = []
        loop = asyncio.get_running_loop()
        for when in (5.0, 1.0, 3.0):
            timers().call_at(when, lambda: rang.append(round(loop.time(), 6)))
        await asyncio.sleep(6.0)
        return rang

    assert run(main()) == [1.0, 3.0, 5.0]


# What it holds.


def test_after_many_limits_nothing_is_left():
    async def main(clock: VirtualClock) -> None:
        wheel = timers()

        async def call(n: int) -> None:
            with Limit(wheel, clock.monotonic() + 30.0 + n % 7):
                await asyncio.sleep(n % 11 / 10)

        for _ in range(50):
            await asyncio.gather(*(call(n) for n in range(100)))
        assert sum(map(len, wheel._slots.values())) == 0
        assert len(wheel._slots) == len(wheel._due)
        await asyncio.sleep(40.0)
        assert (wheel._slots, wheel._due, wheel._armed) == ({}, [], None)

    run_virtual(main)


def test_a_limit_that_was_lifted_holds_nothing_of_its_caller():
    class Big:
        pass

    async def main() -> None:
        big = Big()
        gone = ref(big)
        alarm = timers().call_at(1000.0, lambda big=big: None)
        alarm.cancel()
        del big, alarm
        gc.collect()
        assert gone() is None

    run(main())


def test_each_loop_has_timers_of_its_own():
    found: list[Timers] = []

    async def main() -> None:
        found.append(timers())
        assert timers() is found[-1]

    runs: list[Callable[[], None]] = [lambda: run(main()), lambda: run(main())]
    for once in runs:
        once()
    assert found[0] is not found[1]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_is_over_is_not_kept(loop):
    """A program may run one loop after the other, such as a web server without asyncio that calls ``asyncio.run``."""

    async def main() -> ref[asyncio.AbstractEventLoop]:
        with Limit(timers(), 1e9):
            await asyncio.sleep(0)
        return ref(asyncio.get_running_loop())

    before = [run(main(), loop) for _ in range(3)]
    last = run(main(), loop)
    gc.collect()
    assert [each() for each in before] == [None, None, None]
    assert last() is not None, "kept until the thread has another one"


def test_limits_of_a_loop_that_another_one_interrupts_go_on():
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    rang: list[str] = []

    async def begin(name: str) -> None:
        timers().call_at(asyncio.get_running_loop().time() + 0.02, lambda: rang.append(name))

    async def end(name: str) -> None:
        with pytest.raises(TimeoutError), Limit(timers(), asyncio.get_running_loop().time() + 0.03):
            await asyncio.Event().wait()
        assert name in rang

    try:
        one.run_until_complete(begin("one"))
        other.run_until_complete(begin("other"))
        one.run_until_complete(end("one"))
        other.run_until_complete(end("other"))
    finally:
        one.close()
        other.close()
