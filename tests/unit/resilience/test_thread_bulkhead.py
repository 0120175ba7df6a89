"""The thread bulkhead, with real threads. They wait for each other's events and never for time to pass."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from holdfast.resilience.bulkhead import BulkheadFullError
from holdfast.resilience.thread_bulkhead import ThreadBulkhead, ThreadBulkheadClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN_S = 10
"""A limit for what must happen, so that a broken bulkhead fails and doesn't hang."""


class Gate:
    """A blocking function that begins, waits to be let go, and ends."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0
        self.order: list[object] = []

    def __call__(self, name: object = None) -> object:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.order.append(name)
        self.begun.release()
        assert self.go.wait(WITHIN_S)
        with self.lock:
            self.inside -= 1
        return name

    def has_begun(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.begun.acquire(timeout=WITHIN_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.go.set()


def ended(thread: threading.Thread) -> bool:
    thread.join(WITHIN_S)
    return not thread.is_alive()


class TestSettings:
    def test_defaults_are_the_documents(self):
        """E4."""
        settings = ThreadBulkhead().settings
        assert (settings.max_workers, settings.queue_size) == (10, 100)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"max_workers": 0}, "max_workers must be a whole number from 1 to 1000, not 0"),
            ({"queue_size": -1}, "queue_size must be a whole number from 0 to 100000, not -1"),
            ({"thread_idle_s": -1}, "thread_idle_s must be a number from 0 to 3600, not -1"),
        ],
    )
    def test_impossible_ones_are_refused(self, settings, message):
        with pytest.raises(ValueError, match=f"^{message}$"):
            ThreadBulkhead(**settings)


class TestRun:
    def test_the_result_the_error_and_the_arguments(self):
        async def main() -> None:
            async with ThreadBulkhead() as bulkhead:
                assert await bulkhead.run(divmod, 7, 2) == (3, 1)
                assert await bulkhead.run(int, "ff", base=16) == 255
                with pytest.raises(ZeroDivisionError):
                    await bulkhead.run(divmod, 7, 0)

        asyncio.run(main())

    def test_in_threads_of_its_own_under_its_name(self):
        async def main() -> None:
            async with ThreadBulkhead(1, name="disk") as bulkhead:
                threads = [await bulkhead.run(threading.current_thread) for _ in range(3)]
            assert threads[0] is not threading.current_thread()
            assert threads[0] is threads[1] is threads[2]  # kept between calls
            assert (threads[0].name, threads[0].daemon) == ("disk", True)

        asyncio.run(main())

    def test_in_the_callers_context(self):
        variable = contextvars.ContextVar("variable", default="none")

        async def main() -> None:
            variable.set("mine")
            async with ThreadBulkhead() as bulkhead:
                assert await bulkhead.run(variable.get) == "mine"
                assert bulkhead.submit(variable.get).result(WITHIN_S) == "none"

        asyncio.run(main())

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
    def test_whatever_a_function_raises_its_thread_goes_on(self, error):
        def function() -> None:
            raise error

        with ThreadBulkhead(1) as bulkhead:
            assert isinstance(bulkhead.submit(function).exception(WITHIN_S), error)
            assert bulkhead.submit(int).result(WITHIN_S) == 0

    def test_a_stop_iteration_doesnt_hang_the_caller(self):
        async def main() -> None:
            async with ThreadBulkhead(1) as bulkhead:
                with pytest.raises(RuntimeError, match="the function raised StopIteration"):
                    await bulkhead.run(next, iter(()))

        asyncio.run(asyncio.wait_for(main(), WITHIN_S))


class TestLimits:
    def test_so_many_at_once_the_rest_in_line_and_no_more(self, gate):
        """BH1: overflow is refused at once."""
        with ThreadBulkhead(2, 3, name="disk") as bulkhead:
            futures = [bulkhead.submit(gate, number) for number in range(5)]
            with pytest.raises(BulkheadFullError) as caught:
                bulkhead.submit(gate)
            gate.has_begun(2)
            assert (bulkhead.running, bulkhead.waiting, bulkhead.refused) == (2, 3, 1)
            assert (caught.value.name, caught.value.retry_after_s) == ("disk", pytest.approx(2, rel=0.9))
            with pytest.raises(
                BulkheadFullError,
                match="thread bulkhead 'disk': 2 threads are at work, 3 functions wait, and there is no room for more",
            ):
                bulkhead.submit(gate)
            gate.go.set()
            assert [future.result(WITHIN_S) for future in futures] == [0, 1, 2, 3, 4]
            assert gate.most == 2
            assert (bulkhead.running, bulkhead.waiting) == (0, 0)

    def test_no_more_than_so_many_in_any_weather(self):
        """BH1: calls from many threads, cancels in between."""
        lock = threading.Lock()
        inside = most = 0

        def function() -> None:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.0005)
            with lock:
                inside -= 1

        counts = {"done": 0, "cancelled": 0, "refused": 0}

        def caller() -> None:
            for number in range(60):
                try:
                    future = bulkhead.submit(function)
                except BulkheadFullError:
                    outcome = "refused"
                else:
                    outcome = "cancelled" if number % 3 == 0 and future.cancel() else "done"
                    if outcome == "done":
                        future.result(WITHIN_S)
                with lock:
                    counts[outcome] += 1

        with ThreadBulkhead(3, 4) as bulkhead:
            callers = [threading.Thread(target=caller) for _ in range(10)]
            for thread in callers:
                thread.start()
            assert all(map(ended, callers))
            assert sum(counts.values()) == 600
            assert counts["done"]
            assert counts["refused"] == bulkhead.refused > 0
            assert (bulkhead.running, bulkhead.waiting, inside) == (0, 0, 0)
        assert most <= 3

    def test_first_come_first_served(self, gate):
        with ThreadBulkhead(1) as bulkhead:
            futures = [bulkhead.submit(gate, number) for number in range(6)]
            gate.go.set()
            concurrent.futures.wait(futures, WITHIN_S)
            assert gate.order == [0, 1, 2, 3, 4, 5]

    def test_who_calls_again_at_once_finds_the_place_free(self):
        """The place is free before the caller hears of the result."""
        with ThreadBulkhead(1, 0) as bulkhead:
            for _ in range(200):
                bulkhead.submit(int).result(WITHIN_S)

    def test_a_hung_function_takes_nothing_from_another_bulkhead(self, gate):
        """BH1."""

        async def main() -> None:
            async with ThreadBulkhead(2, 0) as other:
                hung = ThreadBulkhead(2, 0)
                for _ in range(2):
                    hung.submit(gate)
                gate.has_begun(2)
                with pytest.raises(BulkheadFullError):
                    await hung.run(int)
                assert await asyncio.gather(other.run(int), asyncio.to_thread(int), other.run(int)) == [
                    0,
                    0,
                    0,
                ]
                gate.go.set()
                await hung.aclose()

        asyncio.run(main())


class TestCancellation:
    def test_a_cancelled_caller_keeps_its_place_until_the_thread_is_done(self, gate):
        """BH1."""

        async def main() -> None:
            async with ThreadBulkhead(1, 0) as bulkhead:
                task = asyncio.create_task(bulkhead.run(gate))
                await asyncio.to_thread(gate.has_begun)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert bulkhead.running == 1
                with pytest.raises(BulkheadFullError):
                    await bulkhead.run(int)
                gate.go.set()
                await bulkhead.aclose()
                assert bulkhead.running == 0

        asyncio.run(main())

    def test_cancelled_in_the_queue_it_is_taken_out(self, gate):
        """Also while no thread will come to it for long: cancelled ones can't fill the queue, nor the memory."""

        async def main() -> None:
            async with ThreadBulkhead(1, 1) as bulkhead:
                running = bulkhead.submit(gate, "first")
                gate.has_begun()
                for _ in range(100):
                    task = asyncio.create_task(bulkhead.run(gate, "never"))
                    await asyncio.sleep(0)
                    assert bulkhead.waiting == 1
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    assert bulkhead.waiting == 0
                gate.go.set()
                assert await asyncio.wrap_future(running) == "first"
            assert gate.order == ["first"]

        asyncio.run(main())

    def test_a_cancelled_future_is_done_for_those_who_wait_for_it(self, gate):
        with ThreadBulkhead(1, 1) as bulkhead:
            bulkhead.submit(gate)
            gate.has_begun()
            future = bulkhead.submit(gate)
            assert future.cancel()
            assert concurrent.futures.wait([future], WITHIN_S).done == {future}
            gate.go.set()


