"""This process' blocks of shared accounts: asked for when they don't suffice, given back when nobody here uses them.

One call to the authority is under way at a time. What is lacking meanwhile, of whichever account and by however many
requests, rides in the next one.

=================================  =======================================================================================
a request finds too little free    it asks for what is lacking, and tries again with what came
others hold the room               they are called; it tries again for :data:`PATIENCE_S`, and is refused then
the room is spent                  it is refused at once: nobody can give anything back
somebody else calls                what is free of that account's block goes back, and so does what soon gets free
nothing was used for a second      what is free goes back; where no request runs, the whole block
the authority can't be asked       what doesn't fit into the block is refused, and what does goes on
this process was taken for dead    every block is gone at once
shut down                          everything goes back
=================================  =======================================================================================

What goes back is free no more from that moment on, and goes only once the ledger has the ends of all requests that it
came from: a crash in between would charge their bounds to somebody else's room.

Who can't say whether a call came about counts on neither. What the database then has too much in a block goes back with the
whole of it, the next time that no request here runs on it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.blocks import Want
from holdfast.money.budgets import Overdrawn
from holdfast.money.shared import SharedAccount, Short

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from typing import Any

    from holdfast.ledger.blocks import Authority, Grant
    from holdfast.money.account import Account

__all__ = ["IDLE_S", "PATIENCE_S", "Leases", "Patience"]

PATIENCE_S: Final = 0.25
"""How long a request waits for what others hold. They need one durable write and one call to give it back: some
milliseconds, a tenth of a second under load. Longer, and a refusal that is certain keeps its caller waiting."""
IDLE_S: Final = 1.0
"""After so long without use what is free goes back. A process that spends at all asks again a few times until its block has
grown; one that doesn't must not keep others from spending."""
_TICK_S: Final = 1e-6
"""What is left of a patience after it was waited for: a float's last digits, which no clock would ever come to."""
_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.05
"""Between two tries: a called process answers within this, and five asks are no load."""
_ANSWER_S: Final = 2.0
"""How long a request waits for the authority at all. Its own time-outs are shorter; this bounds what none of them sees."""
_FLUSH_S: Final = 5.0
"""How long what goes back waits for ends to be written. They wait longer only where the database is gone."""
_GROWTH: Final = 2
_NEWS_S: Final = 1.0
"""How old what is known of others' spending may be: for warnings, for operators and for who waits until it is less."""
_MOST_NEWS: Final = 256
"""Accounts in one question for news: some milliseconds of the database's."""


class _Round(Struct, eq=False):
    """One call for all who ask meanwhile."""

    lacks: dict[SharedAccount, list[int]]
    answer: asyncio.Future[dict[str, Grant] | LedgerUnavailable]


class Patience(Struct):
    """What is left of a request's waiting for others."""

    left_s: float = PATIENCE_S


class _Return(Struct):
    """What goes back of one account, in one call."""

    account: SharedAccount
    amount: int
    whole: bool


