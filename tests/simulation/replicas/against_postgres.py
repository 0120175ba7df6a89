"""A script of what befalls two processes and their database, played on the simulated PostgreSQL or on a real one.

What each step is answered, and how the books stand after it, is told in the same words of both.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from msgspec import Struct
from tests.simulation.replicas.database import Authority, Database, ReplicaLedger, Way
from tests.simulation.replicas.loop import Process, ReplicaLoop, run_replicas
from tests.support.tcp_proxy import TcpProxy

from holdfast.clock import SystemClock
from holdfast.errors import LedgerUnavailable
from holdfast.ledger.blocks import Want
from holdfast.ledger.blocks_postgres import PostgresAuthority
from holdfast.ledger.entry import AccountPart, Charge, End, Intent
from holdfast.ledger.idempotency import Answer, Claim, Done
from holdfast.ledger.postgres import PostgresLedger, PostgresStore
from holdfast.ledger.sql_idempotency import SqlIdempotency

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from tests.support.postgres import PostgresServer

    from holdfast.ledger.blocks import Authority as AnyAuthority
    from holdfast.ledger.blocks import Grant
    from holdfast.testing.virtual_time import VirtualClock

__all__ = ["Parts", "Step", "ToldWay", "draw", "on_real", "on_simulated"]

Fate: TypeAlias = Literal["well", "unsent", "unanswered", "unanswered and cut"]
"""Of a transaction: cut off before all of it has arrived; committed, and its answer is lost, with its connection or with
everything that the process could ask again."""
Books: TypeAlias = "tuple[list[Any], list[Any], list[Any], list[Any]]"

_FAR_NS: Final = 4_000_000_000_000_000_000
_ACCOUNTS: Final = {"acct-day": (1_000, _FAR_NS), "acct-ever": (400, None), "acct-small": (90, _FAR_NS)}
_CALLED: Final = "acct-call", 50
"""One that nobody spends of, and its limit."""
_LIMITS: Final = {**{name: limit for name, (limit, _) in _ACCOUNTS.items()}, _CALLED[0]: _CALLED[1]}
"""Limits, and until when what is spent counts."""
_BOUND: Final = 7
_KEYS: Final = ("key-a", "key-b", "key-c")
_LEASE_S: Final = 3_600.0
"""Nobody renews while a script is played, and nobody's lease runs out by itself."""
_SOON_S: Final = 0.01
_PATIENCE_S: Final = 20.0
_COMMITTED: Final = b"COMMIT\\x00"
"""How the server says so."""


class Step(Struct, frozen=True):
    """One thing that happens."""

    what: str
    who: int = 0
    fate: Fate = "well"
    begins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    wants: tuple[tuple[str, int, int, int], ...] = ()
    """Of each account: what is the least, what is needed, what is wished for."""
    amount: int | None = None
    account: str = ""
    key: str = ""
    """An idempotency key."""


def draw(seed: int) -> list[Step]:
    """A script in which everything that can befall them befalls them, in an order of its own, with other work between."""
    rng = random.Random(f"against postgres {seed}")
    draft = _Draft(rng, claims=seed % 2 == 1)
    troubles: list[Callable[[], list[Step]]] = [
        *(lambda fate=fate: [draft.group(fate)] for fate in _FATES),
        *(lambda fate=fate: [draft.lease(fate)] for fate in _FATES),
        *(lambda fate=fate: [draft.closing(fate)] for fate in _FATES[:2]),
        *(lambda fate=fate: [draft.back(fate)] for fate in _FATES[:2]),
        *(lambda fate=fate: [draft.raised(fate)] for fate in _FATES[:2]),
        *(lambda fate=fate: draft.claimed(fate) for fate in _FATES),
        *(lambda fate=fate: draft.over(fate, "keep") for fate in _FATES[:2]),
        *(lambda fate=fate: draft.over(fate, "free") for fate in _FATES[:2]),
        *(lambda who=who: draft.given_up(who) for who in (0, 1)),
        draft.cut,
        draft.down,
        draft.reset,
        draft.called,
    ]
    rng.shuffle(troubles)
    steps = [draft.group("well", who=0), draft.group("well", who=1)]
    for trouble in troubles:
        steps += [draft.work() for _ in range(rng.randrange(1, 4))]
        steps += trouble()
    return steps


