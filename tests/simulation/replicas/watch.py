"""What is watched over all processes, with accounts of the simulation's own.

=====  =============================================================================================================
BU1    of each hard account: what requests cost, what those that were given up are charged, and the most that all that
       are under way may be billed, come to no more than the limit. And in the database's own tables: spent and blocks
BU2    what the ledger has charged is what the attempts cost, or the bound of a request that nobody ended; and never less
       than what was billed
LE1    nothing is sent before its intent is durable; each accepted request has one final record
RL1    in every window: admitted over all processes within the limit, while Redis was well; else within twice that
CB2    probes out at once over all processes, while Redis was well; else of each process
RD1    no request waits for Redis for more than 50 ms in all
ID1    nothing is sent for an idempotency key whose earlier run has an effect that stands; and nobody is told that a key is
       unknown of which no run was lost
ID2    all callers of a key are told the same bytes, as often as it was run
LIVE   after all has healed every request succeeds, and nothing is left: no block, no probe, no open record, no running key,
       no task
=====  =============================================================================================================

Nothing here is computed by the product: it is told what was sent, billed, written and admitted, and adds that up.
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_right, insort
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.replicas.key_watch import KeyWatch
from tests.simulation.stories import Violation
from tests.simulation.trace import EVERYBODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.replicas.far import Sent
    from tests.simulation.replicas.plan import Ask
    from tests.simulation.replicas.replica import Replica
    from tests.simulation.replicas.world import World

    from holdfast.engine.call import Call
    from holdfast.ledger.entry import AttemptRow, End, Intent, Record

__all__ = ["ENOUGH", "Watch"]

ENOUGH: Final = 20
_BUDGET_S: Final = 0.050
_LOOP_S: Final = 0.003
"""The client looks twice before it gives a connection up."""
_SLACK_S: Final = 0.11
"""Between an admission in the store and its news at the request: twice what a request may wait for it."""
_FOR_ALL_S: Final = 12.0
"""A renewal, and a little: until then not all know how many live."""


@dataclass(slots=True)
class _Account:
    hard: bool
    in_usd: bool
    limit: int
    window: str
    value: int = 0
    since: float = 0.0


@dataclass(slots=True)
class _Purse:
    """What one request costs, as far as it is known."""

    n: int
    accounts: tuple[_Account, ...]
    keys: tuple[str, ...]
    cost: list[int] = field(default_factory=lambda: [0, 0])
    under_way: list[int] = field(default_factory=lambda: [0, 0])
    billed: int = 0
    given_up: tuple[int, int] | None = None
    """Charged at this bound."""
    over: bool = False
    """Nothing of it is counted any more but its charge."""
    counted: list[int] = field(default_factory=list)
    """As it stands in each account."""

    def value(self, place: int) -> int:
        which = 0 if self.accounts[place].in_usd else 1
        most = self.cost[which] + self.under_way[which]
        return most if self.given_up is None else max(self.given_up[which], 0 if self.over else most)


class Watch:
    """Everything that is looked at."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.violations: list[Violation] = []
        self.outcomes: Counter[str] = Counter()
        self.late = self.events = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self.timeline: list[str] | None = None
        self._accounts: dict[str, _Account] = {}
        self._purses: dict[int, _Purse] = {}
        self._n_of: dict[str, int] = {}
        self._replica_of: dict[int, Replica] = {}
        self._most: dict[tuple[int, str, str], list[tuple[int, int]]] = defaultdict(list)
        self._accepted: set[str] = set()
        self.plenty = False
        self.until: frozenset[str] = frozenset()
        self.enough = asyncio.Event()
        """One of those was broken."""
        self._admitted: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        self._bad: list[tuple[float, float]] = []
        """Intervals in which Redis wasn't well for all."""
        self._births: list[float] = []
        self._probes: defaultdict[str, dict[int, tuple[Replica, int]]] = defaultdict(dict)
        self._counter = 0
        self._keys = KeyWatch(self.broken, world.loop.time, ttl_s=world.plan.ttl_s)

    # What is told.

    def tell(self, what: str, *about: Any) -> None:
        """Part of the trace."""
        self.events += 1
        said = f"{self._world.loop.time():.6f} {what} {' '.join(map(str, about))}"
        self._hash.update(said.encode())
        if self.timeline is not None:
            self.timeline.append(said)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def broken(self, promise: str, what: str, n: int = EVERYBODY) -> None:
        self.tell("broken", promise, what)
        if promise in self.until:
            self.enough.set()
        if len(self.violations) < ENOUGH:
            self.violations.append(Violation(promise, self._world.loop.time(), n, what))

    def born(self, replica: Replica) -> None:
        self._births.append(self._world.loop.time())
        self.tell("born", replica.process.name)

    def died(self, replica: Replica) -> None:
        self._births.append(self._world.loop.time())
        self.tell("died", replica.process.name)
        self.forget_probes(replica)

    def forget_probes(self, replica: Replica) -> None:
        """Its connections are gone, or others may take them for gone."""
        for out in self._probes.values():
            for number in [number for number, (who, _) in out.items() if who is replica]:
                del out[number]

    def trouble(self, since: float, until: float) -> None:
        """Redis wasn't well for all."""
        insort(self._bad, (since, until))

    # Requests.

    def asked(self, replica: Replica, ask: Ask, call: Call) -> None:
        self.tell("asked", ask.n, replica.process.name)
        self._n_of[call.id] = ask.n
        self._replica_of[ask.n] = replica
        if ask.once is not None:
            self._keys.asked(ask.n, ask.once)
        keys, accounts = [], []
        for rule in self._world.plan.rules:
            subject = {
                "all": "",
                "key": ask.key,
                "session": None if ask.session is None else f"{ask.key}/{ask.session}",
                "team": ask.team,
            }[rule["scope"]]
            if subject is None:
                continue
            in_usd = "limit_nano" in rule
            key = f"{rule['name']}:{'usd' if in_usd else 'tokens'}:{rule['window']}:{subject}"
            limit = rule["limit_nano"] if in_usd else rule["limit_tokens"]
            account = self._accounts.setdefault(key, _Account(rule["hard"], in_usd, limit, rule["window"]))
            keys.append(key)
            accounts.append(account)
        self._purses[ask.n] = _Purse(ask.n, tuple(accounts), tuple(keys), counted=[0] * len(keys))

    def answered(self, replica: Replica, ask: Ask, call: Call, how: str, body: bytes = b"") -> None:
        self.tell("answered", ask.n, how)
        self._keys.answered(ask.n, how, body)
        self.outcomes[how] += 1
        self._world.outcome[ask.n] = how
        if call.spell.spent_s > _BUDGET_S + _LOOP_S and not self._froze(replica, call.started_at):
            self.broken("RD1", f"it waited {call.spell.spent_s * 1e3:.1f} ms for Redis", ask.n)

    def accepted(self, replica: Replica, intent: Intent) -> None:
        self.tell("accepted", self._n_of[intent.id], replica.process.name)
        self._accepted.add(intent.id)

    def sent(self, sent: Sent) -> None:
        n = sent.n
        self.tell("sent", n, sent.provider, sent.replica.process.name)
        id_ = next((id_ for id_ in reversed(self._n_of) if self._n_of[id_] == n), "")
        database = self._world.database
        record = database.requests.get(id_)
        if record is None:
            self.broken("LE1", "it was sent, and no intent is durable", n)
        elif database.taken_at.get(record.owner, self._world.loop.time()) < database.begun_at[id_]:
            self.broken("LE1", "it was begun in the name of a process that had been given up", n)
        self._keys.sent(n)
        purse = self._purses[n]
        purse.billed += sent.billed
        self._most[n, sent.provider, sent.replica.process.name].append(sent.most)
        purse.under_way[0] += sent.most[0]
        purse.under_way[1] += sent.most[1]
        self._count(purse)

    def attempted(self, replica: Replica, intent: Intent, row: AttemptRow) -> None:
        n = self._n_of[intent.id]
        self.tell("attempted", n, row.provider, row.outcome, row.cost_nano)
        purse = self._purses[n]
        waiting = self._most[n, row.provider, replica.process.name]
        most = waiting.pop(0) if waiting else (0, 0)
        tokens = 0
        if row.cost_nano:
            if row.billed == "provider" and row.usage is not None:
                tokens = (row.usage.input_tokens or 0) + (row.usage.output_tokens or 0)
            else:
                tokens = self._tokens_of_bound(row, most)
        for which, cost in enumerate((row.cost_nano or 0, tokens)):
            purse.under_way[which] -= most[which]
            purse.cost[which] += cost
        self._count(purse)

    def ended(self, replica: Replica, intent: Intent, end: End) -> None:
        n = self._n_of[intent.id]
        self.tell("ended", n, end.state, end.cost_nano)
        self._keys.ended(n, ok=end.state == "ok")
        if not replica.process.dead:
            self._purses[n].over = True

    def given_up(self, record: Record) -> None:
        """The database has: what it charges stands from now on."""
        n = self._n_of[record.intent.id]
        self.tell("given_up", n)
        self._keys.given_up(n)
        intent = record.intent
        purse = self._purses[n]
        purse.given_up = (intent.bound_nano or 0, intent.bound_tokens or 0)
        for which, bound in enumerate(purse.given_up):
            most = purse.cost[which] + purse.under_way[which]
            if any((account.in_usd is (which == 0)) for account in purse.accounts) and bound < most:
                self.broken("BU1", f"its bound is {bound}, and it may be billed {most}", n)
        self._count(purse)

    def came_late(self, record: Record) -> None:
        """What it cost stands in the place of its bound."""
        purse = self._purses[self._n_of[record.intent.id]]
        purse.given_up = None
        self._count(purse)

    def _tokens_of_bound(self, row: AttemptRow, most: tuple[int, int]) -> int:
        """As many tokens as a bound that was charged had a price for."""
        from tests.simulation.providers import PRICES

        given, made = PRICES[row.provider]
        output = most[1] - 20
        return ((row.cost_nano or 0) - output * made) // given + output

    # BU1.

    def _count(self, purse: _Purse) -> None:
        """What it may come to has changed."""
        if self.plenty:
            return
        today = self._world.midnight_passed()
        for place, account in enumerate(purse.accounts):
            value = purse.value(place)
            if account.window == "day" and today and not account.since:
                account.since, account.value = today, 0  # a new day: what is charged from now on
                for each in self._purses.values():
                    each.counted = [
                        0 if its is account else had
                        for its, had in zip(each.accounts, each.counted, strict=True)
                    ]
            account.value += value - purse.counted[place]
            purse.counted[place] = value
            if account.hard and account.window != "day" and account.value > account.limit:
                what = (
                    f"{purse.keys[place]}: {account.value} spent or under way; the limit is {account.limit}"
                )
                self.broken("BU1", what, purse.n)

    def committed(self) -> None:
        """A transaction: in the database's own tables no account is beyond its limit."""
        if self.plenty:
            return
        database = self._world.database
        now_ns = database.wall_ns()
        spent: Counter[str] = Counter()
        for each in database.books.spend.values():
            if each.until_ns is None or each.until_ns > now_ns:
                spent[each.account] += each.amount
        for key, account in self._accounts.items():
            if not account.hard:
                continue
            blocked = sum(database.books.blocks.get(key, {}).values())
            if spent[key] + blocked > account.limit:
                what = f"{key}: {spent[key]} spent, {blocked} in blocks; the limit is {account.limit}"
                self.broken("BU1", what)

    # RL1.

    def admitted(self, replica: Replica, call: Call, asked_at: float) -> Callable[[], None]:
        """Somebody was let in; what to call if it never was."""
        plan, now = self._world.plan, self._world.loop.time()
        n = self._n_of[call.id]
        windows = []
        if plan.rate is not None:
            windows.append((f"key {call.key}", plan.rate))
        if plan.model_rate is not None:
            windows.append(("model", plan.model_rate))
        if self._froze(replica, asked_at):  # nobody can say when
            return lambda: None
        for name, settings in windows:
            self._admitted[name].append((now, n))
            self._judge(name, settings, now)

        def undo() -> None:
            for name, _ in windows:
                admissions = self._admitted[name]
                for place in range(len(admissions) - 1, -1, -1):
                    if admissions[place][1] == n:
                        del admissions[place]
                        break

        return undo

    def _judge(self, name: str, settings: dict[str, Any], now: float) -> None:
        window_s, limit = settings["window_s"], settings["requests"]
        since = now - window_s + _SLACK_S
        admissions = self._admitted[name]
        count = len(admissions) - bisect_right(admissions, (since, 1 << 60))
        if count <= limit:
            return
        bad_s = window_s + 1.0
        if self._well(now - window_s - bad_s, now):
            self.broken("RL1", f"{name}: {count} within {window_s} s; the limit is {limit}")
            return
        changed = len([at for at in self._births if at > now - 2 * window_s - _FOR_ALL_S])
        most = (2 + changed) * max(limit, self._world.plan.replicas)
        if count > most:
            self.broken(
                "RL1", f"{name}: {count} within {window_s} s; the limit is {limit}, {changed} changed"
            )

    def _well(self, since: float, until: float) -> bool:
        """Redis was, for all, throughout."""
        world = self._world
        if world.redis_unwell() or since < 0:
            return False
        return not any(began <= until and ended >= since for began, ended in self._bad)

    def _froze(self, replica: Replica, since: float) -> bool:
        return any(ended >= since for _, ended in replica.process.froze_at)

    # CB2.

    def probing(self, replica: Replica, target: str, epoch: int) -> Callable[[], None]:
        """Somebody was let through half-open; what to call when its answer has begun, or it is over."""
        out = self._probes[target]
        self._counter += 1
        number = self._counter
        out[number] = (replica, epoch)
        self.tell("probe", target, replica.process.name, epoch)
        breaker = self._world.plan.breaker
        assert breaker is not None
        most, now = breaker["success_threshold"], self._world.loop.time()
        mine = [who for who, its in out.values() if its == epoch]
        if self._well(now - 5.0 - 2 * breaker["half_open_s"], now) and len(mine) > most:
            self.broken("CB2", f"{target}: {len(mine)} probes are out, and {most} may be")
        if mine.count(replica) > most:
            self.broken("CB2", f"{target}: {mine.count(replica)} probes of {replica.process.name}'s are out")
        return lambda: self._over(out, number)

    def _over(self, out: dict[int, tuple[Replica, int]], number: int) -> None:
        out.pop(number, None)

    # The end.

    def at_the_end(self) -> None:
        """All has healed, and nothing is under way."""
        database = self._world.database
        for id_ in sorted(self._accepted):
            # Who left while its intent was on its way, or whose time was over, doesn't know whether it came about.
            unsure = self._world.outcome.get(self._n_of[id_]) in ("left", "no_time_left")
            if id_ not in database.requests and not unsure:
                self.broken("LE1", "it was accepted, and has no record", self._n_of[id_])
        expected: Counter[str] = Counter()
        for id_, record in database.requests.items():
            n = self._n_of[id_]
            if record.end is None:
                self.broken("LE1", "it is in flight for ever", n)
                continue
            self.late += record.late
            purse = self._purses[n]
            intent = record.intent
            recovered = record.settled_by == "recovery"
            charged = (intent.bound_nano or 0, intent.bound_tokens or 0) if recovered else tuple(purse.cost)
            if charged[0] < purse.billed:
                self.broken("BU2", f"{charged[0]} was charged, and {purse.billed} billed", n)
            for key, account in zip(purse.keys, purse.accounts, strict=True):
                expected[key] += charged[0 if account.in_usd else 1]
        for key in self._accounts:
            if database.books.ever[key] != expected[key]:
                what = f"{key}: the ledger charged {database.books.ever[key]}, and it came to {expected[key]}"
                self.broken("BU2", what)
        self._keys.at_the_end(database.keys.every())
        for key, blocks in database.books.blocks.items():
            if sum(blocks.values()):
                self.broken("LIVE", f"{key}: blocks are left: {blocks}")
        if probes := self._world.redis.probes():
            self.broken("LIVE", f"{probes} probes' leases are left")
