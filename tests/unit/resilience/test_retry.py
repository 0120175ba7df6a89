"""Retry: each row of its table, the edges, and what a cancel finds."""

from __future__ import annotations

import asyncio
import copy
import errno
import gc
import pickle
import random
import weakref

import pytest
import uvloop

from holdfast.clock import SystemClock
from holdfast.resilience.backoff import Backoff
from holdfast.resilience.retry import (
    CRITICAL,
    INTERACTIVE,
    RETRYABLE_STATUSES,
    STANDARD,
    MaxRetriesExceededError,
    Retry,
    RetryAfterTooLongError,
    RetryBudgetExhaustedError,
    RetryDeadlineError,
    RetrySettings,
    RetryStoppedError,
    add_jitter,
    is_retryable,
    retry_after_of,
    retry_with_backoff,
)
from holdfast.resilience.retry_budget import RetryBudget, RetryBudgetSettings
from holdfast.resilience.seam import Refused, compose
from holdfast.testing.virtual_time import VirtualClock, VirtualLoop, run_virtual

PLAIN = RetrySettings(backoff=Backoff(base_s=1.0, max_s=60.0, jitter=0.0))
NO_RETRIES = RetryBudgetSettings(ratio=0.0, floor_per_s=0.0)


class Failed(Exception):
    """As a client library's error: a status, and perhaps a wish."""

    def __init__(self, status: object = 503, retry_after_s: object = None, name: str = "status") -> None:
        super().__init__(f"said {status}")
        setattr(self, name, status)
        self.retry_after_s = retry_after_s


class Scripted:
    """An operation that fails as told, then answers; it knows when it was run."""

    def __init__(self, clock, *errors: BaseException | None, lasts_s: float = 0.0) -> None:
        self.clock = clock
        self.errors = list(errors)
        self.lasts_s = lasts_s
        self.at: list[float] = []
        self.running = 0

    async def __call__(self) -> str:
        self.at.append(self.clock.monotonic())
        self.running += 1
        assert self.running == 1, "two attempts at once"
        try:
            if self.lasts_s:
                await asyncio.sleep(self.lasts_s)
            if self.errors and (error := self.errors.pop(0)) is not None:
                raise error
            return "done"
        finally:
            self.running -= 1


def run(*errors, settings=PLAIN, lasts_s=0.0, deadline=float("inf"), **more):
    """Result or error, when each attempt began, and when it was all over."""

    async def main(clock):
        operation = Scripted(clock, *errors, lasts_s=lasts_s)
        budget = more.pop("budget_settings", None)
        if budget is not None:
            more["budget"] = RetryBudget(budget, clock=clock)
        retry = Retry(settings, clock=clock, rng=random.Random(1), **more)
        try:
            result = await retry.call(operation, deadline=deadline)
        except Exception as error:  # noqa: BLE001  # whatever it is, is what the test looks at
            result = error
        return result, operation.at, clock.monotonic()

    return run_virtual(main)


