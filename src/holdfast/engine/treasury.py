"""A request's money: what it may cost is set aside before anything is sent, what it did cost is charged, always.

::

    enter     the cost breaker lets it in; its session goes on; what the first attempt may cost is set aside
    cover     before each attempt: what it may cost beside those that run; durable where that is more than the intent said
    settle    after each attempt: what it cost
    close     the request is over: what is left goes back, and what was spent goes into the end that the ledger writes
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final

from holdfast import failpoints
from holdfast.errors import BudgetExceeded, CostUnbounded, HoldfastError, NoPlace
from holdfast.money.budgets import Full, Overdrawn, Unpriced
from holdfast.money.cost import format_usd
from holdfast.money.cost_breaker import CostState
from holdfast.money.leases import Patience
from holdfast.money.rules import Amount, Subject
from holdfast.money.session import BUDGET
from holdfast.money.shared import Short

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.clock import Clock
    from holdfast.engine.call import Call
    from holdfast.engine.sessions import SessionDesk
    from holdfast.ledger.base import Ledger
    from holdfast.ledger.entry import AccountPart, Charge
    from holdfast.money.account import Account
    from holdfast.money.budgets import Budgets, Hold
    from holdfast.money.cost_breaker import CostBreaker, CostPermit
    from holdfast.money.leases import Leases

__all__ = ["NOTHING", "Purse", "Treasury", "largest"]

NOTHING: Final = Amount(0, 0)

_FULL_RETRY_S: Final = 60.0


class Treasury:
    """Where requests' purses come from.

    Args:
        budgets: all there are.
        ledger: where what may be spent is durable before it can be.
        clock: the wall clock that windows slide with.
        breaker: of everybody's spending; None: there is none.
        sessions: with an end; None: a session is only a name.
        leases: where other processes spend of the same budgets; None: nobody else does.
    """

    def __init__(
        self,
        budgets: Budgets,
        *,
        ledger: Ledger,
        clock: Clock,
        breaker: CostBreaker | None = None,
        sessions: SessionDesk | None = None,
        leases: Leases | None = None,
    ) -> None:
        self.budgets = budgets
        self.breaker = breaker
        self.sessions = sessions
        self.leases = leases
        if leases is not None:
            leases.on_forgotten = self._forgotten
        self.ledger = ledger
        self.clock = clock
        self.refused: dict[str, int] = {}
        """Requests told no since the start, by the error's label."""
        self.warned: dict[str, int] = {}
        """How often callers were warned of a budget, by its name."""
        self.on_warning: Callable[[Account], None] | None = None
        """Told of each budget of which the share that is warned of is spent, once."""

    def warn(self, account: Account) -> None:
        """A caller is told that much of ``account`` is spent."""
        name = account.rule.name
        self.warned[name] = self.warned.get(name, 0) + 1
        if self.on_warning is not None:
            self.on_warning(account)

    async def forget(self, account: Account) -> None:
        """What was spent of it counts no more, in whichever process.

        Raises:
            LedgerUnavailable: it couldn't be made durable, and nothing has changed.
        """
        if self.leases is None:
            await self.ledger.forget_spending(account.key)
        else:
            await self.leases.forget(account.key)
        self._forgotten(account.key)

    async def news(self, accounts: Sequence[Account]) -> None:
        """What other processes spent of them, as far as it can be asked."""
        if self.leases is not None:
            await self.leases.hear(accounts)

    async def aclose(self) -> None:
        """Sessions are written, and blocks go back: when requests are over, before the ledger closes."""
        if self.sessions is not None:
            await self.sessions.aclose()
        if self.leases is not None:
            await self.leases.aclose()

    def _forgotten(self, account: str) -> None:
        if self.breaker is not None and account == self.breaker.account.key:
            self.breaker.reset()

    def purse(self, call: Call) -> Purse:
        """For one request; nothing is asked or set aside yet."""
        return Purse(self, call)


