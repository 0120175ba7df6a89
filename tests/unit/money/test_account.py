"""One budget for one subject: its room, and when its callers are warned."""

from __future__ import annotations

import pytest
from tests.support.spenders import NOON_NS, S, usd

from holdfast.money.account import Account, account_key
from holdfast.money.rules import BudgetRule
from holdfast.money.window import DAY_NS, HOUR_NS


def account_of(**settings):
    settings.setdefault("limit_nano", usd(5))
    return Account(BudgetRule(name="b", **settings), "ann")


def test_room_is_what_is_neither_spent_nor_set_aside():
    account = account_of(window="day")
    account.charge(usd(2), NOON_NS)
    account.reserved = usd(1)
    assert account.room(NOON_NS) == usd(2)
    account.charge(usd(3), NOON_NS)
    assert account.room(NOON_NS) == -usd(1), "a bill passed its bound"
    assert account.spent(NOON_NS + DAY_NS) == 0


@pytest.mark.parametrize("other", [{"name": "c"}, {"window": "day"}, {"limit_nano": None, "limit_tokens": 5}])
def test_another_unit_or_window_is_another_account(other):
    settings = {"name": "b", "scope": "key", "limit_nano": 5, "window": "month"}
    assert account_key(BudgetRule(**settings), "ann") != account_key(
        BudgetRule(**{**settings, **other}), "ann"
    )


def test_another_limit_is_the_same_account():
    one, other = (BudgetRule(name="b", limit_nano=limit, hard=limit > 1) for limit in (1, 2))
    assert account_key(one, "") == account_key(other, "")


class TestWarning:
    def test_once_at_four_of_five_dollars(self):
        account = account_of(window="day")
        account.charge(usd(4) - 1, NOON_NS)
        assert not account.warns(NOON_NS)
        account.charge(1, NOON_NS)
        assert account.warns(NOON_NS)
        account.charge(usd(1), NOON_NS)
        assert not account.warns(NOON_NS)

    def test_anew_in_a_new_window(self):
        account = account_of(window="day")
        account.charge(usd(4), NOON_NS)
        assert account.warns(NOON_NS)
        account.charge(usd(4), NOON_NS + DAY_NS)  # all at once: nobody asked in between
        assert account.warns(NOON_NS + DAY_NS)
        assert not account.warns(NOON_NS + DAY_NS)

    def test_anew_once_a_sliding_window_had_less(self):
        account = account_of(window="hour")
        account.charge(usd(3), NOON_NS)
        account.charge(usd(2), NOON_NS + 1800 * S)
        assert account.warns(NOON_NS + 1800 * S)
        later = NOON_NS + HOUR_NS + S
        assert not account.warns(later)
        account.charge(usd(2), later)
        assert account.warns(later)

    def test_what_is_only_set_aside_warns_nobody(self):
        account = account_of()
        account.reserved = usd(5)
        assert not account.warns(NOON_NS)


def test_one_that_a_request_knows_is_not_idle():
    account = account_of(window="day")
    assert account.idle(NOON_NS)
    account.holds += 1
    assert not account.idle(NOON_NS), (
        "another account of the same name would know nothing of what it is about to reserve"
    )
    account.holds -= 1
    account.charge(1, NOON_NS)
    assert not account.idle(NOON_NS)
    assert account.idle(NOON_NS + DAY_NS)