class TestRows:
    """The table at the top of the file."""

    def test_a_result(self):
        assert run() == ("done", [0.0], 0.0)

    def test_an_error_that_does_not_pass(self):
        error = Failed(404)
        assert run(error) == (error, [0.0], 0.0)

    def test_an_error_that_passes(self):
        assert run(Failed(), Failed()) == ("done", [0.0, 1.0, 3.0], 3.0)

    def test_then_one_that_does_not(self):
        error = Failed(400)
        assert run(Failed(), error) == (error, [0.0, 1.0], 1.0)

    def test_every_retry_fails(self):
        """RT1: 1 + retries attempts, and no pause after the last one."""
        errors = [Failed(n) for n in (500, 502, 503, 504, 529)]
        error, at, end = run(*errors)
        assert type(error) is MaxRetriesExceededError
        assert (error.attempts, error.last_error, error.__cause__) == (4, errors[3], errors[3])
        assert at == [0.0, 1.0, 3.0, 7.0]
        assert end == 7.0

    def test_no_retries_at_all(self):
        error, at, _ = run(Failed(), settings=RetrySettings(max_retries=0))
        assert type(error) is MaxRetriesExceededError
        assert (error.attempts, at) == (1, [0.0])

    def test_budget_used_up(self):
        error, at, end = run(Failed(), budget_settings=NO_RETRIES)
        assert type(error) is RetryBudgetExhaustedError
        assert (error.attempts, at, end) == (1, [0.0], 0.0)

    @pytest.mark.parametrize(
        ("settings", "deadline", "retry_after_s"),
        [(PLAIN, 1e9, 61.0), (PLAIN, 0.5, None), (RetrySettings(max_retries=0), 1e9, None)],
    )
    def test_the_budget_is_asked_last(self, settings, deadline, retry_after_s):
        """A retry that isn't made anyway takes nothing from the others."""

        async def main(clock):
            budget = RetryBudget(clock=clock)
            retry = Retry(settings, budget=budget, clock=clock)
            with pytest.raises(RetryStoppedError):
                await retry.call(Scripted(clock, Failed(503, retry_after_s)), deadline=deadline)
            return budget.snapshot()

        state = run_virtual(main)
        assert (state.requests, state.retries, state.refused) == (1, 0, 0)

    def test_the_budget_is_told_of_requests_and_retries(self):
        async def main(clock):
            budget = RetryBudget(clock=clock)
            retry = Retry(PLAIN, budget=budget, clock=clock)
            await retry.call(Scripted(clock, Failed(), Failed()))
            await retry.call(Scripted(clock))
            return budget.snapshot()

        state = run_virtual(main)
        assert (state.requests, state.retries) == (2, 2)


class TestRetryAfter:
    """RT3: obeyed up to the cap."""

    @pytest.mark.parametrize(("asked", "waited"), [(5.0, 5.0), (60, 60.0), (0.2, 1.0), (0, 1.0), (2.5, 2.5)])
    def test_waits_as_long_as_asked_and_never_less_than_the_backoff(self, asked, waited):
        assert run(Failed(429, asked)) == ("done", [0.0, waited], waited)

    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
    def test_never_a_moment_too_soon(self, new_loop):
        """On every loop: uvloop's timers count whole milliseconds. 60 retries, up to three later, against the real clock."""
        clock = SystemClock()
        ends, begins = [], []

        async def operation():
            begins.append(clock.monotonic())
            ends.append(clock.monotonic())
            if len(ends) <= 60:
                raise Failed(429, len(ends) * 37 % 300 / 100_000)

        settings = RetrySettings(max_retries=60, backoff=Backoff(base_s=0.0, jitter=0.0))
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(Retry(settings).call(operation))
        waited = [then - before for before, then in zip(ends, begins[1:], strict=False)]
        assert all(wait >= n * 37 % 300 / 100_000 - 1e-6 for n, wait in enumerate(waited, 1))

    @pytest.mark.parametrize("asked_ms", [0.3, 1.4, 1.6, 2.0, 700.0])
    @pytest.mark.parametrize("early_ms", [0.0, 0.4, 0.999, 1.0, 1.42, 1.499])
    def test_nor_on_a_loop_whose_timers_ring_early(self, asked_ms, early_ms):
        """As uvloop's do: by up to 1.5 ms."""

        class EarlyLoop(VirtualLoop):
            def call_later(self, delay, callback, *args, context=None):
                return super().call_later(max(delay - early_ms / 1000, 0), callback, *args, context=context)

        with asyncio.Runner(loop_factory=EarlyLoop) as runner:
            clock = VirtualClock(runner.get_loop())
            operation = Scripted(clock, Failed(429, asked_ms / 1000))
            settings = RetrySettings(backoff=Backoff(base_s=0.0, jitter=0.0))
            runner.run(Retry(settings, clock=clock).call(operation))
        first, second = operation.at
        assert asked_ms - 0.001 <= (second - first) * 1000 <= asked_ms + 2

    def test_beyond_the_cap_stops_now(self):
        error, at, end = run(Failed(429, 60.1))
        assert type(error) is RetryAfterTooLongError
        assert (error.retry_after_s, error.attempts) == (60.1, 1)
        assert (at, end) == ([0.0], 0.0)

    @pytest.mark.parametrize("nonsense", [-1.0, float("nan"), float("inf"), 86_401.0, "5", True, None, [1]])
    def test_nonsense_is_ignored(self, nonsense):
        assert retry_after_of(Failed(429, nonsense)) is None
        assert run(Failed(429, nonsense)) == ("done", [0.0, 1.0], 1.0)

    def test_the_last_wish_is_passed_on(self):
        error, _, _ = run(Failed(429, 1.0), Failed(429, 7.0), settings=RetrySettings(max_retries=1))
        assert type(error) is MaxRetriesExceededError
        assert error.retry_after_s == 7.0

    def test_a_gate_that_knows_when_is_asked_again_then(self):
        assert run(Refused("full", retry_after_s=4.0))[1] == [0.0, 4.0]
        never = Refused("too large")
        assert run(never) == (never, [0.0], 0.0)


