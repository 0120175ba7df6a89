"""The loop at few places each: short enough to be run against each mutant of the product (``tests/mutants/crash.py``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.crash.database import SqliteDatabase
from tests.crash.life import Life, Lived
from tests.crash.nursery import Nursery
from tests.crash.plan import Death

if TYPE_CHECKING:
    from pathlib import Path

SLOW = "group.begun=pause:0.05@all"


def lived(folder: Path, *deaths: Death, **options: Any) -> Lived:
    """One life with these deaths; fails with what was wrong in it."""

    async def live() -> Lived:
        async with Nursery() as nursery:
            database = SqliteDatabase(folder / "ledger.db")
            life = Life("0/0/0", [*deaths], folder=folder, nursery=nursery, database=database, **options)
            return await life.run()

    found = asyncio.run(live())
    assert [str(fault) for fault in found.faults] == []
    assert found.attempts > 0
    return found


def test_what_was_sent_has_an_intent(tmp_path: Path) -> None:
    """It dies while the disk is slow and requests leave: nothing may have left that isn't durable."""
    lived(tmp_path, *(Death("send.written", "load", hit=hit, slow=SLOW) for hit in (1, 8, 20)))


def test_what_was_recovered_is_recovered_once(tmp_path: Path) -> None:
    """It dies under load, then while it recovers, then again."""
    lived(
        tmp_path,
        Death("group.told", "load", hit=3),
        Death("recovery.charged", "start"),
        Death("recovery.closed", "start"),
        Death("recovery.ended", "start"),
        Death("send.piece", "load", hit=20),
        Death("recovery.closed", "start"),
    )


def test_what_was_delivered_never_stands_as_failed(tmp_path: Path) -> None:
    """The caller has it all, and the end is still on its way to a slow disk."""
    lived(tmp_path, *(Death("caller.done", "load", hit=hit, slow=SLOW) for hit in (1, 4, 8)))


def test_an_end_and_its_charges_are_one(tmp_path: Path) -> None:
    lived(tmp_path, *(Death("group.ends", "load", hit=hit, slow=SLOW) for hit in (3, 5, 7, 9)))


def test_a_raised_bound_is_durable_before_its_attempt(tmp_path: Path) -> None:
    """Second attempts beside first ones that are slow: it dies just as they leave."""
    deaths = [Death("send.written", "load", hit=hit, slow=SLOW) for hit in (26, 34)]
    lived(tmp_path, *deaths, routes=("quick",), script="tokens=12 ttft=0.2")


def test_an_answer_is_kept_as_it_was_given(tmp_path: Path) -> None:
    found = lived(
        tmp_path,
        Death("idempotency.answered", "load", hit=4, slow=SLOW),
        Death("idempotency.kept", "load", hit=4),
        Death("group.committed", "load", hit=12),
    )
    assert found.replayed > 0


def test_a_key_runs_again_only_after_a_failure(tmp_path: Path) -> None:
    """Its run fails in passing, and it dies before and after the key is free again."""
    lived(
        tmp_path,
        Death("idempotency.failed", "load", hit=1, slow=SLOW),
        Death("idempotency.forgotten", "load", hit=1),
        Death("idempotency.claimed", "load", hit=9, slow=SLOW),
    )


def test_a_drain_writes_everything_down(tmp_path: Path) -> None:
    """What is left in the end was served by a gateway that was told to stop under load, with a very slow disk."""
    lived(tmp_path, Death("drain.begun", "drain", after_s=0.1), slow_end="group.begun=pause:0.5@all")
