"""The most that a request can be billed, from its size alone."""

import pytest
from benchmarks.billed import all_visible, billed, counts_of
from hypothesis import given
from hypothesis import strategies as st

from holdfast.providers.tokens import count_request
from holdfast.providers.tokens.bounds import OVERHEADS, UNKNOWN, bound_input_tokens

SIZES = st.integers(0, 10**9)
COUNTS = st.integers(0, 10_000)
PROVIDERS = st.sampled_from([*OVERHEADS, "azure", "openrouter", "mine"])


def visible():
    for each in billed():
        unseen = each.request is not None and count_request(each.request, each.model, each.provider).unseen
        if all_visible(each) and not unseen:
            yield each


def test_no_recorded_bill_passes_it():
    checked = 0
    for each in visible():
        tools, messages = counts_of(each.body)
        bound = bound_input_tokens(len(each.body), each.provider, each.model, tools=tools, messages=messages)
        assert each.tokens <= bound, each.id
        checked += 1
    assert checked > 300


def test_what_was_seen_leaves_half_again():
    """Of what is added at least a third was never needed: the next model's longer prompt isn't the first bill above it."""
    for each in visible():
        if each.request is None or not each.request.tools:
            continue
        spoken = sum(
            len(part.text) // 6
            for message in each.request.messages
            for part in message.parts
            if hasattr(part, "text")
        )
        hidden = each.tokens - spoken - len(each.body) // 4
        tools, messages = counts_of(each.body)
        added = bound_input_tokens(0, each.provider, each.model, tools=tools, messages=messages)
        assert hidden * 3 <= added * 2, each.id


@given(SIZES, SIZES, PROVIDERS, COUNTS, COUNTS, COUNTS)
def test_it_grows_with_everything(size, more, provider, tools, messages, images):
    def bound(size, tools, messages, images):
        return bound_input_tokens(size, provider, "m", tools=tools, messages=messages, images=images)

    least = bound(size, tools, messages, images)
    assert least >= size
    assert bound(size + more, tools, messages, images) == least + more
    assert bound(size, tools + 1, messages, images) > least
    assert bound(size, tools, messages + 1, images) > least
    assert bound(size, tools, messages, images + 1) > least
    assert type(least) is int


@given(SIZES, PROVIDERS, COUNTS, COUNTS)
def test_nobody_known_is_bounded_above_those_who_are_unknown(size, provider, tools, messages):
    known = bound_input_tokens(size, provider, "m", tools=tools, messages=messages)
    assert known <= bound_input_tokens(size, "nobody", "m", tools=tools, messages=messages)


def test_an_unknown_provider_is_the_most_of_all():
    for name in UNKNOWN.__struct_fields__:
        assert getattr(UNKNOWN, name) == max(getattr(row, name) for row in OVERHEADS.values())


@pytest.mark.parametrize("model", ["gpt-4o-mini", "openai/GPT-4o-mini-2024-07-18"])
def test_the_model_whose_pictures_cost_most(model):
    assert bound_input_tokens(0, "openai", model, tools=0, messages=0, images=1) > 48_000
