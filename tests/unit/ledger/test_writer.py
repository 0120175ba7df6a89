"""Groups, waiting, failing and closing, on a store that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from tests.unit.ledger.helpers import HandClock, end, intent, writer_on

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.writer import GroupFailed, GroupWriter, Written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.ledger import End, Intent
    from holdfast.ledger.statement import Statement


class ToldStore:
    """Keeps what it is given. ``gate`` shut: the thread waits in ``write``. ``fail``: what ``write`` raises."""

    def __init__(self) -> None:
        self.groups: list[tuple[list[str], list[str]]] = []
        self.tries = 0
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.fail: Exception | None = None
        self.renewed = threading.Semaphore(0)
        self.closed = False

    def write(
        self, intents: Sequence[Intent], ends: Sequence[End], statements: Sequence[Statement] = ()
    ) -> Written:
        self.tries += 1
        self.entered.release()
        assert self.gate.wait(10)
        if self.fail is not None:
            raise self.fail
        self.groups.append(([each.id for each in intents], [each.id for each in ends]))
        return Written(refused={}, late=0, ignored=0)

    def renew(self) -> None:
        self.renewed.release()
        if self.fail is not None:
            raise self.fail

    def close(self) -> None:
        self.closed = True

    async def was_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=10)


async def spin() -> None:
    """Let every task run up to its next wait."""
    for _ in range(5):
        await asyncio.sleep(0)


@contextlib.contextmanager
def trouble(store: ToldStore, reason: str = "disk full", *, ambiguous: bool = False):
    store.fail = GroupFailed(reason, ambiguous=ambiguous)
    yield
    store.fail = None


def test_what_comes_while_one_group_is_written_is_the_next_group() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        store.gate.clear()
        first = asyncio.create_task(writer.begin(intent("a")))
        await store.was_entered()
        later = [asyncio.create_task(writer.begin(intent(str(n)))) for n in range(50)]
        await spin()
        for n in range(50):
            writer.end(end(str(n)))
        store.gate.set()
        await asyncio.gather(first, *later)
        await writer.flush()
        numbers = [str(n) for n in range(50)]
        assert store.groups == [(["a"], []), (numbers, numbers)]
        assert writer.health().commits == 2
        await writer.aclose()

    asyncio.run(main())


def test_a_group_has_a_largest_size() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store, max_group=8)
        store.gate.clear()
        callers = [asyncio.create_task(writer.begin(intent(str(n)))) for n in range(30)]
        await spin()
        for n in range(30):
            writer.end(end(str(n)))
        store.gate.set()
        await asyncio.gather(*callers)
        await writer.flush()
        assert all(len(intents) + len(ends) <= 8 + 1 for intents, ends in store.groups)
        begun = [each for intents, _ in store.groups for each in intents]
        ended = [each for _, ends in store.groups for each in ends]
        assert begun == ended == [str(n) for n in range(30)]
        await writer.aclose()

    asyncio.run(main())


def test_a_cancelled_begin_is_written_before_its_end() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        store.gate.clear()
        blocker = asyncio.create_task(writer.begin(intent("blocker")))
        await store.was_entered()
        caller = asyncio.create_task(writer.begin(intent("left")))
        await spin()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        writer.end(end("left", state="cancelled"))
        store.gate.set()
        await blocker
        await writer.flush()
        assert store.groups == [(["blocker"], []), (["left"], ["left"])]
        await writer.aclose()

    asyncio.run(main())


def test_a_caller_that_left_does_not_take_its_group_along() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        store.gate.clear()
        blocker = asyncio.create_task(writer.begin(intent("blocker")))
        await store.was_entered()
        callers = [asyncio.create_task(writer.begin(intent(name))) for name in ("left", "stays")]
        await spin()
        callers[0].cancel()
        store.gate.set()
        await asyncio.wait_for(asyncio.gather(blocker, callers[1]), 5)
        await writer.aclose()

    asyncio.run(main())


def test_begin_waits_for_the_disk_and_end_does_not() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        store.gate.clear()
        caller = asyncio.create_task(writer.begin(intent("a")))
        await store.was_entered()
        writer.end(end("b"))
        await spin()
        assert not caller.done()
        assert writer.health().queued == 1
        store.gate.set()
        await caller
        await writer.aclose()
        assert store.groups == [(["a"], []), ([], ["b"])]

    asyncio.run(main())


def test_a_failed_group_refuses_its_intents_keeps_its_ends_and_spares_the_next() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        with trouble(store):
            writer.end(end("kept"))
            with pytest.raises(LedgerUnavailable, match="disk full"):
                await writer.begin(intent("refused"))
            health = writer.health()
            assert (health.ok, health.reason, health.queued) == (False, "disk full", 1)
        await writer.begin(intent("next"))
        await writer.flush()
        assert store.groups == [(["next"], ["kept"])]
        assert writer.health().ok
        assert writer.health().refused == 1
        await writer.aclose()

    asyncio.run(main())


def test_each_caller_gets_an_error_of_its_own() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        store.gate.clear()
        with trouble(store):
            callers = [asyncio.create_task(writer.begin(intent(str(n)))) for n in range(3)]
            await spin()
            store.gate.set()
            errors = await asyncio.gather(*callers, return_exceptions=True)
        assert len({id(error) for error in errors}) == 3
        await writer.aclose()

    asyncio.run(main())


def test_kept_ends_are_tried_again_without_a_new_request() -> None:
    """The thread's own pause brings them to disk; nothing here pokes it but time."""

    async def main() -> None:
        store = ToldStore()
        writer = GroupWriter(store, HandClock())
        store.fail = GroupFailed("disk full", ambiguous=False)
        writer.end(end("kept"))
        for _ in range(3):
            await store.was_entered()
        store.fail = None
        while not store.groups:
            await store.was_entered()
            await spin()
        assert store.groups[0] == ([], ["kept"])
        await writer.aclose()

    asyncio.run(main())


