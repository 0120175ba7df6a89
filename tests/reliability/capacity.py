"""A target that bears so many calls at once and refuses the rest, and callers who always want more than that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from holdfast.resilience.adaptive import AdaptiveLimit, AdaptivePermit, AdaptiveSettings
from holdfast.resilience.outcome import Outcome
from holdfast.testing.virtual_time import VirtualClock, run_virtual

__all__ = ["SERVICE", "Run", "World", "simulate"]

Draw = Callable[[random.Random], float]

SERVICE: dict[str, Draw] = {
    "constant": lambda _: 1.0,
    "uniform": lambda rng: rng.uniform(0.5, 1.5),
    "exponential": lambda rng: rng.expovariate(1.0),
    "long tail": lambda rng: rng.lognormvariate(-0.5, 1.0),  # a mean of 1, a standard deviation of 1.3
}
"""How long a call that is let in takes. The mean of each is one second, and that is the round trip that is counted with."""


_SETTINGS = AdaptiveSettings(max_limit=10_000)


@dataclass(frozen=True)
class World:
    """What is simulated.

    Args:
        capacity: when (seconds) which one holds; the first from 0.
        callers: each with one call at a time and the next one right after it.
        service: one of :data:`SERVICE`.
        refusal_s: how long the target takes to say no: uniform in [0, that].
        first_token: the share of a call's time after which it is heard to answer; None: nobody says so.
        broken: the share of the calls that are let in and end in an error that is no overload.
        replicas: processes, each with a limit of its own and with as many of the callers as it lets out.
        joins: when (seconds) one more comes, and the limit that it begins with: see :meth:`AdaptiveLimit.begin`.
    """

    capacity: Sequence[tuple[float, int]]
    callers: int
    service: str = "exponential"
    refusal_s: float = 0.0
    first_token: float | None = None
    broken: float = 0.0
    seed: int = 0
    replicas: int = 1
    joins: tuple[float, int] | None = None


class Run:
    """One run's records."""

    def __init__(self) -> None:
        self.in_flight: list[tuple[float, int]] = [(0.0, 0)]
        """From when how many were."""
        self.limits: list[int] = []
        self.calls = 0
        self.refused = 0

    def average(self, since: float, until: float) -> float:
        """The time average of the calls in flight, those that are being refused included."""
        total = 0.0
        ends = [at for at, _ in self.in_flight[1:]] + [until]
        for (begin, count), end in zip(self.in_flight, ends, strict=True):
            total += count * max(0.0, min(end, until) - max(begin, since))
        return total / (until - since)


class _Target:
    """Callers, limit and target in one: every moment is a timer of the loop."""

    def __init__(self, world: World, clock: VirtualClock, run: Run, begins: int) -> None:
        self.world = world
        self.clock = clock
        self.run = run
        self.loop = asyncio.get_running_loop()
        self.rng = random.Random(world.seed)
        self.served = 0
        self.capacity = world.capacity[0][1]
        self.limits = [AdaptiveLimit(_SETTINGS, on_change=run.limits.append) for _ in range(world.replicas)]
        for limit in self.limits if begins else ():
            limit.begin(begins)
        if world.joins is not None:
            at, begins = world.joins
            self.loop.call_at(at, self.join, begins)
        for at, capacity in world.capacity[1:]:
            self.loop.call_at(at, self.step, capacity)
        self.fill()

    def step(self, capacity: int) -> None:
        self.capacity = capacity
        self.fill()

    def join(self, begins: int) -> None:
        limit = AdaptiveLimit(_SETTINGS, on_change=self.run.limits.append)
        limit.begin(begins)
        self.limits.append(limit)
        self.fill()

    @property
    def in_flight(self) -> int:
        return sum(limit.in_flight for limit in self.limits)

    def fill(self) -> None:
        """The semaphores: whoever waits goes as soon as a limit allows; where there are several, the emptiest first."""
        while self.in_flight < self.world.callers:
            limit = min(self.limits, key=lambda each: each.in_flight - each.limit)
            if limit.in_flight >= limit.limit:
                break
            self.begin(limit.started())
        self.note()

    def begin(self, permit: AdaptivePermit) -> None:
        world = self.world
        self.run.calls += 1
        if self.served < self.capacity:
            self.serve(permit)
        else:
            self.run.refused += 1
            self.loop.call_later(self.rng.uniform(0, world.refusal_s), self.refuse, permit)

    def serve(self, permit: AdaptivePermit) -> None:
        self.served += 1
        takes = SERVICE[self.world.service](self.rng)
        if self.world.first_token is not None:
            self.loop.call_later(takes * self.world.first_token, permit.progressed)
        self.loop.call_later(takes, self.answer, permit)

    def answer(self, permit: AdaptivePermit) -> None:
        self.served -= 1
        permit.leave(Outcome.FAILURE if self.rng.random() < self.world.broken else Outcome.SUCCESS)
        self.fill()

    def refuse(self, permit: AdaptivePermit) -> None:
        permit.leave(self.rng.choice([Outcome.LIMITED, Outcome.OVERLOAD]))  # 429; 503 or 529
        self.fill()

    def note(self) -> None:
        now, count = self.clock.monotonic(), self.in_flight
        if self.run.in_flight[-1][1] != count:
            self.run.in_flight.append((now, count))


def simulate(world: World, seconds: float, *, begins: int = 0) -> Run:
    """So much virtual time. ``begins``: what each process has been told of the target; 0: nothing."""
    run = Run()

    async def main(clock: VirtualClock) -> None:
        _Target(world, clock, run, begins)
        await asyncio.sleep(seconds)

    run_virtual(main)
    return run
