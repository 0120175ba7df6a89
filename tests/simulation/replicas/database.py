"""A simulated PostgreSQL for several processes: the tables in memory, and everything between a process and its commit.

Operations are atomic, as transactions are, and happen at an instant of their own between the question and the answer. A
process may be frozen, cut off or dead by the time that its statement arrives, or its answer comes back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar

from msgspec.structs import replace
from tests.simulation.replicas.keys import SECRET, Keys

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.base import LedgerHealth
from holdfast.ledger.entry import Charge, End, Intent, Record
from holdfast.ledger.memory_blocks import Books
from holdfast.ledger.pg_clock import DatabaseClock
from holdfast.ledger.statement import Result, Statement

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from tests.simulation.replicas.loop import Process, ReplicaLoop

    from holdfast.clock import Clock
    from holdfast.ledger.blocks import Grant, Listener, Want

__all__ = ["LEASE_S", "Authority", "Database", "ReplicaLedger", "Way"]

T = TypeVar("T")

Begun: TypeAlias = "tuple[Intent, asyncio.Future[None]]"
Asked: TypeAlias = "tuple[Statement, asyncio.Future[Any] | None]"
"""A statement, and who waits for it."""

LEASE_S: Final = 30.0
_WRITER_S: Final = 4.0
_AUTHORITY_S: Final = 2.5
"""How long a statement takes at most before its connection is given up."""
_FENCED: Final = "this process was taken for dead"
_WALL_NS: Final = 1_767_225_600_000_000_000


class Database:
    """What all share.

    Args:
        loop: whose time it has.
        wall_ns: what its clock says at the beginning.
    """

    keys_of: type[Keys] = Keys

    def __init__(self, loop: ReplicaLoop, *, wall_ns: int = _WALL_NS) -> None:
        self._loop = loop
        self.keys = self.keys_of()
        self._wall_ns = wall_ns
        self.books = _Counting(self.wall_ns)
        self.owners: dict[str, float] = {}
        """Who has a lease, and until when."""
        self.started_at = -LEASE_S
        self.requests: dict[str, Record] = {}
        self.raised: dict[str, tuple[int | None, int | None]] = {}
        self.listeners: list[tuple[Way, Listener]] = []
        self.on_commit: Callable[[], None] = lambda: None
        """Told after each transaction."""
        self.on_given_up: Callable[[Record], None] = lambda _: None
        self.on_late: Callable[[Record], None] = lambda _: None
        """Told of a request that was given up, and whose end has come after all."""
        self.second_ends: Counter[str] = Counter()
        self.taken_at: dict[str, float] = {}
        """Owners that were given up, and when."""
        self.begun_at: dict[str, float] = {}

    def wall_ns(self) -> int:
        return self._wall_ns + round(self._loop.time() * 1e9)

    # Transactions.

    def register(self, owner: str, lease_s: float) -> None:
        self.owners[owner] = self._loop.time() + lease_s
        self.books.owners.add(owner)

    def renew(self, owner: str, lease_s: float) -> tuple[bool, int, int]:
        """Whether it lives, how many do, and the time."""
        now = self._loop.time()
        if alive := owner in self.owners:
            self.owners[owner] = now + lease_s
        living = sum(until > now for until in self.owners.values())
        return alive, max(1, living), self.wall_ns()

    def recover(self, me: str, lease_s: float, *, calm: bool) -> None:
        """Gives up who didn't renew, and settles what it left open."""
        now = self._loop.time()
        if not calm and now >= self.started_at + lease_s:
            for owner, until in list(self.owners.items()):
                if owner != me and until <= now:
                    self.take_away(owner)
        self.sweep()
        self.on_commit()

    def take_away(self, owner: str) -> None:
        del self.owners[owner]
        self.taken_at[owner] = self._loop.time()
        self.books.owners.discard(owner)

    def sweep(self) -> None:
        """Closes what has no owner."""
        self.keys.give_up(self.owners, self.wall_ns())
        for id_, record in self.requests.items():
            if record.end is None and record.owner not in self.owners:
                self._give_up(id_, record)
        for blocks in self.books.blocks.values():
            for owner in [owner for owner in blocks if owner not in self.owners]:
                del blocks[owner]

    def _give_up(self, id_: str, record: Record) -> None:
        end = End(id=id_, ended_ns=self.wall_ns(), state="unknown", cost_nano=record.intent.bound_nano)
        self.charge_bound(record.intent, 1)
        self.requests[id_] = record = replace(record, end=end, settled_by="recovery")
        self.on_given_up(record)

    def charge_bound(self, intent: Intent, sign: int) -> None:
        for part in intent.accounts:
            amount = intent.bound_nano if part.measure == "usd" else intent.bound_tokens
            self.books.charge(Charge(part.account, part.start_ns, part.until_ns, sign * (amount or 0)))

    def write(
        self,
        owner: str,
        intents: Sequence[Intent],
        ends: Sequence[End],
        statements: Sequence[Statement] = (),
        *,
        dead: bool,
    ) -> tuple[bool, list[Result]]:
        """A group; whether its intents were written (not of who was given up), and what its statements found."""
        alive = not dead and self.lives(owner)
        with self.keys.transaction():
            results = self.keys.run(statements, owner=owner, alive=alive, fenced=_FENCED)
        for statement, result in zip(statements, results, strict=True):
            if result.begun and statement.intent is not None:
                self.begin(owner, statement.intent)
        if alive:
            for intent in intents:
                self.begin(owner, intent)
        for end in ends:
            self.close(end)
        self.on_commit()
        return alive, results

    def begin(self, owner: str, intent: Intent) -> None:
        self.begun_at.setdefault(intent.id, self._loop.time())
        self.requests.setdefault(intent.id, Record(intent=intent, owner=owner))

    def lives(self, owner: str) -> bool:
        """Whether something may be begun in its name."""
        return owner in self.owners

    def close(self, end: End) -> None:
        record = self.requests.get(end.id)
        if record is None:
            return
        late = record.settled_by == "recovery"
        if record.settled_by == "end":
            self.second_ends[end.id] += 1
            return
        if late:
            self.charge_bound(record.intent, -1)
        for charge in end.charges:
            self.books.charge(charge)
            if charge.held and not late:
                self.books.take(charge.account, record.owner, charge.held)
        self.requests[end.id] = record = replace(record, end=end, settled_by="end", late=late)
        if late:
            self.on_late(record)

    def raise_bound(self, id_: str, nano: int | None, tokens: int | None) -> bool:
        record = self.requests.get(id_)
        if record is None or record.end is not None:
            return False
        intent = replace(record.intent, bound_nano=nano, bound_tokens=tokens)
        self.requests[id_] = replace(record, intent=intent)
        return True

    def lease(self, owner: str, wants: Sequence[Want], way: Way) -> list[Grant]:
        if owner not in self.owners:
            raise _Dead
        grants = [self.books.lease(owner, want) for want in wants]
        for grant in grants:
            if not grant.amount and grant.elsewhere:
                self.notify(way, grant.account)
        self.on_commit()
        return grants

    def give_back(self, owner: str, amounts: Mapping[str, int | None]) -> None:
        for account, amount in amounts.items():
            self.books.give_back(owner, account, amount)
        self.on_commit()

    def notify(self, asker: Way, account: str) -> None:
        """As notifications come: later, and to the others; not at all to who is cut off, who hears of that later."""
        for way, listener in self.listeners:
            if way is asker or way.process.dead:
                continue
            if way.cut:
                way.missed = True
                continue
            self._loop.call_later(way.latency(), listener.called, account, context=way.process.context)

    def restarted(self) -> None:
        """It is there again. Whoever listens may have missed something."""
        self.started_at = self._loop.time()
        for way, listener in self.listeners:
            if not way.process.dead:
                self._loop.call_soon(listener.called, None, context=way.process.context)

    def join(self, way: Way) -> None:
        """A process that was cut off has its way again."""
        way.cut = False
        for its, listener in self.listeners:
            if its is way and way.missed and not way.process.dead:
                way.missed = False
                self._loop.call_soon(listener.called, None, context=way.process.context)

    # Looked at from outside.

    def spent(self, account: str) -> int:
        now_ns = self.wall_ns()
        return sum(
            each.amount
            for each in self.books.spend.values()
            if each.account == account and (each.until_ns is None or each.until_ns > now_ns)
        )


