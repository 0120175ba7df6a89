"""The chain of targets: caps, order, pauses, Retry-After, the deadline, and what the failures add up to."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import holdfast.errors as tree
from holdfast.engine.chain import VERDICTS, Chain, Verdict, all_failed
from holdfast.engine.policy import Policy, Retry, Target
from holdfast.errors import (
    AuthRefused,
    BadAnswer,
    BreakerOpen,
    CantExpress,
    ConnectFailed,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
    Draining,
    HoldfastError,
    ModelMissing,
    NoPlace,
    NoTimeLeft,
    OutcomeUnknown,
    Overloaded,
    OwnKeyRefused,
    ProviderError,
    QuotaExhausted,
    RateExceeded,
    RateLimited,
    Rejected,
    RequestRefused,
    ServerFailed,
    TargetsFailed,
    TimedOut,
    Truncated,
)
from holdfast.transport.base import BodyTooLong, ConnectionBroken

STATUS = {
    RequestRefused: 400,
    ContentRefused: 400,
    ContextTooLong: 400,
    ModelMissing: 404,
    AuthRefused: 401,
    OwnKeyRefused: 401,
    QuotaExhausted: 429,
    RateLimited: 429,
    Overloaded: 503,
    ServerFailed: 500,
}


def make(kind: type[HoldfastError], retry_after_s: float | None = None) -> HoldfastError:
    if kind is TimedOut:
        return TimedOut("late", limit="first_token_s", silent=True)
    if issubclass(kind, ProviderError):
        return kind("no", upstream_status=STATUS[kind], retry_after_s=retry_after_s)
    return kind("no")


def target(name: str, **retry: object) -> Target:
    return Target(provider=name, model="m", retry=Retry(**{"jitter": 0.0, **retry}))


def chain(
    *targets: Target, deadline: float = 600.0, windows: dict[str, int] | None = None, **policy: object
) -> Chain:
    known = windows or {}
    return Chain(
        targets,
        Policy(**policy),
        deadline=deadline,
        random=lambda: 0.5,
        window=lambda each: known.get(each.provider),
    )


def begun(line: Chain, now: float) -> tuple[Target, float]:
    step = line.next(now)
    return step.target, step.at


def play(
    line: Chain, *failures: HoldfastError, now: float = 0.0, takes_s: float = 0.0
) -> list[tuple[str, float]]:
    """The steps until there are none, each failing as said; the last failure repeats."""
    steps = []
    left = list(failures)
    while (step := line.next(now)) is not None:
        steps.append((step.target.provider, round(step.at, 6)))
        now = step.at + takes_s
        line.failed(step, left.pop(0) if len(left) > 1 else left[0], now)
    return steps


# Verdicts.


def every(kind: type) -> set[type]:
    return {kind}.union(*(every(child) for child in kind.__subclasses__()))


def test_every_failure_an_attempt_can_raise_has_a_verdict():
    provider = every(ProviderError) - {ProviderError}
    unknown = {each for each in every(OutcomeUnknown) if each.__module__ == tree.__name__}
    # The caller's leaving ends the request, not an attempt; whom a hedge outran has nothing to follow.
    unknown -= {OutcomeUnknown, tree.Abandoned, tree.Superseded}
    refused_here = {ConnectFailed, CantExpress, NoTimeLeft}
    assert provider | unknown | refused_here <= set(VERDICTS)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionBroken("gone", silent=True, reused=False),
        BodyTooLong(1),
        make(ConnectionLost),
    ],
)
def test_a_transports_own_kinds_are_judged_as_what_they_are(error):
    assert play(chain(target("a"), target("b", max_retries=0)), error) == [
        ("a", 0), ("a", 0.5), ("a", 1.5), ("b", 1.5),
    ]  # fmt: skip


# Caps, order and pauses.


def test_a_target_has_its_retries_then_the_next_one():
    steps = play(chain(target("a"), target("b", max_retries=1)), make(ServerFailed))
    assert steps == [("a", 0), ("a", 0.5), ("a", 1.5), ("b", 1.5), ("b", 2.0)]


def test_all_attempts_together_are_capped_and_every_target_has_one():
    """Retries on the first targets don't use up what the last ones need."""
    line = chain(*(target(name) for name in "abcd"), max_attempts=6)
    assert [name for name, _ in play(line, make(ServerFailed))] == list("aaabcd")
    line = chain(*(target(name) for name in "abc"), max_attempts=4)
    assert [name for name, _ in play(line, make(ServerFailed))] == list("aabc")


