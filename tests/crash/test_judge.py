"""The judge is judged: records of a life in which all went well pass, and each that is doctored is found out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.crash.evidence import Ask, Call, Evidence, KeyRow, Row, Served, Snapshot, Try
from tests.crash.judge import CHECKS, judge
from tests.crash.plan import LIFE, OUTSIDE, plan
from tests.crash.world import HARD, PRICE_IN, PRICE_OUT

from holdfast.failpoints import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT = "each:usd:month:key-a"
BILL = 10 * PRICE_IN + 12 * PRICE_OUT
BOUND = 200 * PRICE_IN + 32 * PRICE_OUT


def row(seq: int, nonce: str, state: str, **more: object) -> Row:
    """A request that one attempt served, or one that recovery closed."""
    by_end = state not in ("unknown", "in_flight")
    values = {
        "seq": seq,
        "id": f"id-{seq}",
        "nonce": nonce,
        "tenant": "key-a",
        "session": None,
        "owner": "o",
        "state": state,
        "settled_by": "end" if by_end else None if state == "in_flight" else "recovery",
        "late": False,
        "started_ns": seq * 10**9,
        "bound_nano": BOUND,
        "bound_tokens": 232,
        "cost_nano": BILL if by_end else None if state == "in_flight" else BOUND,
        "accounts": ((ACCOUNT, "usd"), ("tokens:tokens:forever:key-a", "tokens")),
        "tries": (Try(1, "one", seq * 10**9 + 1, "ok", "provider", BILL, 22),) if by_end else (),
    }
    return Row(**{**values, **more})  # type: ignore[arg-type]  # the values above


def served(seq: int, nonce: str) -> Served:
    return Served(nonce, "one", seq * 10**9 + 2, BILL, BILL, f"text {nonce}")


def heard(nonce: str, cycle: int, **more: object) -> Call:
    whole = Call(
        nonce,
        cycle,
        200,
        whole=True,
        success=True,
        accepted=True,
        body=b"b" + nonce.encode(),
        text=f"text {nonce}",
    )
    return replace(whole, **more)  # type: ignore[arg-type]  # its fields


def healthy() -> Evidence:
    """One answered, one answered under a key and replayed, one that the crash took with its key, one that failed once."""
    asks = [
        Ask("a", "key-a", "chat", stream=True, max_tokens=32),
        Ask("b", "key-a", "chat", stream=True, max_tokens=32, key="kb"),
        Ask("c", "key-a", "chat", stream=True, max_tokens=32, key="kc"),
        Ask("d", "key-a", "chat", stream=True, max_tokens=32, key="kd"),
    ]
    dead = [row(1, "a", "ok"), row(2, "b", "ok"), row(3, "c", "in_flight"), row(4, "d", "failed")]
    back = [*dead[:2], row(3, "c", "unknown"), dead[3]]
    last = [*back, row(5, "d", "ok")]
    keys = {
        ("key-a", "kb"): KeyRow("done", "id-2", b"bb"),
        ("key-a", "kc"): KeyRow("running", "id-3", None),
    }
    unknown = {**keys, ("key-a", "kc"): KeyRow("unknown", "id-3", None)}
    over = {**unknown, ("key-a", "kd"): KeyRow("done", "id-5", b"bd")}
    return Evidence(
        asks={ask.nonce: ask for ask in asks},
        calls=[
            heard("a", 0),
            heard("b", 0),
            Call("c", 0, 200, accepted=True),
            Call("d", 0, 502, whole=True, accepted=True, error="provider_failed"),
            heard("b", 1, replayed=True, accepted=False),
            Call("c", 1, 409, whole=True, error="idempotency_outcome_unknown"),
            heard("d", 1),
        ],
        served=[served(1, "a"), served(2, "b"), served(3, "c"), served(4, "d"), served(5, "d")],
        snapshots=[
            _snapshot("after death 0", 0, dead, keys, recovered=False),
            _snapshot("after start 1", 1, back, unknown, recovered=True),
            _snapshot("at the end", 1, last, over, recovered=True),
        ],
    )


def _snapshot(
    label: str, cycle: int, rows: list[Row], keys: dict[tuple[str, str], KeyRow], *, recovered: bool
) -> Snapshot:
    closed = [each for each in rows if each.state != "in_flight"]
    return Snapshot(
        label,
        cycle,
        recovered,
        rows=tuple(rows),
        spend={
            ACCOUNT: sum(each.cost_nano or 0 for each in closed),
            "tokens:tokens:forever:key-a": sum(22 if each.settled_by == "end" else 232 for each in closed),
        },
        keys=keys,
        reservations=0,
    )


def at(evidence: Evidence, index: int, **changes: object) -> None:
    evidence.snapshots[index] = replace(evidence.snapshots[index], **changes)  # type: ignore[arg-type]  # its fields


def with_row(evidence: Evidence, index: int, place: int, **changes: object) -> None:
    rows = list(evidence.snapshots[index].rows)
    rows[place] = replace(rows[place], **changes)  # type: ignore[arg-type]  # its fields
    at(evidence, index, rows=tuple(rows))


def without_row(evidence: Evidence, index: int, place: int) -> None:
    rows = evidence.snapshots[index].rows
    at(evidence, index, rows=rows[:place] + rows[place + 1 :])


def an_intent_is_missing(evidence: Evidence) -> None:
    for index in range(3):
        without_row(evidence, index, 0)


def a_row_is_gone(evidence: Evidence) -> None:
    without_row(evidence, 1, 1)


def an_end_is_lost(evidence: Evidence) -> None:
    with_row(evidence, 2, 2, state="in_flight", settled_by=None, cost_nano=None)


def an_end_changes(evidence: Evidence) -> None:
    with_row(evidence, 2, 1, state="failed")


def a_request_stands_twice(evidence: Evidence) -> None:
    at(evidence, 2, rows=(*evidence.snapshots[2].rows, row(6, "a", "ok")))


def an_id_stands_twice(evidence: Evidence) -> None:
    at(evidence, 2, rows=(*evidence.snapshots[2].rows, replace(row(6, "d", "ok"), id="id-5")))


def a_key_still_runs(evidence: Evidence) -> None:
    at(evidence, 1, keys={("key-a", "kc"): KeyRow("running", "id-3", None)})


def an_unknown_run_is_run_again(evidence: Evidence) -> None:
    at(evidence, 2, rows=(*evidence.snapshots[2].rows, row(6, "c", "ok")))


def an_unknown_key_is_answered(evidence: Evidence) -> None:
    evidence.calls.append(heard("c", 1))


def an_unknown_key_is_free(evidence: Evidence) -> None:
    at(evidence, 2, keys={})


def a_whole_answer_failed(evidence: Evidence) -> None:
    with_row(evidence, 2, 0, state="failed")
    with_row(evidence, 1, 0, state="failed")
    with_row(evidence, 0, 0, state="failed")


def an_answer_that_nobody_gave(evidence: Evidence) -> None:
    evidence.calls[0] = heard("a", 0, text="text of somebody else")


def an_answer_is_unreadable(evidence: Evidence) -> None:
    evidence.calls[0] = Call("a", 0, 200, whole=True, accepted=True, error="unreadable")


def a_failure_stands_as_ok(evidence: Evidence) -> None:
    evidence.calls[0] = Call("a", 0, 502, whole=True, accepted=True, error="provider_failed")


def a_second_answer(evidence: Evidence) -> None:
    evidence.calls.append(heard("b", 1, body=b"another", replayed=True))


def another_answer_is_kept(evidence: Evidence) -> None:
    at(evidence, 2, keys={**evidence.snapshots[2].keys, ("key-a", "kb"): KeyRow("done", "id-2", b"another")})


def a_charge_is_missing(evidence: Evidence) -> None:
    at(
        evidence,
        2,
        spend={**evidence.snapshots[2].spend, ACCOUNT: evidence.snapshots[2].spend[ACCOUNT] - BILL},
    )


def a_charge_is_made_twice(evidence: Evidence) -> None:
    at(
        evidence,
        0,
        spend={**evidence.snapshots[0].spend, ACCOUNT: evidence.snapshots[0].spend[ACCOUNT] + BILL},
    )


def a_bound_is_forgotten(evidence: Evidence) -> None:
    for index in (1, 2):
        with_row(evidence, index, 2, cost_nano=0)


def tokens_are_missing(evidence: Evidence) -> None:
    at(evidence, 2, spend={ACCOUNT: evidence.snapshots[2].spend[ACCOUNT]})


def a_budget_is_passed(evidence: Evidence) -> None:
    """What is open counts as well."""
    with_row(evidence, 0, 2, bound_nano=HARD["each"])


def an_attempt_is_cheaper_than_its_bill(evidence: Evidence) -> None:
    evidence.served[0] = replace(evidence.served[0], bill_nano=BILL + 1)


def an_attempt_is_dearer_than_its_bill(evidence: Evidence) -> None:
    evidence.served[0] = replace(evidence.served[0], bill_nano=BILL - 1)


def an_attempt_isnt_on_record(evidence: Evidence) -> None:
    evidence.served.append(replace(evidence.served[0], bill_nano=0))


def a_bound_is_too_low(evidence: Evidence) -> None:
    """It covers what was billed, and not what might have been."""
    evidence.served[2] = replace(evidence.served[2], may_nano=BOUND + 1)


def a_cost_isnt_the_sum(evidence: Evidence) -> None:
    for index in range(3):
        with_row(evidence, index, 0, cost_nano=BILL + 5)


def a_reservation_stays(evidence: Evidence) -> None:
    at(evidence, 2, reservations=1)


def a_block_stays(evidence: Evidence) -> None:
    at(evidence, 1, blocks={ACCOUNT: 7})


def a_session_isnt_known(evidence: Evidence) -> None:
    with_row(evidence, 0, 0, session="s")


def an_accepted_request_has_no_record(evidence: Evidence) -> None:
    evidence.asks["e"] = Ask("e", "key-a", "chat", stream=False, max_tokens=32)
    evidence.calls.append(Call("e", 1, 504, whole=True, accepted=True, error="timed_out"))


DOCTORED: dict[Callable[[Evidence], None], tuple[str, str]] = {
    an_intent_is_missing: ("LE1", "has no intent"),
    a_row_is_gone: ("LE1", "is gone"),
    an_end_is_lost: ("LE1", "in flight after recovery"),
    an_end_changes: ("LE1", "changed"),
    a_request_stands_twice: ("LE1", "has 2 records"),
    an_id_stands_twice: ("LE1", "two rows"),
    a_key_still_runs: ("ID1", "runs after recovery"),
    an_unknown_run_is_run_again: ("ID1", "was run again after a run that is unknown"),
    an_unknown_key_is_answered: ("ID1", "is unknown, and was told 200"),
    an_unknown_key_is_free: ("ID1", "the key is free"),
    a_whole_answer_failed: ("LE1", "stands as failed"),
    an_answer_that_nobody_gave: ("ST1", "what no attempt said"),
    an_answer_is_unreadable: ("ST2", "nobody can read"),
    a_failure_stands_as_ok: ("LE1", "stands as ok"),
    a_second_answer: ("ID2", "2 different bodies"),
    another_answer_is_kept: ("ID2", "keeps another answer"),
    a_charge_is_missing: ("BU2", "its rows come to"),
    a_charge_is_made_twice: ("BU2", "its rows come to"),
    a_bound_is_forgotten: ("BU2", "is unknown, and costs 0"),
    tokens_are_missing: ("BU2", "tokens:tokens:forever:key-a has 0"),
    a_budget_is_passed: ("BU1", "each:usd:month:key-a comes to"),
    an_attempt_is_cheaper_than_its_bill: ("BU2", "was billed"),
    an_attempt_is_dearer_than_its_bill: ("BU2", "was billed"),
    an_attempt_isnt_on_record: ("BU2", "isn't on record"),
    a_bound_is_too_low: ("BU2", "might have been billed"),
    a_cost_isnt_the_sum: ("BU2", "its attempts"),
    a_reservation_stays: ("BU1", "reservations are open"),
    a_block_stays: ("BU1", "held by the dead"),
    a_session_isnt_known: ("WS1", "isn't known"),
    an_accepted_request_has_no_record: ("LE1", "has no record"),
}


def test_a_healthy_life_passes() -> None:
    assert judge(healthy()) == []


@pytest.mark.parametrize("doctor", DOCTORED, ids=lambda doctor: doctor.__name__)
def test_what_is_doctored_is_found_out(doctor: Callable[[Evidence], None]) -> None:
    evidence = healthy()
    doctor(evidence)
    promise, what = DOCTORED[doctor]
    assert any(fault.promise == promise and what in fault.what for fault in judge(evidence)), judge(evidence)


def test_each_check_is_needed() -> None:
    """None of them is blind: of each some doctored evidence is told."""
    for check in CHECKS:
        told = []
        for doctor in DOCTORED:
            evidence = healthy()
            doctor(evidence)
            told += list(check(evidence))
        assert told, check.__name__


def test_a_late_end_may_replace_a_guess() -> None:
    evidence = healthy()
    late = replace(row(3, "c", "ok"), late=True)
    rows = evidence.snapshots[2].rows
    keys = {**evidence.snapshots[2].keys}
    evidence.snapshots[2] = _snapshot("at the end", 1, [*rows[:2], late, *rows[3:]], keys, recovered=True)
    assert judge(evidence) == []


def test_a_second_run_may_begin_as_soon_as_the_first_has_failed() -> None:
    """By their times alone, with what clocks may differ, the first one's attempt would be the second's."""
    evidence = healthy()
    first = evidence.served[3]
    soon = first.arrived_ns + 3_000_000
    for index in range(3):
        rows = [
            replace(each, started_ns=soon) if each.seq == 5 else each
            for each in evidence.snapshots[index].rows
        ]
        at(evidence, index, rows=tuple(rows))
    evidence.served[4] = replace(evidence.served[4], arrived_ns=soon + 1_000_000)
    assert judge(evidence) == []


def test_every_place_gets_its_share_of_deaths() -> None:
    lives = plan(seed=3, cycles=1000)
    deaths = [death for life in lives for death in life]
    assert len(deaths) == 1000
    by_name = {name: sum(death.name == name for death in deaths) for name in (*NAMES, OUTSIDE)}
    assert by_name.pop(OUTSIDE) == 200
    assert max(by_name.values()) - min(by_name.values()) <= 1
    assert plan(seed=3, cycles=1000) == lives
    assert plan(seed=4, cycles=1000) != lives


def test_a_recovery_has_something_to_recover() -> None:
    for life in plan(seed=0, cycles=400):
        phases = [death.phase for death in life if death.phase != "fresh"]
        assert len(life) <= LIFE + 1
        assert phases[0] == "load" or "load" not in phases
        assert "fresh" not in [death.phase for death in life][len(life) - len(phases) :]
