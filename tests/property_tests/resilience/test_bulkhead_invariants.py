"""The bulkhead against a reference model, through any order of events, in virtual time.

The model is a list of keys that take turns, each with a list of who waits. Events happen at multiples of an eighth of a
second and waits end halfway between, so that an alarm's 10 ms decide nothing here (``test_bulkhead.py`` has those cases).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.resilience.bulkhead import Bulkhead, BulkheadFullError, BulkheadPermit, BulkheadSettings
from holdfast.resilience.leave_rate import LONGEST_S, SHORTEST_S
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.seam import FOREVER, Refused
from holdfast.testing.virtual_time import VirtualClock, VirtualLoop

TICK_S = 1 / 8
KEYS = st.sampled_from("abc")
LIMITS = st.integers(1, 4)
QUEUES = st.integers(0, 5)
WAITS = st.integers(0, 20).map(lambda ticks: (ticks + 0.5) * TICK_S if ticks else 0)


@dataclass(eq=False)
class Caller:
    """One that asked for a place, what the model expects of it, and what it got."""

    key: str
    latest: float = FOREVER
    state: str = "waiting"  # in, left, refused, turned away, cancelled
    task: asyncio.Task[BulkheadPermit] | None = None
    permit: BulkheadPermit | None = None

    def got(self) -> str:
        """What really became of it."""
        if self.task is None:
            return "in" if self.permit else "refused"
        if not self.task.done():
            return "waiting"
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        if error is None:
            self.permit = self.task.result()
            return "in"
        if isinstance(error, BulkheadFullError):
            assert error.retry_after_s is not None
            assert SHORTEST_S <= error.retry_after_s <= LONGEST_S
            return "refused"
        return "turned away"


@dataclass
class Model:
    """The rules once more, as slow as can be."""

    most: int
    moved: int
    room: int
    patience: float
    used: int = 0
    refused: int = 0
    turns: list[tuple[str, list[Caller]]] = field(default_factory=list)

    @property
    def places(self) -> int:
        return min(self.moved, self.most)

    def waiting(self) -> list[Caller]:
        return [caller for _, line in self.turns for caller in line]

    def count(self, key: str) -> int:
        return sum(caller.key == key for caller in self.waiting())

    def join(self, caller: Caller) -> None:
        for key, line in self.turns:
            if key == caller.key:
                line.append(caller)
                return
        self.turns.append((caller.key, [caller]))

    def drop(self, caller: Caller) -> None:
        for _, line in self.turns:
            if caller in line:
                line.remove(caller)
        self.turns = [turn for turn in self.turns if turn[1]]

    def serve(self, now: float) -> None:
        while self.used < self.places and self.turns:
            key, line = self.turns.pop(0)
            caller = line.pop(0)
            if line:
                self.turns.append((key, line))
            if caller.state == "waiting":
                assert now < caller.latest
                caller.state = "in"
                self.used += 1


class BulkheadMachine(RuleBasedStateMachine):
    @initialize(places=LIMITS, room=QUEUES, patience=WAITS)
    def begin(self, places: int, room: int, patience: float) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.loop = self.runner.get_loop()
        self.clock = VirtualClock(self.loop)
        settings = BulkheadSettings(max_concurrent=places, max_queue=room, max_wait_s=patience)
        self.bulkhead = Bulkhead(settings, clock=self.clock)
        self.model = Model(places, places, room, patience)
        self.callers: list[Caller] = []
        self.lost = Refused("turned away")

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()

    # What happens. Each rule does it to the bulkhead, tells the model, and lets the loop come to rest.

    def rest(self) -> None:
        for _ in range(4):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()  # one turn

    def refuse(self, caller: Caller) -> None:
        self.model.drop(caller)
        caller.state = "refused"
        self.model.refused += 1

    @rule()
    def try_enter(self) -> None:
        model, caller = self.model, Caller("")
        caller.permit = self.bulkhead.try_enter()
        self.callers.append(caller)
        if model.used < model.places and not model.turns:
            model.used += 1
            caller.state = "in"
        else:
            caller.state = "refused"  # to None, which isn't counted

    @rule(key=KEYS, count=st.integers(1, 4), ticks=st.none() | st.integers(-2, 10))
    def enter(self, key: str, count: int, ticks: int | None) -> None:
        for _ in range(count):
            now, model = self.clock.monotonic(), self.model
            deadline = FOREVER if ticks is None else now + (ticks + 0.5) * TICK_S
            caller = Caller(key, min(deadline, now + model.patience))
            self.callers.append(caller)
            caller.task = self.loop.create_task(self.bulkhead.enter(deadline=deadline, key=key))
            before = model.waiting()
            self.rest()
            if deadline <= now:
                self.refuse(caller)
            elif model.used < model.places:
                model.used += 1
                caller.state = "in"
            elif caller.latest <= now:
                self.refuse(caller)
            elif len(before) < model.room:
                model.join(caller)
            else:
                # Of several keys that have the most, the model has no favourite.
                most = max((model.count(other) for other in "abc"), default=0)
                if most - model.count(key) < 2:
                    self.refuse(caller)
                    continue
                (gone,) = (other for other in before if other.got() == "refused")
                assert model.count(gone.key) == most
                assert [other for other in before if other.key == gone.key][-1] is gone
                self.refuse(gone)
                model.join(caller)

    def inside(self) -> list[Caller]:
        return [caller for caller in self.callers if caller.state == "in"]

    def leave_now(self, caller: Caller) -> None:
        assert caller.got() == "in"
        assert caller.permit
        caller.permit.leave(Outcome.SUCCESS)
        caller.permit.leave(Outcome.FAILURE)
        caller.task, caller.state = None, "left"
        self.model.used -= 1
        self.model.serve(self.clock.monotonic())

    def cancel_now(self, caller: Caller) -> None:
        assert caller.task
        assert caller.task.cancel()
        caller.state = "cancelled"

    @precondition(lambda self: self.inside())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.leave_now(data.draw(st.sampled_from(self.inside())))
        self.rest()

    @precondition(lambda self: any(caller.state == "left" for caller in self.callers))
    @rule(data=st.data())
    def leave_again(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from([caller for caller in self.callers if caller.state == "left"]))
        assert old.permit
        old.permit.leave(Outcome.FAILURE)
        self.rest()

    @precondition(lambda self: self.model.turns)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.model.waiting()))
        self.cancel_now(caller)
        self.model.drop(caller)
        self.rest()

    @precondition(lambda self: self.model.turns and self.inside())
    @rule(data=st.data())
    def leave_and_cancel_who_was_let_in(self, data: st.DataObject) -> None:
        """In one turn of the loop: the place goes on."""
        waited = self.model.waiting()
        self.leave_now(data.draw(st.sampled_from(self.inside())))
        for caller in waited:
            if caller.state == "in":
                self.cancel_now(caller)
                self.model.used -= 1
                self.model.serve(self.clock.monotonic())
                break
        self.rest()

    @precondition(lambda self: self.model.turns and self.inside())
    @rule(data=st.data())
    def cancel_and_leave(self, data: st.DataObject) -> None:
        """In one turn of the loop: whoever was cancelled has not run yet when its turn comes."""
        caller = data.draw(st.sampled_from(self.model.waiting()))
        self.cancel_now(caller)
        self.leave_now(data.draw(st.sampled_from(self.inside())))
        self.model.drop(caller)
        self.rest()

    @rule(ticks=st.integers(1, 12))
    def time_passes(self, ticks: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(ticks * TICK_S))
        now = self.clock.monotonic()
        for caller in self.model.waiting():
            if caller.latest <= now:
                self.refuse(caller)

    @rule(limit=st.integers(1, 6))
    def resize(self, limit: int) -> None:
        self.bulkhead.resize(limit)
        self.model.moved = limit
        self.model.serve(self.clock.monotonic())
        self.rest()

    @rule(places=LIMITS, room=QUEUES, patience=WAITS)
    def reload(self, places: int, room: int, patience: float) -> None:
        model = self.model
        self.bulkhead.apply(BulkheadSettings(max_concurrent=places, max_queue=room, max_wait_s=patience))
        if model.places == model.most:  # it was not lowered
            model.moved = places
        model.most, model.room, model.patience = places, room, patience
        model.serve(self.clock.monotonic())
        self.rest()

    @rule()
    def turn_away(self) -> None:
        for caller in self.model.waiting():
            self.refuse(caller)
            caller.state = "turned away"
        self.bulkhead.turn_away(self.lost)
        self.rest()

    # What must hold.

    @invariant()
    def as_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        model = self.model
        for caller in self.callers:
            if caller.state != "left":
                assert caller.got() == caller.state
        snapshot = self.bulkhead.snapshot()
        assert (snapshot.in_use, snapshot.limit) == (model.used, model.places)
        assert (snapshot.waiting, snapshot.refused) == (len(model.waiting()), model.refused)

    @invariant()
    def nobody_waits_for_a_free_place(self) -> None:
        """BH1: places always come back, and to who waits."""
        if hasattr(self, "model"):
            assert self.bulkhead.waiting == 0 or self.bulkhead.in_use >= self.bulkhead.limit
            assert self.bulkhead.snapshot().longest_wait_s >= 0


TestBulkheadMachine = BulkheadMachine.TestCase


def test_every_place_comes_back_under_a_thousand_callers_that_leave_at_any_time():
    """BH1: whatever moment each is cancelled at, by then waiting, let in or about to be."""

    async def one(bulkhead: Bulkhead, clock: VirtualClock, number: int) -> None:
        permit = await bulkhead.enter(key=f"key {number % 7}", deadline=clock.monotonic() + number % 13)
        assert bulkhead.in_use <= 10
        try:
            await asyncio.sleep(number % 5 / 4)
        finally:
            permit.leave(Outcome.NEUTRAL)

    async def main(clock: VirtualClock) -> None:
        bulkhead = Bulkhead(BulkheadSettings(max_concurrent=10, max_queue=300), clock=clock)
        tasks = []
        for number in range(1000):
            tasks.append(asyncio.create_task(one(bulkhead, clock, number)))
            if number % 3 == 0:
                asyncio.get_running_loop().call_later(number % 11 / 4, tasks[-1].cancel)
            if number % 8 == 0:
                await asyncio.sleep(1 / 16)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in done} == {type(None), asyncio.CancelledError, BulkheadFullError}
        assert (bulkhead.in_use, bulkhead.waiting) == (0, 0)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        runner.run(main(VirtualClock(loop)))
