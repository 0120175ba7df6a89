"""Policies that stand in a request's way are asked in order, and what they gave comes back once, on every way out."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.chat_wire import chunk, refuses, speaks, stream
from tests.simulation.world import World

from holdfast.engine.policy import Policy, Retry
from holdfast.errors import Forbidden, HoldfastError, LedgerUnavailable, Rejected, TargetsFailed
from holdfast.testing.virtual_time import run_virtual

ONCE = Retry(max_retries=0, jitter=0.0)


class Taken:
    """Counts what was given out and what came back, as tickets or as permits."""

    rate = None

    def __init__(self, refusing: tuple[str, ...] = (), slow_s: float = 0.0) -> None:
        self.given = 0
        self.back: list[object] = []
        self.refusing = refusing
        self.slow_s = slow_s

    async def admit(self, call):
        await asyncio.sleep(self.slow_s)
        if self.refusing:
            raise Forbidden("not today")
        self.given += 1
        return self

    async def enter(self, target, call, *, first, deadline):
        assert deadline > 0
        await asyncio.sleep(self.slow_s)
        if target.provider in self.refusing:
            raise Rejected(f"{target.provider} is closed")
        self.given += 1
        return self

    def settle(self, end) -> None:
        self.back.append(end)

    def may_retry(self, target) -> bool:
        return True

    def hedge_after(self, target) -> None: ...

    def hedge_won(self, target) -> None: ...

    def heard(self, header, *, refused) -> None: ...

    def progressed(self) -> None: ...

    def leave(self, error, usage) -> None:
        self.back.append(error)


def world(clock, scripts, *, admission=None, gate=None, **more) -> World:
    made = World(clock, scripts, **more)
    made.engine.admission, made.engine.gate = admission, gate
    return made


def test_a_refused_request_leaves_no_row_and_sends_nothing():
    async def main(clock):
        here = world(clock, {"a": []}, admission=Taken(refusing=("everybody",)))
        exchange = here.exchange()
        with pytest.raises(Forbidden):
            await exchange.open()
        exchange.close()
        assert not exchange.accepted
        assert await here.ledger.get(exchange.call.id) is None
        assert here.transport.exchanges == []

    run_virtual(main)


def test_a_ticket_comes_back_where_the_intent_can_not_be_written():
    async def main(clock):
        admission = Taken()
        here = world(clock, {"a": []}, admission=admission)
        here.ledger.refuse("full")
        exchange = here.exchange()
        with pytest.raises(LedgerUnavailable):
            await exchange.open()
        exchange.close()
        assert admission.back == [None]

    run_virtual(main)


def test_a_closed_target_is_passed_over():
    async def main(clock):
        here = world(clock, {"a": [], "b": [speaks(*stream("hi"))]}, gate=Taken(refusing=("a",)))
        outcome = await here.ask()
        assert outcome.heard.text == "hi"
        assert outcome.tried == [("b", "ok")]

    run_virtual(main)


def test_all_targets_closed_is_a_503():
    async def main(clock):
        gate = Taken(refusing=("a", "b"))
        here = world(clock, {"a": [], "b": []}, gate=gate)
        outcome = await here.ask()
        assert isinstance(outcome.error, TargetsFailed)
        assert outcome.error.status == 503
        assert (gate.given, outcome.rows) == (0, ())

    run_virtual(main)


SCRIPTS = {
    "answered": {"a": [speaks(*stream("one", " two"), gap_s=0.5)]},
    "fell back": {"a": [refuses(500, head_s=0.5)], "b": [speaks(*stream("one"), gap_s=0.5)]},
    "failed": {"a": [refuses(500)], "b": [refuses(503, head_s=1.0)]},
    "broke": {"a": [speaks(chunk("one"), chunk(" two"), gap_s=0.5, ending="reset")]},
    "resumed": {
        "a": [speaks(chunk("one"), gap_s=0.5, ending="reset")],
        "b": [speaks(*stream("one", " two"), gap_s=0.5)],
    },
}


@pytest.mark.parametrize("name", SCRIPTS)
@given(leaves_at=st.none() | st.floats(0, 5))
def test_everything_comes_back_once_whoever_leaves_when(name, leaves_at):
    async def main(clock):
        admission, gate = Taken(slow_s=0.1), Taken(slow_s=0.1)
        policy = Policy(on_break="resume" if name == "resumed" else "error")
        here = world(clock, SCRIPTS[name], admission=admission, gate=gate, policy=policy, retry=ONCE)
        exchange = here.exchange()

        async def use() -> None:
            try:
                await exchange.open()
                while not exchange.over:
                    await exchange.read()
            except HoldfastError:
                pass

        try:
            async with asyncio.timeout(leaves_at):
                await use()
        except TimeoutError:
            pass
        finally:
            exchange.close()
        await asyncio.sleep(0.01)  # what was cancelled ends
        assert len(gate.back) == gate.given == len(here.told.rows)
        assert len(admission.back) == admission.given
        assert admission.back == here.told.ends
        here.assert_quiet()

    run_virtual(main)


def test_a_wait_for_a_place_that_takes_all_the_time_sends_nothing():
    """DL1: a gate that lets an attempt in at the deadline lets it in too late."""

    async def main(clock):
        gate = Taken(slow_s=5.0)
        here = world(clock, {"a": [speaks(*stream("a"))]}, gate=gate, policy=Policy(total_s=5.0))
        outcome = await here.ask()
        assert isinstance(outcome.error, TargetsFailed)
        assert outcome.error.status == 504
        assert here.arrivals("a") == []
        assert outcome.rows == ()
        assert gate.given == len(gate.back) == 1

    run_virtual(main)
