"""One run: a world fails as its plan says, then everything heals, and from then on life is required."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
from tests.simulation.clients import Clients
from tests.simulation.draw import Ask, Plan
from tests.simulation.money_monitors import Purses
from tests.simulation.monitors import MONITORS, Monitor, OneRecord, Permits
from tests.simulation.policy_monitors import POLICY_MONITORS
from tests.simulation.scheduler import LivelockError, run_shuffled
from tests.simulation.stories import Stories, Violation
from tests.simulation.trace import EVERYBODY, Event, Phase, Trace
from tests.simulation.wire import Wired

from holdfast.engine.engine import Engine
from holdfast.resilience.timeout import timers
from holdfast.testing.virtual_time import DEFAULT_WALL_NS, DeadlockError, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["ENOUGH", "PROBES", "Report", "run"]

PROBES: Final = 10
"""New requests after healing, all of which must succeed."""

LOOKS: Final = 8
"""Requests to each target while policies may still remember the bad times."""

ENOUGH: Final = 20
"""Violations after which nobody wants to read more of them."""

_COUNT_EVERY_S: Final = 60.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one run was, and what it broke."""

    seed: int
    hours: float
    """Virtual, from the first request to the end."""
    requests: int
    attempts: int
    events: int
    outcomes: dict[str, int]
    """Requests by how they ended."""
    digest: str
    """Of the whole trace."""
    violations: tuple[Violation, ...]
    timeline: tuple[Event, ...] = ()
    """All events, where they were asked for."""


def run(
    plan: Plan,
    *,
    make_engine: type[Engine] = Engine,
    monitors: Sequence[type[Monitor]] = MONITORS,
    timeline: bool = False,
) -> Report:
    """Lives through ``plan`` on virtual time.

    Args:
        make_engine: the engine to be tried.
        monitors: what is watched.
        timeline: keep every event.
    """
    trace = Trace(keep=timeline)
    life = _Life(plan, trace, make_engine, monitors)
    gc.freeze()  # the collector need not look at what was there before, of which a test run has much
    try:
        run_shuffled(life.live, random.Random(f"scheduler {plan.seed}"))
    except (DeadlockError, LivelockError) as error:
        life.violations.append(Violation("LIVE", life.now, EVERYBODY, f"{type(error).__name__}: {error}"))
    finally:
        gc.unfreeze()
    stories = life.stories.by_n.values() if life.stories is not None else ()
    outcomes: dict[str, int] = {}
    for story in stories:
        state = "refused" if story.ended is None else story.ended.state
        outcomes[state] = outcomes.get(state, 0) + 1
    return Report(
        seed=plan.seed,
        hours=life.now / 3600,
        requests=len(stories),
        attempts=sum(len(story.rows) for story in stories),
        events=trace.count,
        outcomes=dict(sorted(outcomes.items())),
        digest=trace.digest,
        violations=tuple(life.violations[:ENOUGH]),
        timeline=tuple(trace.kept or ()),
    )


