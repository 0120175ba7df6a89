"""BU1, BU2, D1, D3: budgets against a reference that keeps every event and looks through all of them each time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.spenders import HandClock, S

from holdfast.ledger.entry import Charge
from holdfast.money.budgets import Budgets, Hold, Overdrawn, Unpriced
from holdfast.money.rules import Amount, BudgetRule, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.money.account import Account

RULES = {
    rule.name: rule
    for rule in (
        BudgetRule(name="all", limit_nano=1_000, window="day"),
        BudgetRule(name="key", scope="key", limit_nano=600, window="hour"),
        BudgetRule(name="session", scope="session", limit_nano=400, window="session"),
        BudgetRule(name="model", scope="model", limit_tokens=500, window="month"),
        BudgetRule(name="team", scope="team", limit_tokens=700, window="hour"),
        BudgetRule(name="soft", scope="tag", tag="project", limit_nano=300, window="forever", hard=False),
        BudgetRule(name="ever", limit_nano=5_000, window="forever"),
    )
}
SUBJECTS = (
    Subject(key="a", model="m"),
    Subject(key="a", model="m", session="s", team="t", tags={"project": "p"}),
    Subject(key="b", model="n", session="s", team="t"),
    Subject(key="b", model="M", tags={"project": "p"}),
)
AMOUNTS = st.builds(
    Amount,
    st.sampled_from([0, 1, 100, 150, 199, 200, 201, 300, 400]),
    st.sampled_from([0, 1, 50, 100, 250, 300]),
)
WHICH = st.integers(0, 7)
DAY = 86_400 * S
START_NS = int(datetime(2026, 10, 30, 12, tzinfo=UTC).timestamp()) * S + 400_000_000
"""Neither on a second nor in a month of thirty days."""
WINDOWS = {"hour": timedelta(hours=1), "session": timedelta(days=32)}


@dataclass
class Event:
    """Something spent; ``over`` once anybody has seen that its window is."""

    at_ns: int
    amount: int
    window: str
    over: bool = False

    def is_over(self, now_ns: int, slack_ns: int = 0) -> bool:
        """By the window's own words, with no regard to parts."""
        then, now = _date(self.at_ns), _date(now_ns - slack_ns)
        if self.window == "day":
            return now.date() > then.date()
        if self.window == "month":
            return (now.year, now.month) > (then.year, then.month)
        if self.window == "forever":
            return False
        return now_ns - slack_ns - self.at_ns >= WINDOWS[self.window] // timedelta(microseconds=1) * 1_000


@dataclass
class Request:
    hold: Hold
    open: dict[int, Amount] = field(default_factory=dict)
    slots: int = 0
    spent: list[Amount] = field(default_factory=list)
    excess: tuple[int, int] = (0, 0)
    """Of bills over their bounds: no crash's to charge."""


