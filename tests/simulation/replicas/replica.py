"""One process of a simulated world: the product's own parts, wired as :mod:`holdfast.app` wires them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from tests.simulation.chat_wire import DONE, request
from tests.simulation.providers import MODEL
from tests.simulation.replicas.database import Authority, Database, ReplicaLedger, Way
from tests.simulation.replicas.loop import Process
from tests.simulation.replicas.redis import RedisServer
from tests.simulation.wire import _book, _warm
from tests.simulation.world import DIALECT, endpoint

from holdfast.clock import new_id
from holdfast.engine.call import Call
from holdfast.engine.engine import Engine
from holdfast.engine.gates import Gatehouse
from holdfast.engine.idempotency import Keyed, Runs
from holdfast.engine.policy import Gates, Idempotency, Policy, Retry, Target, Timeouts
from holdfast.engine.rates import RateAdmission, RateRules
from holdfast.engine.route import Resolved
from holdfast.engine.shared_breakers import SharedBreakers
from holdfast.engine.shared_rates import SharedRates
from holdfast.engine.treasury import Treasury
from holdfast.errors import Draining, HoldfastError
from holdfast.ledger.idempotency import Answer
from holdfast.ledger.sql_idempotency import SqlIdempotency
from holdfast.money.leases import Leases
from holdfast.money.rules import BudgetRule
from holdfast.money.shared import SharedBudgets
from holdfast.resilience.breaker import BreakerSettings, CircuitState
from holdfast.resilience.rate_meter import RateLimitSettings
from holdfast.stores.redis import RedisStore
from holdfast.stores.redis_breakers import RedisBreakers
from holdfast.stores.redis_rates import RedisRates
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.replicas.plan import Ask, Plan
    from tests.simulation.replicas.world import World

    from holdfast.engine.seams import Permit, Ticket
    from holdfast.ledger.entry import AttemptRow, End, Intent
    from holdfast.model.usage import Usage

__all__ = ["Replica", "Wiring", "limits_of"]

PROVIDERS = ("a", "b")
_TIMEOUTS = Timeouts(connect_s=2.0, first_token_s=8.0, answer_s=12.0, idle_s=5.0)
_RETRY = Retry(max_retries=1, base_s=0.2, max_s=2.0)
_TOTAL_S = 30.0
_PLENTY = 10**17


class _Clock:
    """The machine's own: its wall clock is wrong by ``skew_s``."""

    def __init__(self, world: World, skew_s: float) -> None:
        self._world = world
        self._skew_ns = round(skew_s * 1e9)

    def monotonic(self) -> float:
        return self._world.loop.time()

    def wall_ns(self) -> int:
        return self._world.database.wall_ns() + self._skew_ns


class Wiring:
    """Which classes a process is made of: broken ones, where the monitors themselves are tried."""

    database: type[Database] = Database
    redis: type[RedisServer] = RedisServer
    ledger: type[ReplicaLedger] = ReplicaLedger
    leases: type[Leases] = Leases
    budgets: type[SharedBudgets] = SharedBudgets
    rates: type[SharedRates] = SharedRates
    redis_rates: type[RedisRates] = RedisRates
    breakers: type[SharedBreakers] = SharedBreakers
    redis_breakers: type[RedisBreakers] = RedisBreakers
    idempotency: type[SqlIdempotency] = SqlIdempotency