class Leases:
    """One for a process, on one event loop.

    Args:
        authority: who knows what all have.
        flush: returns when every end of a request that was told so far is durable.
        now_ns: the wall clock that windows slide with.
    """

    def __init__(
        self, authority: Authority, *, flush: Callable[[], Awaitable[None]], now_ns: Callable[[], int]
    ) -> None:
        self._authority = authority
        self._flush = flush
        self._now_ns = now_ns
        self.epoch = 0
        """Grows when all blocks are lost."""
        self.asked = 0
        """Leases that were asked for, by account, since the start; so are the following."""
        self.called_on = 0
        """How often others called for what was free here."""
        self.fences = 0
        self.on_forgotten: Callable[[str], None] | None = None
        """Told of each account of which another process' operator said that what was spent counts no more."""
        self._leased: dict[str, SharedAccount] = {}
        self._last: dict[str, int] = {}
        """The last grant of each leased account."""
        self._round: _Round | None = None
        self._limbo: dict[str, int] = {}
        """What is neither free here nor back yet."""
        self._back: dict[str, _Return] = {}
        """Of that, what waits for its call only."""
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._called: dict[str, asyncio.TimerHandle] = {}
        """What others called for, and until when."""
        self._watched: dict[str, SharedAccount] = {}
        """Accounts that something was spent of since the last look."""
        self._news_at: dict[str, float] = {}
        self._worker: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """From now on others are heard. On the event loop that requests run on."""
        self._authority.listen(self)

    # For requests.

    async def fitted(self, take: Callable[[], None], short: Short, patience: Patience) -> None:
        """Calls ``take`` until its accounts' blocks suffice. Cancelled, or refused: nothing was taken.

        Args:
            take: sets aside all or nothing; it was tried already.
            short: what it raised.
            patience: how long its request goes on waiting for what others hold.

        Raises:
            Overdrawn: there is no room, and nobody gave any back in time.
            LedgerUnavailable: nobody could be asked.
        """
        loop = asyncio.get_running_loop()
        pause_s = _FIRST_PAUSE_S
        while True:
            grants = await self._ask(short)
            try:
                take()
            except Short as again:
                short = again
            else:
                return
            late = patience.left_s < _TICK_S
            for account, lack, needed in short.lacks:
                grant = grants.get(account.key)
                limbo = self._limbo.get(account.key, 0)
                if grant is not None and (late or _hopeless(account, lack, grant, limbo)):
                    raise _overdrawn(account, needed, grant)
            # Whatever there was, somebody else took it, or others have to give it back first.
            before = loop.time()
            await self._freed_within(short, min(pause_s, max(0.0, patience.left_s)))
            patience.left_s -= loop.time() - before
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def freed(self, account: SharedAccount) -> None:
        """Something got free that is waited for: by who waits here, or else elsewhere."""
        for each in self._waiting.get(account.key, ()):
            _done(each)
        if account.key not in self._waiting:
            self._return(account)

    def watch(self, account: SharedAccount) -> None:
        """Something was spent of it: soon, what others spent is asked for."""
        if account.key not in self._watched:
            self._watched[account.key] = account
            self._look_soon()

    async def learn(self, accounts: Iterable[SharedAccount]) -> None:
        """What others spent of them, unless it was asked a moment ago. Where nobody can be asked nothing changes."""
        now = asyncio.get_running_loop().time()
        stale = {
            account.key: account
            for account in accounts
            if now - self._news_at.get(account.key, -_NEWS_S) >= _NEWS_S
        }
        if not stale:
            return
        self._news_at.update(dict.fromkeys(stale, now))
        quiet = {key for key, account in stale.items() if not account.holds}
        try:
            if quiet:
                async with asyncio.timeout(_ANSWER_S):
                    await self._flush()
            spent = await self._authority.spent(list(stale))
        except (LedgerUnavailable, TimeoutError):
            return
        now_ns = self._now_ns()
        for key, amount in spent.items():
            # What was spent here meanwhile may not be written yet: then it isn't all.
            exact = key in quiet and not stale[key].holds and not stale[key].used
            stale[key].learn(amount, now_ns, exact=exact)

    async def forget(self, account: str) -> None:
        """What was spent of it counts no more, in any process.

        Raises:
            LedgerUnavailable: it couldn't be made durable.
        """
        await self._authority.forget(account)

    # For the authority.

    def called(self, account: str | None) -> None:
        self.called_on += 1
        loop = asyncio.get_running_loop()
        for each in [*self._leased.values()] if account is None else [self._leased.get(account)]:
            if each is None:
                continue
            if (before := self._called.get(each.key)) is not None:
                before.cancel()
            self._called[each.key] = loop.call_later(PATIENCE_S, self._enough, each)
            each.awaited = True
            if each.key not in self._waiting:  # who waits here came first
                self._return(each)

    def forgotten(self, account: str) -> None:
        if self.on_forgotten is not None:
            self.on_forgotten(account)

    def fenced(self) -> None:
        self.epoch += 1
        self.fences += 1
        for account in self._leased.values():
            account.free = 0
            account.leased = False
        self._leased.clear()
        self._last.clear()
        self._limbo.clear()
        self._back.clear()

    # For the process.

    def recall(self) -> None:
        """What is free goes back: limits changed, and are judged anew."""
        for account in self._leased.values():
            self._return(account)

    async def aclose(self) -> None:
        """Everything goes back, if the authority can be asked. For when requests are over, and before the ledger closes."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for account in self._leased.values():
            self._return(account, whole=not account.holds)
        for timer in self._called.values():
            timer.cancel()
        while self._tasks or self._worker is not None:
            await asyncio.wait([*self._tasks, *([self._worker] if self._worker is not None else [])])
        await self._authority.aclose()

    async def hear(self, accounts: Iterable[Account]) -> None:
        """:meth:`learn` of those that others spend of, as many as may be asked for at once."""
        shared = [account for account in accounts if isinstance(account, SharedAccount)]
        await self.learn(shared[:_MOST_NEWS])

    @property
    def leased(self) -> int:
        """Accounts that this process has a block of."""
        return len(self._leased)

    # Asking.

    async def _ask(self, short: Short) -> dict[str, Grant]:
        """Joins the next call; what it gave of each account.

        Raises:
            LedgerUnavailable: nobody could be asked.
        """
        if self._closed:
            raise LedgerUnavailable("the process is shutting down, and leases nothing more")
        if self._round is None:
            self._round = _Round({}, asyncio.get_running_loop().create_future())
        joined = self._round
        for account, lack, _ in short.lacks:
            joined.lacks.setdefault(account, []).append(lack)
        self._work()
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await asyncio.shield(joined.answer)
        except TimeoutError:
            raise LedgerUnavailable(
                f"the ledger's database didn't say within {_ANSWER_S:g} s what may be spent"
            ) from None
        if isinstance(answer, LedgerUnavailable):
            raise LedgerUnavailable(answer.message)
        return answer

    def _work(self) -> None:
        if self._worker is None:
            self._worker = asyncio.create_task(self._call())

    async def _call(self) -> None:
        try:
            while self._round is not None or self._back:
                if self._round is not None:
                    now, self._round = self._round, None
                    now.answer.set_result(await self._lease(now))
                if self._back:
                    back, self._back = self._back, {}
                    await self._give_back(back)
        finally:
            self._worker = None

    async def _lease(self, asked: _Round) -> dict[str, Grant] | LedgerUnavailable:
        wants, accounts = [], []
        for account, lacks in asked.lacks.items():
            least = min(lacks) - account.free
            if least <= 0:  # something got free meanwhile
                continue
            needed = max(least, sum(lacks) - account.free)
            wish = max(needed, _GROWTH * self._last.get(account.key, 0))
            limit = account.rule.limit
            wants.append(Want(account=account.key, limit=limit, least=least, needed=needed, wish=wish))
            accounts.append(account)
        if not wants:
            return {}
        self.asked += len(wants)
        epoch = self.epoch
        for account in accounts:  # also where the answer gets lost: there may be a block then
            self._have(account)
        try:
            grants = await self._authority.lease(wants)
        except LedgerUnavailable as error:
            return error
        except Exception as defect:  # noqa: BLE001  # who waits must be told, whatever it is
            return LedgerUnavailable(f"what may be spent can't be asked: {defect!r}")
        if epoch != self.epoch:  # an earlier life's block
            return LedgerUnavailable("this process was taken for dead, and begins anew")
        now_ns = self._now_ns()
        for account, grant in zip(accounts, grants, strict=True):
            account.free += grant.amount
            account.used = True
            account.elsewhere = grant.elsewhere
            blocked = grant.mine + grant.elsewhere + grant.amount
            account.unleased = max(0, account.rule.limit - grant.spent - blocked)
            account.learn(grant.spent, now_ns)
            if grant.amount:
                self._last[account.key] = grant.amount
        return {grant.account: grant for grant in grants}

    async def _freed_within(self, short: Short, seconds: float) -> None:
        """Returns when something of it gets free here, or then."""
        loop = asyncio.get_running_loop()
        free: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _done, free)
        for account, _, _ in short.lacks:
            account.awaited = True
            self._waiting.setdefault(account.key, []).append(free)
        try:
            await free
        finally:
            timer.cancel()
            for account, _, _ in short.lacks:
                waiting = self._waiting.get(account.key)
                if waiting is not None:
                    waiting.remove(free)
                    if not waiting:
                        del self._waiting[account.key]
                        account.awaited = account.key in self._called

    # Giving back.

    def _have(self, account: SharedAccount) -> None:
        if not account.leased:
            account.leased = True
            self._leased[account.key] = account
        account.used = True
        self._look_soon()

    def _look_soon(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._look)

    def _look(self) -> None:
        """Whose block nobody used since the last look, goes back; of what was spent of, others' part is asked for."""
        self._timer = None
        for account in self._leased.values():
            if account.used:
                account.used = False
            else:
                self._return(account, whole=not account.holds)
        watched = list(self._watched.values())[:_MOST_NEWS]
        for account in watched:
            del self._watched[account.key]
        if watched:
            self._do(self.learn(watched))
        if self._leased or self._watched:
            self._look_soon()

    def _enough(self, account: SharedAccount) -> None:
        del self._called[account.key]
        account.awaited = account.key in self._waiting

    def _return(self, account: SharedAccount, *, whole: bool = False) -> None:
        """What is free is so no more, and goes back once it may."""
        free, account.free = account.free, 0
        if whole:
            account.used = False  # or somebody begins meanwhile
        if free or whole:
            self._limbo[account.key] = self._limbo.get(account.key, 0) + free
            self._do(self._going(_Return(account, free, whole)))

    async def _going(self, back: _Return) -> None:
        epoch, account = self.epoch, back.account
        try:
            async with asyncio.timeout(_FLUSH_S):
                await self._flush()
        except (LedgerUnavailable, TimeoutError):
            if epoch == self.epoch:  # it never left
                self._out_of_limbo(account.key, back.amount)
                account.free += back.amount
            return
        if epoch != self.epoch:
            return
        if (before := self._back.get(account.key)) is not None:
            back = _Return(account, before.amount + back.amount, before.whole or back.whole)
        self._back[account.key] = back
        self._work()

    async def _give_back(self, returns: dict[str, _Return]) -> None:
        epoch = self.epoch
        for key, back in returns.items():
            account = back.account
            # No lease is under way now. What somebody took since, or what is still on its way, isn't this call's to take.
            used = account.used or account.holds or account.free or self._limbo.get(key, 0) != back.amount
            back.whole = back.whole and not used
        try:
            await self._authority.give_back(
                {key: None if back.whole else back.amount for key, back in returns.items()}
            )
        except LedgerUnavailable:
            given = False
        else:
            given = True
        if epoch != self.epoch:
            return
        for key, back in returns.items():
            self._out_of_limbo(
                key, back.amount
            )  # if it wasn't taken after all, it goes back with the whole block
            if given and back.whole and not back.account.used and self._leased.get(key) is back.account:
                back.account.leased = False
                del self._leased[key]
                self._last.pop(key, None)

    def _out_of_limbo(self, key: str, amount: int) -> None:
        """Of an account from which nothing is on its way there is no entry; a whole block may go back with nothing free."""
        if left := self._limbo.get(key, 0) - amount:
            self._limbo[key] = left
        else:
            self._limbo.pop(key, None)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _hopeless(account: SharedAccount, lack: int, grant: Grant, limbo: int) -> bool:
    """Whether it lacks room even if all others gave everything back."""
    mine = grant.mine + grant.amount - account.free - limbo
    return account.rule.limit - grant.spent - mine < lack


def _overdrawn(account: SharedAccount, needed: int, grant: Grant) -> Overdrawn:
    blocked = grant.mine + grant.elsewhere + grant.amount
    return Overdrawn(
        account,
        needed=needed,
        spent=grant.spent,
        reserved=max(0, blocked - account.free),
        frees_ns=grant.frees_ns,
    )


def _done(free: asyncio.Future[None]) -> None:
    if not free.done():
        free.set_result(None)