class _Counting(Books):
    """Books that know what was ever charged."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        super().__init__(now_ns)
        self.ever: Counter[str] = Counter()

    def charge(self, charge: Charge) -> None:
        self.ever[charge.account] += charge.amount
        super().charge(charge)


class _Dead(Exception):
    """The owner was given up."""


class _Failed(Exception):
    """A transaction failed. ``ambiguous``: or it didn't, and the answer got lost."""

    def __init__(self, *, ambiguous: bool) -> None:
        super().__init__("the connection was lost")
        self.ambiguous = ambiguous


class Way:
    """A process' way to the database.

    Args:
        latency_s: of one way, at most.
        fails: the share of transactions that fail, before or after their commit.
    """

    def __init__(
        self,
        loop: ReplicaLoop,
        process: Process,
        rng: random.Random,
        *,
        latency_s: float,
        fails: float,
        is_down: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self.process = process
        self._rng = rng
        self._latency_s = latency_s
        self.fails = fails
        self._is_down = is_down
        self.cut = self.missed = False
        self.lost_commits = 0

    def latency(self) -> float:
        return self._rng.uniform(0.0001, self._latency_s)

    def fate(self) -> float:
        """What becomes of the next transaction: below 0.3 it is lost before it arrives, and below 1 its answer is."""
        return self._rng.random() / self.fails if self.fails else 1.0

    async def run(self, work: Callable[[], T], *, timeout_s: float) -> T:
        """One transaction.

        Raises:
            _Failed: it failed, or nobody knows.
            _Dead: what ``work`` raised.
        """
        loop, rng = self._loop, self._rng
        if self._is_down():
            await asyncio.sleep(self.latency())
            raise _Failed(ambiguous=False)
        fate = self.fate()
        answer: asyncio.Future[T] = loop.create_future()

        def arrive() -> None:
            if self.cut or self._is_down() or fate < 0.3:
                # Lost before it came, or refused by the server; the process may not know which.
                self._fail(answer, rng.uniform(0.001, timeout_s), ambiguous=fate < 0.15 or self.cut)
                return
            try:
                done = work()
            except _Dead as error:
                loop.call_later(self.latency(), _throw, answer, error, context=loop.outside)
                return
            if fate < 1.0:
                self.lost_commits += 1
                self._fail(answer, rng.uniform(0.001, timeout_s), ambiguous=True)
            else:
                loop.call_later(self.latency(), self._answer, answer, done, context=loop.outside)

        loop.call_later(self.latency(), arrive, context=loop.outside)
        return await answer

    def _answer(self, answer: asyncio.Future[T], done: T) -> None:
        if self.cut:  # it was done, and the answer finds no way
            self.lost_commits += 1
            self._fail(answer, 1.0, ambiguous=True)
        elif not answer.done():
            answer.set_result(done)

    def _fail(self, answer: asyncio.Future[Any], after_s: float, *, ambiguous: bool) -> None:
        self._loop.call_later(
            after_s, _throw, answer, _Failed(ambiguous=ambiguous), context=self._loop.outside
        )


def _throw(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


class ReplicaLedger:
    """A process' ledger: groups what comes, writes it in the order it came, and never drops an end.

    As :class:`holdfast.ledger.writer.GroupWriter` with :class:`holdfast.ledger.postgres.PostgresStore` does it, where that
    writer's thread is a task.
    """

    idempotency_secret: bytes = SECRET
    shared: ClassVar[bool] = True

    def __init__(
        self,
        database: Database,
        way: Way,
        loop: ReplicaLoop,
        clock: Clock,
        new_owner: Callable[[], str],
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        self._lease_s = lease_s
        self._database = database
        self._way = way
        self._loop = loop
        self._new_owner = new_owner
        self.clock = DatabaseClock(clock)
        self.owner = ""
        self.living = 1
        self.fences = 0
        self._begun: list[Begun] = []
        self._asked: list[Asked] = []
        self._later: list[Statement] = []
        """For which nobody waits: they are kept until they are written."""
        self._acks: list[Callable[[], None]] = []
        self._ends: list[End] = []
        self._taken = self._settled = 0
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._fenced: list[Callable[[], None]] = []
        self._dead = self._acknowledged = False
        self._wake = asyncio.Event()
        self._renew_at = 0.0
        self._renewed_at: float | None = None
        self._calm_until = float("-inf")
        self._trouble = False
        self._pause_s = 0.0
        self._closing = False

    async def open(self) -> None:
        """Registers; closes what dead processes left open."""
        owner = self._new_owner()
        while True:
            try:
                await self._way.run(
                    lambda: self._database.register(owner, self._lease_s), timeout_s=_WRITER_S
                )
                self.owner = owner
                await self._renew()
            except _Failed:
                await asyncio.sleep(0.5)
            else:
                return

    def start(self) -> None:
        asyncio.get_running_loop().create_task(self._run(), name=f"{self._way.process.name} writer")

    # As the engine uses it.

    async def begin(self, intent: Intent) -> None:
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begun.append((intent, told))
        self._wake.set()
        await told

    def end(self, end: End) -> None:
        self._ends.append(end)
        self._taken += 1
        self._wake.set()

    async def ask(self, statement: Statement) -> Any:
        return await self.tell(statement)

    async def tell(self, statement: Statement) -> Any:
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.append((statement, told))
        self._wake.set()
        return await told

    def post(self, statement: Statement) -> None:
        self._asked.append((statement, None))
        self._wake.set()

    async def raise_bound(self, request_id: str, *, bound_nano: int | None, bound_tokens: int | None) -> None:
        raising = Statement(run=lambda _: self._database.raise_bound(request_id, bound_nano, bound_tokens))
        if not await self.ask(raising):
            raise LedgerUnavailable("it isn't open any more")

    async def flush(self) -> None:
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flushes.append((self._taken, told))
        self._wake.set()
        await told

    async def spending(self) -> list[Charge]:
        while True:
            try:
                return await self._way.run(lambda: list(self._database.books.spend.values()), timeout_s=2.0)
            except _Failed:
                await asyncio.sleep(0.5)

    async def forget_spending(self, account: str) -> None:
        raise LedgerUnavailable(f"nobody forgets {account} here")

    def health(self) -> LedgerHealth:
        return LedgerHealth(ok=not self._trouble, reason="lost" if self._trouble else None)

    async def aclose(self) -> None:
        """Writes what waits, gives the lease up."""
        await self.flush()
        while self._asked or self._later:
            await asyncio.sleep(0.05)
        self._closing = True
        self._wake.set()
        owner = self.owner

        def release() -> None:
            if owner in self._database.owners:
                self._database.take_away(owner)
            self._database.sweep()

        await self._way.run(release, timeout_s=_WRITER_S)

    def on_fenced(self, callback: Callable[[], None]) -> None:
        self._fenced.append(callback)

    def notice(self) -> None:
        """Somebody else of this process was told that its owner is dead."""
        self._renew_at = 0.0
        self._wake.set()

    # As its thread.

    async def _run(self) -> None:
        while not self._closing:
            now = self._loop.time()
            if not (self._begun or self._asked or self._acks or (self._owes() and not self._trouble)):
                await self._sleep(max(0.0, self._renew_at - now))
            self._wake.clear()
            if self._begun or self._asked or self._acks or self._owes():
                await self._write()
            self._release()
            if self._loop.time() >= self._renew_at:
                try:
                    if self._dead and self._acknowledged:
                        await self._begin_anew()
                    await self._renew()
                except _Failed:
                    self._note()
                    self._renew_at = self._loop.time() + self._pause_s

    def _owes(self) -> bool:
        return bool(self._ends or self._later)

    async def _sleep(self, seconds: float) -> None:
        if self._owes() and self._trouble:
            seconds = min(seconds, self._pause_s)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _write(self) -> None:
        begun, self._begun = self._begun, []
        asked, self._asked = self._asked, []
        acks, self._acks = self._acks, []
        ends, later = list(self._ends), list(self._later)
        intents, statements = [intent for intent, _ in begun], [*later, *(each for each, _ in asked)]
        try:
            if self._dead and self._acknowledged:
                await self._begin_anew()
            owner, dead = self.owner, self._dead
            alive, results = await self._way.run(
                lambda: self._commit(owner, dead, intents, ends, statements), timeout_s=_WRITER_S
            )
        except _Failed as failed:
            self._note()
            self._failed(begun, asked, ambiguous=failed.ambiguous)
            for ack in acks:
                ack()
            return
        self._trouble, self._pause_s = False, 0.0
        del self._later[: len(later)]
        self.written(ends)
        for ack in acks:
            ack()
        for _, told in begun:
            if alive:
                _tell(told)
            else:
                _throw(told, LedgerUnavailable(_FENCED))
        for each, result in zip(asked, results[len(later) :], strict=True):
            self._told(each, result)
        if not alive and (begun or any(each.owner or each.intent for each in statements)):
            self._found_dead()

    def _told(self, asked: Asked, result: Result) -> None:
        statement, told = asked
        if result.refused is not None and statement.instead is not None:
            self._later.append(statement.instead)
        if told is None or told.done():
            return
        if result.refused is None:
            told.set_result(result.answer)
        else:
            told.set_exception(LedgerUnavailable(result.refused))

    def _commit(
        self,
        owner: str,
        dead: bool,
        intents: Sequence[Intent],
        ends: Sequence[End],
        statements: Sequence[Statement],
    ) -> tuple[bool, list[Result]]:
        return self._database.write(owner, intents, ends, statements, dead=dead)

    def written(self, ends: Sequence[End]) -> None:
        """These are durable."""
        del self._ends[: len(ends)]
        self._settled += len(ends)
        self._release()

    def _release(self) -> None:
        while self._flushes and self._flushes[0][0] <= self._settled:
            _tell(self._flushes.pop(0)[1])

    def _failed(self, begun: Sequence[Begun], asked: Sequence[Asked], *, ambiguous: bool) -> None:
        heavy = [each for each in asked if each[0].size]
        if not ambiguous and heavy:  # it may be for lack of room: once more without them
            self._give_up([], heavy, ambiguous=False)
            self._begun[:0] = begun
            self._asked[:0] = [each for each in asked if not each[0].size]
            return
        self._give_up(begun, asked, ambiguous=ambiguous)

    def _give_up(self, begun: Sequence[Begun], asked: Sequence[Asked], *, ambiguous: bool) -> None:
        if ambiguous:  # they may stand there after all, and their callers won't end them
            for intent in (*(each for each, _ in begun), *(each.intent for each, _ in asked)):
                if intent is not None:
                    self.end(End(id=intent.id, ended_ns=self.clock.wall_ns(), state="failed", cost_nano=0))
        for statement, _ in asked:
            owed = statement.undo if ambiguous and statement.undo is not None else statement.instead
            if owed is not None:
                self._later.append(owed)
        for _, told in (*begun, *asked):
            if told is not None:
                _throw(told, LedgerUnavailable("it can't be written"))

    async def _renew(self) -> None:
        owner = self.owner
        before = self.clock.monotonic()
        lease_s = self._lease_s
        alive, living, now_ns = await self._way.run(
            lambda: self._database.renew(owner, lease_s), timeout_s=_WRITER_S
        )
        after = self.clock.monotonic()
        steady = self.clock.measured(now_ns, before, after)
        late = self._renewed_at is not None and after - self._renewed_at > lease_s
        self._renewed_at = after
        if late or not steady:
            self._calm_until = after + lease_s
        self.living = living
        self._trouble, self._pause_s = False, 0.0
        self._renew_at = self._loop.time() + lease_s / 3
        if not alive:
            self._found_dead()
        calm = self.clock.monotonic() < self._calm_until
        await self._way.run(lambda: self._database.recover(owner, lease_s, calm=calm), timeout_s=_WRITER_S)

    def _found_dead(self) -> None:
        if not self._dead:
            self._dead = True
            self.fences += 1
            self._loop.call_soon(self._tell_fenced)

    def _tell_fenced(self) -> None:
        for callback in self._fenced:
            callback()
        self._acks.append(self._acknowledge)  # behind all that was queued while they didn't know
        self._wake.set()

    def _acknowledge(self) -> None:
        self._acknowledged = True
        self._renew_at = 0.0

    async def _begin_anew(self) -> None:
        owner = self._new_owner()
        await self._way.run(lambda: self._database.register(owner, self._lease_s), timeout_s=_WRITER_S)
        self.owner = owner
        self._dead = self._acknowledged = False

    def _note(self) -> None:
        self._trouble = True
        self._pause_s = min(max(2 * self._pause_s, 0.05), 1.0)


def _tell(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)


class Authority:
    """A process' way to what may be spent: :class:`holdfast.ledger.blocks_postgres.PostgresAuthority`, simulated."""

    def __init__(self, database: Database, way: Way, ledger: ReplicaLedger) -> None:
        self._database = database
        self._way = way
        self._ledger = ledger
        self._turn = asyncio.Lock()

    async def lease(self, wants: Sequence[Want]) -> list[Grant]:
        owner = self._ledger.owner
        came: list[list[Grant]] = []

        def lease() -> list[Grant]:
            came.append(self._database.lease(owner, wants, self._way))
            return came[0]

        async with self._turn:
            try:
                return await self._way.run(lease, timeout_s=_AUTHORITY_S)
            except _Dead:
                self._ledger.notice()
                raise LedgerUnavailable("this process was taken for dead") from None
            except _Failed as failed:
                if failed.ambiguous and await self._came_about(came):
                    return came[0]
                raise LedgerUnavailable("the database can't be asked") from None

    async def _came_about(self, came: list[list[Grant]]) -> bool:
        """Whether a transaction was committed whose answer got lost."""
        try:
            return await self._way.run(lambda: bool(came and any(g.amount for g in came[0])), timeout_s=1.5)
        except _Failed:
            return False

    async def give_back(self, amounts: Mapping[str, int | None]) -> None:
        owner = self._ledger.owner
        async with self._turn:
            try:
                await self._way.run(lambda: self._database.give_back(owner, amounts), timeout_s=_AUTHORITY_S)
            except _Failed:
                raise LedgerUnavailable("the database can't be asked") from None

    async def spent(self, accounts: Sequence[str]) -> dict[str, int]:
        async with self._turn:
            try:
                return await self._way.run(
                    lambda: {account: self._database.spent(account) for account in accounts},
                    timeout_s=_AUTHORITY_S,
                )
            except _Failed:
                raise LedgerUnavailable("the database can't be asked") from None

    async def forget(self, account: str) -> None:
        raise LedgerUnavailable(f"nobody forgets {account} here")

    def listen(self, listener: Listener) -> None:
        self._database.listeners.append((self._way, listener))
        self._ledger.on_fenced(listener.fenced)

    async def aclose(self) -> None:
        self._database.listeners[:] = [each for each in self._database.listeners if each[0] is not self._way]
