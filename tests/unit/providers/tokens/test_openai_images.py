"""What pictures cost at OpenAI: the examples of its guide, and what others measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model import Image
from holdfast.providers.tokens.openai_images import image_rule, image_tokens

MODELS = [
    "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "o1", "o3", "o4-mini", "gpt-5", "gpt-5-mini",
    "gpt-5-nano", "gpt-5.4", "gpt-9",
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "width", "height", "detail", "tokens"),
    [
        ("gpt-4o", 1_024, 1_024, "high", 765),
        ("gpt-4o-2024-08-06", 2_048, 4_096, "high", 1_105),
        ("gpt-4o", 4_096, 8_192, "low", 85),
        ("gpt-4o", 128, 64, None, 255),
        ("gpt-4o-mini", 128, 64, None, 8_500),
        ("gpt-4.1", 1_024, 1_024, None, 765),
        ("o3", 512, 512, None, 225),
        ("gpt-5", 512, 512, "auto", 210),
        ("gpt-4.1-mini", 1_024, 1_024, None, 1_659),
        ("gpt-4.1-nano", 32, 32, None, 3),
        ("o4-mini", 64, 64, None, 7),
        ("gpt-5-mini", 256, 256, None, 77),
        ("gpt-5-mini", 1_024, 1_024, None, 1_229),
        ("gpt-5-mini", 2_048, 768, None, 1_844),
    ],
)
def test_published_and_measured(model, width, height, detail, tokens):
    guess, most = image_rule(model).tokens(width, height, detail)
    assert guess == tokens
    assert guess <= most


@given(
    st.sampled_from(MODELS),
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.sampled_from([None, "low", "high", "odd"]),
)
def test_no_size_costs_more_than_the_most_or_nothing_at_all(model, width, height, detail):
    rule = image_rule(model)
    guess, most = rule.tokens(width, height, detail)
    assert 0 < guess <= most == rule.most


def test_a_picture_that_cant_be_read_costs_the_most():
    rule = image_rule("gpt-4o")
    assert image_tokens(rule, Image(data="bm90IGEgcGljdHVyZQ==")) == (rule.most, rule.most)
    assert rule.most == 85 + 8 * 170
