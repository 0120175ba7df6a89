"""What gateways count beside what the ledger has: when the two agree, when they can't be compared, and when one is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ledger.bases import Base
from tests.unit.ledger.helpers import START_NS, attempt, end, intent

from holdfast.cli.ledger_counters import Counted, compare, read_counted
from holdfast.model import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from holdfast.ledger.finding import Finding
    from holdfast.ledger.writer import Store

TEXT = """\
# TYPE holdfast_requests_total counter
holdfast_requests_total{route="chat",state="ok"} 2.0
holdfast_requests_total{route="direct",state="ok"} 1.0
holdfast_requests_total{route="chat",state="failed"} 1.0
# TYPE holdfast_attempts_total counter
holdfast_attempts_total{provider="one",outcome="ok"} 3.0
holdfast_attempts_total{provider="one",outcome="overloaded"} 1.0
# TYPE holdfast_cost_usd_total counter
holdfast_cost_usd_total{provider="one",source="provider"} 3.07e-07
# TYPE holdfast_in_flight gauge
holdfast_in_flight 2.0
# TYPE holdfast_ledger_ok gauge
holdfast_ledger_ok 1.0
"""
COUNTED = Counted(
    requests={("ok",): 2, ("failed",): 1},
    attempts={("openai", "ok"): 2, ("openai", "overloaded"): 1},
    nano={("openai", "provider"): 200},
)
"""As :func:`fill` writes it."""


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(tmp_path / "ledger.db")


@pytest.fixture
def store(base: Base) -> Iterator[Store]:
    made = base.store()
    yield made
    made.close()


def paid(number: int = 1) -> Any:
    return attempt(number, usage=Usage(input_tokens=1), cost_nano=100, price_id="p")


def fill(store: Store) -> None:
    refused = attempt(1, outcome="overloaded", billed="none", cost_nano=0)
    store.write(
        [intent("a"), intent("b"), intent("c"), intent("open")],
        [
            end("a", cost_nano=100, attempts=(paid(),)),
            end("b", cost_nano=100, attempts=(refused, paid(2))),
            end("c", state="failed", cost_nano=0, attempts=()),
        ],
    )


def more(counted: Counted, **fields: Any) -> Counted:
    known = {name: getattr(counted, name) for name in Counted.__struct_fields__}
    return Counted(**known | fields)


class Told:
    """Gateways that say these one after another, the last one for ever; and how often was waited."""

    def __init__(self, *says: Counted | Callable[[], Counted]) -> None:
        self._says = list(says)
        self.pauses = 0

    def __call__(self) -> Counted:
        said = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        return said if isinstance(said, Counted) else said()

    def pause(self, _: float) -> None:
        self.pauses += 1


def compared(base: Base, told: Told) -> Finding:
    with base.reader() as reader:
        return compare(reader, base.clock, told, told.pause)


def test_what_gateways_say_is_added_up() -> None:
    counted = read_counted([TEXT, TEXT])
    assert dict(counted.requests) == {("ok",): 6, ("failed",): 2}
    assert dict(counted.attempts) == {("one", "ok"): 6, ("one", "overloaded"): 2}
    assert dict(counted.nano) == {("one", "provider"): 614}
    assert counted.in_flight == 4


def test_equal_counters_are_fine_at_once(base: Base, store: Store) -> None:
    fill(store)
    told = Told(COUNTED)
    found = compared(base, told)
    assert (found.standing, told.pauses) == ("ok", 0)
    assert "1 living process equal the ledger: 3 requests, 3 attempts" in found.says


def test_an_end_that_is_on_its_way_is_waited_for(base: Base, store: Store) -> None:
    told = Told(COUNTED, COUNTED, COUNTED, lambda: fill(store) or COUNTED)
    found = compared(base, told)
    assert found.standing == "ok"
    assert 0 < told.pauses < 10


@pytest.mark.parametrize(
    ("counted", "said"),
    [
        (more(COUNTED, requests={("ok",): 3, ("failed",): 1}), "ok: 2 requests in the ledger, 3 counted"),
        (more(COUNTED, requests={("ok",): 2}), "failed: 1 requests in the ledger, 0 counted"),
        (
            more(COUNTED, attempts={("openai", "ok"): 2}),
            "openai overloaded: 1 attempts in the ledger, 0 counted",
        ),
        (
            more(COUNTED, nano={("openai", "provider"): 201}),
            "openai provider: 200 nano-dollars in the ledger, 201 counted",
        ),
    ],
)
def test_what_never_agrees_is_wrong(base: Base, store: Store, counted: Counted, said: str) -> None:
    fill(store)
    told = Told(counted)
    found = compared(base, told)
    assert (found.standing, found.examples) == ("wrong", (said,))
    assert told.pauses == 49


def busy(counted: Counted, **fields: Any) -> Counted:
    return more(counted, in_flight=1, **fields)


def test_busy_gateways_have_counted_attempts_of_what_still_runs(base: Base, store: Store) -> None:
    fill(store)
    told = Told(
        busy(COUNTED, attempts={**COUNTED.attempts, ("openai", "ok"): 9}, nano={("openai", "provider"): 900})
    )
    found = compared(base, told)
    assert found.standing == "ok"
    assert "but for what ran meanwhile" in found.says
    assert told.pauses < 49


def test_a_row_that_no_busy_gateway_counted_is_wrong(base: Base, store: Store) -> None:
    fill(store)
    found = compared(base, Told(busy(COUNTED, attempts={("openai", "ok"): 1, ("openai", "overloaded"): 1})))
    assert (found.standing, found.examples) == (
        "wrong",
        ("openai ok: 2 attempts in the ledger, 1 counted",),
    )


def test_an_end_that_a_busy_gateway_counted_and_nobody_wrote_is_wrong(base: Base, store: Store) -> None:
    fill(store)
    told = Told(busy(COUNTED, requests={("ok",): 3, ("failed",): 1}))
    found = compared(base, told)
    assert (found.standing, found.examples) == ("wrong", ("ok: 2 requests in the ledger, 3 counted",))


def test_processes_that_are_over_arent_counted(base: Base, store: Store) -> None:
    """What they had written stays, and their counters are gone."""
    fill(store)
    store.close()
    again = base.store()
    again.write([intent("d")], [end("d", cost_nano=0, attempts=())])
    found = compared(base, Told(Counted(requests={("ok",): 1}, attempts={}, nano={})))
    assert found.standing == "ok"
    again.close()


def test_what_recovery_closed_was_counted_by_nobody(base: Base, store: Store) -> None:
    fill(store)
    base.run(
        "UPDATE requests SET state = 'unknown', settled_by = 'recovery', ended_ns = 1 WHERE state = 'in_flight'"
    )
    assert compared(base, Told(COUNTED)).standing == "ok"


def test_an_intent_that_was_refused_in_doubt_was_counted_by_nobody(base: Base, store: Store) -> None:
    fill(store)
    never = {"state": "failed", "error_label": "ledger_unavailable", "cost_nano": 0, "attempts": ()}
    store.write([intent("doubt")], [end("doubt", total_ms=0.0, **never)])
    assert compared(base, Told(COUNTED)).standing == "ok"
    store.write(
        [intent("late")], [end("late", total_ms=0.5, **never)]
    )  # refused while it ran: that is counted
    assert compared(base, Told(COUNTED)).standing == "wrong"


def test_after_a_deletion_nothing_can_be_compared(base: Base, store: Store) -> None:
    fill(store)
    base.run("INSERT INTO pruned (what, before_ns, deleted) VALUES ('requests', 5, 1)")
    assert compared(base, Told(COUNTED)).standing == "ok"  # of what was there before this process
    base.run(f"UPDATE pruned SET before_ns = {START_NS + 1}")
    assert compared(base, Told(COUNTED)).standing == "unsure"
