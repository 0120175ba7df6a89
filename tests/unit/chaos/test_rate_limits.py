"""Limits: no window lets more through than its size and what came back in it; who waits as told is let in."""

import json
import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.unit.chaos.raw import ask, payload, receive, send
from tests.unit.chaos.speaking import SPEAKERS

from holdfast.chaos import ChaosConfig, ChaosError, run_chaos
from holdfast.chaos.quota import Quota
from holdfast.chaos.rate_limits import Limits, Meter, Refusal

_SIZES = st.none() | st.integers(1, 5000)
_STEPS = st.lists(st.tuples(st.floats(0, 90), st.integers(0, 300)), min_size=1, max_size=60)


@given(_SIZES, _SIZES, _STEPS)
def test_no_window_lets_more_through_than_size_and_what_came_back(rpm, tpm, steps):
    """For each two times: what was let in between them is at most a full bucket and what flowed in. The sizes of single
    requests are within the limit here; one that isn't is below."""
    assume(rpm or tpm)
    meter = Meter(Limits(rpm, tpm))
    let_in = []
    now = 0.0
    for pause, tokens in steps:
        now += pause
        size = min(tokens, tpm) if tpm else tokens
        if not isinstance(meter.take("k", "m", size, now), Refusal):
            let_in.append((now, size))
    for i, (begin, _) in enumerate(let_in):
        tokens = 0
        for requests, (end, size) in enumerate(let_in[i:], 1):
            tokens += size
            if rpm:
                assert requests <= rpm + (end - begin) * rpm / 60 + 1e-5
            if tpm:
                assert tokens <= tpm + (end - begin) * tpm / 60 + 1e-5


@example(None, 3, [(4.464131183149, 3), (0.0, 3), (0.0, 3)])
@given(_SIZES, _SIZES, _STEPS)
def test_who_waits_exactly_as_told_is_let_in(rpm, tpm, steps):
    assume(rpm or tpm)
    meter = Meter(Limits(rpm, tpm))
    now = 0.0
    for pause, tokens in steps:
        now += pause
        size = min(tokens, tpm) if tpm else tokens
        taken = meter.take("k", "m", size, now)
        if isinstance(taken, Refusal):
            assert 0 < taken.wait_s <= 60 + 1e-5  # what was let in for a rounding error is waited for as well
            now += taken.wait_s  # exactly as told, and not a moment longer
            assert not isinstance(meter.take("k", "m", size, now), Refusal)


@given(st.integers(1, 600), st.integers(1, 600))
def test_a_refusal_costs_nothing(rpm, asked):
    meter = Meter(Limits(rpm))
    for _ in range(rpm):
        assert not isinstance(meter.take("k", "m", 1, 0.0), Refusal)
    first = meter.take("k", "m", 1, 0.0)
    for _ in range(asked):
        assert meter.take("k", "m", 1, 0.0) == first


def test_the_quota_is_what_is_left():
    meter = Meter(Limits(60, 6000))
    first = meter.take("k", "m", 1500, 0.0)
    assert (first.requests_limit, first.requests_left, first.requests_reset_s) == (60, 59, pytest.approx(1))
    assert (first.tokens_limit, first.tokens_left, first.tokens_reset_s) == (6000, 4500, pytest.approx(15))
    later = meter.take("k", "m", 0, 10.0)
    assert (later.requests_left, later.tokens_left) == (59, 5500)
    assert later.tokens_reset_s == pytest.approx(5)


def test_one_limit_alone_says_nothing_of_the_other():
    healthy = Quota()
    taken = Meter(Limits(tokens_per_minute=100)).take("k", "m", 10, 0.0)
    assert (taken.tokens_left, taken.requests_left) == (90, healthy.requests_left)
    taken = Meter(Limits(requests_per_minute=1)).take("k", "m", 10**9, 0.0)
    assert (taken.requests_left, taken.tokens_left) == (0, healthy.tokens_left)


def test_which_limit_was_passed_is_the_one_that_takes_longer():
    meter = Meter(Limits(1, 60))
    meter.take("k", "m", 60, 0.0)
    for tokens, error, wait in ((10, "rate_limit", 60), (60, "rate_limit", 60)):
        refusal = meter.take("k", "m", tokens, 0.0)
        assert (refusal.error, refusal.wait_s) == (error, pytest.approx(wait))
    meter = Meter(Limits(60, 60))
    meter.take("k", "m", 60, 0.0)
    refusal = meter.take("k", "m", 30, 0.0)
    assert (refusal.error, refusal.wait_s) == ("tokens_rate_limit", pytest.approx(30))


def test_what_is_more_than_a_minutes_tokens_needs_a_full_bucket_and_leaves_a_debt():
    meter = Meter(Limits(tokens_per_minute=60))
    assert not isinstance(meter.take("k", "m", 180, 0.0), Refusal)
    refusal = meter.take("k", "m", 1, 0.0)
    assert refusal.wait_s == pytest.approx(121)
    assert refusal.quota.tokens_left == 0
    assert not isinstance(meter.take("k", "m", 1, 121.0), Refusal)
    assert meter.take("k", "m", 180, 121.0).wait_s == pytest.approx(60)


