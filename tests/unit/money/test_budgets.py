"""BU1, BU2, D1: what a request sets aside, and what becomes of it."""

from __future__ import annotations

import pytest
from tests.support.spenders import NOON_NS, HandClock, S, usd

from holdfast.ledger.entry import AccountPart, Charge
from holdfast.money.budgets import Budgets, Full, Overdrawn, Unpriced
from holdfast.money.rules import Amount, BudgetRule, Subject
from holdfast.money.window import DAY_NS, HOUR_NS

ANN, BOB = Subject(key="ann", model="m"), Subject(key="bob", model="m")
FIVE = BudgetRule(name="five", limit_nano=usd(5), window="day")


@pytest.fixture
def clock():
    return HandClock()


def budgets_of(clock, *rules, **more):
    return Budgets(rules, now_ns=clock.wall_ns, **more)


def cents(nano, tokens=1):
    return Amount(nano, tokens)


def spend(budgets, dollars, subject=ANN):
    hold = budgets.hold(subject)
    hold.reserve(cents(usd(dollars)))
    hold.cover(1, cents(usd(dollars)))
    hold.settle(1, cents(usd(dollars)))
    return hold.close()


def test_two_and_two_and_one_fifty_of_five_dollars(clock):
    budgets = budgets_of(clock, FIVE)
    spend(budgets, 2)
    spend(budgets, 2)
    with pytest.raises(Overdrawn) as refused:
        spend(budgets, 1.5)
    error = refused.value
    assert (error.needed, error.spent, error.reserved) == (usd(1.5), usd(4), 0)
    assert error.frees_ns == NOON_NS - NOON_NS % DAY_NS + DAY_NS
    spend(budgets, 1)


def test_a_refusal_is_counted_where_it_was_the_last_word(clock):
    budgets = budgets_of(clock, FIVE)
    for refused in (True, False):
        hold = budgets.hold(ANN)
        with pytest.raises(Overdrawn):
            hold.reserve(cents(usd(6)))
        hold.close(refused=refused)
        hold.close(refused=refused)
    assert budgets.refused == {"five": 1}
    (account,) = budgets
    assert account.refused == 1


def test_a_hundred_at_once_pass_one_of_three_dollars(clock):
    budgets = budgets_of(clock, FIVE)
    holds, refused = [], 0
    for _ in range(100):
        hold = budgets.hold(ANN)
        try:
            hold.reserve(cents(usd(3)))
        except Overdrawn as error:
            refused += error.frees_ns is None  # what others have set aside is free again when they are over
            hold.close()
        else:
            holds.append(hold)
    assert (len(holds), refused) == (1, 99)
    holds[0].close()
    spend(budgets, 3)


class TestAllOrNone:
    def test_nothing_is_kept_where_one_has_no_room(self, clock):
        small = BudgetRule(name="small", limit_nano=usd(1))
        hold = budgets_of(clock, FIVE, small).hold(ANN)
        with pytest.raises(Overdrawn) as refused:
            hold.reserve(cents(usd(2)))
        assert refused.value.account.rule is small
        assert [account.reserved for account in hold.accounts] == [0, 0]
        assert hold.covered == (0, 0)

    def test_what_it_may_lower_itself_to(self, clock):
        tokens = BudgetRule(name="t", limit_tokens=100)
        soft = BudgetRule(name="soft", limit_nano=1, hard=False)
        hold = budgets_of(clock, FIVE, BudgetRule(name="two", limit_nano=usd(2)), tokens, soft).hold(ANN)
        hold.reserve(Amount(usd(1), 10))
        assert hold.room_nano() == usd(2), "what it has itself is its to use"
        assert hold.room_tokens() == 100
        other = budgets_of(clock, soft).hold(ANN)
        assert other.room_nano() is other.room_tokens() is None


class TestSoft:
    def test_only_counts(self, clock):
        budgets = budgets_of(clock, BudgetRule(name="soft", limit_nano=usd(1), hard=False))
        spend(budgets, 3)
        hold = budgets.hold(ANN)
        hold.cover(1, Amount(None, None))
        hold.settle(1, Amount(None, None))
        assert hold.close() == ()
        (account,) = budgets
        assert account.room(clock.wall) == -usd(2)


