"""How the end of an attempt reads to the policies."""

from __future__ import annotations

import pytest

import holdfast.errors as tree
from holdfast.engine.outcomes import outcome_of
from holdfast.resilience.outcome import Outcome


def answered(kind, status: int = 500):
    return kind("said", upstream_status=status)


def test_no_error_is_a_success():
    assert outcome_of(None) is Outcome.SUCCESS


@pytest.mark.parametrize(
    "error",
    [
        answered(tree.RequestRefused, 400),
        answered(tree.ContentRefused, 400),
        answered(tree.ContextTooLong, 400),
        answered(tree.ModelMissing, 404),
        answered(tree.AuthRefused, 401),
        tree.Abandoned("left"),
        tree.Superseded("outrun"),
        tree.NoTimeLeft("late"),
        tree.HoldfastError("ours"),
    ],
    ids=lambda error: error.label,
)
def test_the_callers_own_faults_say_nothing_of_the_target(error):
    assert outcome_of(error) is Outcome.NEUTRAL


def test_a_limit_of_the_callers_own_says_nothing_either():
    assert outcome_of(tree.TimedOut("slow", limit="total_s", silent=True, hasty=True)) is Outcome.NEUTRAL
    assert outcome_of(tree.TimedOut("slow", limit="total_s", silent=True)) is Outcome.FAILURE


@pytest.mark.parametrize(
    "error",
    [
        answered(tree.ServerFailed),
        answered(tree.QuotaExhausted, 429),
        tree.ConnectFailed("refused"),
        tree.ConnectionLost("gone"),
        tree.BadAnswer("odd"),
        tree.Truncated("short"),
    ],
    ids=lambda error: error.label,
)
def test_failures(error):
    assert outcome_of(error) is Outcome.FAILURE


def test_too_much():
    assert outcome_of(answered(tree.Overloaded, 529)) is Outcome.OVERLOAD
    assert outcome_of(answered(tree.RateLimited, 429)) is Outcome.LIMITED


def test_every_error_has_a_reading():
    def every(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from every(child)

    for kind in every(tree.HoldfastError):
        assert isinstance(
            outcome_of(kind.__new__(kind)) if kind is not tree.TimedOut else Outcome.FAILURE, Outcome
        )