class _Life:
    def __init__(
        self, plan: Plan, trace: Trace, make_engine: type[Engine], monitors: Sequence[type[Monitor]]
    ) -> None:
        self._plan = plan
        self._trace = trace
        self._make_engine = make_engine
        self._monitors = monitors
        self.violations: list[Violation] = []
        self.stories: Stories | None = None
        self.now = 0.0

    async def live(self, clock: VirtualClock) -> None:
        plan, trace = self._plan, self._trace
        loop = asyncio.get_running_loop()
        before_ns = plan.policies.get("budgets", {}).get("wall_s", 0) * 10**9
        clock = VirtualClock(loop, start_wall_ns=DEFAULT_WALL_NS - before_ns)
        wired = Wired(plan, clock, trace, make_engine=self._make_engine)
        stories = self.stories = Stories(plan, wired.journal, loop.call_later)
        stories.asks, stories.gated = wired.asks, wired.gate is not None
        stories.violations, stories.wall_ns = self.violations, clock.wall_ns
        stories.budgets = lambda: wired.budgets
        trace.listen(stories)
        own = [kind for kind in (*POLICY_MONITORS, Purses) if kind.policy in plan.policies]
        watching = {kind: kind(stories) for kind in (*self._monitors, *own)}
        for monitor in watching.values():
            trace.listen(monitor)
        loop.set_exception_handler(lambda _, context: self._crashed(loop.time(), context))
        clients = Clients(wired, stories, trace)

        trace.tell(Phase(0.0, EVERYBODY, "unsafe"))
        counting = loop.create_task(self._count(wired, watching.get(OneRecord)), name="counting")
        for start_s, end_s in plan.ledger_down:
            loop.call_at(start_s, wired.ledger.refuse, "the disk is full")
            loop.call_at(end_s, wired.ledger.refuse, None)
        for crash in plan.crashes:
            loop.call_at(crash.at_s, partial(self._crash, wired, clients, dead=crash.dead))
        await clients.come(plan.asks)
        if (left_s := plan.length_s - loop.time()) > 0:
            await asyncio.sleep(left_s)

        wired.heal()
        trace.tell(Phase(loop.time(), EVERYBODY, "healed"))
        await clients.all_home()
        await clients.come(self._coming_back(loop.time(), wired))  # not all of these must succeed
        await clients.all_home()
        trace.tell(Phase(loop.time(), EVERYBODY, "alive"))
        probes = self._probes(loop.time() + wired.pace_s, wired)
        await clients.come(probes)
        await clients.all_home()
        self._alive(loop.time(), stories, probes)

        counting.cancel()
        await asyncio.sleep(1.0)  # what was let go of ends, and monitors look once more
        self.now = loop.time()
        await self._quiet(wired, watching)

    def _crash(self, wired: Wired, clients: Clients, *, dead: bool) -> None:
        giving_up = wired.give_up(dead=dead)
        with suppress(
            StopIteration
        ):  # it waits for nothing, so it is done in one step: a crash takes no time
            giving_up.send(None)
        if dead:
            clients.all_cut()

    def _coming_back(self, now: float, wired: Wired) -> list[Ask]:
        """A few requests to each target for as long as a policy may remember the bad times, and as many as it may want then.

        A policy that is told nothing learns nothing: a breaker closes because calls succeed.
        """
        names = [each.name for each in self._plan.providers]
        round_s = wired.pace_s * len(names)
        every_s = max(wired.grace_s / LOOKS, round_s)
        looks = [now + every_s * i for i in range(LOOKS)]
        looks += [now + every_s * LOOKS + round_s * i for i in range(wired.probes + 1)]
        times = [(at + wired.pace_s * place, name) for at in looks for place, name in enumerate(names)]
        return self._asks(sorted(times), wired)

    def _probes(self, now: float, wired: Wired) -> list[Ask]:
        """One request to each target alone, then some to the route."""
        targets: list[str | None] = [each.name for each in self._plan.providers]
        targets += [None] * PROBES
        return self._asks([(now + wired.pace_s * i, only) for i, only in enumerate(targets)], wired)

    def _asks(self, times: Sequence[tuple[float, str | None]], wired: Wired) -> list[Ask]:
        first = max(wired.asks, default=-1) + 1
        asks = [
            Ask(n=first + i, at_s=at_s, stream=i % 3 != 2, words=3, key="key-0", only=only)
            for i, (at_s, only) in enumerate(times)
        ]
        wired.asks.update((ask.n, ask) for ask in asks)
        return asks

    async def _count(self, wired: Wired, record: Monitor | None) -> None:
        loop = asyncio.get_running_loop()
        while isinstance(record, OneRecord):
            await asyncio.sleep(_COUNT_EVERY_S)
            self.now = loop.time()
            ignored = wired.ledger.health().ignored
            record.compare(loop.time(), await wired.ledger.counts(), unwritten=ignored)

    def _alive(self, now: float, stories: Stories, probes: list[Ask]) -> None:
        """Everything has healed: new requests succeed."""
        for ask in probes:
            story = stories.by_n[ask.n]
            if story.ended is None or story.ended.state != "ok":
                how = story.opened.label if story.opened is not None else "no answer"
                stories.broken("LIVE", now, ask.n, f"everything has healed, and it ended with {how}")

    async def _quiet(self, wired: Wired, watching: dict[type[Monitor], Monitor]) -> None:
        """Nothing is left: no task, no timer, no connection, no permit, no open record."""
        now = self.now
        gc.collect()  # errors that nobody fetched are told now, and not in another world

        def left(what: str) -> None:
            self.violations.append(Violation("QUIET", now, EVERYBODY, what))

        tasks = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
        if tasks:
            left(f"tasks are left: {', '.join(tasks)}")
        if (count := wired.transport.stats().open) or any(
            exchange.ended == "open" for exchange in wired.transport.exchanges
        ):
            left(f"connections are open: {max(count, 1)}")
        if alarms := sum(len(slot) for slot in timers()._slots.values()):
            left(f"{alarms} limits are set, and nobody waits")
        for busy in wired.still_busy():
            left(busy)
        record, permits = watching.get(OneRecord), watching.get(Permits)
        counts = await wired.ledger.counts()
        if counts.in_flight:
            left(f"{counts.in_flight} records are in flight")
        if isinstance(record, OneRecord):
            record.compare(now, counts, unwritten=wired.ledger.health().ignored)
        if isinstance(permits, Permits):
            permits.at_the_end(now)
        if isinstance(money := watching.get(Purses), Purses):
            money.at_the_end(now, await wired.ledger.spending())

    def _crashed(self, at: float, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = context.get("message", "")
        # Not an event: that nobody fetched an error shows when the collector gets there, and no seed decides when.
        told = f"{what}: {type(error).__name__}: {error}" if error else what
        self.violations.append(Violation("CRASH", at, EVERYBODY, told))
