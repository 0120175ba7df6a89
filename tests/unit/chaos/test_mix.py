"""Shares are exact: by measure for any table, and by counting what the seeded draws really give."""

from collections import Counter
from fractions import Fraction
from itertools import groupby, pairwise
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.binomial import interval

from holdfast.chaos import ChaosError
from holdfast.chaos.mix import Mix, Share, share

MANY = 200_000


def counted(mix, *, attempts, keys=("k",), seed=0, scale=1.0):
    per_key = attempts // len(keys)
    return Counter(mix.choose(seed, key, n, scale) for key in keys for n in range(1, per_key + 1))


# The judge itself.


@pytest.mark.parametrize(("attempts", "share"), [(30, 0.05), (40, 0.5), (25, 0.9), (10, 0.0), (10, 1.0)])
def test_the_interval_leaves_the_exact_tails(attempts, share):
    p = Fraction(share)
    chances = [comb(attempts, k) * p**k * (1 - p) ** (attempts - k) for k in range(attempts + 1)]
    for alpha in (1e-3, 1e-9):
        low, high = interval(attempts, share, alpha)
        assert sum(chances[:low]) <= alpha / 2 < sum(chances[: low + 1])
        assert sum(chances[high + 1 :]) <= alpha / 2 < sum(chances[high:])


def test_the_interval_is_narrow_enough_to_tell_5_percent_from_5_and_a_half():
    low, high = interval(MANY, 0.05)
    assert 0.0465 < low / MANY < 0.05 < high / MANY < 0.0535


# Any table, by measure.

_TABLES = st.lists(
    st.tuples(st.integers(1, 4000), st.sampled_from([1, 1, 1, 2, 3, 8])), min_size=1, max_size=6
).filter(lambda table: sum(pct for pct, _ in table) <= 10_000)


def chance_of(mix, scale):
    """The exact measure of each alternative, found from nothing but the answers to chosen draws.

    Every decision is a threshold of one draw while those before it passed: bisect for it.
    """
    found = {}
    left = 1.0
    bursts = len(mix._bursts)

    def answer(number, value):
        draws = [1 - 2**-52] * number + [value]
        return mix.pick(lambda i: draws[i] if i < len(draws) else 1 - 2**-52, scale)

    for number in range(bursts):
        name = mix._bursts[number][2]
        cut = _bisect(lambda value, i=number, wanted=name: answer(i, value) == wanted)
        found[name] = left * cut
        left *= 1 - cut
    below = 0.0
    for _, name in mix._others:
        cut = _bisect(lambda v, wanted=name, start=below: v < start or answer(bursts, v) == wanted)
        found[name] = left * (cut - below)
        below = cut
    return found


def _bisect(holds):
    """Where a condition that holds from 0 on ends."""
    low, high = 0.0, 1.0
    if not holds(0.0):
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high


@given(_TABLES, st.sampled_from([1.0, 0.5, 0.1, 0.0]))
def test_any_table_has_exact_shares(table, scale):
    mix = Mix((Share(pct / 100, burst), f"a{i}") for i, (pct, burst) in enumerate(table))
    measured = chance_of(mix, scale)
    for i, (pct, _) in enumerate(table):
        assert measured[f"a{i}"] == pytest.approx(pct / 10_000 * scale, abs=1e-12)


@given(_TABLES, st.lists(st.floats(0, 1, exclude_max=True), min_size=7, max_size=7))
def test_every_draw_has_one_answer_that_the_table_names(table, draws):
    mix = Mix((Share(pct / 100, burst), i) for i, (pct, burst) in enumerate(table))
    assert mix.pick(lambda i: draws[i]) in {None, *range(len(table))}


@pytest.mark.parametrize(
    "table",
    [[(100, 1)], [(100, 7)], [(50, 1), (50, 1)], [(50, 4), (50, 1)], [(10, 1)] * 10, [(0.1, 1)] * 1000],
)
def test_a_hundred_percent_is_always(table):
    mix = Mix((Share(pct, burst), i) for i, (pct, burst) in enumerate(table))
    assert all(mix.choose(3, "k", n) is not None for n in range(1, 3001))


def test_nothing_is_never():
    mix = Mix([(Share(0), "never"), (Share(0, burst=3), "never")])
    assert counted(mix, attempts=3000) == {None: 3000}


# Seeded draws, counted.


def test_the_marginals_of_many_attempts():
    """The interval at 1e-9, on 200,000 attempts over four keys: 5 % is told from 5.2 %."""
    table = {"rate": 5.0, "reset": 0.5, "half": 50.0, "tiny": 0.01}
    mix = Mix((Share(pct), name) for name, pct in table.items())
    seen = counted(mix, attempts=MANY, keys=("a", "b", "c", "d"))
    for name, pct in table.items():
        low, high = interval(MANY, pct / 100)
        assert low <= seen[name] <= high, name


