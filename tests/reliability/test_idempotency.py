"""One effect for one key: the documents' idempotency tests, with the cases they leave out, in virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast import idempotency
from holdfast.errors import (
    IdempotencyConflict,
    IdempotencyRunning,
    LedgerUnavailable,
    NotReplayable,
    OutcomeUnknownForKey,
)
from holdfast.idempotency import InvalidIdempotencyKeyError, MemoryIdempotency, idempotent_operation
from holdfast.ledger.idempotency import LARGEST_ANSWER, Claim, Running, Unknown
from holdfast.testing.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing.virtual_time import VirtualClock


class Users:
    """An operation with an effect that can be counted."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.created = 0
        self.finished = 0
        self.takes_s = takes_s
        self.errors: list[Exception] = []

    async def create(self) -> dict[str, Any]:
        self.created += 1
        number = self.created
        await asyncio.sleep(self.takes_s)
        if self.errors:
            raise self.errors.pop(0)
        self.finished += 1
        return {"user_id": f"user-{number}", "tags": ["a", None, 1.5]}


@pytest.fixture(autouse=True)
def nothing_stays_behind():
    yield
    assert idempotency._running == {}


class TestIdempotency:
    def test_idempotent_operation(self) -> None:
        """ID1: the second call is answered, not run."""

        async def main(clock: VirtualClock) -> None:
            users, store = Users(), MemoryIdempotency()
            ask = asker(users, store, clock)
            result1 = await ask("test_key_123")
            result2 = await ask("test_key_123")
            assert result1 == result2
            assert result1["user_id"] == result2["user_id"] == "user-1"
            assert users.created == 1
            result1["tags"].append("changed by its caller")
            assert await ask("test_key_123") == result2

        run_virtual(main)

    def test_idempotency_key_validation(self) -> None:
        """ID2: a bad key is refused before anything is run."""

        async def main(clock: VirtualClock) -> None:
            users, store = Users(), MemoryIdempotency()
            ask = asker(users, store, clock)
            assert await ask("valid_key_123") is not None
            assert await ask("!~" * 127 + "x") is not None
            ran = users.created
            for bad in ("invalid key with spaces", "", "x" * 256, "tab\t", "nul\0", "é", "line\n", "\x7f"):
                with pytest.raises(InvalidIdempotencyKeyError) as error:
                    await ask(bad)
                assert (error.value.status, error.value.code) == (400, "invalid_idempotency_key")
            assert users.created == ran

        run_virtual(main)

    def test_idempotency_ttl(self) -> None:
        """The result is kept for its time, counted from its end, and not for longer."""

        async def main(clock: VirtualClock) -> None:
            users, store = Users(takes_s=10.0), MemoryIdempotency()
            ask = asker(users, store, clock)
            result1 = await ask("ttl_test_key", ttl=1)
            await asyncio.sleep(0.9)
            assert await ask("ttl_test_key", ttl=1) == result1
            await asyncio.sleep(0.2)
            result2 = await ask("ttl_test_key")
            assert result1 != result2
            assert users.created == 2

        run_virtual(main)

    def test_idempotency_concurrent_requests(self) -> None:
        """ID1: five who come at once, and one who comes in the middle, wait for one run."""

        async def main(clock: VirtualClock) -> None:
            users, store = Users(takes_s=5.0), MemoryIdempotency(latency_s=0.01)
            ask = asker(users, store, clock)
            tasks = [asyncio.create_task(ask("concurrent_test_key")) for _ in range(5)]
            await asyncio.sleep(2.0)
            tasks.append(asyncio.create_task(ask("concurrent_test_key")))
            results = await asyncio.gather(*tasks)
            assert all(result == results[0] for result in results)
            assert len({id(result) for result in results}) == 6  # nobody can change another's
            assert users.created == 1
            assert clock.monotonic() == pytest.approx(5.02)  # they waited once, together

        run_virtual(main)


def asker(users: Users, store: MemoryIdempotency, clock: VirtualClock) -> Callable[..., Any]:
    async def ask(key: str, ttl: float = 3600, **options: Any) -> Any:
        return await idempotent_operation(users.create, key, ttl, store=store, clock=clock, **options)

    return ask


