"""Named time limits: each row of the table, each name, and the moments in which two things happen at once."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import weakref
from typing import get_args

import pytest

from holdfast.resilience.named_timeouts import (
    ERRORS,
    ApiTimeoutError,
    DatabaseTimeoutError,
    ExternalServiceTimeoutError,
    OperationTimeoutError,
    Timeout,
    TimeoutName,
    TimeoutSettings,
    ToolTimeoutError,
    WebSocketTimeoutError,
    with_timeout,
)
from holdfast.resilience.seam import compose
from holdfast.resilience.settings import ranges
from holdfast.testing.virtual_time import run_virtual


def after(delay_s: float, answer: object = "done"):
    """An operation that takes so long and then answers, or raises."""

    async def operation():
        await asyncio.sleep(delay_s)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return operation


def run(operation, limit_s: float = 30.0):
    """What came of it, and when."""

    async def main(clock):
        try:
            result = await Timeout(limit_s).call(operation)
        except Exception as error:  # noqa: BLE001  # whatever it is, is what the test looks at
            result = error
        task = asyncio.current_task()
        assert task.cancelling() == 0
        return result, clock.monotonic()

    return run_virtual(main)


class TestRows:
    """The table at the top of the file."""

    def test_in_time(self):
        assert run(after(29.9)) == ("done", 29.9)

    def test_its_own_error(self):
        error = ValueError("x")
        assert run(after(1.0, error)) == (error, 1.0)

    def test_over(self):
        error, at = run(after(35.0))
        assert type(error) is OperationTimeoutError
        assert (error.name, error.limit_s, error.code, at) == ("operation", 30.0, "OPERATION_TIMEOUT", 30.0)

    def test_the_operation_is_cancelled_and_waited_for(self):
        seen = []

        async def operation():
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(2)
                seen.append("cleaned up")
                raise

        error, at = run(operation)
        assert type(error) is OperationTimeoutError
        assert (seen, at) == (["cleaned up"], 32.0)

    def test_a_time_out_of_its_own(self):
        for kind in (TimeoutError, asyncio.TimeoutError):
            error = kind("theirs")
            assert run(after(1.0, error))[0] is error

    def test_a_time_out_of_its_own_that_came_with_ours(self):
        """It turned our cancel into an error of its own: that is what the caller sees."""
        theirs = TimeoutError("theirs")

        async def operation():
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                raise theirs from None

        assert run(operation) == (theirs, 30.0)

    def test_an_inner_limit_is_told_from_the_outer_one(self):
        def inner():
            return with_timeout("database_query", after(100))

        error, at = run(inner)
        assert type(error) is DatabaseTimeoutError
        assert at == 10.0
        error, at = run(inner, limit_s=7.0)
        assert type(error) is OperationTimeoutError
        assert at == 7.0

    def test_two_limits_that_end_together(self):
        """Whichever cancelled, exactly one time-out comes out and the task isn't left cancelled."""
        error, at = run(lambda: Timeout(30.0, name="inner").call(after(100)))
        assert isinstance(error, OperationTimeoutError)
        assert at == 30.0

    def test_it_goes_on_in_spite_of_being_cancelled(self):
        async def operation():
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(1)
            return "late"

        assert run(operation) == ("late", 31.0)


class TestCancel:
    """From outside it stays a cancel."""

    @pytest.mark.parametrize("at_s", [0.0, 1.0, 30.0])
    def test_at_any_time(self, at_s):
        async def main(clock):
            task = asyncio.create_task(Timeout(30.0).call(after(100)))
            # At 30 s the limit and the cancel come in the same turn, the cancel second.
            asyncio.get_running_loop().call_at(at_s, task.cancel)
            await asyncio.wait([task])
            return task.cancelled(), clock.monotonic()

        assert run_virtual(main) == (True, at_s)

    def test_just_before_the_limit_in_the_same_turn(self):
        async def main(clock):
            loop = asyncio.get_running_loop()
            task = asyncio.create_task(Timeout(30.0).call(after(100)))
            loop.call_at(30.0, task.cancel)  # set before the task begins, and so run before its limit
            await asyncio.wait([task])
            return task.cancelled()

        assert run_virtual(main) is True

    def test_the_operation_learns_of_it(self):
        seen = []

        async def operation():
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                seen.append("left")
                raise

        async def main(clock):
            task = asyncio.create_task(Timeout(30.0).call(operation))
            await asyncio.sleep(5)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

        assert run_virtual(main) is True
        assert seen == ["left"]

    def test_no_timer_is_left(self):
        async def main(clock):
            await Timeout(3600.0).call(after(1.0))
            return [h for h in asyncio.get_running_loop()._scheduled if not h.cancelled()]

        assert run_virtual(main) == []


