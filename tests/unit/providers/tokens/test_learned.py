"""Ratios learnt from bills, and from bills that lie."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.providers.tokens import Count
from holdfast.providers.tokens.learned import LEAST_RATIO, MOST_MODELS, MOST_RATIO, SHIPPED, Learned

ABSURD = [0, -1, -(10**30), 10**30, True, None, 1.5, float("nan"), float("inf"), "100", 1, 10**9]
NAMES = st.sampled_from(["m", "M", "a/b", "", "é"])


def taught(*bills, counted=1_000):
    learned = Learned()
    for billed in bills:
        learned.observe("m", "p", counted, billed)
    return learned


def test_nothing_known_is_as_shipped():
    assert Learned().ratio("m", "p") == SHIPPED


def test_a_steady_ratio_is_learnt_within_a_dozen_bills():
    assert taught(*[1_310] * 12).ratio("m", "p") == 1_310


def test_one_bill_changes_nothing():
    assert taught(2_000).ratio("m", "p") == SHIPPED


def test_it_follows_a_new_tokenizer():
    assert taught(*[1_000] * 500, *[1_310] * 16).ratio("m", "p") == 1_310


@pytest.mark.parametrize("wrong", ABSURD)
def test_absurd_bills_teach_nothing(wrong):
    learned = taught(*[1_100] * 20)
    for _ in range(100):
        assert not learned.observe("m", "p", 1_000, wrong)
        assert not learned.observe("m", "p", wrong, 1_000)
    assert learned.ratio("m", "p") == 1_100


def test_ten_bills_for_things_unseen_dont_move_it():
    assert taught(*[1_100] * 31, *[1_999] * 10).ratio("m", "p") == 1_100


def test_a_short_prompt_teaches_nothing():
    learned = Learned()
    assert not learned.observe("m", "p", 10, 15)
    assert learned.ratio("m", "p") == SHIPPED


def test_models_and_providers_learn_apart_without_regard_to_case():
    learned = taught(*[1_200] * 20)
    assert learned.ratio("M", "P") == 1_200
    assert learned.ratio("m", "other") == learned.ratio("other", "p") == SHIPPED


def test_what_is_kept_is_bounded():
    learned = Learned()
    for number in range(MOST_MODELS + 100):
        learned.observe(f"{number}" + "x" * 10_000, "p", 1_000, 1_100)
    kept = learned.snapshot()
    assert len(kept) == MOST_MODELS
    assert all(len(name) < 600 and len(bills) <= 31 for name, bills in kept.items())
    assert not any(name.startswith("p/0x") for name in kept)  # the first to come was the first to go


def test_a_model_that_is_used_stays():
    learned = taught(*[1_200] * 20)
    for number in range(MOST_MODELS - 1):
        learned.observe(str(number), "p", 1_000, 1_100)
    learned.observe("m", "p", 1_000, 1_200)
    learned.observe("one more", "p", 1_000, 1_100)
    assert learned.ratio("m", "p") == 1_200


@given(st.lists(st.tuples(NAMES, NAMES, st.integers(-10, 5_000), st.integers(-10, 10_000)), max_size=8))
def test_a_snapshot_restores_it(bills):
    learned, restored = Learned(), Learned()
    for model, provider, counted, billed in bills:
        learned.observe(model, provider, counted, billed)
        assert LEAST_RATIO <= learned.ratio(model, provider) <= MOST_RATIO
    restored.restore(json.loads(json.dumps(learned.snapshot())))
    for model, provider, _, _ in bills:
        if "/" not in provider:
            assert restored.ratio(model, provider) == learned.ratio(model, provider)


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(st.dictionaries(st.sampled_from(["p/m", "p", "/", "", "p/m/n"]), LEAF | st.lists(LEAF, max_size=4)))
def test_whatever_is_restored_stays_in_its_range(snapshot):
    learned = Learned()
    learned.restore(snapshot)
    for name in snapshot:
        provider, _, model = name.partition("/")
        assert LEAST_RATIO <= learned.ratio(model, provider) <= MOST_RATIO


class TestApplied:
    def test_scales_the_guess_and_leaves_the_bound(self):
        count = taught(*[1_310] * 20).applied(Count(100, "calibrated", 500), "m", "p")
        assert count == Count(131, "calibrated", 500)

    def test_never_above_the_bound(self):
        assert taught(*[1_900] * 20).applied(Count(100, "calibrated", 120), "m", "p").tokens == 120

    def test_an_exact_count_stays(self):
        assert taught(*[1_310] * 20).applied(Count(100, "exact", 100), "m", "p").tokens == 100

    def test_a_reconstructed_count_becomes_a_calibrated_one(self):
        learned = taught(*[1_310] * 20)
        assert learned.applied(Count(100, "reconstructed", 500), "m", "p").kind == "calibrated"
        assert learned.applied(Count(100, "reconstructed", 500), "n", "p").kind == "reconstructed"
