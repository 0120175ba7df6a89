"""BU1, BU2: what one process does with its block, without any other."""

from __future__ import annotations

import pytest
from tests.support.spenders import HandClock

from holdfast.ledger.entry import AccountPart
from holdfast.money.budgets import Unpriced
from holdfast.money.rules import Amount, BudgetRule, Subject
from holdfast.money.shared import SharedBudgets, Short

ANN = Subject(key="ann", model="m")
HARD = BudgetRule(name="hard", limit_nano=1_000, window="day")
TOKENS = BudgetRule(name="tokens", scope="key", limit_tokens=1_000, window="day")
SOFT = BudgetRule(name="soft", limit_nano=10, window="day", hard=False)


class Quiet:
    """Who would ask for blocks."""

    def __init__(self):
        self.epoch = 0
        self.told = []

    def watch(self, account):
        pass

    def recall(self):
        self.told.append("recall")

    def freed(self, account):
        self.told.append(account.key)


def budgets_of(*rules):
    return SharedBudgets(rules, leases=Quiet(), now_ns=HandClock().wall_ns)


def granted(budgets, *amounts, subject=ANN):
    accounts = budgets.accounts(subject)
    for account, amount in zip(accounts, amounts, strict=True):
        account.free += amount
    return accounts


def both(amount):
    return Amount(amount, amount)