def _date(now_ns: int) -> datetime:
    return datetime.fromtimestamp(now_ns // S, UTC)


def _refusal(ask: Callable[[], None]) -> Overdrawn | Unpriced | None:
    try:
        ask()
    except (Overdrawn, Unpriced) as refused:
        return refused
    return None


def _of(account: Account, amount: Amount) -> int:
    return amount.nano or 0 if account.rule.measure == "usd" else amount.tokens or 0


class BudgetsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock(START_NS)
        self.straight = True
        """The clock was never put back."""
        self.rules = tuple(RULES.values())
        self.budgets = Budgets(self.rules, now_ns=self.clock.wall_ns)
        self.requests: dict[int, Request] = {}
        self.came = 0
        self.events: dict[str, list[Event]] = {}
        self.excess: Counter[str] = Counter()
        """Of bills over their bounds, by account."""
        self.overruns = 0
        self.database: dict[tuple[str, int], Charge] = {}
        """As the ledger's table has it."""

    def one(self, which: int) -> Request:
        return list(self.requests.values())[which % len(self.requests)]

    @precondition(lambda self: len(self.requests) < 6)
    @rule(subject=st.sampled_from(SUBJECTS))
    def come(self, subject: Subject) -> None:
        self.came += 1
        self.requests[self.came] = Request(self.budgets.hold(subject))

    @precondition(lambda self: self.requests)
    @rule(which=WHICH, bound=AMOUNTS)
    def ask_ahead(self, which: int, bound: Amount) -> None:
        self.ask(self.one(which), bound, ahead=True)

    @precondition(lambda self: self.requests)
    @rule(which=WHICH, bound=AMOUNTS)
    def ask_for_an_attempt(self, which: int, bound: Amount) -> None:
        self.ask(self.one(which), bound, ahead=False)

    def ask(self, request: Request, bound: Amount, *, ahead: bool) -> None:
        before = {account.key: account.reserved for account in self.budgets}
        wanted = list(request.open.values()) if not ahead else []
        lacking = [
            account
            for account in request.hold.accounts
            if account.rule.hard
            and (need := _of(account, bound) + sum(_of(account, each) for each in wanted))
            and account.spent(self.clock.wall)
            + sum(self.held(account, other) for other in self.requests.values() if other is not request)
            + need
            > account.rule.limit
            and need > self.held(account, request)
        ]
        slot = request.slots + 1
        refused = _refusal(lambda: request.hold.reserve(bound) if ahead else request.hold.cover(slot, bound))
        if refused is None:
            assert not lacking, "passed, and there was no room"
            if not ahead:
                request.slots = slot
                request.open[slot] = bound
            return
        assert isinstance(refused, Overdrawn)
        assert refused.account in lacking, "refused, and there was room"
        assert before == {account.key: account.reserved for account in self.budgets}, "all or none"
        assert refused.frees_ns is None or refused.frees_ns > self.clock.wall

    def held(self, account: Account, request: Request) -> int:
        """What a request has reserved of an account: nobody but its hold knows, and all holds together are what it says."""
        places = [place for place, each in enumerate(request.hold.accounts) if each is account]
        return sum(request.hold._reserved[place] for place in places)

    @precondition(lambda self: self.requests)
    @rule(which=WHICH)
    def ask_what_nobody_knows(self, which: int) -> None:
        request = self.one(which)
        refused = _refusal(lambda: request.hold.cover(request.slots + 1, Amount(None, None)))
        assert isinstance(refused, Unpriced)
        assert refused.account.rule.hard

    @precondition(lambda self: any(request.open for request in self.requests.values()))
    @rule(which=st.integers(0, 15), share=st.sampled_from([0, 0.5, 1, 1, 1.5, None]))
    def settle(self, which: int, share: float | None) -> None:
        under_way = [(request, slot) for request in self.requests.values() for slot in request.open]
        request, slot = under_way[which % len(under_way)]
        bound = request.open.pop(slot)
        cost = Amount(None, None) if share is None else Amount(*(int(each * share) for each in bound))
        request.hold.settle(slot, cost)
        charged = bound if share is None else cost
        request.spent.append(charged)
        over = [max(0, was - most) for was, most in zip(charged, bound, strict=True)]
        request.excess = (request.excess[0] + over[0], request.excess[1] + over[1])
        self.overruns += any(over)
        for account in request.hold.accounts:
            amount = _of(account, charged)
            self.excess[account.key] += max(0, amount - _of(account, bound))
            if amount:
                event = Event(self.clock.wall, amount, account.rule.window)
                self.events.setdefault(account.key, []).append(event)

    @precondition(lambda self: self.requests)
    @rule(which=WHICH)
    def close_one(self, which: int) -> None:
        self.close(list(self.requests)[which % len(self.requests)])

    def close(self, number: int) -> None:
        request = self.requests.pop(number)
        charges = request.hold.close()
        assert request.hold.close() == charges, "closing twice is closing once"
        for account in request.hold.accounts:
            mine = sum(charge.amount for charge in charges if charge.account == account.key)
            assert mine == sum(_of(account, each) for each in request.spent), "BU2"
        for charge in charges:
            row = self.database.get((charge.account, charge.start_ns))
            amount = charge.amount + (row.amount if row else 0)
            self.database[charge.account, charge.start_ns] = Charge(
                charge.account, charge.start_ns, charge.until_ns, amount
            )

    @rule(
        step=st.sampled_from([0.3, 1, 1_800, 3_599, 3_599.8, 3_600, 3_601, 31 * 86_400, "day", "month"]),
        off_ns=st.sampled_from([-1, 0, 1]),
    )
    def time_passes(self, step: float | str, off_ns: int) -> None:
        """By so many seconds; to the end of the day or the month, to the nanosecond."""
        now = _date(self.clock.wall)
        if isinstance(step, float | int):
            self.clock.passes(step)
        else:
            end = now.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            while step == "month" and end.day != 1:
                end += timedelta(days=1)
            self.clock.wall = max(self.clock.wall, int(end.timestamp()) * S + off_ns)

    @rule(seconds=st.sampled_from([1, 7_200, 90_000]))
    def the_clock_is_put_back(self, seconds: int) -> None:
        self.straight = False
        self.clock.wall -= seconds * S

    @precondition(lambda self: self.requests)
    @rule()
    def the_process_starts_anew(self) -> None:
        for number in list(self.requests):
            self.close(number)
        self.budgets = Budgets(self.rules, now_ns=self.clock.wall_ns, spent=self.database.values())
        self.overruns = 0

    @invariant()
    def agrees(self) -> None:
        now = self.clock.wall
        for subject in SUBJECTS:
            for account in self.budgets.accounts(subject):
                spent, rule_ = account.spent(now), account.rule
                events = self.events.get(account.key, [])
                for event in events:
                    event.over |= event.is_over(now)
                true = sum(event.amount for event in events if not event.over)
                assert spent >= true, "something was freed too early"
                if self.straight:
                    slack = S if rule_.window == "hour" else DAY if rule_.window == "session" else 0
                    most = sum(event.amount for event in events if not event.is_over(now, slack))
                    assert spent <= most, "something is freed too late"
                holders = [held for held in self.requests.values() if account in held.hold.accounts]
                covered = sum(_of(account, each) for held in holders for each in held.open.values())
                assert account.reserved >= covered, "an attempt runs on money that isn't set aside"
                if not holders:
                    assert account.reserved == account.holds == 0
                if rule_.hard:
                    assert spent + account.reserved <= rule_.limit + self.excess[account.key], "BU1"
        assert self.budgets.overruns == self.overruns
        for request in self.requests.values():
            total = Amount(
                sum(each.nano for each in (*request.spent, *request.open.values())),
                sum(each.tokens for each in (*request.spent, *request.open.values())),
            )
            told = [known + more for known, more in zip(request.hold.covered, request.excess, strict=True)]
            assert told[0] >= total.nano, "the ledger would charge a crash too little"
            assert told[1] >= total.tokens, "the ledger would charge a crash too little"

    def teardown(self) -> None:
        for number in list(self.requests):
            self.close(number)
        assert all(account.reserved == account.holds == 0 for account in self.budgets)
        assert self.budgets.holds == 0


TestBudgets = BudgetsMachine.TestCase
TestBudgets.settings = settings(max_examples=300, stateful_step_count=50)
