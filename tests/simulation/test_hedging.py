"""Hedges in the engine: one attempt more beside a slow one, the first to commit serves, the other is cut and on record."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.chat_wire import chunk, refuses, request, speaks, stream, whole
from tests.simulation.world import World

from holdfast.engine.policy import Policy, Retry, Timeouts
from holdfast.errors import RequestRefused, TargetsFailed
from holdfast.testing.virtual_time import run_virtual

ONCE = Retry(max_retries=0, jitter=0.0)
PATIENCE_S = 2.0


class Hedging:
    """A gate that hedges after a while, as often as it may."""

    def __init__(self, hedges: int = 10, after_s: float | None = PATIENCE_S) -> None:
        self.left = hedges
        self.after_s = after_s
        self.out = 0
        self.won = 0

    async def enter(self, target, call, *, first, deadline):
        self.out += 1
        return self

    def may_retry(self, target) -> bool:
        return True

    def hedge_after(self, target) -> float | None:
        return self.after_s

    def may_hedge(self, target) -> bool:
        self.left -= 1
        return self.left >= 0

    def hedge_won(self, target) -> None:
        self.won += 1

    def heard(self, header, *, refused) -> None: ...

    def progressed(self) -> None: ...

    def leave(self, error, usage) -> None:
        self.out -= 1


def ask(scripts, body: bytes | None = None, *, gate: Hedging | None = None, **world):
    async def main(clock):
        here = World(clock, scripts, **{"retry": ONCE, **world})
        here.engine.gate = gate if gate is not None else Hedging()
        outcome = await here.ask(body)
        await asyncio.sleep(0)
        here.assert_quiet()
        assert here.engine.gate.out == 0
        return outcome, here

    return run_virtual(main)


def test_who_answers_in_time_is_not_hedged():
    outcome, here = ask({"a": [speaks(*stream("a"), head_s=1.9)], "b": []})
    assert outcome.heard.text == "a"
    assert here.arrivals("b") == []


@pytest.mark.parametrize("plain", [False, True], ids=["stream", "plain"])
def test_the_faster_one_serves_and_the_other_is_cut(plain):
    slow = whole("a", head_s=10.0) if plain else speaks(*stream("a"), head_s=10.0)
    quick = whole("b", head_s=1.0) if plain else speaks(*stream("b"), head_s=1.0)
    outcome, here = ask({"a": [slow], "b": [quick]}, request(stream=not plain))
    assert outcome.end.state == "ok"
    assert (b'"b"' if plain else b"b") in outcome.body
    assert outcome.took_s == pytest.approx(PATIENCE_S + 1.0)
    assert outcome.end.provider == "b"
    assert here.engine.gate.won == 1
    assert sorted(outcome.tried) == [("a", "superseded"), ("b", "ok")]
    cut = next(row for row in outcome.rows if row.outcome == "superseded")
    assert cut.billed == "bound", "it was sent, and nobody knows how far it came"
    assert outcome.end.cost_nano == sum(row.cost_nano for row in outcome.rows)


def test_the_first_may_still_win():
    outcome, _ = ask({"a": [speaks(*stream("a"), head_s=3.0)], "b": [speaks(*stream("b"), head_s=5.0)]})
    assert outcome.heard.text == "a"
    assert sorted(outcome.tried) == [("a", "ok"), ("b", "superseded")]


def test_both_in_the_same_moment_are_one_answer():
    outcome, _ = ask(
        {
            "a": [speaks(*stream(*"aaaa"), head_s=3.0, gap_s=0.1)],
            "b": [speaks(*stream(*"bbbb"), head_s=1.0, gap_s=0.1)],
        }
    )
    assert outcome.heard.text in ("aaaa", "bbbb")
    assert sorted(label for _, label in outcome.tried) == ["ok", "superseded"]


def test_a_failure_of_one_waits_for_the_other():
    outcome, _ = ask({"a": [speaks(*stream("a"), head_s=9.0)], "b": [refuses(500, head_s=1.0)]})
    assert outcome.heard.text == "a"
    assert sorted(outcome.tried) == [("a", "ok"), ("b", "server_failed")]
    outcome, _ = ask({"a": [refuses(500, head_s=3.0)], "b": [speaks(*stream("b"), head_s=9.0)]})
    assert outcome.heard.text == "b"


def test_both_may_fail_and_the_chain_goes_on():
    outcome, _ = ask(
        {
            "a": [refuses(500, head_s=3.0)],
            "b": [refuses(500, head_s=3.0)],
            "c": [speaks(*stream("c"))],
        }
    )
    assert outcome.heard.text == "c"
    assert outcome.tried == [("a", "server_failed"), ("b", "server_failed"), ("c", "ok")]


def test_all_may_fail():
    outcome, _ = ask({"a": [refuses(503, head_s=3.0)], "b": [refuses(503, head_s=3.0)]})
    assert isinstance(outcome.error, TargetsFailed)
    assert len(outcome.rows) == 2


def test_the_callers_own_fault_is_the_answer_once_nobody_runs():
    outcome, _ = ask({"a": [refuses(400, head_s=3.0)], "b": [refuses(400, head_s=3.0)]})
    assert isinstance(outcome.error, RequestRefused)


def test_hedges_have_a_budget_and_are_attempts():
    slow = [speaks(*stream("a"), head_s=10.0)]
    outcome, here = ask({"a": slow, "b": []}, gate=Hedging(hedges=0))
    assert outcome.heard.text == "a"
    outcome, here = ask({"a": slow, "b": []}, policy=Policy(max_attempts=1))
    assert outcome.heard.text == "a"
    assert here.arrivals("b") == []


def test_without_another_target_there_is_no_hedge():
    gate = Hedging()
    outcome, _ = ask({"a": [speaks(*stream("a"), head_s=10.0)]}, gate=gate)
    assert outcome.heard.text == "a"
    assert gate.left == 10, "nothing of the budget was taken"


def test_what_comes_after_the_commit_is_never_hedged():
    outcome, here = ask({"a": [speaks(chunk("a"), *stream("b"), gap_s=9.0)], "b": []})
    assert outcome.heard.text == "ab"
    assert here.arrivals("b") == []


def test_a_resumption_is_not_hedged():
    outcome, here = ask(
        {
            "a": [speaks(chunk("one "), ending="reset")],
            "b": [speaks(*stream("one ", "two"), head_s=5.0)],
            "c": [],
        },
        policy=Policy(on_break="resume"),
    )
    assert outcome.heard.text == "one two"
    assert here.arrivals("c") == []


def test_a_whole_answer_that_is_held_back_can_be_hedged():
    outcome, _ = ask(
        {
            "a": [speaks(*stream("a", "a"), gap_s=5.0)],
            "b": [speaks(*stream("b", "b"))],
        },
        policy=Policy(on_break="buffer"),
    )
    assert outcome.heard.text == "bb"
    assert sorted(outcome.tried) == [("a", "superseded"), ("b", "ok")]


times = st.sampled_from([0.0, 0.5, 1.9, 2.0, 2.1, 3.0, 5.0, 20.0])
replies = st.builds(
    lambda kind, head_s: (
        speaks(*stream("x"), head_s=head_s) if kind == "ok" else refuses(kind, head_s=head_s)
    ),
    st.sampled_from(["ok", "ok", 500, 429, 400]),
    times,
)


@given(
    st.lists(replies, min_size=3, max_size=3),
    st.none() | times,
    st.sampled_from([4.0, 30.0]),
)
def test_whatever_happens_one_text_one_end_and_nothing_left(script, leaves_s, total_s):
    async def main(clock):
        here = World(
            clock,
            {name: [reply] for name, reply in zip("abc", script, strict=True)},
            retry=ONCE,
            policy=Policy(total_s=total_s),
            timeouts=Timeouts(first_token_s=10.0),
        )
        gate = here.engine.gate = Hedging()
        task = asyncio.create_task(here.ask())
        if leaves_s is not None:
            asyncio.get_running_loop().call_later(leaves_s, task.cancel)
        try:
            outcome = await task
        except asyncio.CancelledError:
            outcome = None
        await asyncio.sleep(0.3)
        here.assert_quiet()
        assert gate.out == 0
        for record in here.ledger.records():
            assert record.end is not None
            numbers = [row.number for row in record.end.attempts]
            assert sorted(numbers) == list(range(1, len(numbers) + 1)), "each attempt has its row, once"
        if outcome is not None and outcome.error is None:
            assert outcome.heard.text == "x"
            assert [row.outcome for row in outcome.rows].count("ok") == 1

    run_virtual(main)


class SlowGate(Hedging):
    """Its second caller waits."""

    async def enter(self, target, call, *, first, deadline):
        if target.provider == "b":
            await asyncio.sleep(3.0)
        return await super().enter(target, call, first=first, deadline=deadline)


def test_after_the_callers_own_fault_a_hedge_that_waited_is_not_sent():
    """FB3. Found by the simulation (seeds 38, 1039, 1074)."""
    outcome, here = ask({"a": [refuses(400, head_s=3.0)], "b": []}, gate=SlowGate())
    assert isinstance(outcome.error, RequestRefused)
    assert here.arrivals("b") == []


class DeafGate(Hedging):
    """Who is called off while it waits here for the second target notices it a second too late."""

    async def enter(self, target, call, *, first, deadline):
        if target.provider == "b":
            try:
                await asyncio.sleep(60.0)
            except asyncio.CancelledError:
                await asyncio.sleep(1.0)
        return await super().enter(target, call, first=first, deadline=deadline)


def test_nothing_is_sent_that_is_on_no_record():
    """BU2. The first has content, its caller leaves while the hedge is called off, and the hedge goes on."""

    async def main(clock):
        here = World(
            clock, {"a": [speaks(*stream("a"), head_s=3.0)], "b": [speaks(*stream("b"))]}, retry=ONCE
        )
        here.engine.gate = DeafGate()
        asking = asyncio.create_task(here.ask())
        await asyncio.sleep(3.5)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(10.0)
        (end,) = here.told.ends
        assert [row.provider for row in end.attempts] == ["a"]
        assert here.arrivals("b") == []
        assert here.engine.gate.out == 0

    run_virtual(main)


def test_two_that_end_in_one_turn_are_both_looked_at():
    """Found by the simulation (seed 1128): a failure that nobody looks at is told by the loop as one of ours."""

    async def main(clock):
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        here = World(
            clock,
            {"a": [speaks(*stream("a"), head_s=3.0)], "b": [refuses(500, head_s=1.0)]},
            retry=ONCE,
        )
        here.engine.gate = Hedging()
        outcome = await here.ask()
        assert outcome.heard.text == "a"
        del outcome
        gc.collect()
        await asyncio.sleep(0)
        return told

    assert run_virtual(main) == []
