"""BU1, BU2: what providers bill, what the ledger has, what budgets and counters say: one sum, to the nano-dollar.

A thousand requests here, with every fault that could cost money; ``make conservation N=10000`` runs as many as one likes.
"""

from __future__ import annotations

import pytest
from tests.e2e.conservation import Sums, conserve
from tests.e2e.conservation_world import PRICES

from holdfast.chaos.answer import Usage

REQUESTS, SEED = 1_000, 0


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Sums:
    return conserve(REQUESTS, SEED, tmp_path_factory.mktemp("conservation"))


def test_all_sides_agree(sums: Sums) -> None:
    assert sums.broken == []


def test_exactly_where_the_provider_told_its_usage(sums: Sums) -> None:
    assert sums.in_ledger["provider"] == sums.billed["provider"] > 0


def test_never_below_it_elsewhere(sums: Sums) -> None:
    assert sums.in_ledger["bound"] >= sums.billed["bound"] > 0
    assert sums.in_ledger["none"] == sums.billed["none"] == 0


def test_what_only_one_provider_says_is_in_the_ledger(sums: Sums) -> None:
    assert {"cacheTokensDetails", "completion_tokens_details", "service_tier"} <= sums.told_more


def test_it_was_bad_enough_to_say_something(sums: Sums) -> None:
    """Faults, refusals, hedges, callers that left: of each there were some, or agreement proves little."""
    assert sums.spoiled >= 0.2 * sums.served
    assert min(sums.states[state] for state in ("ok", "failed", "cancelled")) > 0
    assert sum(sums.states.values()) > 0.7 * REQUESTS
    assert sums.over_budget > 0
    assert sums.hedged > 0
    assert sums.left > 0
    assert min(sums.rows[source] for source in ("provider", "bound", "none")) > 0
    assert {"negative", "absurd"} <= set(sums.unbelieved)
    assert sums.lies > 0
    failures = {"timed_out", "connection_lost", "truncated", "bad_answer", "server_failed", "rate_limited"}
    assert failures <= set(sums.outcomes)
    assert {"abandoned", "superseded"} <= set(sums.outcomes)


def test_prices_have_fractions_of_a_nano_dollar() -> None:
    """So that rounding matters, and where it is done."""
    assert PRICES["openai"].nano(Usage(prompt_tokens=1)) == 124
    assert PRICES["openai"].nano(Usage(prompt_tokens=3, completion_tokens=1, cached_tokens=1)) == 1087