def test_what_nobody_knows_the_price_of_is_refused_by_hard_budgets_in_dollars_alone(clock):
    tokens = budgets_of(clock, BudgetRule(name="t", limit_tokens=10)).hold(ANN)
    tokens.cover(1, Amount(None, 5))
    assert tokens.covered == (None, 5)
    with pytest.raises(Unpriced):
        tokens.cover(2, Amount(5, None))
    with pytest.raises(Unpriced):
        budgets_of(clock, FIVE).hold(ANN).cover(1, Amount(None, 5))


class TestAttempts:
    def test_what_is_left_of_one_covers_the_next(self, clock):
        hold = budgets_of(clock, FIVE).hold(ANN)
        hold.reserve(cents(usd(4)))
        (account,) = hold.accounts
        hold.cover(1, cents(usd(4)))
        hold.settle(1, cents(usd(1)))
        assert (account.spent(clock.wall), account.reserved) == (usd(1), usd(3))
        hold.cover(2, cents(usd(4)))
        assert account.room(clock.wall) == 0
        hold.settle(2, cents(0, 0))
        with pytest.raises(Overdrawn):
            hold.cover(3, cents(usd(4) + 1))

    def test_a_hedge_is_set_aside_beside_the_first(self, clock):
        hold = budgets_of(clock, FIVE).hold(ANN)
        hold.cover(1, cents(usd(2), 10))
        hold.cover(2, cents(usd(3), 10))
        assert hold.covered == (usd(5), 20)
        with pytest.raises(Overdrawn):
            hold.cover(3, cents(1))
        hold.settle(1, cents(0, 0))
        assert hold.accounts[0].reserved == usd(5)
        assert hold.running
        hold.settle(2, cents(usd(3), 10))
        assert not hold.running

    def test_covered_never_shrinks_and_counts_what_was_spent(self, clock):
        hold = budgets_of(clock, FIVE).hold(ANN)
        hold.reserve(cents(usd(2), 5))
        hold.cover(1, cents(usd(1), 5))
        assert hold.covered == (usd(2), 5)
        hold.settle(1, cents(usd(1), 5))
        hold.cover(2, cents(usd(1.5), 5))
        assert hold.covered == (usd(2.5), 10)

    def test_a_bill_above_its_bound_is_charged_in_full_and_blocks(self, clock):
        budgets = budgets_of(clock, FIVE)
        hold = budgets.hold(ANN)
        hold.cover(1, cents(usd(1)))
        hold.settle(1, cents(usd(7)))
        (charge,) = hold.close()
        assert charge.amount == usd(7)
        assert budgets.overruns == 1
        with pytest.raises(Overdrawn) as refused:
            spend(budgets, 0.01)
        assert refused.value.spent == usd(7)

    def test_an_unknown_bill_is_charged_at_what_was_set_aside(self, clock):
        hold = budgets_of(clock, FIVE, BudgetRule(name="t", limit_tokens=100)).hold(ANN)
        hold.cover(1, Amount(usd(2), 30))
        hold.settle(1, Amount(None, None))
        assert [charge.amount for charge in hold.close()] == [usd(2), 30]

    def test_settling_what_is_closed_changes_nothing(self, clock):
        budgets = budgets_of(clock, FIVE)
        hold = budgets.hold(ANN)
        hold.cover(1, cents(usd(2)))
        assert hold.close() == ()
        hold.settle(1, cents(0, 0))
        hold.close()
        (account,) = budgets
        assert account.reserved == account.holds == budgets.holds == 0


