"""What a budget says, and whose request it is about."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.money.rules import MOST_NANO, MOST_TOKENS, Amount, BudgetRule, Subject

ANN = Subject(key="Ann", model="GPT-4o", session="s-1", team="search", tags={"project": "North"})
NOBODY = Subject(key="Ann", model="GPT-4o")


def rule_of(**settings):
    settings.setdefault("name", "b")
    if "limit_tokens" not in settings:
        settings.setdefault("limit_nano", 1)
    return BudgetRule(**settings)


@pytest.mark.parametrize(
    ("settings", "counted_as", "of_nobody"),
    [
        ({}, "", ""),
        ({"scope": "key"}, "Ann", "Ann"),
        ({"scope": "session", "window": "session"}, "Ann/s-1", None),
        ({"scope": "team"}, "search", None),
        ({"scope": "model"}, "gpt-4o", "gpt-4o"),
        ({"scope": "tag", "tag": "project"}, "North", None),
        ({"scope": "tag", "tag": "env"}, None, None),
        ({"scope": "key", "match": ("ann",)}, "Ann", "Ann"),
        ({"scope": "key", "match": ("bob", "a?n")}, "Ann", "Ann"),
        ({"scope": "key", "match": ("an",)}, None, None),
        ({"scope": "model", "match": ("gpt-*",)}, "gpt-4o", "gpt-4o"),
        ({"scope": "model", "match": ("claude-*", "*-mini")}, None, None),
        ({"scope": "team", "match": ("*",)}, "search", None),
        ({"scope": "tag", "tag": "project", "match": ("NORTH",)}, "North", None),
    ],
)
def test_whose_spending_is_counted_together(settings, counted_as, of_nobody):
    rule = rule_of(**settings)
    assert rule.subject_of(ANN) == counted_as
    assert rule.subject_of(NOBODY) == of_nobody


def test_two_keys_with_one_session_id_have_two_sessions():
    rule = rule_of(scope="session", window="session")
    assert rule.subject_of(ANN) != rule.subject_of(Subject(key="Bob", model="m", session="s-1"))


def test_a_budget_counts_dollars_or_tokens():
    assert rule_of(limit_nano=5).counts(Amount(3, 7)) == 3
    assert rule_of(limit_tokens=5).counts(Amount(3, 7)) == 7
    assert rule_of(limit_nano=5).counts(Amount(None, 7)) is None
    assert rule_of(limit_nano=0).measure == "usd", "nothing may be spent, which is a limit"
    assert rule_of(limit_tokens=0).limit == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"limit_nano": None},
        {"limit_nano": 1, "limit_tokens": 1},
        {"scope": "session", "window": "day"},
        {"scope": "key", "window": "session"},
        {"scope": "tag"},
        {"scope": "key", "tag": "project"},
    ],
)
def test_what_can_not_be_meant_is_refused(settings):
    with pytest.raises(ValueError, match=r"limit|session|tag"):
        rule_of(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"limit_nano": -1},
        {"limit_nano": MOST_NANO + 1},
        {"limit_tokens": MOST_TOKENS + 1},
        {"warn_at": 0},
        {"warn_at": 1.01},
    ],
)
def test_what_is_out_of_range_is_refused(settings):
    with pytest.raises(Exception, match=next(iter(settings))):
        rule_of(**settings)


def test_four_dollars_are_eighty_percent_of_five():
    assert rule_of(limit_nano=5 * 10**9).warn_from == 4 * 10**9


@given(limit=st.integers(0, MOST_NANO), percent=st.integers(1, 100))
def test_the_share_is_exact(limit, percent):
    rule = rule_of(limit_nano=limit, warn_at=percent / 100)
    share = limit * Fraction(percent, 100)
    assert share <= rule.warn_from < share + 1


@pytest.mark.parametrize(
    ("match", "own"), [(("ann",), True), ((), False), (("a", "b"), False), (("a*",), False), (("a?",), False)]
)
def test_a_keys_own_budget_is_known_as_such(match, own):
    assert rule_of(scope="key", match=match).of_a_key is own
    assert rule_of(scope="team", match=match).of_a_key is False