class Replica:
    """A process from its start to its end.

    Args:
        life: the how manieth of its place.
    """

    def __init__(self, world: World, place: int, life: int) -> None:
        plan = world.plan
        self.world = world
        self.place = place
        self.process = Process(f"p{place}")
        self.began_at = world.loop.time()
        self.ended_at: float | None = None
        self.ready = False
        self.rng = random.Random(f"process {plan.seed} {place} {life}")
        self.way = Way(
            world.loop,
            self.process,
            random.Random(f"database {plan.seed} {place} {life}"),
            latency_s=plan.database_s,
            fails=plan.database_fails,
            is_down=lambda: world.database_down > 0,
        )
        self.up_since: float | None = None
        self.overspent: dict[str, float] = {}

    async def start(self) -> None:
        """Wires it, as ``App.start`` does."""
        world, plan, rng = self.world, self.world.plan, self.rng
        wiring = world.wiring
        clock = _Clock(world, plan.skews_s[self.place])
        self.ledger = wiring.ledger(world.database, self.way, world.loop, clock, lambda: new_id(clock, rng))
        await self.ledger.open()
        self.clock = self.ledger.clock
        self.ledger.start()
        authority = Authority(world.database, self.way, self.ledger)
        self.leases = wiring.leases(authority, flush=self.ledger.flush, now_ns=self.clock.wall_ns)
        self.budgets = wiring.budgets(world.rules, leases=self.leases, now_ns=self.clock.wall_ns)
        self.budgets.load(await self.ledger.spending())
        self.store = RedisStore(RedisAddress.parse("redis://redis:6379"), clock=self.clock, rng=rng)
        self.store.on_change(lambda: world.redis_turned(self))
        self.breakers = wiring.breakers(
            wiring.redis_breakers(self.store), clock=self.clock, rng=rng, me=new_id(self.clock, rng)
        )
        self.rates = wiring.rates(
            wiring.redis_rates(self.store), clock=self.clock, rng=rng, replicas=lambda: self.ledger.living
        )
        self.house = Gatehouse(clock=self.clock, rng=rng, breakers=self.breakers, rates=self.rates)
        admission = None
        rules = limits_of(plan)
        if not rules.empty:
            admission = _Admission(self, RateAdmission(rules, clock=self.clock, shared=self.rates))
        self.engine = Engine(
            [endpoint(name) for name in PROVIDERS],
            transport=world.far.transport(self),
            ledger=self.ledger,
            book=_book(),
            clock=self.clock,
            rng=rng,
            observer=_Teller(self),
            admission=admission,
            gate=_Gate(self),
        )
        self.engine.treasury = Treasury(
            self.budgets, ledger=self.ledger, clock=self.clock, leases=self.leases
        )
        gates = Gates(breaker=None if plan.breaker is None else BreakerSettings(**plan.breaker))
        self.targets = {
            name: Target(provider=name, model=MODEL, tier=tier, timeouts=_TIMEOUTS, retry=_RETRY, gates=gates)
            for tier, name in enumerate(PROVIDERS)
        }
        self.resolved = Resolved(
            asked="chat",
            match="route",
            route="chat",
            targets=tuple(self.targets.values()),
            skipped=(),
            policy=Policy(total_s=_TOTAL_S, max_attempts=3, idempotency=Idempotency(ttl_s=plan.ttl_s)),
        )
        self.runs = Runs(self.engine, wiring.idempotency(self.ledger), shared=True)
        self.leases.start()
        await self.store.start()
        world.redis_turned(self)
        if plan.breaker is not None:
            self.breakers.start()
        self.ready = True

    async def stop(self) -> None:
        """In order, as ``App.aclose``."""
        self.ready = False
        await self.runs.aclose(Draining("the process is shutting down", retry_after_s=1.0))
        await self.engine.treasury.aclose()
        await self.house.aclose()
        await self.breakers.aclose()
        self.rates.flush()
        await self.store.aclose()
        await self.ledger.aclose()

    async def serve(self, ask: Ask) -> None:
        """One request of a caller's, from its first byte to its last."""
        world = self.world
        resolved = self.resolved
        if ask.only is not None:
            resolved = replace(resolved, targets=(self.targets[ask.only],), spread=False)
        more: dict[str, Any] = {"stream_options": {"include_usage": True}} if ask.stream else {}
        call = Call(
            id=new_id(self.clock, self.rng),
            dialect=DIALECT,
            envelope=DIALECT.read_request(
                request(stream=ask.stream, max_tokens=4 * ask.words, prompt=f"question {ask.n}", **more)
            ),
            resolved=resolved,
            started_at=self.clock.monotonic(),
            started_ns=self.clock.wall_ns(),
            key=ask.key,
            team=ask.team,
            session=ask.session,
        )
        watch = world.watch
        watch.asked(self, ask, call)
        try:
            how, body = await (self._asked(call) if ask.once is None else self._asked_once(call, ask.once))
            watch.answered(self, ask, call, how, body)
        except HoldfastError as error:
            watch.answered(self, ask, call, error.label)
        except asyncio.CancelledError:
            watch.answered(self, ask, call, "left")
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
            watch.broken("CRASH", f"request {ask.n}: {type(error).__name__}: {error}")

    async def _asked(self, call: Call) -> tuple[str, bytes]:
        """What became of it, and what its caller has read."""
        exchange = self.engine.exchange(call)
        try:
            await exchange.open()
            body = b""
            while not exchange.over:
                body += await exchange.read()
        finally:
            exchange.close()
        return "ok" if exchange.failure is None else exchange.failure.label, body

    async def _asked_once(self, call: Call, once: str) -> tuple[str, bytes]:
        """As a caller with an idempotency key: only by what it reads does it know how it ended."""
        visitor = self.runs.visit(
            Keyed(
                call=call,
                key=once,
                parts=(once.encode(),),
                headers=lambda _: [],
                failure=lambda error: Answer(status=error.status, body=error.label.encode()),
            )
        )
        try:
            await visitor.open()
            if (replayed := visitor.replayed) is not None:
                body = replayed.body
                if replayed.status != 200:
                    return body.decode(), b""
            else:
                body = b""
                while not visitor.over:
                    body += await visitor.read()
        finally:
            visitor.close()
        whole = body.endswith(DONE if call.envelope.stream else b"}")
        return ("ok" if whole and b'"error"' not in body else "broken off"), body

    def grow(self, rules: Sequence[BudgetRule]) -> None:
        """Limits that nobody reaches."""
        self.budgets.apply(rules)