class TestDeadline:
    """DL1: nothing begins that can't."""

    @pytest.mark.parametrize(("deadline", "attempts"), [(0.9, 1), (1.0, 1), (1.1, 2), (3.0, 2), (3.5, 3)])
    def test_no_pause_that_reaches_it(self, deadline, attempts):
        error, at, end = run(*[Failed() for _ in range(4)], deadline=deadline)
        assert type(error) is RetryDeadlineError
        assert error.attempts == len(at) == attempts
        assert end == at[-1], "it stops at once"

    def test_retry_after_reaches_it(self):
        error, at, end = run(Failed(429, 30.0), deadline=20.0)
        assert type(error) is RetryDeadlineError
        assert (error.retry_after_s, at, end) == (30.0, [0.0], 0.0)

    @pytest.mark.parametrize("deadline", [0.0, -5.0])
    def test_already_past(self, deadline):
        error, at, _ = run(deadline=deadline)
        assert type(error) is RetryDeadlineError
        assert (error.attempts, error.last_error, error.retry_after_s, at) == (0, None, None, [])
        assert str(error) == "0 attempts: the deadline comes first"

    def test_a_request_that_is_not_made_funds_no_retry(self):
        async def main(clock):
            budget = RetryBudget(clock=clock)
            with pytest.raises(RetryDeadlineError):
                await Retry(budget=budget, clock=clock).call(Scripted(clock), deadline=0.0)
            return budget.snapshot().requests

        assert run_virtual(main) == 0

    def test_time_that_attempts_take_counts(self):
        error, at, end = run(*[Failed() for _ in range(4)], lasts_s=10.0, deadline=23.0)
        assert type(error) is RetryDeadlineError
        assert (at, end) == ([0.0, 11.0], 21.0)


