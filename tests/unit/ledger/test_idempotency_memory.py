"""Keys in memory: bounded, and never by running something again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.ledger.helpers import START_NS, HandClock, intent

from holdfast.errors import LedgerUnavailable
from holdfast.ledger import Counts, MemoryLedger
from holdfast.ledger.idempotency import Answer, Claim, Claimed, Done, Running, Unknown, Unreplayable
from holdfast.ledger.memory_idempotency import MemoryIdempotency

S = 10**9


def claim(store: MemoryIdempotency, key: str = "k", **fields: Any) -> Claim:
    known = {
        "tenant": "t",
        "key": key,
        "fingerprint": store.fingerprint(b"request"),
        "run_id": "run",
        "ttl_s": 60.0,
    }
    return Claim(**known | fields)


async def finished(store: MemoryIdempotency, key: str, body: bytes = b"", *, now_ns: int = START_NS) -> Claim:
    mine = claim(store, key)
    assert await store.claim(mine, now_ns=now_ns) == Claimed()
    assert await store.finish(mine, Answer(status=200, body=body), now_ns=now_ns)
    return mine


def test_the_oldest_answers_make_room_and_leave_their_keys() -> None:
    async def main() -> None:
        store = MemoryIdempotency(max_bytes=1_000)
        for n in range(5):
            await finished(store, f"{n}", b"x" * 300)
        kinds = [type(await store.get("t", f"{n}", now_ns=START_NS)) for n in range(5)]
        assert kinds == [Unreplayable, Unreplayable, Done, Done, Done]
        verdict = await store.claim(claim(store, "0", run_id="next"), now_ns=START_NS)
        assert isinstance(verdict, Unreplayable)  # not run again
        await finished(store, "larger-than-all", b"x" * 2_000)  # takes nobody's place
        kinds = [type(await store.get("t", key, now_ns=START_NS)) for key in ("larger-than-all", "4")]
        assert kinds == [Unreplayable, Done]
        assert store._bytes == sum(store._answers.values()) <= 1_000

    asyncio.run(main())


def test_too_many_keys_refuse_new_ones_until_some_expire() -> None:
    async def main() -> None:
        store = MemoryIdempotency(max_keys=10)
        for n in range(9):
            await finished(store, f"{n}")
        assert await store.claim(claim(store, "runs"), now_ns=START_NS) == Claimed()
        with pytest.raises(LedgerUnavailable, match="10 idempotency keys"):
            await store.claim(claim(store, "new"), now_ns=START_NS + 60 * S - 1)
        assert isinstance(
            await store.claim(claim(store, "0"), now_ns=START_NS), Done
        )  # a known one is answered
        assert await store.claim(claim(store, "new"), now_ns=START_NS + 60 * S) == Claimed()

    asyncio.run(main())


def test_where_it_is_full_all_that_has_expired_goes() -> None:
    async def main() -> None:
        store = MemoryIdempotency(max_keys=10)
        for n in range(10):
            await finished(store, f"{n}")
        for n in range(10):
            await finished(store, f"new-{n}", now_ns=START_NS + 60 * S)
        assert len(store._rows) == 10

    asyncio.run(main())


def test_what_has_expired_is_cleared_away_by_those_who_come() -> None:
    async def main() -> None:
        store = MemoryIdempotency()
        for n in range(20):
            await finished(store, f"old-{n}", b"x")
        for n in range(10):
            await store.claim(claim(store, f"new-{n}"), now_ns=START_NS + 60 * S)
        assert set(store._rows) == {("t", f"new-{n}") for n in range(10)}
        assert (store._bytes, store._answers, store._expiries) == (0, {}, [])

    asyncio.run(main())


def test_notes_of_when_things_expire_are_bounded_too() -> None:
    """A key that is lost and forgotten again and again leaves a stale note each time."""

    async def main() -> None:
        store = MemoryIdempotency()
        for n in range(1_000):
            mine = claim(store, run_id=f"{n}", ttl_s=86_400.0)
            assert await store.claim(mine, now_ns=START_NS) == Claimed()
            assert await store.lose(mine, now_ns=START_NS)
            assert await store.forget(mine, now_ns=START_NS)
        assert len(store._expiries) < 100
        last = await finished(store, "last")
        later_ns = START_NS + last.ttl_ns
        assert await store.claim(claim(store, "last", run_id="next"), now_ns=later_ns) == Claimed()

    asyncio.run(main())


def test_a_stale_note_clears_nothing_away() -> None:
    async def main() -> None:
        store = MemoryIdempotency()
        mine = claim(store)
        await store.claim(mine, now_ns=START_NS)
        await store.lose(mine, now_ns=START_NS)  # would go at 60 s
        await store.finish(mine, Answer(status=200), now_ns=START_NS + 30 * S)  # goes at 90 s
        await store.claim(claim(store, "other"), now_ns=START_NS + 61 * S)
        assert isinstance(await store.get("t", "k", now_ns=START_NS + 61 * S), Done)

    asyncio.run(main())


def test_a_claims_intent_stands_or_falls_with_it() -> None:
    async def main() -> None:
        ledger = MemoryLedger(HandClock())
        store = MemoryIdempotency(ledger=ledger)
        claims = [claim(store, run_id=f"req-{n}") for n in range(5)]
        verdicts = await asyncio.gather(
            *(store.claim(each, now_ns=START_NS, intent=intent(each.run_id)) for each in claims)
        )
        assert verdicts == [Claimed()] + [Running(run_id="req-0", since_ns=START_NS)] * 4
        assert await ledger.counts() == Counts(accepted=1, in_flight=1)

        ledger.refuse("the disk is full")
        with pytest.raises(LedgerUnavailable):
            await store.claim(claim(store, "other", run_id="x"), now_ns=START_NS, intent=intent("x"))
        assert await store.get("t", "other", now_ns=START_NS) is None

    asyncio.run(main())


def test_a_claim_that_is_cancelled_while_its_intent_is_written_claims_nothing() -> None:
    async def main() -> None:
        store = MemoryIdempotency(ledger=MemoryLedger(HandClock()))
        task = asyncio.ensure_future(store.claim(claim(store), now_ns=START_NS, intent=intent("run")))
        while not store._rows:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await store.get("t", "k", now_ns=START_NS) is None

    asyncio.run(main())


def test_an_intent_without_a_ledger_is_a_mistake() -> None:
    async def main() -> None:
        store = MemoryIdempotency()
        with pytest.raises(TypeError, match="needs a ledger"):
            await store.claim(claim(store), now_ns=START_NS, intent=intent("run"))
        assert await store.get("t", "k", now_ns=START_NS) is None

    asyncio.run(main())


def test_a_crash_gives_up_what_runs() -> None:
    async def main() -> None:
        store = MemoryIdempotency()
        await finished(store, "done")
        for key in ("a", "b"):
            await store.claim(claim(store, key), now_ns=START_NS)
        assert store.give_up(now_ns=START_NS) == 2
        kinds = [type(await store.get("t", key, now_ns=START_NS)) for key in ("done", "a", "b")]
        assert kinds == [Done, Unknown, Unknown]

    asyncio.run(main())


@pytest.mark.parametrize("what", ["finish", "seal", "forget", "lose"])
def test_what_is_said_while_nothing_can_be_written_is_owed(what: str) -> None:
    async def main() -> None:
        store = MemoryIdempotency()
        mine = claim(store)
        await store.claim(mine, now_ns=START_NS)
        store.refuse("the disk is full")
        said = (mine, Answer(status=200)) if what == "finish" else (mine,)
        with pytest.raises(LedgerUnavailable, match="disk is full"):
            await getattr(store, what)(*said, now_ns=START_NS)
        assert isinstance(await store.get("t", "k", now_ns=START_NS), Running)
        store.refuse(None)
        wanted = {"finish": Unreplayable, "seal": Unreplayable, "forget": type(None), "lose": Unknown}
        assert isinstance(await store.get("t", "k", now_ns=START_NS), wanted[what])

    asyncio.run(main())
