"""Crashes in the tests that everybody runs: each failpoint once, and kills from outside, on real gateways and SQLite.

``make crashtest N=1000`` has as many as one likes, and writes ``docs/crashtest.md``.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.crash.loop import live_all, planned
from tests.crash.plan import OUTSIDE, Death
from tests.crash.report import Summary, json_of, page_of

from holdfast.failpoints import NAMES

pytestmark = pytest.mark.timeout(300)  # a minute of one core, and the machine may have other work

SEED = 7
_SLOW = {name for name in NAMES if name.startswith("lease.")}
"""They wait for a renewal, 10 s: while others die."""


@pytest.fixture(scope="module")
def summary() -> Summary:
    """One life for every few failpoints, several at a time."""
    cycles = round(len(NAMES) / 0.8) + 1
    lives = planned(SEED, cycles, "sqlite")
    lives.sort(key=lambda life: -sum(death.name in _SLOW for death in life[1]))
    found = Summary(seed=SEED, jobs=1, ledger="sqlite")
    found.add(asyncio.run(live_all(lives, 4)))
    return found


def test_no_promise_is_broken_by_a_kill(summary: Summary) -> None:
    assert summary.faults == []
    assert summary.cycles >= 40
    assert summary.kinds.total() == 0


def test_each_failpoint_was_planned_and_nearly_all_killed(summary: Summary) -> None:
    """A place may not be come to as often as its plan says on a slow machine: then it was killed from outside."""
    assert {name for name in NAMES if not summary.kills[name] and not summary.missed[name]} == set()
    assert summary.missed.total() <= 10, summary.missed
    assert summary.kills[OUTSIDE] >= 5


def test_there_was_something_to_break(summary: Summary) -> None:
    assert summary.open_at_death > 100
    assert summary.delivered > 100
    assert summary.states["unknown"] > 50
    assert summary.states["ok"] > 100
    assert summary.told["budget_exceeded"] > 0
    assert summary.told["idempotency_outcome_unknown"] > 0
    assert summary.replayed > 0


def test_the_report_says_so(summary: Summary) -> None:
    run = {**json.loads(json_of(summary)), "date": "2026-11-21", "machine": "two cores"}
    page = page_of([run, {**run, "ledger": "postgres", "kinds": {"lost": 3}}])
    assert "| **lost** | **0** | **3** |" in page
    assert "| **duplicated** | **0** | **0** |" in page
    assert "promises were broken" in page
    assert all(f"| `{name}` | {summary.kills[name]} | " in page for name in NAMES)
    assert f"| `group.closed` | {summary.kills['group.closed']} | — |" in page


def test_a_death_is_told_as_it_is_armed() -> None:
    assert Death("send.head", "load", hit=3).env == {"HOLDFAST_FAILPOINTS": "send.head=kill@3"}
    assert Death(OUTSIDE, "load", after_s=0.5).env == {}