class TestClose:
    def test_what_runs_ends_what_waits_is_cancelled_what_comes_is_refused(self, gate):
        bulkhead = ThreadBulkhead(1, 5, name="disk")
        running, waiting = bulkhead.submit(gate, "running"), bulkhead.submit(gate, "waiting")
        gate.has_begun()
        bulkhead.close(wait=False)
        assert waiting.cancelled()
        with pytest.raises(ThreadBulkheadClosedError, match="thread bulkhead 'disk' was closed"):
            bulkhead.submit(gate)
        gate.go.set()
        bulkhead.close()
        assert running.result(0) == "running"
        assert gate.order == ["running"]

    def test_it_ends_the_threads(self):
        bulkhead = ThreadBulkhead(3)
        threads = {bulkhead.submit(threading.current_thread).result(WITHIN_S) for _ in range(5)}
        bulkhead.close()
        assert not any(thread.is_alive() for thread in threads)

    def test_from_one_of_its_own_threads(self):
        bulkhead = ThreadBulkhead(1)
        assert bulkhead.submit(bulkhead.close).result(WITHIN_S) is None

    def test_of_what_never_ran(self):
        ThreadBulkhead().close()


class TestThreads:
    def test_no_more_are_started_than_are_needed(self, gate):
        with ThreadBulkhead(5) as bulkhead:
            for _ in range(5):
                bulkhead.submit(int).result(WITHIN_S)
            # The one that ran the last may not be back in line yet when the next call comes, but no third one is needed.
            assert len(bulkhead._threads) <= 2
            gate.go.set()

    def test_one_without_work_ends(self):
        bulkhead = ThreadBulkhead(1, thread_idle_s=0)
        first = bulkhead.submit(threading.current_thread).result(WITHIN_S)
        assert ended(first)
        second = bulkhead.submit(threading.current_thread).result(WITHIN_S)
        assert second is not first
        assert ended(second)
        assert not bulkhead._threads

    def test_nothing_of_a_call_outlives_it(self):
        class Big:
            pass

        def give(_: Big) -> Big:
            return Big()

        with ThreadBulkhead(1) as bulkhead:
            big = Big()
            seen = [weakref.ref(big)]
            future = bulkhead.submit(give, big)
            seen.append(weakref.ref(future.result(WITHIN_S)))
            del big, future
            bulkhead.submit(int).result(WITHIN_S)  # the thread has let go of the one before
            gc.collect()
            assert [ref() for ref in seen] == [None, None]

    def test_where_no_thread_can_be_started(self):
        """Nothing is left in the queue, and when the system has threads again, all is well."""
        bulkhead = ThreadBulkhead(1)
        before = threading.stack_size(1 << 46)  # more than there are addresses for
        try:
            with pytest.raises(RuntimeError, match="can't start new thread"):
                bulkhead.submit(int)
        finally:
            threading.stack_size(before)
        assert (bulkhead.waiting, bulkhead.running, bulkhead._threads) == (0, 0, set())
        assert bulkhead.submit(int).result(WITHIN_S) == 0
        bulkhead.close()

    def test_where_no_further_thread_can_be_started(self, gate):
        """The others come to it."""
        with ThreadBulkhead(2) as bulkhead:
            first = bulkhead.submit(gate, 1)
            gate.has_begun()
            before = threading.stack_size(1 << 46)
            try:
                second = bulkhead.submit(gate, 2)
            finally:
                threading.stack_size(before)
            gate.go.set()
            assert (first.result(WITHIN_S), second.result(WITHIN_S)) == (1, 2)
