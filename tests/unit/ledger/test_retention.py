"""Requests that were over long ago are deleted a few at a time, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ledger.helpers import START_NS, attempt, end, intent

from holdfast.ledger import Counts
from holdfast.ledger.entry import AccountPart, Charge
from holdfast.ledger.retention import DAY_NS, STEP, deleted, due, kept_since, prune
from holdfast.ledger.statement import Statement
from holdfast.ledger.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.ledger.bases import Base

    from holdfast.ledger.writer import Store

SECOND_NS = 10**9
FOREVER = AccountPart("all:usd:forever:", "usd", 0, None)


@pytest.fixture
def store(base: Base) -> Iterator[Store]:
    made = base.store()
    yield made
    made.close()


def at(second: int) -> int:
    return START_NS + second * SECOND_NS


def fill(store: Store, *lives: tuple[int, int | None]) -> None:
    """Requests that began and ended at these seconds; ``None``: open."""
    store.write(
        [intent(f"r{began}", started_ns=at(began)) for began, _ in lives],
        [
            end(
                f"r{began}",
                ended_ns=at(ended),
                cost_nano=0,
                attempts=(attempt(1, billed="none", cost_nano=0),),
            )
            for began, ended in lives
            if ended is not None
        ],
    )


def pruned(store: Store, before_ns: int, most: int = 256) -> int:
    def run(connection: Any) -> int:
        return prune(connection, before_ns, most)

    (result,) = store.write([], [], [Statement(run=run)]).results
    assert result.refused is None
    count: int = result.answer
    return count


def left(base: Base) -> list[str]:
    with base.reader() as reader:
        return [record.intent.id for record in reader.requests(order="oldest", limit=None)]


def noted(base: Base) -> tuple[int, int]:
    with base.reader() as reader, reader.base.snapshot():
        return kept_since(reader.base), deleted(reader.base)


def test_what_ended_before_goes_with_its_attempts(base: Base, store: Store) -> None:
    fill(store, (1, 2), (3, 4), (5, 6))
    assert pruned(store, at(4)) == 1
    assert left(base) == ["r3", "r5"]
    assert base.run("SELECT DISTINCT request_id FROM attempts ORDER BY 1") == [("r3",), ("r5",)]


def test_open_requests_and_those_that_ended_later_stay_however_old(base: Base, store: Store) -> None:
    fill(store, (1, None), (2, 50), (3, 4))
    assert pruned(store, at(10)) == 1
    assert left(base) == ["r1", "r2"]


def test_a_step_takes_the_oldest_and_no_more_than_it_may(base: Base, store: Store) -> None:
    fill(store, *((n, n + 1) for n in range(7)))
    assert [pruned(store, at(100), most=3) for _ in range(4)] == [3, 3, 1, 0]
    assert left(base) == []


def test_the_order_of_steps_is_age(base: Base, store: Store) -> None:
    fill(store, (4, 5), (1, 6), (3, 4), (2, 9))
    assert pruned(store, at(100), most=2) == 2
    assert left(base) == ["r3", "r4"]


def test_how_many_would_go_is_known_before(base: Base, store: Store) -> None:
    fill(store, (1, None), (2, 50), (3, 4), (5, 6))
    with base.reader() as reader, reader.base.snapshot():
        assert due(reader.base, at(10)) == 2
        assert due(reader.base, at(1)) == 0
    assert pruned(store, at(10)) == 2


def test_what_is_gone_is_noted(base: Base, store: Store) -> None:
    assert noted(base) == (0, 0)
    fill(store, *((n, n + 1) for n in range(6)))
    assert pruned(store, at(0)) == 0
    assert noted(base) == (0, 0)  # nothing was deleted: the ledger is whole
    pruned(store, at(4))
    assert noted(base) == (at(4), 3)
    pruned(store, at(6))
    assert noted(base) == (at(6), 5)
    fill(store, (-9, -8))  # an older one that was written late
    pruned(store, at(1))
    assert noted(base) == (at(6), 6)


def test_a_refused_step_leaves_no_trace(base: Base, store: Store) -> None:
    fill(store, (1, 2), (3, 4))

    def run(connection: Any) -> int:
        prune(connection, at(100))
        raise ValueError("for another reason")

    (result,) = store.write([], [], [Statement(run=run)]).results
    assert result.refused is not None
    assert left(base) == ["r1", "r3"]
    assert noted(base) == (0, 0)


def test_what_was_spent_stays_and_the_ledger_keeps_its_word(base: Base, store: Store) -> None:
    store.write(
        [intent("a", accounts=(FOREVER,)), intent("b", started_ns=at(20))],
        [
            end(
                "a",
                cost_nano=0,
                attempts=(),
                charges=(Charge(FOREVER.account, 0, None, 0),),
                ended_ns=at(1),
            )
        ],
    )
    base.run("UPDATE spend SET amount = 700")
    assert pruned(store, at(10)) == 1
    assert base.run("SELECT amount FROM spend") == [(700,)]
    with base.reader() as reader:
        findings = verify(reader, base.clock)
        assert reader.counts() == Counts(accepted=1, in_flight=1)
    assert [finding.check for finding in findings if finding.standing != "ok"] == ["spend-sums"]
    assert all(finding.fine for finding in findings)


def test_a_late_end_of_what_is_gone_closes_nothing(base: Base, store: Store) -> None:
    fill(store, (1, 2))
    pruned(store, at(10))
    assert store.write([], [end("r1")]).ignored == 1
    assert left(base) == []


@pytest.mark.parametrize("kept", [None, 2])
def test_a_writer_deletes_at_its_renewals_if_it_is_told_to(base: Base, kept: int | None) -> None:
    store = base.store(keep_days=kept)
    old, young = base.now_ns() - 2 * DAY_NS - SECOND_NS, base.now_ns() - 2 * DAY_NS + 3_600 * SECOND_NS
    ids = [f"old{n:03}" for n in range(STEP + 5)]
    nothing = {"cost_nano": 0, "attempts": ()}
    store.write(
        [intent(each, started_ns=old - (each != "open")) for each in (*ids, "young", "open")],
        [*(end(each, ended_ns=old, **nothing) for each in ids), end("young", ended_ns=young, **nothing)],
    )
    assert store.renew() is (kept is not None)  # there is more
    assert len(left(base)) == (7 if kept else STEP + 7)
    assert store.renew() is False
    assert sorted(left(base))[-2:] == ["open", "young"]
    assert len(left(base)) == (2 if kept else STEP + 7)
    store.close()