def test_pauses_grow_and_arriving_ends_do_not_shorten_them() -> None:
    async def main() -> None:
        clock = HandClock()
        store = ToldStore()
        writer = writer_on(store, clock, monotonic=clock.monotonic)
        waits = []
        with trouble(store):
            writer.end(end("first"))
            await store.was_entered()
            for _ in range(7):
                await asyncio.to_thread(_until, lambda: writer._trouble is not None)
                waits.append(round(writer._retry_at - clock.now_s, 3))
                tries = store.tries
                for n in range(100):
                    writer.end(end(str(n)))
                writer._wake()
                await asyncio.to_thread(_until, lambda: writer._asleep)
                assert store.tries == tries
                clock.advance(waits[-1])
                writer._wake()
                await store.was_entered()
                await asyncio.to_thread(_until, lambda: writer._asleep)
        assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
        await writer.flush()
        await writer.aclose()

    asyncio.run(main())


def _until(condition) -> None:
    """Block on the other thread's progress; pytest's time limit ends what never comes."""
    while not condition():
        pass


def test_too_many_waiting_ends_refuse_new_requests_and_none_is_dropped() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store, max_queued=10)
        with trouble(store, "no room"):
            for n in range(25):
                writer.end(end(str(n)))
            with pytest.raises(LedgerUnavailable, match=r"25 ends wait .* no more requests"):
                await writer.begin(intent("refused"))
            assert not writer.health().ok
        await writer.flush()
        assert [each for _, ends in store.groups for each in ends] == [str(n) for n in range(25)]
        await writer.begin(intent("welcome"))
        await writer.aclose()

    asyncio.run(main())


def test_a_try_during_trouble_is_cheap() -> None:
    async def main() -> None:
        sizes: list[int] = []

        class Watching(ToldStore):
            def write(
                self, intents: Sequence[Intent], ends: Sequence[End], statements: Sequence[Statement] = ()
            ) -> Written:
                sizes.append(len(ends))
                return super().write(intents, ends, statements)

        store = Watching()
        writer = writer_on(store)
        with trouble(store):
            for n in range(1_000):
                writer.end(end(str(n)))
            for _ in range(3):
                with pytest.raises(LedgerUnavailable):
                    await writer.begin(intent("x"))
            sizes.clear()
            with pytest.raises(LedgerUnavailable):
                await writer.begin(intent("x"))
            assert max(sizes) <= 32
        await writer.flush()
        await writer.aclose()

    asyncio.run(main())