def test_a_cap_below_the_number_of_targets_is_a_cap():
    assert [
        name for name, _ in play(chain(target("a"), target("b"), max_attempts=1), make(ServerFailed))
    ] == ["a"]


def test_nothing_starts_at_or_after_the_deadline():
    line = chain(target("a", base_s=4.0), target("b", max_retries=0), deadline=4.0)
    assert play(line, make(ServerFailed)) == [("a", 0), ("b", 0)]
    assert chain(target("a"), deadline=4.0).next(4.0) is None
    assert begun(chain(target("a"), deadline=4.0), 3.999) == (target("a"), 3.999)


# Retry-After.


def test_a_short_wait_is_waited_and_never_shortened():
    line = chain(target("a"), target("b", max_retries=0))
    assert play(line, make(RateLimited, 7.5), make(RateLimited, 0.0), make(ServerFailed)) == [
        ("a", 0), ("a", 7.5), ("a", 7.5), ("b", 7.5),
    ]  # fmt: skip


def test_a_long_wait_goes_to_the_next_target_and_comes_back_if_none_is_left():
    line = chain(target("a", max_retries=1), target("b", max_retries=0))
    assert play(line, make(RateLimited, 60.0), make(ServerFailed)) == [("a", 0), ("b", 0), ("a", 60)]


def test_a_wait_past_the_deadline_is_passed_on():
    line = chain(target("a"), deadline=50.0)
    assert play(line, make(RateLimited, 60.0)) == [("a", 0)]
    verdict = line.verdict()
    assert (verdict.status, verdict.retry_after_s) == (429, 60.0)


def test_of_two_that_want_to_be_left_alone_the_one_that_may_be_asked_sooner_is():
    line = chain(target("a", max_retries=1), target("b", max_retries=1))
    assert play(line, make(RateLimited, 60.0), make(RateLimited, 10.0), make(ServerFailed)) == [
        ("a", 0), ("b", 0), ("b", 10), ("a", 60),
    ]  # fmt: skip


# Timed out, and other failures that move on.


@pytest.mark.parametrize("error", [make(TimedOut), ConnectFailed("slow", timed_out=True)])
def test_a_target_that_timed_out_waits_for_all_others(error):
    line = chain(target("a", max_retries=1), target("b", max_retries=1), max_attempts=9)
    steps = play(line, error, make(ServerFailed))
    assert [name for name, _ in steps] == ["a", "b", "b", "a"]


def test_also_for_those_that_asked_for_a_long_wait():
    line = chain(target("a", max_retries=1), target("b", max_retries=1))
    assert play(line, make(TimedOut), make(RateLimited, 60.0), make(ServerFailed)) == [
        ("a", 0), ("b", 0), ("b", 60), ("a", 60),
    ]  # fmt: skip


def test_a_target_without_credit_is_not_tried_again():
    assert [name for name, _ in play(chain(target("a"), target("b")), make(QuotaExhausted))] == ["a", "b"]


def test_a_break_after_serving_lets_the_others_go_first():
    line = chain(target("a"), target("b", max_retries=0))
    line.failed(line.next(0.0), make(ConnectionLost), 1.0, elsewhere=True)
    assert [name for name, _ in play(line, make(ServerFailed), now=1.0)] == ["b", "a", "a"]


# The caller's own faults.


class TestSeveralKeys:
    """A refused key, where the provider has others."""

    KEYS = tuple(Target(provider="a", model="m", deployment=each) for each in "123")
    LATER = (
        Target(provider="a", model="other", deployment="2", tier=1),
        Target(provider="b", model="m", tier=1),
    )

    @staticmethod
    def asked(line: Chain, *failures: HoldfastError) -> list[str]:
        play(line, *failures)
        return [str(target) for target, _ in line.failures]

    def test_goes_on_to_its_equals_and_to_nobody_else(self):
        line = chain(*self.KEYS, *self.LATER)
        assert self.asked(line, *[make(AuthRefused)] * 9) == ["a[1]/m", "a[2]/m", "a[3]/m"]
        assert isinstance(line.verdict(), AuthRefused)

    def test_an_equal_that_answers_serves(self):
        line = chain(*self.KEYS, *self.LATER)
        step = line.next(0.0)
        assert step.target == self.KEYS[0]
        line.failed(step, make(AuthRefused), 1.0)
        assert begun(line, 1.0) == (self.KEYS[1], 1.0)
        assert line.fatal is None

    def test_an_equal_that_fails_otherwise_is_the_end_too(self):
        """Another provider would hide a key that the operator has to mend."""
        line = chain(*self.KEYS[:2], *self.LATER, max_attempts=20)
        assert self.asked(line, make(AuthRefused), *[make(QuotaExhausted)] * 9) == ["a[1]/m", "a[2]/m"]
        assert isinstance(line.verdict(), TargetsFailed)

    def test_an_equal_of_another_provider_isnt_another_key(self):
        line = chain(self.KEYS[0], Target(provider="b", model="m"))
        assert len(self.asked(line, make(AuthRefused), make(AuthRefused))) == 1
        assert isinstance(line.verdict(), AuthRefused)

    def test_the_same_key_with_another_model_isnt_either(self):
        line = chain(self.KEYS[0], Target(provider="a", model="n", deployment="1"), self.KEYS[1])
        assert self.asked(line, *[make(AuthRefused)] * 9) == ["a[1]/m", "a[2]/m"]

    def test_a_route_that_goes_on_at_401_goes_on_to_all(self):
        line = chain(*self.KEYS, *self.LATER, fallback_on=frozenset({401}), max_attempts=20)
        assert len(self.asked(line, *[make(AuthRefused)] * 9)) == 5

    def test_an_exhausted_quota_goes_to_the_next_whoever_it_is(self):
        line = chain(self.KEYS[0], self.KEYS[1], self.LATER[1])
        assert self.asked(line, *[make(QuotaExhausted)] * 9) == ["a[1]/m", "a[2]/m", "b/m"]


