"""Equals of a chain: drawn by weight, group after group, and without any draw where there are none."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.test_route import Routing, Upstream

from holdfast.engine.policy import Policy, Route, Target
from holdfast.engine.route import DIRECT, Resolved, Routes

WEIGHTS = st.floats(min_value=1e-6, max_value=1e6)
SHARES = st.lists(st.lists(WEIGHTS, min_size=1, max_size=4), min_size=1, max_size=4)
CHANCE = st.floats(min_value=0, max_value=1, exclude_max=True)


def resolved(*groups: list[float]) -> Resolved:
    targets = tuple(
        Target(provider=f"p{tier}", model=f"m{place}", tier=tier, weight=weight)
        for tier, group in enumerate(groups)
        for place, weight in enumerate(group)
    )
    return Resolved(
        asked="r",
        match="route",
        route="r",
        targets=targets,
        skipped=(),
        policy=Policy(),
        spread=any(len(group) > 1 for group in groups),
    )


def no_chance() -> float:
    raise AssertionError("chance was asked where nothing is to be drawn")


@given(SHARES, st.randoms(use_true_random=False))
def test_any_order_has_every_target_once_and_group_after_group(groups: list[list[float]], rng: random.Random):
    chain = resolved(*groups)
    order = chain.order(rng.random)
    assert sorted(map(str, order)) == sorted(map(str, chain.targets))
    assert all(before.tier <= after.tier for before, after in pairwise(order))


@given(SHARES, st.lists(CHANCE, min_size=1))
def test_so_it_is_whatever_chance_says(groups: list[list[float]], drawn: list[float]):
    chain = resolved(*groups)
    numbers = (drawn * 16)[:16].__iter__()
    order = chain.order(lambda: next(numbers))
    assert sorted(map(str, order)) == sorted(map(str, chain.targets))
    assert all(before.tier <= after.tier for before, after in pairwise(order))


@given(st.lists(WEIGHTS, min_size=1, max_size=8))
def test_a_chain_without_equals_is_itself_every_time_and_costs_nothing(weights: list[float]):
    chain = resolved(*([weight] for weight in weights))
    assert chain.order(no_chance) is chain.targets


@given(SHARES, st.integers())
def test_the_same_chance_gives_the_same_order(groups: list[list[float]], seed: int):
    chain = resolved(*groups)
    once = chain.order(random.Random(seed).random)
    assert chain.order(random.Random(seed).random) == once


@pytest.mark.parametrize("weights", [[3, 1], [1, 1], [5, 3, 2], [1000, 1, 1], [1, 1e-6]], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_each_order_comes_as_often_as_its_weights_say(weights: list[float], seed: int):
    """The chance of an order is the product of its draws' shares among those left.

    By Hoeffding's inequality a frequency over n draws is further than e from its chance with a probability of at most
    2 exp(-2 n e²); n and e are such that a right implementation fails once in 10**12 comparisons, for any seed.
    """
    draws = 20_000
    margin = math.sqrt(math.log(2 / 1e-12) / (2 * draws))
    chain, rng = resolved([9.0], weights, [1.0]), random.Random(seed)
    seen = Counter(tuple(target.model for target in chain.order(rng.random)[1:-1]) for _ in range(draws))
    for order in permutations(range(len(weights))):
        left, chance = sum(weights), 1.0
        for place in order:
            chance *= weights[place] / left
            left -= weights[place]
        often = seen[tuple(f"m{place}" for place in order)] / draws
        assert abs(often - chance) <= margin, (order, often, chance)


EQUALS = Route(
    name="r",
    targets=(
        Target(provider="a", model="m", deployment="1", tier=4, weight=2),
        Target(provider="a", model="m", deployment="2", tier=4),
        Target(provider="gone", model="m", tier=6),
        Target(provider="b", model="{model}", tier=9),
    ),
    models=("x-*",),
)


def routes(**shares: tuple[tuple[str, float], ...]) -> Routes:
    providers = {name: Upstream(name, shares=each) for name, each in shares.items()}
    providers["gone"] = Upstream("gone", usable=False)
    return Routes(Routing(providers=providers, routes={"r": EQUALS}))


ALONE = (("", 1.0),)


def test_tiers_count_from_0_without_gaps_whoever_is_left_out():
    chain = routes(a=(("1", 2.0), ("2", 1.0)), b=ALONE).resolve("x-1")
    assert [(str(each), each.tier) for each in chain.targets] == [("a[1]/m", 0), ("a[2]/m", 0), ("b/x-1", 1)]
    assert chain.spread


def test_targets_that_were_moved_forward_go_first():
    """A caller of the library may reorder a route's targets: the order in which they stand is what counts."""
    moved = Route(name="r", targets=(EQUALS.targets[3], *EQUALS.targets[:2]), models=("x-*",))
    providers = {"a": Upstream("a"), "b": Upstream("b")}
    chain = Routes(Routing(providers=providers, routes={"r": moved})).resolve("x-1")
    for seed in range(20):
        assert chain.order(random.Random(seed).random)[0].provider == "b"


def test_a_direct_name_spreads_over_the_deployments_by_their_weights():
    found = routes(a=(("eu", 3.0), ("us", 1.0)), b=ALONE).resolve("a/some/model")
    assert found.route == DIRECT
    assert [(str(each), each.weight, each.tier) for each in found.targets] == [
        ("a[eu]/some/model", 3.0, 0),
        ("a[us]/some/model", 1.0, 0),
    ]
    assert found.spread
    alone = routes(a=ALONE, b=ALONE).resolve("b/m")
    assert str(alone.targets[0]) == "b/m"
    assert alone.order(no_chance) is alone.targets


def test_a_deployment_isnt_asked_for_by_name():
    names = [entry.id for entry in routes(a=(("1", 2.0), ("2", 1.0)), b=ALONE).models()]
    assert names == ["r", "a/m"]