def test_an_intent_is_never_durable_before_an_end_that_made_room_for_it() -> None:
    """After an outage more ends wait than a try takes. What comes now may spend what they gave back: it comes behind them,
    in a group that holds the last of them or in a later one."""

    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store, max_group=8)
        await asyncio.gather(*(writer.begin(intent(str(n))) for n in range(100)))
        with trouble(store):
            for n in range(100):
                writer.end(end(str(n)))
            with pytest.raises(LedgerUnavailable):
                await writer.begin(intent("refused"))
        await writer.begin(intent("after"))
        written = [each for _, ends in store.groups for each in ends]
        assert store.groups[-1][0] == ["after"]
        assert written == [str(n) for n in range(100)]
        await writer.aclose()

    asyncio.run(main())


def test_a_disk_that_fails_while_ends_are_caught_up_with_refuses_who_waits() -> None:
    class Twice(ToldStore):
        """Its second write after the outage fails."""

        healed = -1

        def write(
            self, intents: Sequence[Intent], ends: Sequence[End], statements: Sequence[Statement] = ()
        ) -> Written:
            if self.healed >= 0:
                self.healed += 1
                if self.healed == 2:
                    raise GroupFailed("disk full again", ambiguous=False)
            return super().write(intents, ends, statements)

    async def main() -> None:
        store = Twice()
        writer = writer_on(store, max_group=8)
        await asyncio.gather(*(writer.begin(intent(str(n))) for n in range(100)))
        with trouble(store):
            for n in range(100):
                writer.end(end(str(n)))
            with pytest.raises(LedgerUnavailable):
                await writer.begin(intent("refused"))
            store.healed = 0
        with pytest.raises(LedgerUnavailable, match="again"):
            await writer.begin(intent("after"))
        await writer.flush()
        assert sorted(each for _, ends in store.groups for each in ends) == sorted(str(n) for n in range(100))
        await writer.aclose()

    asyncio.run(main())


def test_an_ambiguous_commit_is_closed_behind_the_callers_back() -> None:
    """The caller was told no and will never end it; if the row is there, it must not stay open."""

    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        with trouble(store, ambiguous=True), pytest.raises(LedgerUnavailable):
            await writer.begin(intent("perhaps"))
        await writer.flush()
        assert store.groups == [([], ["perhaps"])]
        await writer.aclose()

    asyncio.run(main())


def test_a_defect_in_the_store_is_answered_and_survived() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        store.fail = RuntimeError("a bug")
        with pytest.raises(LedgerUnavailable, match="a bug"):
            await writer.begin(intent("a"))
        store.fail = None
        await writer.begin(intent("b"))
        await writer.aclose()

    asyncio.run(main())


def test_flush_waits_for_the_ends_before_it_alone() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store, max_group=1)
        store.gate.clear()
        writer.end(end("before"))
        await store.was_entered()
        flush = asyncio.create_task(writer.flush())
        await spin()
        writer.end(end("after"))
        assert not flush.done()
        store.gate.set()
        await flush
        assert store.groups[0] == ([], ["before"])
        await writer.aclose()

    asyncio.run(main())


def test_the_oldest_waiting_end_has_an_age() -> None:
    async def main() -> None:
        clock = HandClock()
        store = ToldStore()
        writer = writer_on(store, clock, monotonic=clock.monotonic)
        store.gate.clear()
        writer.end(end("a"))
        await store.was_entered()
        clock.advance(7)
        writer.end(end("b"))
        assert writer.health().oldest_pending_s == 7
        store.gate.set()
        await writer.flush()
        assert writer.health().oldest_pending_s == 0
        await writer.aclose()

    asyncio.run(main())


def test_closing_writes_what_waits_and_closes_the_store() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        for n in range(2_000):
            writer.end(end(str(n)))
        await writer.aclose()
        assert sum(len(ends) for _, ends in store.groups) == 2_000
        assert store.closed
        assert not writer._thread.is_alive() or await asyncio.to_thread(writer._thread.join, 5) is None

    asyncio.run(main())


def test_closing_on_a_dead_disk_ends_and_says_what_is_unwritten() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store, close_s=0.1)
        with trouble(store):
            writer.end(end("lost"))
            await store.was_entered()
            flush = asyncio.create_task(writer.flush())
            await spin()
            await writer.aclose()
            with pytest.raises(LedgerUnavailable, match="1 ends unwritten"):
                await flush
        assert store.closed
        assert writer.health().queued == 1

    asyncio.run(main())