class Purse:
    """What one request may spend, and has spent. One task at a time, but for the attempts of a hedge."""

    __slots__ = ("_call", "_durable", "_hold", "_no", "_patience", "_permit", "_slots", "_treasury")

    def __init__(self, treasury: Treasury, call: Call) -> None:
        self._treasury = treasury
        self._call = call
        self._hold: Hold | None = None
        self._permit: CostPermit | None = None
        self._slots = 0
        self._patience: Patience | None = None
        self._no: HoldfastError | None = None
        """The last refusal. Not the caller's yet: less may be asked for, or what runs already may serve."""
        self._durable = NOTHING
        """What the ledger has as the request's bound: from the intent on, which is written before any attempt."""

    async def enter(self) -> bool:
        """Finds its session and the budgets that it counts in, and asks the cost breaker. Whether it costs anything.

        Raises:
            SessionEnded: its session is over.
            CostBreakerOpen: everybody together has spent too much.
            NoPlace: more subjects spend than can be told apart.
        """
        treasury, call = self._treasury, self._call
        if call.dialect.free:
            return False
        subject = Subject(
            key=call.key, model=call.envelope.model, session=call.session, team=call.team, tags=call.tags
        )
        breaker = treasury.breaker
        try:
            if treasury.sessions is not None and call.session is not None:
                await treasury.sessions.enter(call.key, call.session)
            if treasury.leases is not None:
                await self._hear(treasury.leases, subject)
            if breaker is not None:
                self._permit = breaker.enter()
            watched = () if breaker is None else (breaker.account,)
            self._hold = treasury.budgets.hold(subject, also=watched)
        except Full as error:
            self.close(ok=False)
            raise self._refused(NoPlace(str(error), retry_after_s=_FULL_RETRY_S)) from None
        except HoldfastError as error:
            self.close(ok=False)
            raise self._refused(error) from None
        return True

    @property
    def hard(self) -> bool:
        """Whether a hard budget limits it."""
        return self._hold is not None and self._hold.hard

    @property
    def running(self) -> bool:
        """Whether an attempt is under way, or about to be."""
        return self._hold is not None and self._hold.running

    @property
    def hard_usd(self) -> bool:
        return self._hold is not None and self._hold.hard_usd

    @property
    def bound(self) -> Amount:
        """The most that the request may come to, as far as it is allowed to now."""
        return Amount(0, 0) if self._hold is None else self._hold.covered

    @property
    def parts(self) -> tuple[AccountPart, ...]:
        """What a crash charges the bound to."""
        return () if self._hold is None else self._hold.parts()

    async def reserve(self, bound: Amount) -> None:
        """Sets aside what the first attempt may cost, before the intent is written.

        Raises:
            BudgetExceeded, CostUnbounded, CostBreakerOpen: there is no room for it, or nobody can tell.
            SessionEnded: its session was, elsewhere.
            LedgerUnavailable: what other processes left of a budget can't be asked.
        """
        hold = self._hold
        if hold is None:
            return
        try:
            if self._treasury.leases is None:
                hold.reserve(bound)
            else:
                await self._leased(partial(hold.reserve, bound), self._treasury.leases)
        except (Overdrawn, Unpriced) as error:
            raise self._refusal(error) from None
        self._durable = hold.covered

    def room_nano(self) -> int | None:
        """Nano-dollars that the hard budgets have left for this request, what it has set aside included; None: no end."""
        return None if self._hold is None else self._hold.room_nano()

    def room_tokens(self) -> int | None:
        return None if self._hold is None else self._hold.room_tokens()

    async def cover(self, bound: Amount) -> int:
        """Sets aside what one more attempt may cost; a number to :meth:`settle` it by. Durable when it returns.

        Raises:
            BudgetExceeded, CostUnbounded, CostBreakerOpen: there is no room for it, or nobody can tell.
            LedgerUnavailable: it can't be made durable, so the attempt may not be sent.
        """
        self._slots = slot = self._slots + 1
        hold = self._hold
        if hold is None:
            return slot
        try:
            if self._treasury.leases is None:
                hold.cover(slot, bound)
            else:
                await self._leased(partial(hold.cover, slot, bound), self._treasury.leases)
        except (Overdrawn, Unpriced) as error:
            raise self._refusal(error) from None
        covered = hold.covered
        if covered != self._durable:  # the other of a hedged pair may be about to say so, and may fail to
            if failpoints.armed:
                failpoints.hit("bound.raising")
            try:
                await self._treasury.ledger.raise_bound(
                    self._call.id, bound_nano=covered.nano, bound_tokens=covered.tokens
                )
            except BaseException:  # not sent, so it costs nothing
                hold.settle(slot, NOTHING)
                raise
            self._durable = largest([self._durable, covered], unknown=True)
            if failpoints.armed:
                failpoints.hit("bound.raised")
        return slot

    def settle(self, slot: int, cost: Amount) -> None:
        """That attempt is over, and cost that. Must not raise."""
        if self._hold is not None:
            self._hold.settle(slot, cost)

    def warnings(self) -> list[Account]:
        """Budgets that the caller is to be warned of; each once."""
        if self._hold is None:
            return []
        now_ns, desk, session = self._treasury.clock.wall_ns(), self._treasury.sessions, self._call.session
        if desk is None or session is None:
            warned = [account for account in self._hold.accounts if account.warns(now_ns)]
        else:
            key = self._call.key
            warned = [account for account in self._hold.accounts if desk.warns(key, session, account, now_ns)]
        for account in warned:
            self._treasury.warn(account)
        return warned

    def close(self, *, ok: bool, told: BaseException | None = None) -> tuple[Charge, ...]:
        """The request is over. What it spent, for the ledger. Idempotent; must not raise.

        Args:
            ok: it ended well.
            told: with what it failed; counted as refused where that is a refusal over money.
        """
        refused = told is not None and (told is self._no or isinstance(told, CostUnbounded))
        charges = () if self._hold is None else self._hold.close(refused=refused)
        if self._permit is not None:
            self._permit.leave(ok=ok)
        if refused and isinstance(told, HoldfastError):
            counts = self._treasury.refused
            counts[told.label] = counts.get(told.label, 0) + 1
        return charges

    async def _hear(self, leases: Leases, subject: Subject) -> None:
        """What others did, where that decides: an open cost breaker's sum, and whether a session's warning was given."""
        treasury, breaker = self._treasury, self._treasury.breaker
        if breaker is not None and breaker.state is not CostState.CLOSED:
            await leases.hear([breaker.account])
        if treasury.sessions is None or subject.session is None:
            return
        now_ns = treasury.clock.wall_ns()
        for account in treasury.budgets.accounts(subject):
            if account.rule.name == BUDGET and account.spent(now_ns) >= account.rule.warn_from:
                await treasury.sessions.hear(subject.key, subject.session)

    async def _leased(self, take: Callable[[], None], leases: Leases) -> None:
        """``take`` out of this process' blocks, once they suffice."""
        try:
            take()
        except Short as short:
            call, desk = self._call, self._treasury.sessions
            if desk is not None and call.session is not None and _of_session(short):
                try:
                    await desk.look_again(call.key, call.session)
                except HoldfastError as error:
                    raise self._refused(error) from None
            if self._patience is None:
                self._patience = Patience()
            await leases.fitted(take, short, self._patience)

    def _refusal(self, error: Overdrawn | Unpriced) -> HoldfastError:
        breaker, account = self._treasury.breaker, error.account
        if self._hold is not None:
            self._hold.lacks(account)
        if isinstance(error, Unpriced):
            unknown = (
                "how many tokens this request may take: limit its answer's length, or let the route say max_output_tokens"
                if account.rule.measure == "tokens"
                else "what this request may cost: state the model's price in [prices] or a ceiling in [pricing]"
            )
            return self._refused(
                CostUnbounded(
                    f"the budget {account.rule.name!r} limits this request, and nobody can tell {unknown}"
                )
            )
        if breaker is not None and account is breaker.account:
            return self._refused(breaker.no_room(error))
        return self._refused(_exceeded(error, self._treasury.clock.wall_ns()))

    def _refused(self, error: HoldfastError) -> HoldfastError:
        self._no = error
        return error