def test_without_a_store_it_is_the_process_own() -> None:
    async def main(clock: VirtualClock) -> list[Any]:
        return [await idempotent_operation(users.create, "own-store", clock=clock) for _ in range(2)]

    users = Users()
    results = run_virtual(main) + run_virtual(main)  # across event loops too
    assert [each["user_id"] for each in results] == ["user-1"] * 4


def test_another_payload_is_a_conflict_and_the_same_one_is_not() -> None:
    """ID2."""

    async def main(clock: VirtualClock) -> None:
        users, store = Users(takes_s=1.0), MemoryIdempotency()
        ask = asker(users, store, clock)
        first = asyncio.create_task(ask("k", payload={"a": 1, "b": [2]}))
        await asyncio.sleep(0.5)
        for payload in ({"a": 1, "b": [3]}, None, b'{"a":1,"b":[2]}'):
            with pytest.raises(IdempotencyConflict) as error:  # while it runs
                await ask("k", payload=payload)
            assert error.value.status == 422
        result = await first
        with pytest.raises(IdempotencyConflict):  # and when it is over
            await ask("k", payload="other")
        assert await ask("k", payload={"b": [2], "a": 1}) == result
        assert users.created == 1

    run_virtual(main)


def test_keys_of_different_owners_never_meet() -> None:
    """ID2: keys belong to their tenant."""

    async def main(clock: VirtualClock) -> None:
        users, store = Users(), MemoryIdempotency()
        ask = asker(users, store, clock)
        results = [await ask("k", owner=owner) for owner in ("a", "b", "a")]
        assert [each["user_id"] for each in results] == ["user-1", "user-2", "user-1"]

    run_virtual(main)


def test_an_error_is_not_kept_and_everybody_who_waited_gets_it() -> None:
    """ID2: transient failures aren't stored."""

    async def main(clock: VirtualClock) -> None:
        users, store = Users(takes_s=1.0), MemoryIdempotency()
        users.errors = [ConnectionError("provider down")]
        ask = asker(users, store, clock)
        results = await asyncio.gather(*(ask("k") for _ in range(3)), return_exceptions=True)
        assert [str(each) for each in results] == ["provider down"] * 3
        assert users.created == 1
        assert (await ask("k"))["user_id"] == "user-2"
        assert (await ask("k"))["user_id"] == "user-2"

    run_virtual(main)


def test_who_asks_again_at_once_after_an_error_gets_a_new_run() -> None:
    async def main(clock: VirtualClock) -> None:
        users, store = Users(), MemoryIdempotency()
        users.errors = [ConnectionError("provider down")]

        async def stubborn() -> Any:
            try:
                return await asker(users, store, clock)("k")
            except ConnectionError:
                return await asker(users, store, clock)("k")

        results = await asyncio.gather(*(stubborn() for _ in range(5)))
        assert [each["user_id"] for each in results] == ["user-2"] * 5

    run_virtual(main)


def test_a_run_that_begins_in_the_turn_in_which_one_fails_is_joined_like_any_other() -> None:
    """Between the end of a task and the calls of its callbacks others get to run."""

    async def main(clock: VirtualClock) -> None:
        users, store = Users(), MemoryIdempotency()
        users.errors = [ConnectionError("provider down")]
        ask = asker(users, store, clock)
        first = asyncio.create_task(ask("k"))
        await asyncio.sleep(0)
        (run,) = idempotency._running.values()
        while not run.done():
            await asyncio.sleep(0)  # our turn comes right after the run's
        assert not first.done()
        users.takes_s = 1.0

        async def in_the_middle() -> Any:
            await asyncio.sleep(0.5)
            return await ask("k")

        third = asyncio.create_task(in_the_middle())
        second = await ask("k")  # in this turn, not as a task in the next
        assert second["user_id"] == (await third)["user_id"] == "user-2"
        with pytest.raises(ConnectionError):
            await first

    run_virtual(main)


