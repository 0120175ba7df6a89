"""One run: processes that share a database and a Redis live through what befalls them, then everything heals."""

from __future__ import annotations

import asyncio
import gc
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

import msgspec
import structlog
from tests.simulation.replicas.database import LEASE_S
from tests.simulation.replicas.far import Far
from tests.simulation.replicas.loop import ReplicaLoop, run_replicas
from tests.simulation.replicas.plan import Ask, Plan, Trouble, draw
from tests.simulation.replicas.replica import PROVIDERS, Replica, Wiring, rules_of, warm
from tests.simulation.replicas.watch import Watch
from tests.simulation.scheduler import LivelockError
from tests.simulation.stories import Violation
from tests.simulation.trace import EVERYBODY

from holdfast.testing.virtual_time import DeadlockError, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Report", "World", "live", "run"]

_WALL_NS: Final = 1_767_225_600_000_000_000
_AGAIN_S: Final = 3.0
"""Whose connection was lost asks again within that time, where it has an idempotency key."""
_CALM_S: Final = 8.0
_PACE_S: Final = 0.2
_ROUND_S: Final = 5.0
_OURS: Final = ("life", "enough", "main")
_ROUNDS: Final = round(4 * LEASE_S / _ROUND_S)
"""More would be for ever: a lease that ends, a renewal that finds it, and a process that must be calm for a lease first."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one run was, and what it broke."""

    seed: int
    hours: float
    requests: int
    outcomes: dict[str, int]
    lives: int
    fences: int
    late: int
    lost_commits: int
    events: int
    digest: str
    violations: tuple[Violation, ...]
    timeline: tuple[str, ...] = ()


def run(
    plan: Plan, *, wiring: type[Wiring] = Wiring, timeline: bool = False, until: Sequence[str] = ()
) -> Report:
    """Lives through ``plan``.

    Args:
        wiring: what processes are made of.
        timeline: keep every event.
        until: promises of which a broken one ends the run at once.
    """
    warm()
    made: list[World] = []

    async def live(loop: ReplicaLoop, _: VirtualClock) -> None:
        world = World(plan, loop, wiring)
        made.append(world)
        if timeline:
            world.watch.timeline = []
        world.seen.until = frozenset(until)
        await world.live()

    gc.freeze()
    try:
        with _silent():
            run_replicas(live, random.Random(f"replicas' scheduler {plan.seed}"))
    except (DeadlockError, LivelockError) as error:
        made[0].seen.violations.append(Violation("LIVE", 0.0, EVERYBODY, f"{type(error).__name__}: {error}"))
    finally:
        gc.unfreeze()
    (world,) = made
    watch = world.seen
    return Report(
        seed=plan.seed,
        hours=world.now / 3600,
        requests=len(world.outcome),
        outcomes=dict(sorted(watch.outcomes.items())),
        lives=world.lives,
        fences=world.fences,
        late=watch.late,
        lost_commits=world.lost_commits,
        events=watch.events,
        digest=watch.digest,
        violations=tuple(watch.violations),
        timeline=tuple(watch.timeline or ()),
    )


def live(seed: int) -> Report:
    """The world of a seed."""
    return run(draw(seed))