@pytest.mark.parametrize(
    ("per", "apart"),
    [
        ("key", {("k", "m"): True, ("k", "n"): False, ("l", "m"): True}),
        ("model", {("k", "m"): True, ("k", "n"): True, ("l", "m"): False}),
        ("key and model", {("k", "m"): True, ("k", "n"): True, ("l", "m"): True}),
        ("server", {("k", "m"): True, ("k", "n"): False, ("l", "m"): False}),
    ],
)
def test_whose_requests_are_counted_together(per, apart):
    meter = Meter(Limits(1, per=per))
    for (key, model), let_in in apart.items():
        assert isinstance(meter.take(key, model, 1, 0.0), Refusal) is not let_in


def test_keys_and_models_cant_be_mistaken_for_one_another():
    meter = Meter(Limits(1, per="key and model"))
    assert not isinstance(meter.take("a", "b\0c", 1, 0.0), Refusal)
    assert not isinstance(meter.take("a\0b", "c", 1, 0.0), Refusal)


def test_names_made_up_dont_fill_the_memory_nor_another_keys_bucket():
    """Who asks now and then is remembered, however many names come once."""
    meter = Meter(Limits(1))
    assert not isinstance(meter.take("steady", "m", 1, 0.0), Refusal)
    for number in range(30_000):
        meter.take(f"made up {number}", "m", 1, 0.0)
        if number % 5000 == 0:
            assert isinstance(meter.take("steady", "m", 1, 0.0), Refusal)
    assert len(meter._buckets) <= 10_000


# On a real server.


def serving(limits, **more):
    return run_chaos(ChaosConfig.from_dict({"clock": "hand", "tokens": 2, "limits": limits, **more}))


@pytest.mark.parametrize("name", sorted(SPEAKERS))
def test_a_client_that_waits_as_told_is_let_in(name):
    speaker = SPEAKERS[name]
    with serving({"requests_per_minute": 7}) as chaos:
        for _ in range(7):
            assert speaker.ask(chaos.port).status == 200
        for _ in range(3):
            refused = speaker.ask(chaos.port)
            assert refused.status == 429
            wait = int(refused.header("retry-after"))
            assert wait == math.ceil(60 / 7)
            chaos.advance(wait)
            assert speaker.ask(chaos.port).status == 200
            chaos.advance(60 / 7 - 9 + 60 / 7)  # what the last wait was too long, and one request's time
            assert speaker.ask(chaos.port).status == 200
        entries = chaos.journal()
        assert {entry.rule for entry in entries if entry.status == 429} == {"limits"}
        assert all(not entry.usage.total_tokens for entry in entries if entry.status == 429)


def test_the_headers_tell_the_truth():
    with serving({"requests_per_minute": 5, "tokens_per_minute": 1000}) as chaos:
        used = 0
        for left in (4, 3, 2, 1, 0):
            seen = ask(chaos.port, payload())
            used += json.loads(seen.body)["usage"]["total_tokens"]
            assert seen.header("x-ratelimit-limit-requests") == "5"
            assert seen.header("x-ratelimit-remaining-requests") == str(left)
            assert seen.header("x-ratelimit-limit-tokens") == "1000"
            assert seen.header("x-ratelimit-remaining-tokens") == str(1000 - used)
        refused = ask(chaos.port, payload())
        assert (refused.status, refused.header("x-ratelimit-remaining-requests")) == (429, "0")
        assert refused.header("x-ratelimit-remaining-tokens") == str(1000 - used)


def test_each_key_has_its_own():
    with serving({"requests_per_minute": 1}) as chaos:
        statuses = [
            ask(chaos.port, payload(), authorization=f"Bearer {key}").status
            for key in ("a", "a", "b", "b", "c")
        ]
        assert statuses == [200, 429, 200, 429, 200]


def test_no_retry_after_where_it_is_not_wanted():
    with serving({"requests_per_minute": 1, "retry_after": False}) as chaos:
        ask(chaos.port, payload())
        refused = ask(chaos.port, payload())
        assert refused.status == 429
        assert refused.header("retry-after") is None


def test_a_reset_fills_the_buckets_and_new_limits_begin_full():
    with serving({"requests_per_minute": 1}) as chaos:
        assert [ask(chaos.port, payload()).status for _ in range(2)] == [200, 429]
        chaos.reset()
        assert [ask(chaos.port, payload()).status for _ in range(2)] == [200, 429]
        chaos.update_config(tokens=3)  # something else: what was used stays used
        assert ask(chaos.port, payload()).status == 429
        chaos.update_config(limits={"requests_per_minute": 2})
        assert [ask(chaos.port, payload()).status for _ in range(3)] == [200, 200, 429]
        chaos.update_config(limits=None)
        assert ask(chaos.port, payload()).status == 200


def test_a_stream_is_limited_as_a_plain_answer_is():
    with serving({"requests_per_minute": 1}) as chaos:
        assert ask(chaos.port, payload(stream=True)).terminated
        with send(chaos.port, payload(stream=True)) as sock:
            assert receive(sock).status == 429


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "limits: it limits nothing"),
        ({"requests_per_minute": 0}, "limits.requests_per_minute: Expected `int` >= 1"),
        ({"requests_per_minute": 1.5}, "limits.requests_per_minute: Expected `int | null`, got `float`"),
        ({"requests_per_minute": 1, "per": "user"}, "limits.per: Invalid enum value 'user'"),
        ({"requests_per_minut": 1}, "limits.requests_per_minut: unknown setting"),
    ],
)
def test_limits_that_cant_be_meant(given, said):
    with pytest.raises(ChaosError) as raised:
        ChaosConfig.from_dict({"limits": given})
    assert str(raised.value).startswith(said)