_FATES: Final[tuple[Fate, ...]] = ("unsent", "unanswered", "unanswered and cut")


class _Draft:
    """What was drawn so far."""

    def __init__(self, rng: random.Random, *, claims: bool) -> None:
        self._rng = rng
        self._claims_first = claims
        """Who writes in a dead name claims a key, or begins a request."""
        self._writes = rng.randrange(2)
        """Who finds by its next group that it was given up. The other one does by its next lease."""
        self._begun: tuple[list[str], list[str]] = ([], [])
        self._claims: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
        """Keys that each has claimed, or tried to, and the runs."""
        self._number = 0

    def work(self, who: int | None = None) -> Step:
        draws = (
            *(self.group, self.group, self.lease, self.lease, self.closing, self.back, self.raised),
            *(self.claim, self.claim, self.settled, self.looked),
        )
        return self._rng.choice(draws)("well", who=who)

    def group(self, fate: Fate, *, who: int | None = None) -> Step:
        rng, who = self._rng, self._who(who)
        count = rng.randrange(1, 4) if fate == "well" else 1  # else they might not go together
        ids = [self._id(who) for _ in range(count)]
        ends = self._ended(who, rng.randrange(2))
        self._begun[who].extend(ids)
        return Step("group", who, fate, begins=tuple(ids), ends=ends)

    def closing(self, fate: Fate, *, who: int | None = None) -> Step:
        who = self._who(who)
        return Step("group", who, fate, ends=self._ended(who, self._rng.randrange(1, 3)))

    def raised(self, fate: Fate, *, who: int | None = None) -> Step:
        who = self._who(who)
        ends = (self._rng.choice(self._begun[who][-4:]),)
        return Step("raise", who, fate, ends=ends, amount=self._rng.randrange(_BOUND, 3 * _BOUND))

    def claim(self, fate: Fate, *, who: int | None = None, key: str | None = None) -> Step:
        """A key, and with it an intent."""
        who = self._who(who)
        key, id_ = key or self._rng.choice(_KEYS), self._id(who)
        self._begun[who].append(id_)
        self._claims[who].append((key, id_))
        return Step("claim", who, fate, begins=(id_,), key=key)

    def settled(self, fate: Fate, *, who: int | None = None) -> Step:
        """A run is over, or was never claimed."""
        who = self._who(who)
        what = self._rng.choice(("keep", "keep", "free"))
        known = self._claims[who][-4:] or [("key-a", "req-none")]
        key, id_ = self._rng.choice(known)
        return Step(what, who, fate, ends=(id_,), key=key)

    def looked(self, fate: Fate, *, who: int | None = None) -> Step:
        return Step("look", self._who(who), fate, key=self._rng.choice(_KEYS))

    def claimed(self, fate: Fate) -> list[Step]:
        """A key that is free; and then it is looked at."""
        claim = self.claim(fate, key=self._new_key())
        return [claim, Step("look", 1 - claim.who, key=claim.key)]

    def over(self, fate: Fate, what: str) -> list[Step]:
        """A run that is under way comes to its end."""
        claim = self.claim("well", key=self._new_key())
        who, key = claim.who, claim.key
        return [claim, Step(what, who, fate, ends=claim.begins, key=key), Step("look", 1 - who, key=key)]

    def lease(self, fate: Fate, *, who: int | None = None) -> Step:
        rng = self._rng
        wants = []
        for account in sorted(rng.sample(sorted(_ACCOUNTS), rng.randrange(1, 3))):
            least = rng.randrange(1, 60)
            needed = least + rng.randrange(40)
            wants.append((account, least, needed, 2 * needed))
        return Step("lease", self._who(who), fate, wants=tuple(wants))

    def back(self, fate: Fate, *, who: int | None = None) -> Step:
        amount = self._rng.choice((None, self._rng.randrange(1, 80)))
        account = self._rng.choice(sorted(_ACCOUNTS))
        return Step("back", self._who(who), fate, account=account, amount=amount)

    def given_up(self, who: int) -> list[Step]:
        """Somebody stood still for too long; then it wakes up, and goes on with whatever it was at."""
        before = [self.lease("well", who=who), self.group("well", who=who), self.group("well", who=who)]
        before += [self.claim("well", who=who, key=self._new_key()) for _ in range(2)]
        unaware = [self.closing("well", who=who), self.raised("well", who=who), self.settled("well", who=who)]
        self._rng.shuffle(unaware)
        if who != self._writes:
            finds = self.lease("well", who=who)
        elif self._claims_first:
            finds = self.claim("well", who=who, key=self._new_key())
        else:
            finds = self.group("well", who=who)
        after = [self.lease("well", who=1 - who), Step("spent", 1 - who), self.claim("well", who=1 - who)]
        anew = [Step("anew", who), self.lease("well", who=who), self.closing("well", who=who)]
        return [*before, Step("given up", who), *after, *unaware, finds, *anew]

    def cut(self) -> list[Step]:
        who = self._who(None)
        meanwhile = [self.work(who) for _ in range(3)] + [self.work(1 - who) for _ in range(2)]
        self._rng.shuffle(meanwhile)
        before, refused = self._refused(1 - who)
        return [*before, Step("cut", who), *meanwhile, refused, Step("join", who)]

    def down(self) -> list[Step]:
        """While it is down nobody can renew: who couldn't isn't given up for it afterwards."""
        meanwhile = [self.work() for _ in range(4)]
        return [
            Step("down"),
            *meanwhile,
            Step("up"),
            Step("expired", self._who(None)),
            self.work(),
            self.work(),
        ]

    def reset(self) -> list[Step]:
        """Connections that nobody uses just then."""
        who = self._who(None)
        each = [self.lease("well", who=who), self.group("well", who=who)]
        self._rng.shuffle(each)
        return [Step("reset", who), *each]

    def called(self) -> list[Step]:
        """Who has what another one lacks is told."""
        who = self._who(None)
        before, refused = self._refused(who)
        return [*before, refused, Step("hears", 1 - who, account=_CALLED[0])]

    def _refused(self, who: int) -> tuple[list[Step], Step]:
        """All of an account is in the other one's block; then more is asked for."""
        account, every = _CALLED
        wants = ((account, every, every, every),)
        back = [Step("back", each, account=account) for each in (0, 1)]
        return [*back, Step("lease", 1 - who, wants=wants)], Step("lease", who, wants=wants)

    def _ended(self, who: int, count: int) -> tuple[str, ...]:
        """Of those that were begun not long ago; some of them have ended before, or were never begun after all."""
        known = self._begun[who][-6:]
        return tuple(self._rng.sample(known, min(count, len(known))))

    def _new_key(self) -> str:
        self._number += 1
        return f"key-{self._number}"

    def _id(self, who: int) -> str:
        self._number += 1
        return f"req-{who}-{self._number:03}"

    def _who(self, who: int | None) -> int:
        return self._rng.randrange(2) if who is None else who