@pytest.mark.parametrize("kind", [RequestRefused, ContentRefused, ModelMissing, AuthRefused])
def test_the_callers_fault_is_the_answer(kind):
    line = chain(target("a"), target("b"))
    error = make(kind)
    assert play(line, error) == [("a", 0)]
    assert line.verdict() is error


@pytest.mark.parametrize(
    ("wider", "kind", "goes_on"),
    [
        (401, AuthRefused, True),
        (404, ModelMissing, True),
        ("content_policy", ContentRefused, True),
        (403, AuthRefused, False),
        (404, AuthRefused, False),
        ("content_policy", RequestRefused, False),
    ],
)
def test_a_route_may_widen_what_falls_back(wider, kind, goes_on):
    line = chain(target("a"), target("b"), fallback_on=frozenset((wider,)))
    assert [name for name, _ in play(line, make(kind))] == (["a", "b"] if goes_on else ["a"])


def test_a_context_too_long_goes_only_to_a_larger_known_window():
    windows = {"a": 100, "b": 100, "c": 200, "d": 50}
    line = chain(*(target(name, max_retries=0) for name in "abced"), windows=windows)
    assert [name for name, _ in play(line, make(ContextTooLong), make(ServerFailed))] == ["a", "c"]


@pytest.mark.parametrize("windows", [{}, {"a": 100}, {"b": 100}, {"a": 100, "b": 100}])
def test_without_one_it_is_passed_on(windows):
    line = chain(target("a"), target("b"), windows=windows)
    error = make(ContextTooLong)
    assert play(line, error) == [("a", 0)]
    assert line.verdict() is error


# What the failures add up to.

A, B = target("a"), target("b")


@pytest.mark.parametrize(
    ("failures", "status", "retry_after_s"),
    [
        ([(A, make(RateLimited, 9.0)), (B, make(RateLimited, 4.0))], 429, 4.0),
        ([(A, make(RateLimited, 9.0)), (A, make(RateLimited, 5.0)), (B, make(RateLimited))], 429, 5.0),
        ([(A, make(RateLimited)), (B, make(QuotaExhausted))], 429, None),
        ([(A, make(RateLimited, 9.0)), (B, make(ServerFailed))], 502, None),
        ([(A, make(RateLimited, 9.0)), (B, make(TimedOut))], 504, None),
        ([(A, make(ServerFailed)), (B, ConnectFailed("slow", timed_out=True))], 504, None),
        ([(A, ConnectFailed("refused"))], 502, None),
        ([(A, Draining("full")), (B, CantExpress("no"))], 503, None),
        ([(A, BreakerOpen("open", retry_after_s=9.0)), (B, NoPlace("full", retry_after_s=0.5))], 503, 0.5),
        ([(A, RateExceeded("full", retry_after_s=9.0)), (B, make(RateLimited, 3.0))], 429, 3.0),
        ([(A, RateExceeded("full", retry_after_s=9.0)), (B, BreakerOpen("open"))], 503, None),
        ([(A, Draining("full")), (B, make(ServerFailed))], 502, None),
        ([(A, make(Overloaded, 3.0)), (B, make(ServerFailed, 2.0))], 502, 2.0),
        ([], 504, None),
    ],
)
def test_one_status_for_all_of_them(failures, status, retry_after_s):
    error = all_failed(failures)
    assert (error.status, error.retry_after_s) == (status, retry_after_s)
    assert [name for name, _ in error.failures] == [str(each) for each, _ in failures]
    assert error.message