def test_a_begin_that_overtakes_the_close_is_answered() -> None:
    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        writer._closing = True  # as another thread's aclose would, just after begin looked
        writer._wake()
        assert await asyncio.to_thread(writer._stopped.wait, 10)
        waiter = asyncio.get_running_loop().create_future()
        from holdfast.ledger.writer import _Begun

        writer._put(_Begun(intent("a"), waiter, 0.0))
        with pytest.raises(LedgerUnavailable, match="closed"):
            await waiter
        writer.end(end("a"))
        await writer.flush()

    asyncio.run(main())


def test_a_closed_loop_does_not_end_the_thread() -> None:
    store = ToldStore()
    writer = writer_on(store)
    store.gate.clear()

    async def leave() -> None:
        task = asyncio.ensure_future(writer.begin(intent("left")))
        await store.was_entered()
        task.cancel()

    asyncio.run(leave())
    store.gate.set()

    async def come_back() -> None:
        await writer.begin(intent("again"))
        await writer.aclose()

    asyncio.run(come_back())
    assert store.groups == [(["left"], []), (["again"], [])]


def test_the_lease_is_renewed_three_times_per_term() -> None:
    clock = HandClock()
    store = ToldStore()
    writer = writer_on(store, clock, monotonic=clock.monotonic, lease_s=30)

    def renewed_after(seconds: float) -> bool:
        clock.advance(seconds)
        writer._wake()
        return store.renewed.acquire(timeout=5)

    assert renewed_after(10)
    assert renewed_after(10)
    clock.advance(9.9)
    asyncio.run(_one_round(writer))
    assert not store.renewed.acquire(blocking=False)
    assert renewed_after(0.1)
    asyncio.run(writer.aclose())


def test_an_idle_ledger_notices_trouble_and_its_end() -> None:
    clock = HandClock()
    store = ToldStore()
    writer = writer_on(store, clock, monotonic=clock.monotonic, lease_s=30)
    with trouble(store, "unplugged"):
        clock.advance(10)
        writer._wake()
        assert store.renewed.acquire(timeout=5)
        _until(lambda: writer.health().reason == "unplugged")
    clock.advance(1)
    writer._wake()
    assert store.renewed.acquire(timeout=5)
    _until(lambda: writer.health().ok)
    asyncio.run(writer.aclose())


async def _one_round(writer: GroupWriter) -> None:
    await writer.begin(intent("x"))
    await writer.flush()


def test_a_loss_and_its_end_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    def said() -> list[str]:
        return [record.getMessage().partition(":")[0] for record in caplog.records]

    async def main() -> None:
        store = ToldStore()
        writer = writer_on(store)
        await writer.begin(intent("a"))
        with trouble(store):
            writer.end(end("a"))
            for n in range(20):
                with pytest.raises(LedgerUnavailable) as caught:
                    await writer.begin(intent(str(n)))
                assert caught.value.retry_after_s == 1.0, "when it will have been asked again"
        await writer.begin(intent("b"))
        await writer.flush()
        with trouble(store, "gone again"), pytest.raises(LedgerUnavailable):
            await writer.begin(intent("c"))
        await writer.aclose()  # behind all that is logged

    caplog.set_level("INFO", logger="holdfast.ledger")
    asyncio.run(main())
    assert said()[:3] == ["ledger_lost", "ledger_healed", "ledger_lost"]
    assert len(said()) <= 4, "closing may find it well"
    assert caplog.records[0].getMessage() == "ledger_lost: disk full"


def test_a_loss_that_the_next_renewal_ends_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Both within one turn of the thread, as after a server that hung for as long as the writer waits."""

    class Hangs(ToldStore):
        def renew(self) -> None:
            self.fail = None
            super().renew()

    clock, store = HandClock(), Hangs()
    writer = writer_on(store, clock, monotonic=clock.monotonic, lease_s=30)

    async def main() -> None:
        store.fail = GroupFailed("hangs", ambiguous=False)
        store.gate.clear()
        begun = asyncio.create_task(writer.begin(intent("a")))
        await store.was_entered()
        clock.advance(10)  # the lease is to be renewed at the end of this turn
        store.gate.set()
        with pytest.raises(LedgerUnavailable):
            await begun
        await writer.begin(intent("b"))
        await writer.aclose()

    caplog.set_level("INFO", logger="holdfast.ledger")
    asyncio.run(main())
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "ledger_lost",
        "ledger_healed",
    ]
