"""Counts are exact and outlive the journal; percentiles are within 1 %; memory is fixed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chaos.entries import entry

from holdfast.chaos import ChaosConfig
from holdfast.chaos.answer import Usage
from holdfast.chaos.journal import Journal, Texts
from holdfast.chaos.sketch import Sketch
from holdfast.chaos.stats import Stats

SECOND = 1_000_000_000
SHARES = (0.5, 0.9, 0.95, 0.99)


def served(stats: Stats, one, now_ns: int) -> None:
    stats.arrived(one)
    stats.ended(one, now_ns)


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=200))
def test_percentiles_are_within_one_percent(durations):
    sketch = Sketch()
    sketch.add(durations[:3])
    sketch.add(durations[3:])
    ranked = sorted(durations)
    for share in SHARES:
        true = ranked[max(0, math.ceil(share * len(ranked)) - 1)]
        assert sketch.quantile_s(share) == pytest.approx(true / 1e9, rel=0.0101)
    told = sketch.told()
    assert (told["min"], told["max"], told["count"]) == (ranked[0] / 1e9, ranked[-1] / 1e9, len(ranked))
    assert told["mean"] == pytest.approx(sum(ranked) / len(ranked) / 1e9)


def test_durations_that_cant_be_are_kept_in_bounds():
    sketch = Sketch()
    sketch.add([-5, 0, 1, 1 << 70])
    told = sketch.told()
    assert (told["count"], told["min"]) == (4, 1e-9)
    assert told["p50"] == pytest.approx(1e-9, rel=0.0102)
    assert told["max"] == (1 << 62) / 1e9
    assert Sketch().told()["p99"] is None


def test_counts_by_every_mark():
    stats = Stats(0)
    served(stats, entry(1), SECOND)
    served(stats, entry(2, status=429, faults=["status"]), SECOND)
    served(
        stats,
        entry(3, status=None, end="reset_by_us", faults=["reset"], model="other", rule="model o*"),
        SECOND,
    )
    served(stats, entry(4, status=401, rule=None, model=None), SECOND)
    stats.arrived(entry(5, status=200, end=None, faults=["stall", "stall"], tokens=3, bytes_sent=70))
    stats.arrived(entry(6, status=None, end=None))
    told = stats.told(2 * SECOND)
    assert (told["attempts"], told["ended"], told["running"]) == (6, 4, 2)
    assert told["by_end"] == {"complete": 3, "reset_by_us": 1}
    assert told["by_status"] == {"200": 2, "429": 1, "none": 1, "401": 1}
    assert told["by_status_class"] == {"2xx": 2, "4xx": 2, "none": 1}
    assert told["by_model"] == {"m": 4, "other": 1}
    assert told["by_rule"] == {"default": 4, "model o*": 1}
    assert told["by_fault"] == {"status 429": 1, "reset": 1, "stall": 1}
    assert told["by_wire"] == {"openai_chat": 6}
    assert told["by_operation"] == {"answer": 6}
    assert (told["tokens_served"], told["bytes_sent"]) == (3, 70)
    assert stats.told(2 * SECOND) == told, "looking changes nothing"


def test_shares_are_of_the_attempts_that_the_rule_decided_about():
    stats = Stats(0)
    for i in range(100):
        served(stats, entry(i, status=503 if i < 5 else 200, faults=["status"] if i < 5 else []), SECOND)
    served(stats, entry(200, rule="model x", faults=["reset"]), SECOND)
    served(stats, entry(300, rule=None, status=401), SECOND)
    rows = {(row["rule"], row["fault"]): row for row in stats.told(SECOND)["shares"]}
    found = rows["default", "status 503"]
    assert (found["count"], found["of"], found["pct"]) == (5, 100, 5.0)
    assert found["low_pct"] == pytest.approx(1.643188, abs=1e-6)
    assert found["high_pct"] == pytest.approx(11.283491, abs=1e-6)
    assert rows["model x", "reset"]["of"] == 1
    assert rows["(all)", "reset"]["of"] == 101
    assert "shares" not in stats.told(SECOND, shares=False)


def test_rates_are_over_the_time_that_is_past():
    stats = Stats(0)
    for tenth in range(200):  # ten a second for 20 s; twice as many tokens
        at = tenth * SECOND // 10
        served(stats, entry(tenth, at, tokens=2, bytes_sent=100), at)
    rates = stats.told(20 * SECOND)["per_second"]
    assert rates["arrived"] == {"1s": 10, "10s": 10, "60s": 10, "since_reset": 10}
    assert rates["ended"] == rates["arrived"]
    assert rates["tokens"]["10s"] == 20
    assert rates["bytes"]["1s"] == 1000
    later = stats.told(25 * SECOND)["per_second"]["arrived"]
    assert later == {"1s": 0, "10s": 5, "60s": 8, "since_reset": 8}
    assert stats.told(1000 * SECOND)["per_second"]["arrived"]["60s"] == 0


def test_the_slot_that_runs_doesnt_pull_a_rate_down():
    stats = Stats(0)
    for tenth in range(10):
        served(stats, entry(tenth, tenth * SECOND // 10), tenth * SECOND // 10)
    assert stats.told(SECOND + SECOND // 20)["per_second"]["arrived"]["1s"] == 10


def test_names_that_callers_make_up_take_no_memory():
    stats = Stats(0)
    for i in range(3000):
        served(stats, entry(i, model=f"m{i}", rule=f"r{i}", faults=["reset"]), SECOND)
    told = stats.told(SECOND)
    assert len(told["by_model"]) == len(told["by_rule"]) == 1001
    assert told["by_model"]["(others)"] == told["by_rule"]["(others)"] == 2000
    assert told["by_fault"] == {"reset": 3000}
    assert len(told["shares"]) == 100
    assert told["shares"][0]["count"] == 3000


def test_what_ran_at_a_reset_isnt_counted_when_it_ends():
    stats = Stats(0)
    old = entry(1)
    stats.arrived(old)
    stats.reset(SECOND)
    stats.ended(old, 2 * SECOND)
    told = stats.told(2 * SECOND)
    assert (told["attempts"], told["ended"], told["running"], told["by_end"]) == (0, 0, 0, {})
    assert told["since_reset_s"] == 1.0


def test_attempts_that_the_journal_gave_up_stay_counted():
    journal = Journal(ChaosConfig(journal_entries=2))
    for _ in range(5):
        one = entry(journal.next_seq(), end=None)
        journal.add(one)
        journal.close(one, "complete", Usage(3, 4), Texts(0), 1)
    running = entry(journal.next_seq(), end=None)
    journal.add(running)
    told = journal.stats()
    assert (told["attempts"], told["running"], told["dropped"]) == (6, 1, 4)
    assert (told["prompt_tokens_billed"], told["completion_tokens_billed"]) == (15, 20)
    assert told["journal"]["entries"] == 2
    journal.reset()
    assert (journal.stats()["attempts"], journal.stats()["dropped"]) == (0, 0)