class TestReserve:
    def test_takes_out_of_what_is_free(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        assert (account.free, account.reserved) == (40, 60)
        hold.reserve(both(50))
        assert (account.free, account.reserved) == (40, 60), "it has that much already"

    def test_takes_out_of_what_is_free_to_the_last_nano_dollar(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        with pytest.raises(Short):
            budgets.hold(ANN).reserve(both(101))
        budgets.hold(ANN).reserve(both(100))
        assert (account.free, account.reserved) == (0, 100)

    def test_what_is_not_free_is_said_and_nothing_is_taken_of_any(self):
        budgets = budgets_of(HARD, TOKENS)
        dollars, tokens = granted(budgets, 100, 30)
        hold = budgets.hold(ANN)
        with pytest.raises(Short) as short:
            hold.reserve(both(70))
        assert short.value.lacks == [(tokens, 70, 70)]
        assert (dollars.free, dollars.reserved, tokens.free, tokens.reserved) == (100, 0, 30, 0)
        tokens.free += 40
        hold.reserve(both(70))
        assert (dollars.free, tokens.free) == (30, 0)

    def test_lacks_only_what_it_has_not_set_aside_yet(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 60)
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        with pytest.raises(Short) as short:
            hold.reserve(both(100))
        assert short.value.lacks == [(account, 40, 100)]

    def test_a_soft_budget_has_no_block(self):
        budgets = budgets_of(SOFT)
        hold = budgets.hold(ANN)
        hold.reserve(both(500))
        hold.cover(1, both(500))
        hold.settle(1, both(400))
        (charge,) = hold.close()
        assert (charge.amount, charge.held) == (400, 0)
        (account,) = budgets
        assert (account.reserved, account.free) == (0, 0)

    def test_what_nobody_can_price_is_refused_before_anybody_is_asked(self):
        budgets = budgets_of(HARD)
        with pytest.raises(Unpriced):
            budgets.hold(ANN).reserve(Amount(None, 1))

    def test_a_budget_that_turns_hard_holds_nothing_for_who_began_before(self):
        budgets = budgets_of(SOFT)
        hold = budgets.hold(ANN)
        hold.reserve(both(500))
        budgets.apply([BudgetRule(name="soft", limit_nano=1_000, window="day")])
        hold.cover(1, both(500))
        hold.settle(1, both(300))
        (charge,) = hold.close()
        assert charge.held == 0, "there was no block that it could come out of"
        (account,) = budgets
        assert (account.free, account.reserved) == (0, 0)


class TestSettle:
    def test_what_it_cost_leaves_the_block_with_the_end_and_the_rest_is_free(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        hold = budgets.hold(ANN)
        hold.reserve(both(80))
        hold.cover(1, both(80))
        hold.settle(1, both(30))
        assert (account.free, account.reserved) == (20, 50), "the next attempt's"
        (charge,) = hold.close()
        assert (charge.amount, charge.held) == (30, 30)
        assert (account.free, account.reserved) == (70, 0)
        assert hold.close() == (charge,), "closing twice is closing once"
        assert account.free == 70

    @pytest.mark.parametrize(
        ("free", "held", "left"), [(100, 90, 10), (60, 60, 0)], ids=["covers it", "covers part of it"]
    )
    def test_a_bill_above_its_bound_takes_what_is_free_too(self, free, held, left):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, free)
        hold = budgets.hold(ANN)
        hold.reserve(both(50))
        hold.cover(1, both(50))
        hold.settle(1, both(90))
        assert budgets.overruns == 1
        (charge,) = hold.close()
        assert (charge.amount, charge.held) == (90, held)
        assert (account.free, account.reserved) == (left, 0)

    def test_of_two_at_once_each_keeps_its_own(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        hold.cover(1, both(60))
        hold.cover(2, both(40))
        hold.settle(1, both(80))
        assert account.reserved == 40, "what runs is still covered"
        hold.settle(2, both(10))
        (charge,) = hold.close()
        assert (charge.amount, charge.held) == (90, 70), "60 of its own, then 10: nothing else was free"
        assert account.free == 100 - 70

    def test_who_waits_is_told_when_something_gets_free(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        account.awaited = True
        hold.close()
        assert budgets.leases.told == ["recall", account.key]

    def test_a_crash_charges_where_the_intent_says(self):
        budgets = budgets_of(HARD)
        hold = budgets.hold(ANN)
        (part,) = hold.parts()
        assert isinstance(part, AccountPart)
        assert part.account == "hard:usd:day:"


class TestFenced:
    def lost(self, budgets):
        for account in budgets:
            account.free = 0
        budgets.leases.epoch += 1

    def test_what_runs_holds_nothing_of_the_next_block(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        hold.cover(1, both(60))
        self.lost(budgets)
        account.free = 500
        hold.settle(1, both(40))
        (charge,) = hold.close()
        assert (charge.amount, charge.held) == (40, 0)
        assert (account.free, account.reserved) == (500, 0)

    def test_what_was_charged_before_is_held_in_no_block_either(self):
        budgets = budgets_of(HARD)
        granted(budgets, 100)
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        hold.cover(1, both(60))
        hold.settle(1, both(40))
        self.lost(budgets)
        (charge,) = hold.close()
        assert (charge.amount, charge.held) == (40, 0)

    def test_goes_on_within_its_bound_which_was_charged(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        hold.cover(1, both(60))
        hold.settle(1, both(10))
        self.lost(budgets)
        hold.cover(2, both(50))
        assert (account.free, account.reserved) == (0, 0)
        assert hold.covered == both(60)

    def test_who_has_written_nothing_yet_sets_aside_anew(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        self.lost(budgets)  # and the intent is written in the next owner's name
        for _ in range(2):
            with pytest.raises(Short):
                hold.cover(1, both(60))
        account.free = 80
        hold.cover(1, both(60))
        assert (account.free, account.reserved) == (20, 60)
        hold.settle(1, both(50))
        (charge,) = hold.close()
        assert (charge.amount, charge.held, account.free) == (50, 50, 30)


class TestKnown:
    def test_what_others_spent_is_counted_and_never_less_than_was_spent_here(self):
        budgets = budgets_of(HARD)
        (account,) = budgets.accounts(ANN)
        now_ns = budgets.now_ns()
        account.charge(30, now_ns)
        account.learn(80, now_ns)
        assert account.spent(now_ns) == 80
        account.learn(20, now_ns)
        assert account.spent(now_ns) == 80, "what was spent here may not be written yet"
        account.learn(20, now_ns, exact=True)
        assert account.spent(now_ns) == 20

    def test_what_may_be_lowered_to_is_what_is_free_here_or_with_nobody(self):
        budgets = budgets_of(HARD)
        (account,) = granted(budgets, 100)
        account.leased, account.unleased = True, 250
        hold = budgets.hold(ANN)
        hold.reserve(both(60))
        assert hold.room_nano() == 60 + 40 + 250
        assert hold.room_tokens() is None
        assert account.room(budgets.now_ns()) == 40 + 250