class TestNames:
    """The documents' limits."""

    TABLE = (
        ("api_request", 30.0, ApiTimeoutError, "API_REQUEST_TIMEOUT"),
        ("api_response", 25.0, ApiTimeoutError, "API_RESPONSE_TIMEOUT"),
        ("tool_execution", 60.0, ToolTimeoutError, "TOOL_EXECUTION_TIMEOUT"),
        ("tool_response", 55.0, ToolTimeoutError, "TOOL_RESPONSE_TIMEOUT"),
        ("database_query", 10.0, DatabaseTimeoutError, "DATABASE_QUERY_TIMEOUT"),
        ("database_connection", 5.0, DatabaseTimeoutError, "DATABASE_CONNECTION_TIMEOUT"),
        ("external_service", 45.0, ExternalServiceTimeoutError, "EXTERNAL_SERVICE_TIMEOUT"),
        (
            "external_service_response",
            40.0,
            ExternalServiceTimeoutError,
            "EXTERNAL_SERVICE_RESPONSE_TIMEOUT",
        ),
        ("websocket_connection", 10.0, WebSocketTimeoutError, "WEBSOCKET_CONNECTION_TIMEOUT"),
        ("websocket_message", 30.0, WebSocketTimeoutError, "WEBSOCKET_MESSAGE_TIMEOUT"),
    )

    @pytest.mark.parametrize(("name", "limit_s", "kind", "code"), TABLE)
    def test_each(self, name, limit_s, kind, code):
        async def main(clock):
            assert await with_timeout(name, after(limit_s - 0.1)) == "done"
            begun = clock.monotonic()
            with pytest.raises(kind) as caught:
                await with_timeout(name, after(limit_s + 5))
            assert clock.monotonic() - begun == pytest.approx(limit_s)
            return caught.value

        error = run_virtual(main)
        assert type(error) is kind
        assert isinstance(error, TimeoutError)
        assert (error.name, error.limit_s, error.code, error.status) == (name, limit_s, code, 504)
        assert str(error) == f"{name.replace('_', ' ')} took longer than {limit_s:g} s"

    def test_there_are_no_others(self):
        names = [row[0] for row in self.TABLE]
        assert list(get_args(TimeoutName)) == list(ERRORS) == list(ranges(TimeoutSettings)) == names

    def test_one_that_is_not_there(self):
        with pytest.raises(ValueError, match="no time limit is called 'tool'; there are api_request, api_"):
            Timeout.named("tool")

    def test_other_values(self):
        settings = TimeoutSettings(tool_execution=2.0, tool_response=1.0)

        async def main(clock):
            with pytest.raises(ToolTimeoutError) as caught:
                await with_timeout("tool_execution", after(3.0), settings=settings)
            return caught.value.limit_s, clock.monotonic()

        assert run_virtual(main) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"api_request": 0.0}, "api_request must be a number above 0 and at most 86400, not 0.0"),
        ({"database_query": -1.0}, "database_query must be"),
        ({"websocket_message": float("inf")}, "websocket_message must be"),
        ({"api_request": 20.0}, "api_response must be at most api_request, which is 20, not 25"),
        ({"tool_response": 61.0}, "tool_response must be at most tool_execution, which is 60, not 61"),
        (
            {"external_service_response": 46.0},
            "external_service_response must be at most external_service, which is 45",
        ),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        TimeoutSettings(**given)


@pytest.mark.parametrize("limit_s", [0, -1.0, float("nan"), float("inf"), 86_401, True])
def test_impossible_limits_are_refused(limit_s):
    with pytest.raises(ValueError, match=r"^limit_s must be a number above 0 and at most 86400, not "):
        Timeout(limit_s)


def test_errors_survive_being_sent_on():
    error = ToolTimeoutError("tool_execution", 60.0)
    assert error.errno is None
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is ToolTimeoutError
        assert (twin.name, twin.limit_s, str(twin)) == ("tool_execution", 60.0, str(error))


def test_one_serves_many_at_once():
    async def main(clock):
        limit = Timeout(30.0)
        calls = [limit.call(after(n)) for n in range(1, 60, 5)]
        return [type(one) for one in await asyncio.gather(*calls, return_exceptions=True)]

    assert run_virtual(main) == [str] * 6 + [OperationTimeoutError] * 6


def test_composed_each_try_has_its_own_limit():
    async def main(clock):
        return await compose(Timeout(30.0), Timeout(10.0)).call(after(9.0)), clock.monotonic()

    assert run_virtual(main) == ("done", 9.0)


def test_an_error_that_went_through_is_freed_at_once():
    """The one that was kept for comparison must not tie the frame to the error and the error to the frame."""

    class Theirs(TimeoutError):
        pass

    async def main(clock):
        async def operation():
            raise Theirs

        try:
            await Timeout(1.0).call(operation)
        except Theirs as error:
            ref = weakref.ref(error)
        return ref()

    gc.collect()
    gc.disable()
    try:
        assert run_virtual(main) is None
    finally:
        gc.enable()