def test_a_chain_without_time_says_so():
    line = chain(target("a"), deadline=1.0)
    assert line.next(2.0) is None
    verdict = line.verdict()
    assert isinstance(verdict, TargetsFailed)
    assert verdict.status == 504


# Targets that can't be asked.


def test_who_is_passed_over_costs_no_attempt_and_isnt_asked_again():
    line = chain(target("a"), target("b"), target("c"), max_attempts=2)
    for name in "ab":
        step = line.next(0.0)
        assert step.target.provider == name
        line.turned_away(step)
    assert [name for name, _ in play(line, make(ServerFailed))] == ["c", "c"]
    assert [each.provider for each, _ in line.failures] == ["c", "c"]


def test_when_all_are_passed_over_there_is_no_failure():
    line = chain(target("a"))
    line.turned_away(line.next(0.0))
    assert line.next(0.0) is None
    assert (line.failures, line.fatal) == ([], None)


def test_after_a_failure_one_may_still_be_passed_over():
    line = chain(target("a", max_retries=0), target("b"), target("c"), max_attempts=2)
    line.failed(line.next(0.0), make(ServerFailed), 0.0)
    line.turned_away(line.next(0.0))
    assert [name for name, _ in play(line, make(ServerFailed))] == ["c"]


def test_who_was_refused_here_costs_no_attempt_and_counts_as_failed():
    line = chain(target("a"), target("b"), max_attempts=2)
    line.turned_away(line.next(0.0), Rejected("a is closed"))
    assert [name for name, _ in play(line, make(ServerFailed))] == ["b", "b"]
    assert [each.provider for each, _ in line.failures] == ["a", "b", "b"]


# The retry budget.


def test_who_asks_is_asked_before_each_retry_and_before_nothing_else():
    asked: list[str] = []

    def may_retry(each: Target) -> bool:
        asked.append(each.provider)
        return len(asked) < 3

    line = Chain(
        [target("a"), target("b")], Policy(), deadline=600.0, random=lambda: 0.5, may_retry=may_retry
    )
    assert [name for name, _ in play(line, make(ServerFailed))] == ["a", "a", "a", "b"]
    assert asked == ["a", "a", "b"]


def test_a_deferred_target_needs_the_budget_too():
    line = Chain(
        [target("a"), target("b", max_retries=0)],
        Policy(),
        deadline=600.0,
        random=lambda: 0.5,
        may_retry=lambda _: False,
    )
    assert [name for name, _ in play(line, make(TimedOut))] == ["a", "b"]


# Hedges.


def test_a_hedge_goes_to_the_first_target_that_was_not_tried():
    line = chain(target("a"), target("b"), target("c"))
    first = line.next(0.0)
    assert first.target.provider == "a"
    second = line.hedge(1.0)
    assert (second.target.provider, second.at, second.first) == ("b", 1.0, True)
    assert line.hedge(1.0).target.provider == "c"
    assert line.hedge(1.0) is None


def test_hedges_are_attempts():
    line = chain(target("a"), target("b"), target("c"), max_attempts=2)
    line.next(0.0)
    line.hedge(0.0)
    assert line.hedge(0.0) is None
    assert line.next(0.0) is None


def test_no_hedge_starts_at_the_deadline_or_after_the_callers_own_fault():
    line = chain(target("a"), target("b"), deadline=5.0)
    step = line.next(0.0)
    assert line.hedge(5.0) is None
    line.failed(step, make(RequestRefused), 1.0)
    assert line.hedge(1.0) is None


def test_both_of_a_hedged_pair_may_fail_and_be_tried_again():
    line = chain(target("a", max_retries=1), target("b", max_retries=1))
    first, second = line.next(0.0), line.hedge(1.0)
    line.failed(first, make(ServerFailed), 2.0)
    line.failed(second, make(ServerFailed), 2.0)
    assert sorted(name for name, _ in play(line, make(ServerFailed), now=2.0)) == ["a", "b"]


# Any way through.


@dataclass
class Known:
    """What a by-stander knows of one target."""

    left: int
    not_before: float = 0.0
    latest: float = 0.0
    """When its next attempt is due at the latest, whatever the jitter."""
    gone: bool = False
    timed_out: bool = False

    def open(self, deadline: float) -> bool:
        return not self.gone and self.left > 0 and self.latest < deadline


