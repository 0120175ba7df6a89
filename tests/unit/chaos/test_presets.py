"""Presets: each can be meant, and holds what its first line says."""

from collections import Counter

import pytest

from holdfast.chaos import FAULTS, ChaosConfig, ChaosError, parse, presets
from holdfast.chaos.rules import Rules

# What the preset called chaos leaves out, and why.
OF_A_SIZE = {"huge", "gzip_bomb", "deep"}
OF_THE_WHOLE_SERVER = {"refuse", "deaf"}
WITHOUT_AN_END = {"hang_headers"}


def steps(config):
    """Each rate's step and its share."""
    for name, given in config.rates.items():
        [step] = parse(f"{name} {given.get('with', '')}").steps
        yield step, given["pct"]


def faults(config):
    return Counter(fault.name for step, _ in steps(config) for fault, _ in step.faults)


@pytest.mark.parametrize("name", presets.NAMES)
def test_a_preset_can_be_meant_and_says_what_it_is_for(name):
    config = ChaosConfig.from_dict({"preset": name})
    assert config.preset == name
    assert 20 < len(presets.summary(name)) < 200
    assert presets.summary(name).endswith(".")
    assert config.rates.keys() == presets.load(name).get("rates", {}).keys()


def test_they_go_from_the_mildest_to_the_worst_but_for_the_one_that_is_even():
    *order, even = presets.NAMES
    sums = {
        name: sum(pct for _, pct in steps(ChaosConfig.from_dict({"preset": name}))) for name in presets.NAMES
    }
    assert [sums[name] for name in order] == sorted(sums[name] for name in order)
    assert (sums["silent"], even) == (0, "chaos")
    assert sums["stress_extreme"] > 50


def test_chaos_has_each_fault_that_ends_and_spoils_one_attempt():
    config = ChaosConfig.from_dict({"preset": "chaos"})
    assert set(faults(config)) == set(FAULTS) - OF_A_SIZE - OF_THE_WHOLE_SERVER - WITHOUT_AN_END
    assert {pct for _, pct in steps(config)} == {1}


def test_silent_is_the_default():
    silent = ChaosConfig.from_dict({"preset": "silent"})
    assert silent.merged({"preset": None}) == ChaosConfig()


def test_stress_aimd_steps_its_capacity_down_and_up_again():
    timeline = Rules(ChaosConfig.from_dict({"preset": "stress_aimd"})).timeline
    concurrent = [(timeline.capacity(second) or None) for second in (0, 20, 39.9, 40, 80, 100)]
    assert [one and one.concurrent for one in concurrent] == [None, 8, 8, None, 8, None]


def test_stress_extreme_goes_away_now_and_then():
    timeline = Rules(ChaosConfig.from_dict({"preset": "stress_extreme"})).timeline
    assert [timeline.door(second) for second in (0, 30, 34.9, 35, 120, 125)] == [
        "open", "refused", "refused", "open", "refused", "open",
    ]  # fmt: skip  # one row


def test_a_name_that_is_none():
    with pytest.raises(ChaosError, match="unknown preset 'stress': did you mean"):
        presets.source("stress")
    with pytest.raises(ChaosError, match=r"unknown preset '\.\./silent': "):
        presets.source("../silent")