@pytest.mark.parametrize("leave_after_s", [0.0, 0.005, 0.5, 1.005])
def test_a_caller_who_leaves_does_not_cancel_the_run(leave_after_s: float) -> None:
    """With a key, the run goes on: for who joined, and for who asks later."""

    async def main(clock: VirtualClock) -> None:
        users, store = Users(takes_s=1.0), MemoryIdempotency(latency_s=0.01)
        ask = asker(users, store, clock)
        first = asyncio.create_task(ask("k"))
        await asyncio.sleep(0)
        joined = asyncio.create_task(ask("k"))
        await asyncio.sleep(leave_after_s)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await joined)["user_id"] == "user-1"
        assert users.finished == 1

    run_virtual(main)


def test_the_run_goes_on_when_everybody_has_left() -> None:
    async def main(clock: VirtualClock) -> None:
        users, store = Users(takes_s=1.0), MemoryIdempotency()
        ask = asker(users, store, clock)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask("k"), 0.1)
        await asyncio.sleep(1.0)
        assert users.finished == 1
        assert (await ask("k"))["user_id"] == "user-1"

    run_virtual(main)


def test_an_error_that_nobody_waits_for_is_not_logged() -> None:
    async def main(clock: VirtualClock) -> list[dict[str, Any]]:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        users, store = Users(takes_s=1.0), MemoryIdempotency()
        users.errors = [ConnectionError("provider down")]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asker(users, store, clock)("k"), 0.1)
        await asyncio.sleep(1.0)
        return complaints

    assert run_virtual(main) == []


def test_a_run_of_another_process_says_when_to_ask_again() -> None:
    """ID2: still running is a 409 where it can't be joined."""

    async def main(clock: VirtualClock) -> None:
        users, store = Users(), MemoryIdempotency()
        fingerprint = idempotency._fingerprint(store, None)
        theirs = Claim(tenant="", key="k", fingerprint=fingerprint, run_id="theirs")
        await store.claim(theirs, now_ns=clock.wall_ns())
        with pytest.raises(IdempotencyRunning) as error:
            await asker(users, store, clock)("k")
        assert (error.value.status, error.value.retry_after_s, users.created) == (409, 1.0, 0)

    run_virtual(main)


def test_a_run_that_died_is_never_run_again_silently() -> None:
    """ID1: an outcome that can't be known is unknown, until its time is over."""

    async def main(clock: VirtualClock) -> None:
        users, store = Users(takes_s=1.0), MemoryIdempotency()
        ask = asker(users, store, clock)
        task = asyncio.create_task(ask("k", ttl=60))
        await asyncio.sleep(0.5)
        (run,) = idempotency._running.values()
        run.cancel()  # as asyncio.run does with what is left
        with pytest.raises(OutcomeUnknownForKey):
            await task
        with pytest.raises(OutcomeUnknownForKey) as error:
            await ask("k")
        assert error.value.status == 409
        assert (users.created, users.finished) == (1, 0)
        await asyncio.sleep(60)
        assert (await ask("k"))["user_id"] == "user-2"

    run_virtual(main)


def test_an_event_loop_that_ends_leaves_its_runs_unknown() -> None:
    users, store = Users(takes_s=60.0), MemoryIdempotency()

    async def first(clock: VirtualClock) -> None:
        asyncio.create_task(asker(users, store, clock)("k"))  # noqa: RUF006  # nobody holds it: that is the case
        await asyncio.sleep(1)

    async def then(clock: VirtualClock) -> Any:
        return await store.get("", "k", now_ns=clock.wall_ns())

    run_virtual(first)
    assert isinstance(run_virtual(then), Unknown)


def test_a_run_cancelled_before_its_first_step_leaves_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        users, store = Users(), MemoryIdempotency()
        task = asyncio.create_task(asker(users, store, clock)("k"))
        await asyncio.sleep(0)
        (run,) = idempotency._running.values()
        run.cancel()
        with pytest.raises(OutcomeUnknownForKey):
            await task
        assert idempotency._running == {}
        assert (await asker(users, store, clock)("k"))["user_id"] == "user-1"

    run_virtual(main)


def test_a_result_that_json_cant_say_is_an_error_and_not_run_again() -> None:
    async def main(clock: VirtualClock) -> None:
        ran = 0

        async def operation() -> object:
            nonlocal ran
            ran += 1
            return object()

        store = MemoryIdempotency()
        with pytest.raises(TypeError, match="ran, but JSON can't say"):
            await idempotent_operation(operation, "k", store=store, clock=clock)
        with pytest.raises(NotReplayable):
            await idempotent_operation(operation, "k", store=store, clock=clock)
        assert ran == 1

    run_virtual(main)