class TestCancel:
    """A caller that leaves ends it, wherever it is."""

    @pytest.mark.parametrize(("at_s", "attempts"), [(0.05, 1), (0.6, 1), (1.15, 2), (2.0, 2)])
    def test_ends_at_once(self, at_s, attempts):
        async def main(clock):
            operation = Scripted(clock, *[Failed() for _ in range(9)], lasts_s=0.1)
            task = asyncio.create_task(Retry(PLAIN, clock=clock).call(operation))
            await asyncio.sleep(at_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert clock.monotonic() == at_s
            await asyncio.sleep(600)
            return operation

        operation = run_virtual(main)
        assert len(operation.at) == attempts
        assert operation.running == 0

    def test_an_operation_that_is_cancelled_itself_is_not_tried_again(self):
        async def main(clock):
            operation = Scripted(clock, asyncio.CancelledError())
            with pytest.raises(asyncio.CancelledError):
                await Retry(PLAIN, retryable=lambda _: True, clock=clock).call(operation)
            return operation.at

        assert run_virtual(main) == [0.0]

    def test_what_was_taken_from_the_budget_stays_taken(self):
        async def main(clock):
            budget = RetryBudget(clock=clock)
            task = asyncio.create_task(
                Retry(PLAIN, budget=budget, clock=clock).call(Scripted(clock, Failed()))
            )
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait([task])
            return budget.snapshot().retries

        assert run_virtual(main) == 1


class TestWhatIsRetryable:
    """By status, by kind, and by nobody's words."""

    @pytest.mark.parametrize("name", ["status", "status_code", "upstream_status"])
    def test_statuses(self, name):
        passing = {status for status in range(100, 600) if is_retryable(Failed(status, name=name))}
        assert passing == {408, 429, 500, 502, 503, 504, 529}

    def test_the_first_attribute_that_is_a_number_decides(self):
        error = Failed("503 Service Unavailable")
        assert not is_retryable(error)
        error.status_code = 400
        error.upstream_status = 503
        assert not is_retryable(error)
        error.status_code = None
        assert is_retryable(error)

    def test_a_status_decides_over_the_kind(self):
        error = ConnectionError("refused")
        assert is_retryable(error)
        error.status = 401
        assert not is_retryable(error)

    @pytest.mark.parametrize(
        ("error", "passes"),
        [
            (TimeoutError(), True),
            (ConnectionResetError(), True),
            (ConnectionRefusedError(), True),
            (BrokenPipeError(), True),
            (OSError(errno.ENETUNREACH, "no way"), True),
            (OSError(errno.EHOSTUNREACH, "no way"), True),
            (OSError(errno.ENETDOWN, "no way"), True),
            (OSError(errno.ENOSPC, "full"), False),
            (FileNotFoundError(), False),
            (ValueError("503"), False),
            (Refused("later", retry_after_s=0.0), True),
            (Refused("never"), False),
            (MaxRetriesExceededError(4, Failed(503)), False),
            (RetryBudgetExhaustedError(1, TimeoutError()), False),
        ],
    )
    def test_kinds(self, error, passes):
        assert is_retryable(error) is passes

    def test_another_rule(self):
        assert run(ValueError("x"), retryable=lambda error: isinstance(error, ValueError))[0] == "done"
        error = Failed(503)
        assert run(error, retryable=lambda error: isinstance(error, ValueError))[0] is error

    def test_retries_of_retries_are_not_made(self):
        """RT5: two layers of three retries are four attempts, not sixteen."""

        async def main(clock):
            operation = Scripted(clock, *[Failed() for _ in range(99)])
            twice = compose(Retry(PLAIN, clock=clock), Retry(PLAIN, clock=clock))
            with pytest.raises(MaxRetriesExceededError):
                await twice.call(operation)
            return len(operation.at)

        assert run_virtual(main) == 4


class TestEvents:
    """Whoever wants to know is told before each pause."""

    def test_each_retry_once(self):
        seen = []
        errors = [Failed(500), Failed(429, 5.0)]
        assert run(*errors, on_retry=seen.append)[0] == "done"
        assert [(e.attempt, e.delay_s, e.error) for e in seen] == [(1, 1.0, errors[0]), (2, 5.0, errors[1])]

    def test_nothing_is_told_of_retries_that_are_not_made(self):
        seen = []
        run(Failed(), settings=RetrySettings(max_retries=0), on_retry=seen.append)
        run(Failed(), budget_settings=NO_RETRIES, on_retry=seen.append)
        assert seen == []

    def test_what_it_raises_ends_the_call(self):
        def broken(_event):
            raise LookupError("broken")

        error, at, _ = run(Failed(), on_retry=broken)
        assert isinstance(error, LookupError)
        assert at == [0.0]


class TestErrors:
    """They say what happened, and survive being sent on."""

    @pytest.mark.parametrize(
        ("kind", "attempts", "text"),
        [
            (MaxRetriesExceededError, 4, "4 attempts failed and no retry is left"),
            (RetryBudgetExhaustedError, 1, "1 attempt failed and the retry budget is used up"),
            (RetryDeadlineError, 2, "2 attempts failed and the deadline comes first"),
            (
                RetryAfterTooLongError,
                1,
                "1 attempt failed and the other side asks for a longer wait than the cap",
            ),
        ],
    )
    def test_in_words(self, kind, attempts, text):
        assert str(kind(attempts, ValueError("x"))) == f"{text}; the last error: ValueError: x"
        assert str(kind(attempts, TimeoutError())) == f"{text}; the last error: TimeoutError"

    def test_copied(self):
        error = MaxRetriesExceededError(4, ValueError("x"))
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(twin) is MaxRetriesExceededError
            assert (twin.attempts, str(twin)) == (4, str(error))

    def test_a_pause_holds_on_to_nothing_of_the_failed_attempt(self):
        """A failed attempt may have had an answer of megabytes in its hands."""

        class Answer:
            pass

        async def main(clock):
            refs = []

            async def operation():
                if refs:
                    return "done"
                answer = Answer()
                refs.append(weakref.ref(answer))
                raise Failed

            task = asyncio.create_task(Retry(PLAIN, clock=clock).call(operation))
            await asyncio.sleep(0.5)
            held = refs[0]() is not None
            await task
            return held

        gc.collect()
        gc.disable()
        try:
            assert run_virtual(main) is False
        finally:
            gc.enable()


class TestPresets:
    """The numbers of the documents, and the gateway's."""

    @pytest.mark.parametrize(
        ("preset", "retries", "ceilings", "jitter"),
        [
            (STANDARD, 3, [1.0, 2.0, 4.0], 0.1),
            (CRITICAL, 5, [1.0, 2.0, 4.0, 8.0, 16.0], 0.1),
            (INTERACTIVE, 2, [0.5, 1.0], "full"),
        ],
    )
    def test_presets(self, preset, retries, ceilings, jitter):
        assert preset.max_retries == retries
        assert [preset.backoff.ceiling(n + 1) for n in range(retries)] == ceilings
        assert preset.backoff.jitter == jitter
        assert preset.backoff.max_s == (8.0 if preset is INTERACTIVE else 60.0)

    def test_statuses(self):
        assert frozenset((408, 429, 500, 502, 503, 504, 529)) == RETRYABLE_STATUSES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_retries": -1}, "max_retries must be a whole number from 0 to 100, not -1"),
        ({"max_retries": 101}, "max_retries must be"),
        ({"max_retries": 1.5}, "max_retries must be"),
        ({"base": -1.0}, "base_s must be a number from 0 to 3600, not -1.0"),
        ({"multiplier": 0.9}, "multiplier must be"),
        ({"cap": float("nan")}, "max_s must be"),
        ({"jitter": 2.0}, "jitter must be"),
        ({"jitter": "half"}, 'jitter must be "full" or'),
        ({"base": 61.0}, "base_s must be at most max_s, which is 60, not 61"),
        ({"cap": 0.5}, "base_s must be at most max_s, which is 0.5, not 1"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_run(given, message):
    async def main(clock):
        operation = Scripted(clock)
        with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
            await retry_with_backoff(operation, **given)
        return operation.at

    assert run_virtual(main) == []


def test_full_jitter_in_one_line():
    async def main(clock):
        operation = Scripted(clock, Failed(), Failed())
        await retry_with_backoff(operation, jitter="full", clock=clock, rng=random.Random(4))
        return operation.at

    _, first, second = run_virtual(main)
    dice = random.Random(4).random
    assert first == pytest.approx(dice())
    assert second - first == pytest.approx(2 * dice())


def test_its_own_chance_differs_between_callers():
    """RT2: without an ``rng`` each caller draws for itself."""

    async def main(clock):
        operations = [Scripted(clock, Failed()) for _ in range(20)]
        await asyncio.gather(*(retry_with_backoff(operation, clock=clock) for operation in operations))
        return {operation.at[1] for operation in operations}

    assert len(run_virtual(main)) == 20
    assert len({add_jitter(10.0) for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "given",
    [
        {"delay": -1.0},
        {"delay": float("nan")},
        {"delay": float("inf")},
        {"delay": 1.0, "factor": 1.1},
        {"delay": 1.0, "factor": -0.1},
        {"delay": 1.0, "cap": -1.0},
    ],
)
def test_jitter_of_nonsense(given):
    with pytest.raises(ValueError, match="must be a number from 0"):
        add_jitter(**given)
