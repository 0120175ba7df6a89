"""Which family counts what: the name decides, then the provider, then nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.providers.tokens import FAMILIES, count_text, counter_for
from holdfast.providers.tokens.openai import OpenAICounter
from holdfast.providers.tokens.registry import bare_name

names = st.text(max_size=400)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "GPT-4O", "models/gpt-4o", "openai/gpt-4o", "openrouter/openai/gpt-4o"]
)
def test_a_name_is_known_in_any_spelling(model):
    assert bare_name(model) == "gpt-4o"
    assert counter_for(model) == counter_for("gpt-4o")


def test_the_name_is_stronger_than_the_provider():
    assert isinstance(counter_for("gpt-4o", "anthropic"), OpenAICounter)
    assert not isinstance(counter_for("claude-opus-4-8", "openai"), OpenAICounter)


def test_the_longest_beginning_wins():
    assert counter_for("gpt-4o").encoding == "o200k_base"
    assert counter_for("gpt-4-turbo").encoding == "cl100k_base"


def test_no_two_families_claim_one_beginning():
    beginnings = [beginning for family in FAMILIES for beginning in family.beginnings]
    assert len(beginnings) == len(set(beginnings))
    providers = [provider for family in FAMILIES for provider in family.providers]
    assert len(providers) == len(set(providers))


def test_a_counter_is_made_once():
    assert counter_for("gpt-4o", "OpenAI") is counter_for("gpt-4o", "openai")


@given(names, st.none() | names, st.text(min_size=1, max_size=50))
def test_every_name_has_a_counter_that_bounds_its_guess(model, provider, text):
    assert count_text("", model, provider).tokens == count_text("", model, provider).upper == 0
    count = count_text(text, model, provider)
    assert 0 < count.tokens <= count.upper <= len(text.encode("utf-8", "surrogatepass"))