def test_a_result_too_large_to_keep_is_given_once() -> None:
    async def main(clock: VirtualClock) -> None:
        async def operation() -> str:
            return "x" * LARGEST_ANSWER  # and two quotes

        store = MemoryIdempotency()
        result = await idempotent_operation(operation, "k", store=store, clock=clock)
        assert len(result) == LARGEST_ANSWER
        with pytest.raises(NotReplayable) as error:
            await idempotent_operation(operation, "k", store=store, clock=clock)
        assert (error.value.status, error.value.code) == (409, "not_replayable")

    run_virtual(main)


def test_results_come_as_json_says_them_the_first_time_too() -> None:
    async def main(clock: VirtualClock) -> None:
        async def operation() -> Any:
            return (1, {"a": (2,)})

        store = MemoryIdempotency()
        results = [await idempotent_operation(operation, "k", store=store, clock=clock) for _ in range(2)]
        assert results == [[1, {"a": [2]}]] * 2

    run_virtual(main)


def test_a_full_disk_runs_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        users, store = Users(), MemoryIdempotency()
        store.refuse("the disk is full")
        with pytest.raises(LedgerUnavailable, match="disk is full"):
            await asker(users, store, clock)("k")
        assert users.created == 0
        store.refuse(None)
        assert (await asker(users, store, clock)("k"))["user_id"] == "user-1"

    run_virtual(main)


def test_a_disk_that_fills_during_the_run_never_makes_a_second_one() -> None:
    """Its callers get the result; later ones a 409, while the disk is full and after."""

    async def main(clock: VirtualClock) -> None:
        users, store = Users(takes_s=1.0), MemoryIdempotency()
        ask = asker(users, store, clock)
        callers = [asyncio.create_task(ask("k")) for _ in range(2)]
        await asyncio.sleep(0.5)
        store.refuse("the disk is full")
        assert [each["user_id"] for each in await asyncio.gather(*callers)] == ["user-1"] * 2
        assert isinstance(await store.get("", "k", now_ns=clock.wall_ns()), Running)
        store.refuse(None)
        with pytest.raises(NotReplayable):
            await ask("k")
        assert users.created == 1

    run_virtual(main)


def test_a_disk_that_fills_before_an_error_frees_the_key_later() -> None:
    async def main(clock: VirtualClock) -> None:
        users, store = Users(takes_s=1.0), MemoryIdempotency()
        users.errors = [ConnectionError("provider down")]
        ask = asker(users, store, clock)
        caller = asyncio.create_task(ask("k"))
        await asyncio.sleep(0.5)
        store.refuse("the disk is full")
        with pytest.raises(ConnectionError):
            await caller
        store.refuse(None)
        assert (await ask("k"))["user_id"] == "user-2"

    run_virtual(main)


def test_an_operation_that_asks_for_itself_is_told_so() -> None:
    async def main(clock: VirtualClock) -> None:
        async def operation() -> Any:
            return await idempotent_operation(operation, "k", store=store, clock=clock)

        store = MemoryIdempotency()
        with pytest.raises(RuntimeError, match="asks for itself"):
            await idempotent_operation(operation, "k", store=store, clock=clock)

    run_virtual(main)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 366 * 86_400])
def test_an_impossible_ttl_is_refused(ttl: float) -> None:
    async def main(clock: VirtualClock) -> None:
        users = Users()
        with pytest.raises(ValueError, match="ttl_s must be a number above 0 and at most 31536000"):
            await asker(users, MemoryIdempotency(), clock)("k", ttl=ttl)
        assert users.created == 0

    run_virtual(main)


def test_a_payload_that_json_cant_say_runs_nothing() -> None:
    async def main(clock: VirtualClock) -> None:
        users = Users()
        with pytest.raises(TypeError):
            await asker(users, MemoryIdempotency(), clock)("k", payload=object())
        assert users.created == 0

    run_virtual(main)
