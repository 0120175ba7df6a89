"""Whose a model is, how much it reads, how much it writes."""

import pytest

from holdfast.providers.models import context_window, max_output, owner_of


@pytest.mark.parametrize(
    ("model", "owner"),
    [
        ("gpt-4o", "openai"),
        ("GPT-4o-2024-08-06", "openai"),
        ("chatgpt-4o-latest", "openai"),
        ("o1", "openai"),
        ("o1-mini", "openai"),
        ("o3", "openai"),
        ("o4-mini", "openai"),
        ("ft:gpt-4o-2024-08-06:org::id", "openai"),
        ("claude-opus-4-5", "anthropic"),
        ("DeepSeek-Chat", "deepseek"),
        ("models/gemini-2.5-flash", "gemini"),
        ("gpt-oss-120b", None),
        ("o10-lookalike", None),
        ("gpt", None),
        ("gpt-", None),
        ("claude", None),
        ("my-gpt-4o", None),
        ("openai/gpt-4o", None),
        ("fb-ok", None),
        ("", None),
    ],
)
def test_owner(model, owner):
    assert owner_of(model) == owner


class TestContextWindow:
    def test_of_the_owner_s_model(self):
        assert context_window("gpt-4o") == 128_000
        assert context_window("GPT-4o-2024-08-06") == 128_000

    def test_of_another_seller_s(self):
        assert context_window("openai/gpt-4o-mini", "openrouter") == 128_000

    def test_is_never_guessed(self):
        assert context_window("gpt-4o-imaginary") is None
        assert context_window("fb-ok") is None
        assert context_window("gpt-4o", "wall") is None


class TestMaxOutput:
    def test_known_in_any_form_of_its_name(self):
        for name in ("gpt-4o", "GPT-4o", "gpt-4o-2024-08-06", "openai/gpt-4o", "models/gpt-4o"):
            assert max_output(name) == 16_384

    def test_is_never_a_relative_s(self):
        assert max_output("gpt-4o-imaginary") is None
        assert max_output("gpt-4o-audio-preview") is None
        assert max_output("fb-ok") is None