class World:
    """Everything there is."""

    def __init__(self, plan: Plan, loop: ReplicaLoop, wiring: type[Wiring]) -> None:
        self.plan = plan
        self.loop = loop
        self.wiring = wiring
        self.now = 0.0
        self.watch = self.seen = Watch(self)
        self.outcome: dict[int, str] = {}
        midnight_ns = _WALL_NS + 86_400 * 10**9
        self._midnight_s = plan.wall_s
        self.database = wiring.database(loop, wall_ns=midnight_ns - round(plan.wall_s * 1e9))
        self.database.on_commit = self.watch.committed
        self.database.on_given_up = self.watch.given_up
        self.database.on_late = self.watch.came_late
        self.database_down = 0
        self.redis = wiring.redis(
            loop, random.Random(f"redis {plan.seed}"), latency_s=plan.redis_s, spikes=plan.redis_spikes
        )
        self.redis.on_trouble = lambda until: self.watch.trouble(loop.time(), until)
        self.redis.save()
        loop.network = self.redis
        self.far = Far(self)
        self.rules = rules_of(plan)
        self.replicas: list[Replica | None] = [None] * plan.replicas
        self.buried: list[Replica] = []
        self.lives = 0
        self._rng = random.Random(f"lives {plan.seed}")
        self._troubled: dict[Replica, float] = {}
        self._clients: dict[asyncio.Task[None], tuple[Replica, Ask]] = {}
        self._again_n = 2_000_000
        self._over = False
        """Enough was seen: nobody comes any more, and nothing befalls anybody."""
        self._saving: asyncio.TimerHandle | None = None

    # Told by processes.

    def redis_turned(self, replica: Replica) -> None:
        """It has lost its Redis, or has it."""
        now = self.loop.time()
        self.watch.tell("redis", replica.process.name, replica.store.up)
        if not replica.store.up:
            self._troubled.setdefault(replica, now)
        elif (since := self._troubled.pop(replica, None)) is not None:
            self.watch.trouble(since, now)

    def redis_unwell(self) -> bool:
        return bool(self._troubled)

    def midnight_passed(self) -> float:
        return self._midnight_s if self.loop.time() >= self._midnight_s else 0.0

    # From the beginning to the end.

    async def live(self) -> None:
        """All of it, or until enough was seen."""
        main = asyncio.current_task()
        if main is not None:
            main.set_name("main")
        living = self.loop.create_task(self._live(), name="life")
        enough = self.loop.create_task(self.seen.enough.wait(), name="enough")
        await asyncio.wait([living, enough], return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            enough.cancel()
            living.result()
            return
        living.cancel()
        self.buried += self._living()
        await self._bury()

    async def _live(self) -> None:
        loop, plan = self.loop, self.plan
        loop.set_exception_handler(lambda _, context: self._crashed(context))
        await asyncio.gather(*(self._begin(place) for place in range(plan.replicas)))
        self._saving = loop.call_later(5.0, self._save)
        for trouble in plan.troubles:
            loop.call_at(trouble.at_s, self._befall, trouble)
        await self._come(plan.asks)
        if (left_s := plan.length_s - loop.time()) > 0:
            await asyncio.sleep(left_s)
        await self._heal()
        await self._home()
        await self._come(self._looks(loop.time()))
        await self._home()
        probes = self._probes(loop.time() + 1.0)
        await self._come(probes)
        await self._home()
        for ask in probes:
            if (how := self.outcome.get(ask.n, "no answer")) != "ok":
                self.watch.broken("LIVE", f"everything has healed, and it ended with {how}", ask.n)
        await asyncio.sleep(_CALM_S)
        self.now = loop.time()
        self.watch.at_the_end()
        await self._quiet()

    async def _begin(self, place: int) -> None:
        """A process begins in its place; returns when it serves."""
        self.lives += 1
        replica = Replica(self, place, self.lives)
        self.replicas[place] = replica
        self._troubled[replica] = self.loop.time()  # until it has its Redis
        self.watch.born(replica)
        starting = self.loop.spawn(replica.process, replica.start(), "start")
        while not starting.done():
            if replica.process.dead:
                return
            await asyncio.wait([starting], timeout=1.0)
        starting.result()

    async def _come(self, asks: list[Ask] | tuple[Ask, ...]) -> None:
        for ask in asks:
            if (wait_s := ask.at_s - self.loop.time()) > 0:
                await asyncio.sleep(wait_s)
            self._send(ask)

    def _send(self, ask: Ask) -> None:
        replica = None if self._over else self._serving(ask.replica)
        if replica is None:
            self.outcome[ask.n] = "nobody"
            return
        task = self.loop.spawn(replica.process, replica.serve(ask), f"client {ask.n}")
        self._clients[task] = replica, ask
        task.add_done_callback(lambda done: self._clients.pop(done, None))
        if ask.leaves_s is not None:
            self.loop.call_later(ask.leaves_s, task.cancel)

    def _asks_again(self, ask: Ask) -> None:
        """Its connection is lost: who has a key may come again, and does."""
        self._again_n += 1
        again = msgspec.structs.replace(ask, n=self._again_n, leaves_s=None)
        self.loop.call_later(self._rng.uniform(0.05, _AGAIN_S), self._send, again)

    def _serving(self, first: int) -> Replica | None:
        """The one that is asked: a balancer leaves out who isn't ready, and doesn't notice who is frozen."""
        for step in range(len(self.replicas)):
            replica = self.replicas[(first + step) % len(self.replicas)]
            if replica is not None and replica.ready and not replica.process.dead:
                return replica
        return None

    async def _home(self) -> None:
        while waiting := [task for task, (who, _) in self._clients.items() if not who.process.dead]:
            await asyncio.wait(waiting, timeout=60.0)

    # What befalls it.

    def _befall(self, trouble: Trouble) -> None:
        if self._over:
            return
        self.watch.tell("befalls", trouble.what, trouble.replica)
        replica = self.replicas[trouble.replica]
        ends: Callable[[], None] | None = getattr(self, f"_{trouble.what}")(replica, trouble)
        if ends is not None:
            self.loop.call_at(max(trouble.end_s, self.loop.time()), ends)

    def _crash(self, replica: Replica | None, trouble: Trouble) -> Callable[[], None] | None:
        if replica is None or replica.process.dead:
            return None
        replica.process.dead = True
        self.loop.freeze(replica.process)
        self._troubled.pop(replica, None)
        self.redis.reset(replica.process.name)
        self.buried.append(replica)
        self.watch.died(replica)
        self.replicas[trouble.replica] = None
        for task, (_, ask) in [each for each in self._clients.items() if each[1][0] is replica]:
            del self._clients[task]
            if ask.once is not None:
                self._asks_again(ask)
        return lambda: self._again(trouble.replica)

    def _again(self, place: int) -> None:
        if self.replicas[place] is None and not self._over:
            self._beginning = self.loop.create_task(self._begin(place), name=f"begin {place}")

    def _freeze(self, replica: Replica | None, trouble: Trouble) -> Callable[[], None] | None:
        if replica is None or replica.process.still:
            return None
        process = replica.process
        self.loop.freeze(process)
        process.froze_at.append((self.loop.time(), trouble.end_s))
        self.watch.forget_probes(replica)

        def thaw() -> None:
            if process.still and not process.dead:
                self.watch.tell("thaws", process.name)
                self.loop.thaw(process)

        return thaw

    def _database_down(self, *_: object) -> Callable[[], None]:
        self.database_down += 1

        def up() -> None:
            self.database_down -= 1
            self.database.restarted()

        return up

    def _database_cut(self, replica: Replica | None, _: object) -> Callable[[], None] | None:
        if replica is None or replica.way.cut:
            return None
        replica.way.cut = True
        return lambda: self.database.join(replica.way)

    def _redis_down(self, *_: object, forget: bool = False, older: bool = False) -> Callable[[], None] | None:
        if self.redis.down:
            return None
        since = self.loop.time()
        self.redis.stop()

        def up() -> None:
            self.redis.start(forget=forget, older=older)
            self.watch.trouble(since, self.loop.time())

        return up

    def _redis_forgets(self, *_: object) -> Callable[[], None] | None:
        return self._redis_down(forget=True)

    def _redis_older(self, *_: object) -> Callable[[], None] | None:
        return self._redis_down(older=True)

    def _redis_hangs(self, *_: object) -> Callable[[], None] | None:
        if self.redis.hangs:
            return None
        since = self.loop.time()
        self.redis.hang(hangs=True)

        def wakes() -> None:
            self.redis.hang(hangs=False)
            self.watch.trouble(since, self.loop.time())

        return wakes

    def _redis_cut(self, replica: Replica | None, trouble: Trouble) -> Callable[[], None] | None:
        name = f"p{trouble.replica}"
        if name in self.redis.cut:
            return None
        since = self.loop.time()
        self.redis.cut.add(name)

        def joined() -> None:
            self.redis.cut.discard(name)
            self.watch.trouble(since, self.loop.time())
            self.redis.reset(name)

        return joined

    def _redis_flush(self, *_: object) -> None:
        self.watch.trouble(self.loop.time(), self.loop.time() + 6.0)
        self.redis.flush()

    def _redis_reset(self, replica: Replica | None, trouble: Trouble) -> None:
        self.redis.reset(f"p{trouble.replica}")

    def _provider_down(self, *_: object) -> Callable[[], None]:
        self.far.down += 1

        def up() -> None:
            self.far.down -= 1

        return up

    def _save(self) -> None:
        self.redis.save()
        self._saving = self.loop.call_later(self._rng.uniform(1, 10), self._save)

    # The end.

    async def _heal(self) -> None:
        """All that fails stops failing; who is dead begins anew; then as long as anybody may remember the bad times."""
        last_s = max((each.end_s for each in self.plan.troubles), default=0.0)
        if (left_s := last_s - self.loop.time()) > 0:
            await asyncio.sleep(left_s + 0.1)
        self.watch.tell("healed")
        self.far.well = True
        for place, replica in enumerate(self.replicas):
            if replica is None:
                await self._begin(place)
        while not all(replica is not None and replica.ready for replica in self.replicas):
            await asyncio.sleep(0.5)
        self.watch.plenty = True
        self.rules = rules_of(self.plan, plenty=True)
        for replica in self._living():
            replica.way.fails = 0.0
            replica.process.context.copy().run(replica.grow, self.rules)
        self.redis._spikes = 0.0
        for _ in range(_ROUNDS):  # who died is given up, and what it left open is closed
            await asyncio.sleep(_ROUND_S)
            living = {replica.ledger.owner for replica in self._living()}
            if living == self.database.owners.keys() and not self._in_flight():
                break
        if self.plan.breaker is not None:
            await asyncio.sleep(self.plan.breaker["max_open_s"] + 1.0)

    def _in_flight(self) -> bool:
        return any(record.end is None for record in self.database.requests.values())

    def _living(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica is not None]

    def _pace_s(self) -> float:
        rate = self.plan.model_rate
        return _PACE_S if rate is None else max(_PACE_S, 1.2 * rate["window_s"] / rate["requests"])

    def _looks(self, now: float) -> list[Ask]:
        """Requests to each target through each process, after which breakers are closed."""
        if self.plan.breaker is None:
            return []
        pace_s = self._pace_s()
        rounds = 3 * self.plan.breaker["success_threshold"] + 2
        whom = [(place, name) for name in PROVIDERS for place in range(self.plan.replicas)] * rounds
        return [self._ask(i, now + pace_s * i, place, name) for i, (place, name) in enumerate(whom)]

    def _probes(self, now: float) -> list[Ask]:
        first, pace_s = 100_000, self._pace_s()
        whom = [(place, name) for place in range(self.plan.replicas) for name in (*PROVIDERS, None, None)]
        probes = [self._ask(first + i, now + pace_s * i, place, only) for i, (place, only) in enumerate(whom)]
        first, now = first + len(probes), probes[-1].at_s + pace_s
        # One runs it, all others are told what that one was.
        same = [
            self._ask(first + i, now + pace_s * i, place, None, once="healed")
            for i, place in enumerate(range(self.plan.replicas))
        ]
        return probes + same

    def _ask(self, number: int, at_s: float, place: int, only: str | None, *, once: str | None = None) -> Ask:
        return Ask(
            n=1_000_000 + number,
            at_s=at_s,
            replica=place,
            stream=number % 2 == 0 or once is not None,
            words=2,
            key=f"life-{once or number}",  # whose rate nobody has used yet
            session=None,
            team=None,
            only=only,
            once=once,
        )

    async def _quiet(self) -> None:
        """Processes end in order, and nothing is left of them."""
        for replica in self._living():
            for account in replica.budgets:
                if account.reserved:
                    self.watch.broken("LIVE", f"{account.key}: {account.reserved} reserved, and nothing runs")
        if self._saving is not None:
            self._saving.cancel()
        stopping = [self.loop.spawn(replica.process, replica.stop(), "stop") for replica in self._living()]
        _, late = await asyncio.wait(stopping, timeout=60.0) if stopping else (set(), set())
        for task in stopping:
            if task in late:
                self.watch.broken("LIVE", f"{task.get_name()} takes for ever")
            else:
                task.result()
        await asyncio.sleep(5.0)
        if self.database.owners:
            self.watch.broken("LIVE", f"owners are left: {sorted(self.database.owners)}")
        dead = {task for replica in self.buried for task in replica.process.tasks}
        left = [
            task.get_name()
            for task in asyncio.all_tasks()
            if task not in dead and task.get_name() not in _OURS and task is not asyncio.current_task()
        ]
        if left:
            self.watch.broken("LIVE", f"tasks are left: {', '.join(sorted(left))}")
        self.fences = sum(r.ledger.fences for r in (*self._living(), *self.buried) if hasattr(r, "ledger"))
        self.lost_commits = sum(r.way.lost_commits for r in (*self._living(), *self.buried))
        await self._bury()

    fences = 0
    lost_commits = 0

    async def _bury(self) -> None:
        """What is left of dead processes is cleared away, where nobody hears of it."""
        self._over = True
        self.watch = cast("Watch", _Nobody())
        self.database.on_commit = self.database.on_given_up = self.database.on_late = _ignore
        self.redis.stop()
        for replica in self.buried:
            replica.way.cut = True
            for task in sorted(replica.process.tasks, key=lambda task: task.get_name()):
                task.cancel()
            self.loop.thaw(replica.process)
        await asyncio.sleep(30.0)

    def _crashed(self, context: dict[str, object]) -> None:
        error = context.get("exception")
        self.watch.broken("CRASH", f"{context.get('message')}: {type(error).__name__}: {error}")


class _Nobody:
    """Looks at nothing."""

    def __getattr__(self, name: str) -> Callable[..., Callable[[], None]]:
        return lambda *_: _ignore


def _ignore(*_: object) -> None:
    """Nobody hears of it."""


@contextmanager
def _silent() -> Iterator[None]:
    """What the parts log isn't of interest: they are looked at from outside."""
    before = structlog.get_config()

    def drop(*_: object) -> dict[str, object]:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    try:
        yield
    finally:
        structlog.configure(**before)
