"""Provider rows and what is said of them."""

from urllib.parse import urlsplit

import pytest

from holdfast.providers.catalog import COMPATIBLE, ORDER, PROVIDERS, in_order, nearest, owner_of, provider
from holdfast.providers.prices import PriceBook

AT_NS = 1_790_000_000 * 10**9


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=list(PROVIDERS))
class TestRow:
    def test_is_reached_over_tls_and_paths_can_be_appended(self, row):
        url = urlsplit(row.base_url)
        assert url.scheme == "https"
        assert url.hostname
        assert not row.base_url.endswith("/")
        assert row.chat_path.startswith("/")

    def test_has_a_key_name_that_its_sdk_reads(self, row):
        assert row.key_env == (f"{row.name.upper()}_API_KEY",)

    def test_default_model_has_a_price(self, row):
        assert PriceBook().price(row.name, row.default_model, AT_NS) is not None


def test_rows_of_this_release():
    assert list(PROVIDERS) == ["openai", "deepseek", "openrouter"]
    assert PROVIDERS["openrouter"].base_url == "https://openrouter.ai/api/v1"


def test_providers_are_found_without_regard_to_case():
    assert provider("OpenAI") is PROVIDERS["openai"]
    assert provider("wall") is None


def test_a_compatible_server_needs_no_key_and_has_no_default_model():
    assert COMPATIBLE.key_env == ()
    assert COMPATIBLE.default_model is None
    assert COMPATIBLE.name not in PROVIDERS


class TestOrder:
    def test_is_the_stated_one(self):
        assert ORDER == ("openai", "anthropic", "deepseek", "gemini")

    def test_others_come_after_as_they_were_named(self):
        named = ["wall", "gemini", "openrouter", "deepseek", "attic", "openai", "anthropic"]
        assert in_order(named) == ["openai", "anthropic", "deepseek", "gemini", "wall", "openrouter", "attic"]

    def test_does_not_depend_on_case(self):
        assert in_order(["DeepSeek", "OpenAI"]) == ["OpenAI", "DeepSeek"]


class TestNearest:
    def test_finds_what_was_meant(self):
        assert nearest("gpt4o", ["chat", "gpt-4o", "drill"]) == ["gpt-4o"]

    def test_ignores_case_and_answers_in_the_names_own(self):
        assert nearest("DRIL", ["Drill", "chat"]) == ["Drill"]

    def test_nothing_near(self):
        assert nearest("zzz", ["chat", "drill"]) == []

    def test_only_the_first_hundred_characters_of_a_caller_s_name_are_looked_at(self):
        assert nearest("x" * 1_000, ["x" * 100, "chat"]) == ["x" * 100]


def test_owner_without_a_row_is_still_named():
    owner = owner_of("claude-sonnet-4-5")
    assert owner == "anthropic"
    assert provider(owner) is None