def test_a_ramp_scales_the_marginals():
    mix = Mix([(Share(20), "a"), (Share(40, burst=4), "b")])
    total = 40_000
    seen = counted(mix, attempts=total, scale=0.25)
    low, high = interval(total, 0.05)
    assert low <= seen["a"] <= high
    blocks, rest = divmod(seen["b"], 4)
    assert rest == 0
    low, high = interval(total // 4, 0.10)
    assert low <= blocks <= high


def test_bursts_keep_the_share_and_come_in_whole_blocks():
    """A block is one draw, so blocks are counted: their number is binomial, the attempts in one aren't."""
    mix = Mix([(Share(5, burst=8), "burst"), (Share(10), "single")])
    total = 64_000
    chosen = [mix.choose(1, "k", n) for n in range(1, total + 1)]
    blocks = [set(chosen[i : i + 8]) for i in range(0, total, 8)]
    hit = [block for block in blocks if "burst" in block]
    assert all(block == {"burst"} for block in hit)
    low, high = interval(len(blocks), 0.05)
    assert low <= len(hit) <= high
    low, high = interval(total - 8 * len(hit), 0.10 / 0.95)  # given that no burst has it
    assert low <= chosen.count("single") <= high
    runs = [len(list(run)) for what, run in groupby(chosen) if what == "burst"]
    assert all(run % 8 == 0 for run in runs)


def test_bursts_of_different_lengths_keep_their_shares_and_their_blocks():
    mix = Mix([(Share(10, burst=4), "four"), (Share(20, burst=16), "sixteen"), (Share(30), "single")])
    total = 64_000
    chosen = [mix.choose(2, "k", n) for n in range(1, total + 1)]
    for name, length, of in (("sixteen", 16, total // 16), ("four", 4, None), ("single", 1, None)):
        blocks = [chosen[i : i + length].count(name) for i in range(0, total, length)]
        assert set(blocks) <= {0, length}
        if of is not None:
            low, high = interval(of, 0.2)
            assert low <= sum(blocks) // length <= high
    taken = chosen.count("sixteen")  # what the longer left
    low, high = interval((total - taken) // 4, 0.10 / 0.80)
    assert low <= chosen.count("four") // 4 <= high
    taken += chosen.count("four")
    low, high = interval(total - taken, 0.30 / 0.70)
    assert low <= chosen.count("single") <= high


@pytest.mark.parametrize("burst", [1, 5])
def test_keys_seeds_and_neighbours_are_independent(burst):
    """Two that fail together do so as often as chance has it: 30 % of 30 %."""
    mix = Mix([(Share(30, burst=burst), True)])
    blocks = 8_000
    low, high = interval(blocks, 0.09)

    def hits(seed, key):
        return [mix.choose(seed, key, 1 + n * burst) is True for n in range(blocks)]

    base = hits(0, "k")
    for other in (hits(0, "l"), hits(1, "k"), hits(1, "l"), hits(0, "k ")):
        assert low <= sum(a and b for a, b in zip(base, other, strict=True)) <= high
    # Neighbours overlap, so every other pair is counted: those are independent.
    pairs = list(pairwise(base))[::2]
    low, high = interval(len(pairs), 0.09)
    assert low <= sum(a and b for a, b in pairs) <= high


def test_two_alternatives_with_the_same_burst_are_drawn_apart():
    mix = Mix([(Share(50, burst=2), "a"), (Share(25, burst=2), "b")])
    blocks = 8_000
    seen = Counter(mix.choose(0, "k", 1 + 2 * n) for n in range(blocks))
    for name, part in (("a", 0.5), ("b", 0.25), (None, 0.25)):
        low, high = interval(blocks, part)
        assert low <= seen[name] <= high


@settings(max_examples=50)
@given(st.integers(0, 2**64), st.text(max_size=20), st.integers(1, 10**9))
def test_a_choice_is_a_function_of_seed_key_and_attempt(seed, key, attempt):
    table = [(Share(30), "a"), (Share(30, burst=3), "b")]
    assert Mix(table).choose(seed, key, attempt) == Mix(table).choose(seed, key, attempt)


# What is no share.


@pytest.mark.parametrize("given", [-1, 101, float("nan"), "5", True, None, {"burst": 2}, {"pct": 5, "burst": 0},
                                   {"pct": 5, "brst": 2}, [5]])  # fmt: skip  # one list
def test_what_is_no_share(given):
    with pytest.raises(ChaosError, match="a share is a number of percent"):
        share(given)


def test_more_than_everything():
    with pytest.raises(ChaosError, match=r"add up to 100\.1 %"):
        Mix([(Share(60), "a"), (Share(40.1), "b")])
    parts = [1.8, 24.6, 12.5, 20.7, 21.3, 8.9, 10.2]  # a hundred, but for what floats make of it
    assert sum(parts) > 100
    assert Mix((Share(part), part) for part in parts)