# What is played.


class _Party:
    """One of the two processes."""

    def __init__(self, name: str, ledger: ReplicaLedger | PostgresLedger, authority: AnyAuthority) -> None:
        self.name = name
        self.ledger = ledger
        self.keys = SqlIdempotency(ledger)
        self.authority = authority
        self.names: dict[str, str] = {}
        self.heard: list[str | None] = []
        self.news = asyncio.Event()
        self.fences = asyncio.Event()
        self.given_up = ""
        """The name under which it was taken for dead."""
        self.away = False
        """It can't be asked: what it ended waits."""
        authority.listen(self)

    def called(self, account: str | None) -> None:
        self.heard.append(account)
        self.news.set()

    def forgotten(self, account: str) -> None:
        raise AssertionError(f"nobody forgets {account} here")

    def fenced(self) -> None:
        self.fences.set()

    def known(self, owner: str) -> str:
        return self.names.get(owner, "")

    def look(self) -> None:
        """Under which name it goes now."""
        self.names.setdefault(self.ledger.owner, f"{self.name}.{len(self.names)}")

    async def hears(self, account: str | None) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while account not in self.heard:
                self.news.clear()
                await self.news.wait()


class World(Protocol):
    """A database with two processes, and what can befall them."""

    parties: list[_Party]

    async def doomed(self, step: Step, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Does it under a fate other than ``well``; afterwards the process can reach the database."""
        ...

    async def cut(self, who: int) -> None: ...
    async def join(self, who: int) -> None: ...
    async def down(self) -> None: ...
    async def up(self) -> None: ...
    async def reset(self, who: int) -> None: ...
    async def expire(self, owner: str) -> None: ...
    async def renew(self, owner: str) -> None: ...
    async def heir(self, *, soon: bool) -> None:
        """A process comes, gives up whom it may, and leaves."""
        ...

    async def books(self) -> Books | None:
        """Records, what is spent, blocks, keys; None: nobody can look."""
        ...


async def play(world: World, steps: Sequence[Step]) -> list[Any]:
    """What each of them is answered, and the books."""
    told = []
    for step in steps:
        party = world.parties[step.who]
        party.look()
        answer = await _take(world, step, party)
        for each in world.parties:
            each.look()
            if not each.away:
                await each.ledger.flush()
        told.append((answer, await world.books()))
    return told


async def _take(world: World, step: Step, party: _Party) -> Any:
    match step.what:
        case "cut" | "down":
            for each in _concerned(world, step):
                each.away = True
            await (world.down() if step.what == "down" else world.cut(step.who))
        case "join" | "up":
            for each in _concerned(world, step):
                each.away = False
                each.heard.clear()
            await (world.up() if step.what == "up" else world.join(step.who))
            for each in _concerned(world, step):
                await each.hears(None)
        case "reset":
            await world.reset(step.who)
        case "given up":
            party.fences.clear()
            party.given_up = party.ledger.owner
            await world.expire(party.ledger.owner)
            await world.heir(soon=True)
        case "expired":
            await world.expire(party.ledger.owner)
            await world.heir(soon=False)
            try:
                return await _lease(party, [("acct-day", 1, 1, 1)])
            finally:
                await world.renew(party.ledger.owner)
        case "anew":
            await _anew(party)
        case "hears":
            await party.hears(step.account)
        case "spent":
            return await _spent(party)
        case _:
            work = _WORK[step.what]
            if step.what == "lease":
                for each in world.parties:
                    each.heard.clear()
            if step.fate == "well":
                return await work(party, step)
            return await world.doomed(step, lambda: work(party, step))
    return "done"


def _concerned(world: World, step: Step) -> list[_Party]:
    return world.parties if step.what in ("down", "up") else [world.parties[step.who]]


async def _group(party: _Party, step: Step) -> list[str]:
    for id_ in step.ends:
        party.ledger.end(_end(id_))
    return list(await asyncio.gather(*(_told(party.ledger.begin(_intent(id_))) for id_ in step.begins)))


async def _raise(party: _Party, step: Step) -> str:
    return await _told(
        party.ledger.raise_bound(step.ends[0], bound_nano=step.amount, bound_tokens=step.amount)
    )


async def _claim(party: _Party, step: Step) -> str:
    (id_,) = step.begins
    return await _verdict(
        party.keys.claim(_claimed(step.key, id_), now_ns=party.ledger.clock.wall_ns(), intent=_intent(id_))
    )


async def _keep(party: _Party, step: Step) -> str:
    claim = _claimed(step.key, step.ends[0])
    answer = Answer(status=200, body=claim.run_id.encode())
    return await _verdict(party.keys.finish(claim, answer, now_ns=party.ledger.clock.wall_ns()))


async def _free(party: _Party, step: Step) -> str:
    claim = _claimed(step.key, step.ends[0])
    return await _verdict(party.keys.forget(claim, now_ns=party.ledger.clock.wall_ns()))


async def _look(party: _Party, step: Step) -> str:
    return await _verdict(party.keys.get("t", step.key, now_ns=party.ledger.clock.wall_ns()))


async def _verdict(work: Coroutine[Any, Any, Any]) -> str:
    """What it says, without its dates."""
    try:
        said = await work
    except LedgerUnavailable:
        return "unavailable"
    if isinstance(said, Done):
        return f"done {said.run_id} {said.answer.body.decode()}"
    return f"{type(said).__name__} {getattr(said, 'run_id', said)}"


def _claimed(key: str, run_id: str) -> Claim:
    return Claim(tenant="t", key=key, fingerprint=bytes(32), run_id=run_id, ttl_s=3_600.0)


async def _leased(party: _Party, step: Step) -> Any:
    return await _lease(party, step.wants)


async def _back(party: _Party, step: Step) -> str:
    return await _told(party.authority.give_back({step.account: step.amount}))


_WORK: Final = {
    "group": _group,
    "raise": _raise,
    "lease": _leased,
    "back": _back,
    "claim": _claim,
    "keep": _keep,
    "free": _free,
    "look": _look,
}


async def _lease(party: _Party, wants: Sequence[tuple[str, int, int, int]]) -> Any:
    asked = [
        Want(account=account, limit=_LIMITS[account], least=least, needed=needed, wish=wish)
        for account, least, needed, wish in wants
    ]
    try:
        return [_grant(each) for each in await party.authority.lease(asked)]
    except LedgerUnavailable:
        return "unavailable"


def _grant(grant: Grant) -> tuple[str, int, int, int, int, int | None]:
    return grant.account, grant.amount, grant.spent, grant.mine, grant.elsewhere, grant.frees_ns


async def _spent(party: _Party) -> Any:
    try:
        return sorted((await party.authority.spent(list(_ACCOUNTS))).items())
    except LedgerUnavailable:
        return "unavailable"


async def _anew(party: _Party) -> None:
    """Returns when it has another name."""
    async with asyncio.timeout(_PATIENCE_S):
        await party.fences.wait()
        while party.ledger.owner == party.given_up:
            # What ends nothing makes it write.
            party.ledger.end(_end("req-none"))
            await party.ledger.flush()


async def _told(work: Coroutine[Any, Any, None]) -> str:
    try:
        await work
    except LedgerUnavailable:
        return "unavailable"
    return "done"


def _intent(id_: str) -> Intent:
    parts = tuple(AccountPart(name, "usd", 0, until) for name, (_, until) in _ACCOUNTS.items())
    return Intent(
        id=id_,
        started_ns=1,
        route="chat",
        model="m",
        dialect="d",
        stream=False,
        request_bytes=1,
        bound_nano=_BOUND,
        bound_tokens=_BOUND,
        accounts=parts,
    )


def _end(id_: str) -> End:
    """It spent less than its bound, and some of that had been set aside."""
    charges = tuple(Charge(name, 0, until, 3, held=3) for name, (_, until) in _ACCOUNTS.items())
    return End(id=id_, ended_ns=2, state="ok", cost_nano=3, charges=charges)


# On the simulated one.


class ToldWay(Way):
    """One whose fate is told beforehand."""

    coming: Fate = "well"
    lasting = False
    """For all transactions that come, and not only for the next one."""
    met = 0

    def fate(self) -> float:
        told = self.coming
        self.met += told != "well"
        if not self.lasting:
            self.coming = "well"
        return {"well": 1.0, "unsent": 0.0}.get(told, 0.5)


class Parts(Struct, frozen=True):
    """What the simulated side is made of: broken parts, where the comparison itself is tried."""

    database: type[Database] = Database
    way: type[ToldWay] = ToldWay
    ledger: type[ReplicaLedger] = ReplicaLedger
    authority: type[Authority] = Authority

    @property
    def kinds(self) -> tuple[type, ...]:
        return self.database, self.way, self.ledger, self.authority


class _Simulated:
    def __init__(self, parts: Parts, loop: ReplicaLoop, clock: VirtualClock) -> None:
        self._parts = parts
        self._loop = loop
        self._clock = clock
        self._database = parts.database(loop)
        self._is_down = False
        self._numbers = iter(range(1, 100))
        self._ways: list[ToldWay] = []
        self.parties: list[_Party] = []

    async def open(self) -> None:
        for number in range(2):
            way = self._way(f"p{number}")
            ledger = await self._ledger(way, _LEASE_S)
            self._ways.append(way)
            self.parties.append(
                _Party(f"p{number}", ledger, self._parts.authority(self._database, way, ledger))
            )

    def _way(self, name: str) -> ToldWay:
        process = Process(name)
        rng = random.Random(name)
        return self._parts.way(
            self._loop, process, rng, latency_s=0.002, fails=0.0, is_down=lambda: self._is_down
        )

    async def _ledger(self, way: ToldWay, lease_s: float) -> ReplicaLedger:
        ledger = self._parts.ledger(
            self._database,
            way,
            self._loop,
            self._clock,
            lambda: f"owner-{next(self._numbers)}",
            lease_s=lease_s,
        )
        await ledger.open()
        ledger.start()
        return ledger

    async def doomed(self, step: Step, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        way = self._ways[step.who]
        way.coming, way.lasting, way.met = step.fate, step.what == "group", 0
        if step.fate == "unanswered and cut":
            self._database.on_commit = lambda: self._cut_behind(step)
        answer = await work()
        while not way.met:  # nobody waits for ends
            await asyncio.sleep(0.001)
        way.coming = "well"
        self._database.on_commit = lambda: None
        self._database.join(way)
        return answer

    def _cut_behind(self, step: Step) -> None:
        """Once it is committed, which takes two groups where an end is written before."""
        if all(id_ in self._database.requests for id_ in step.begins):
            self._ways[step.who].cut = True

    async def cut(self, who: int) -> None:
        self._ways[who].cut = True

    async def join(self, who: int) -> None:
        self._database.join(self._ways[who])

    async def down(self) -> None:
        self._is_down = True

    async def up(self) -> None:
        self._is_down = False
        self._database.restarted()

    async def reset(self, who: int) -> None:
        """A way is as good with another connection."""

    async def expire(self, owner: str) -> None:
        self._database.owners[owner] = self._loop.time()

    async def renew(self, owner: str) -> None:
        self._database.owners[owner] = self._loop.time() + _LEASE_S

    async def heir(self, *, soon: bool) -> None:
        if soon:
            await asyncio.sleep(2 * _SOON_S)  # nobody is given up right after a restart
        ledger = await self._ledger(self._way("heir"), _SOON_S if soon else _LEASE_S)
        await ledger.aclose()

    async def books(self) -> Books | None:
        if self._is_down:
            return None
        database = self._database
        records = [
            _record(
                self.parties,
                record.owner,
                (
                    id_,
                    record.state,
                    record.settled_by,
                    record.late,
                    record.cost_nano,
                    record.intent.bound_nano,
                ),
            )
            for id_, record in sorted(database.requests.items())
        ]
        spent = sorted((each.account, each.start_ns, each.amount) for each in database.books.spend.values())
        blocks = [
            (account, owner, amount)
            for account, its in database.books.blocks.items()
            for owner, amount in its.items()
        ]
        keys = [(each.key, each.run_id, each.state) for each in database.keys.every()]
        return records, spent, _blocks(self.parties, blocks), keys


def on_simulated(steps: Sequence[Step], parts: Parts | None = None) -> list[Any]:
    """Plays it in virtual time."""

    async def main(loop: ReplicaLoop, clock: VirtualClock) -> list[Any]:
        world = _Simulated(parts or Parts(), loop, clock)
        await world.open()
        return await play(world, steps)

    return run_replicas(main, random.Random("against postgres"))


# On a real one.


class _Real:
    def __init__(self, server: PostgresServer, url: str) -> None:
        self._server = server
        self._url = url
        self._clock = SystemClock()
        self._proxies: list[TcpProxy] = []
        self.parties: list[_Party] = []
        self._down = False

    async def open(self, stack: AsyncExitStack) -> None:
        for number in range(2):
            proxy = stack.enter_context(TcpProxy(self._server.port))
            url = self._server.url(self._url.rpartition("/")[2], port=proxy.port)
            owner = f"owner-{number}"
            store = await asyncio.to_thread(
                partial(PostgresStore, url, owner=owner, clock=self._clock, lease_s=_LEASE_S)
            )
            ledger = PostgresLedger(store, lease_s=_LEASE_S)
            stack.push_async_callback(ledger.aclose)
            authority = PostgresAuthority(ledger)
            stack.push_async_callback(authority.aclose)
            party = _Party(f"p{number}", ledger, authority)
            self._proxies.append(proxy)
            self.parties.append(party)
            await party.hears(None)

    async def doomed(self, step: Step, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        proxy, party = self._proxies[step.who], self.parties[step.who]
        if step.fate == "unsent":
            proxy.stall_before(_signs(step))
        elif step.what == "group":  # its commit is the end of what it is sent in
            proxy.stall_behind(_signs(step))
        else:
            proxy.stall_before(_COMMITTED, "to_client")
        party.heard.clear()
        doing = asyncio.create_task(work())
        if step.begins or step.what != "group":
            doing.add_done_callback(lambda _: proxy.held.set())  # it came to an end all the same
        await asyncio.to_thread(proxy.held.wait, _PATIENCE_S)
        if step.fate == "unanswered and cut":
            proxy.refuse()
        else:
            proxy.reset()
        answer = await doing
        proxy.heal()
        await party.hears(None)
        return answer

    async def cut(self, who: int) -> None:
        self._proxies[who].refuse()

    async def join(self, who: int) -> None:
        self._proxies[who].heal()

    async def down(self) -> None:
        await asyncio.to_thread(self._server.stop)
        for proxy in self._proxies:
            proxy.refuse()

    async def up(self) -> None:
        await asyncio.to_thread(self._server.start)
        for proxy in self._proxies:
            proxy.heal()

    async def reset(self, who: int) -> None:
        self.parties[who].heard.clear()
        self._proxies[who].reset()
        await self.parties[who].hears(None)

    async def expire(self, owner: str) -> None:
        self._server.run(self._url, "UPDATE owners SET expires_ns = 1 WHERE id = %s", (owner,))

    async def renew(self, owner: str) -> None:
        self._server.run(self._url, "UPDATE owners SET expires_ns = %s WHERE id = %s", (_FAR_NS, owner))

    async def heir(self, *, soon: bool) -> None:
        def come_and_go() -> None:
            lease_s = _SOON_S if soon else _LEASE_S
            PostgresStore(self._url, owner="heir", clock=self._clock, lease_s=lease_s).close()

        await asyncio.to_thread(come_and_go)

    async def books(self) -> Books | None:
        if not self._server.running:
            return None
        run = self._server.run
        rows = run(
            self._url,
            """SELECT owner, id, state, settled_by, COALESCE(late, FALSE), cost_nano, bound_nano FROM requests
            ORDER BY id COLLATE "C" """,
        )
        records = [_record(self.parties, owner, tuple(rest)) for owner, *rest in rows]
        spent = sorted(run(self._url, "SELECT account, start_ns, amount FROM spend"))
        blocks = run(self._url, "SELECT account, owner, amount FROM blocks")
        keys = run(self._url, """SELECT key, run_id, state FROM idempotency ORDER BY key COLLATE "C" """)
        return records, spent, _blocks(self.parties, blocks), keys


def on_real(server: PostgresServer, url: str, steps: Sequence[Step]) -> list[Any]:
    """Plays it on an empty database."""

    async def main() -> list[Any]:
        async with AsyncExitStack() as stack:
            world = _Real(server, url)
            await world.open(stack)
            return await play(world, steps)

    return asyncio.run(main())


def _signs(step: Step) -> bytes:
    """What of it can be seen on its way."""
    if step.what == "lease":
        return step.wants[0][0].encode()
    if step.what == "back":
        return step.account.encode()
    return (*step.begins, *step.ends)[0].encode()


def _record(parties: list[_Party], owner: str, rest: tuple[Any, ...]) -> tuple[Any, ...]:
    return _named(parties, owner), *rest


def _blocks(parties: list[_Party], blocks: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Nothing and an empty one are the same."""
    return sorted((account, _named(parties, owner), amount) for account, owner, amount in blocks if amount)


def _named(parties: list[_Party], owner: str) -> str:
    return next((name for party in parties if (name := party.known(owner))), "nobody")