class TestCharges:
    def test_one_for_each_account_and_part(self, clock):
        hold = budgets_of(
            clock, FIVE, BudgetRule(name="k", scope="key", limit_tokens=100, window="hour")
        ).hold(ANN)
        for slot in (1, 2, 3):
            hold.cover(slot, cents(usd(1), 5))
            hold.settle(slot, cents(usd(1), 5))
        clock.passes(1)
        hold.cover(4, cents(usd(1), 5))
        hold.settle(4, cents(usd(1), 5))
        start, day = clock.wall - S, clock.wall - clock.wall % DAY_NS
        assert set(hold.close()) == {
            Charge("five:usd:day:", day, day + DAY_NS, usd(4)),
            Charge("k:tokens:hour:ann", start, start + S + HOUR_NS, 15),
            Charge("k:tokens:hour:ann", start + S, start + 2 * S + HOUR_NS, 5),
        }

    def test_a_crash_is_told_where_to_charge(self, clock):
        day = clock.wall - clock.wall % DAY_NS
        hold = budgets_of(clock, FIVE).hold(ANN)
        assert hold.parts() == (AccountPart("five:usd:day:", "usd", day, day + DAY_NS),)

    def test_what_was_spent_before_the_start_counts(self, clock):
        charges = spend(budgets_of(clock, FIVE), 4)
        budgets = budgets_of(clock, FIVE, spent=charges)
        with pytest.raises(Overdrawn):
            spend(budgets, 1.01)
        clock.passes(86_400)
        spend(budgets, 5)


class TestRules:
    def test_a_keys_own_budget_is_its_own(self, clock):
        own = BudgetRule(name="own", scope="key", match=("Ann",), limit_nano=usd(1))
        budgets = budgets_of(clock, own)
        with pytest.raises(Overdrawn):
            spend(budgets, 2)
        spend(budgets, 2, BOB)

    def test_other_limits_judge_what_was_spent(self, clock):
        budgets = budgets_of(clock, FIVE)
        spend(budgets, 4)
        budgets.apply([BudgetRule(name="five", limit_nano=usd(3), window="day")])
        with pytest.raises(Overdrawn):
            spend(budgets, 0.01)
        budgets.apply([])
        assert budgets.empty
        spend(budgets, 100)
        budgets.apply([BudgetRule(name="five", limit_nano=usd(6), window="day")])
        spend(budgets, 2)

    def test_another_window_begins_anew(self, clock):
        budgets = budgets_of(clock, FIVE)
        spend(budgets, 4)
        budgets.apply([BudgetRule(name="five", limit_nano=usd(5), window="hour")])
        spend(budgets, 4)


class TestManySubjects:
    RULE = BudgetRule(name="k", scope="key", limit_nano=usd(5), window="hour")

    def budgets(self, clock):
        return budgets_of(clock, self.RULE, most_accounts=2)

    def test_what_holds_nothing_makes_room(self, clock):
        budgets = self.budgets(clock)
        for name in "abcdef":
            clock.passes(1)
            budgets.hold(Subject(key=name, model="m")).close()
        assert len(list(budgets)) <= 2

    def test_what_was_spent_is_not_forgotten(self, clock):
        budgets = self.budgets(clock)
        spend(budgets, 1, ANN)
        spend(budgets, 1, BOB)
        with pytest.raises(Full):
            budgets.hold(Subject(key="c", model="m"))
        clock.passes(3_602)
        budgets.hold(Subject(key="c", model="m"))

    def test_an_account_in_use_is_not_forgotten_before_it_is_used(self, clock):
        budgets = self.budgets(clock)
        early = budgets.hold(ANN)  # knows its account, and has nothing of it yet
        budgets.hold(BOB).close()
        budgets.hold(Subject(key="c", model="m"))
        early.reserve(cents(usd(3)))
        with pytest.raises(Overdrawn):
            budgets.hold(ANN).reserve(cents(usd(3)))

    def test_a_full_table_is_not_looked_through_for_every_request(self, clock):
        budgets = self.budgets(clock)
        holds = [budgets.hold(ANN), budgets.hold(BOB)]
        with pytest.raises(Full):
            budgets.hold(Subject(key="c", model="m"))
        holds[0].close()
        with pytest.raises(Full):
            budgets.hold(Subject(key="c", model="m"))
        clock.passes(-3_600)  # put back: the pause isn't an hour
        budgets.hold(Subject(key="c", model="m"))
