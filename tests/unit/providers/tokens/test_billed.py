"""Counts against what providers billed, over every recording."""

import json

import pytest
from benchmarks.billed import all_visible, answered, billed
from benchmarks.tokens import RESULTS, measured

from holdfast.providers.tokens import count_request, count_text


def test_no_bill_passes_the_bound_where_all_input_is_visible():
    checked = 0
    for each in billed():
        if each.request is None or not all_visible(each):
            continue
        count = count_request(each.request, each.model, each.provider)
        if not count.unseen:
            assert 1 <= count.tokens <= count.upper
            assert each.tokens <= count.upper, each.id
            checked += 1
    assert checked > 250


def test_no_answer_of_text_passes_its_bound():
    """Answers are billed with an end mark or two."""
    for each in answered():
        if not each.model.startswith(("o", "gpt")) and "/" not in each.model:
            assert each.tokens <= count_text(each.text, each.model).upper + 8, each.id


@pytest.mark.parametrize(
    ("provider", "within", "p50"), [("anthropic", 0.75, 2), ("gemini", 0.6, 4), ("deepseek", 0.6, 4)]
)
def test_errors_of_requests_are_as_the_table_says(provider, within, p50):
    row = next(row for row in measured()["families"] if row["provider"] == provider)
    halves = [row[half] for half in ("first", "second") if row[half]["number"]]
    assert all(half["p50"] <= p50 for half in halves)
    assert sum(half["within_5"] for half in halves) >= within * sum(half["number"] for half in halves)


def test_the_results_are_those_of_this_tree():
    assert json.loads((RESULTS / "tokens.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(measured())
    ), "run `make tokens`"