retries = st.builds(
    Retry,
    max_retries=st.integers(0, 3),
    base_s=st.sampled_from([0.0, 0.5, 3.0]),
    max_s=st.sampled_from([0.5, 8.0]),
    jitter=st.sampled_from(["full", 0.0, 0.5, 1.0]),
)
waits = st.none() | st.sampled_from([0.0, 0.3, 5.0, 8.0, 8.1, 60.0])
failures = st.one_of(
    st.builds(make, st.sampled_from([RateLimited, Overloaded, ServerFailed]), waits),
    st.builds(make, st.sampled_from([ConnectionLost, BadAnswer, Truncated, TimedOut, QuotaExhausted])),
    st.sampled_from([ConnectFailed("no"), ConnectFailed("slow", timed_out=True)]),
    st.builds(make, st.sampled_from([RequestRefused, ContentRefused, ModelMissing, AuthRefused])),
)


@given(
    limits=st.lists(retries, min_size=1, max_size=4),
    max_attempts=st.integers(1, 9),
    deadline=st.sampled_from([1.0, 20.0, 90.0]),
    lived=st.lists(st.tuples(failures, st.sampled_from([0.0, 0.1, 5.0])), min_size=16, max_size=16),
    chance=st.randoms(use_true_random=False),
)
@example(
    limits=[Retry(jitter=0.0)] * 4,
    max_attempts=6,
    deadline=90.0,
    lived=[(make(Overloaded), 0.1)] * 16,
    chance=random.Random(0),
)
def test_any_way_through_a_chain(limits, max_attempts, deadline, lived, chance):
    targets = [Target(provider="abcd"[n], model="m", retry=retry) for n, retry in enumerate(limits)]
    line = Chain(targets, Policy(max_attempts=max_attempts), deadline=deadline, random=chance.random)
    known = {each.provider: Known(1 + each.retry.max_retries) for each in targets}
    tried: list[str] = []
    now, over = 0.0, False
    last: tuple[str, HoldfastError, float] | None = None
    for error, takes_s in lived:
        step = line.next(now)
        if step is None:
            break
        name, mine = step.target.provider, known[step.target.provider]
        others = [each for other, each in known.items() if other != name and each.open(deadline)]

        assert not over, "nothing is tried after the caller's own fault"
        assert now <= step.at < deadline
        assert not mine.gone
        assert mine.left > 0
        assert step.at >= mine.not_before, "never earlier than the provider asked for"
        if mine.timed_out:
            assert all(each.timed_out for each in others), "the silent wait for all others"
        if last is not None and last[0] == name and (last[1].retry_after_s or 0.0) > step.target.retry.max_s:
            sooner = [each for each in others if each.latest < step.at and each.timed_out <= mine.timed_out]
            assert not sooner, "a long wait is for those who are left"
        if last is not None and last[0] == name and last[1].retry_after_s is None:
            assert step.at - last[2] <= step.target.retry.max_s + 1e-9
        fresh = [other for other in known if other not in tried]
        if name in fresh:
            assert name == fresh[0], "in the order of the route"
        tried.append(name)

        mine.left -= 1
        now = step.at + takes_s
        line.failed(step, error, now)
        last = name, error, now
        asked_s = error.retry_after_s
        mine.not_before = now + (asked_s or 0.0)
        mine.latest = now + (step.target.retry.max_s if asked_s is None else asked_s)
        verdict = VERDICTS[type(error)]
        over = verdict is Verdict.STOP
        mine.gone |= verdict is Verdict.NEXT
        mine.timed_out |= isinstance(error, TimedOut) or getattr(error, "timed_out", False)

    assert len(tried) <= max_attempts
    for each in targets:
        assert Counter(tried)[each.provider] <= 1 + each.retry.max_retries
    assert [error for _, error in line.failures] == [error for error, _ in lived[: len(tried)]]
    if over:
        assert line.verdict() is line.failures[-1][1]
        return
    if now < deadline:
        assert len(set(tried)) == min(len(targets), max_attempts), (
            "no retry took another target's only attempt"
        )
    verdict = line.verdict()
    assert isinstance(verdict, TargetsFailed)
    assert verdict.status in (429, 502, 504)


@given(st.lists(failures, min_size=16, max_size=16), st.integers(0, 2**32))
def test_the_same_chance_is_the_same_way(lived, seed):
    def once() -> list[tuple[str, float]]:

        line = Chain(
            [Target(provider=name, model="m") for name in "abc"],
            Policy(max_attempts=9),
            deadline=90.0,
            random=random.Random(seed).random,
        )
        return play(line, *lived)

    assert once() == once()