def limits_of(plan: Plan) -> RateRules:
    return RateRules(
        caller=None if plan.rate is None else RateLimitSettings(**plan.rate),
        models={} if plan.model_rate is None else {"chat": RateLimitSettings(**plan.model_rate)},
    )


def rules_of(plan: Plan, *, plenty: bool = False) -> list[BudgetRule]:
    rules = [BudgetRule(**{"warn_at": 0.8, **rule}) for rule in plan.rules]
    if not plenty:
        return rules
    return [
        replace(rule, limit_nano=_PLENTY)
        if rule.limit_nano is not None
        else replace(rule, limit_tokens=10**15)
        for rule in rules
    ]


def warm() -> None:
    _warm()


class _Teller:
    """The engine's observer."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def accepted(self, intent: Intent) -> None:
        self._replica.world.watch.accepted(self._replica, intent)

    def attempted(self, intent: Intent, row: AttemptRow) -> None:
        self._replica.world.watch.attempted(self._replica, intent, row)

    def ended(self, intent: Intent, end: End) -> None:
        self._replica.world.watch.ended(self._replica, intent, end)


class _Admission:
    """The engine's admission, watched."""

    def __init__(self, replica: Replica, admission: RateAdmission) -> None:
        self._replica = replica
        self._admission = admission

    async def admit(self, call: Call) -> Ticket:
        asked_at = self._replica.world.loop.time()
        ticket = await self._admission.admit(call)
        watch = self._replica.world.watch
        return _Ticket(ticket, watch.admitted(self._replica, call, asked_at))


class _Ticket:
    def __init__(self, ticket: Ticket, undo: Callable[[], None]) -> None:
        self._ticket = ticket
        self._undo = undo
        self.rate = ticket.rate

    def settle(self, end: End | None) -> None:
        if end is None:
            self._undo()
        self._ticket.settle(end)


class _Gate:
    """The engine's gate, watched: who is let through half-open is a probe."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        house = replica.house
        self.hedge_after, self.may_hedge = house.hedge_after, house.may_hedge
        self.hedge_won, self.may_retry = house.hedge_won, house.may_retry

    async def enter(self, target: Target, call: Call, *, first: bool, deadline: float) -> Permit:
        replica = self._replica
        permit = await replica.house.enter(target, call, first=first, deadline=deadline)
        gate = replica.house.of(target)
        if gate.breaker is None or gate.breaker.state is not CircuitState.HALF_OPEN:
            return permit
        assert gate.shared is not None
        over = replica.world.watch.probing(replica, target.provider, gate.shared.view().epoch)
        return _Probe(permit, over)


class _Probe:
    def __init__(self, permit: Permit, over: Callable[[], None]) -> None:
        self._permit = permit
        self._over = over

    def heard(self, header: Callable[[str], str | None], *, refused: bool) -> None:
        self._permit.heard(header, refused=refused)

    def progressed(self) -> None:
        self._over()
        self._permit.progressed()

    def leave(self, error: HoldfastError | None, usage: Usage | None) -> None:
        self._over()
        self._permit.leave(error, usage)