def _of_session(short: Short) -> bool:
    return any(account.rule.name == BUDGET for account, _, _ in short.lacks)


def _exceeded(error: Overdrawn, now_ns: int) -> BudgetExceeded:
    account, rule = error.account, error.account.rule
    shown = _dollars if rule.limit_nano is not None else _tokens
    unit = "usd" if rule.limit_nano is not None else "tokens"
    needed, left = shown(error.needed), shown(max(0, rule.limit - error.spent - error.reserved))
    details = {
        "budget": rule.name,
        "scope": rule.scope,
        "window": rule.window,
        f"limit_{unit}": shown(rule.limit),
        f"spent_{unit}": shown(error.spent),
        f"reserved_{unit}": shown(error.reserved),
        f"needed_{unit}": needed,
    }
    retry_after_s = None
    if error.needed > rule.limit:
        when = "that is more than the whole budget, so ask for less output"
    elif error.frees_ns is not None and rule.window != "session":
        retry_after_s = max(0.0, (error.frees_ns - now_ns) / 1e9)
        details["frees_in_s"] = str(Decimal(error.frees_ns - now_ns).scaleb(-9).quantize(Decimal("0.001")))
        when = f"enough of it is free again in {_duration(retry_after_s)}"
    elif error.reserved:
        when = "ask for less output, or come back when the requests that run are over"
    else:
        when = "ask for less output, or for a larger budget"
    of = f" of {account.subject!r}" if account.subject else ""
    has, costs = (f"${left}", f"${needed}") if unit == "usd" else (f"{left} tokens", f"{needed} tokens")
    return BudgetExceeded(
        f"the budget {rule.name!r}{of} has {has} left, and this request may cost {costs}; {when}",
        details=details,
        retry_after_s=retry_after_s,
    )


def _dollars(nano: int) -> str:
    return format_usd(nano)


def _tokens(tokens: int) -> str:
    return str(tokens)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def largest(amounts: Sequence[Amount], *, unknown: bool) -> Amount:
    """The most that any of them is. Nobody knows where nobody knows one of them (``unknown``), or else any of them."""
    return Amount(
        _largest([amount.nano for amount in amounts], unknown=unknown),
        _largest([amount.tokens for amount in amounts], unknown=unknown),
    )


def _largest(amounts: list[int | None], *, unknown: bool) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    if not known or (unknown and len(known) < len(amounts)):
        return None
    return max(known)
