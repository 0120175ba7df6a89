"""Provider rows and what is said of them."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AzureOpenAI
from openai._models import FinalRequestOptions

from holdfast.dialects.fields import NEUTRAL
from holdfast.providers.catalog import (
    COMPATIBLE,
    DIALECTS,
    MEDIA,
    ORDER,
    PROVIDERS,
    compatible,
    in_order,
    max_output,
    nearest,
    owner_of,
    provider,
    respoken,
)
from holdfast.providers.prices import PriceBook

AT_NS = 1_790_000_000 * 10**9


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=list(PROVIDERS))
class TestRow:
    def test_is_reached_over_tls_and_paths_can_be_appended(self, row):
        url = urlsplit(row.base_url)
        if row.name == "azure":  # everybody has an address of their own there
            assert row.base_url == ""
            assert row.base_url_env
        else:
            assert url.scheme == "https"
            assert url.hostname
        assert not row.base_url.endswith("/")

    def test_speaks_its_own_dialect_and_every_path_begins_with_a_slash(self, row):
        assert row.dialect in row.doors
        assert set(row.dated_doors) <= set(row.doors)
        for door in (*row.doors.values(), *row.dated_doors.values()):
            for path in (door.path, door.stream_path or door.path):
                assert path.startswith("/")
                assert not path.endswith("/")
                assert path.replace("{model}", "").isascii()
                assert path.count("{") == path.count("{model}")

    def test_default_model_has_a_price_and_a_largest_answer(self, row):
        assert PriceBook().price(row.name, row.default_model, AT_NS) is not None
        assert max_output(row.default_model) is not None

    def test_default_model_is_its_own_where_the_catalog_knows_whose_it_is(self, row):
        assert owner_of(row.default_model) in (row.name, None, "openai")

    def test_what_it_doesnt_take_is_a_field_that_there_is(self, row):
        known = {name.partition(".")[0] for name in NEUTRAL}
        assert set(row.unsupported) <= known
        assert set(MEDIA) <= known

    def test_headers_are_lower_case_and_hold_no_key(self, row):
        assert all(name == name.lower() for name, _ in row.headers)


def test_rows_of_this_release():
    assert list(PROVIDERS) == ["openai", "anthropic", "deepseek", "gemini", "azure", "openrouter"]
    ways = {name: (row.auth, row.key_env, row.token_env) for name, row in PROVIDERS.items()}
    assert ways == {
        "openai": ("bearer", ("OPENAI_API_KEY",), ()),
        "anthropic": ("x-api-key", ("ANTHROPIC_API_KEY",), ("ANTHROPIC_AUTH_TOKEN",)),
        "deepseek": ("bearer", ("DEEPSEEK_API_KEY",), ()),
        "gemini": ("x-goog-api-key", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), ()),
        "azure": ("api-key", ("AZURE_OPENAI_API_KEY",), ()),
        "openrouter": ("bearer", ("OPENROUTER_API_KEY",), ()),
    }
    assert dict(PROVIDERS["anthropic"].headers) == {"anthropic-version": "2023-06-01"}


RECORDED = [
    # Every path that the recorded traffic of these providers was asked at, with the model, but for Gemini's batches.
    ("openai", "/v1/chat/completions", "gpt-4o"),
    ("openai", "/v1/responses", "gpt-5"),
    ("openai", "/v1/embeddings", "text-embedding-3-small"),
    ("anthropic", "/v1/messages", "claude-sonnet-4-5"),
    ("anthropic", "/v1/messages/count_tokens", "claude-sonnet-4-5"),
    ("deepseek", "/chat/completions", "deepseek-reasoner"),
    ("deepseek", "/responses", "deepseek-v4-flash"),
    ("gemini", "/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
    ("gemini", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", "gemini-2.5-pro"),
    ("gemini", "/v1beta/models/gemini-embedding-2-preview:countTokens", "gemini-embedding-2-preview"),
    ("azure", "/openai/v1/responses", "gpt-5.4"),
    ("azure", "/openai/deployments/gpt-4o/chat/completions", "gpt-4o"),  # ?api-version=2024-12-01-preview
    ("openrouter", "/api/v1/chat/completions", "openai/gpt-5-mini"),
    ("openrouter", "/api/v1/responses", "openai/gpt-5.6-sol"),
]


@pytest.mark.parametrize(("name", "asked", "model"), RECORDED)
def test_every_recorded_path_is_one_of_the_provider_s_doors(name, asked, model):
    row = PROVIDERS[name]
    doors = [*row.doors.values(), *row.dated_doors.values()]
    paths = {path for door in doors for path in (door.path, door.stream_path or door.path)}
    assert asked in {urlsplit(row.base_url).path + path.replace("{model}", model) for path in paths}


def test_providers_are_found_without_regard_to_case():
    assert provider("OpenAI") is PROVIDERS["openai"]
    assert provider("wall") is None


def test_a_compatible_server_needs_no_key_and_has_no_default_model():
    assert COMPATIBLE.key_env == ()
    assert COMPATIBLE.default_model is None
    assert COMPATIBLE.name not in PROVIDERS


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_compatible_server_speaks_as_its_dialects_own_provider(dialect):
    row = compatible("mine", dialect)
    like = next(row for row in PROVIDERS.values() if row.dialect == dialect)
    assert (row.name, row.dialect) == ("mine", dialect)
    assert (row.doors, row.auth, row.headers) == (like.doors, like.auth, like.headers)


def test_a_known_provider_in_another_dialect_keeps_its_name_and_key_and_nothing_of_its_wire():
    row = respoken(PROVIDERS["azure"], "anthropic")
    assert (row.name, row.key_env, row.dialect) == ("azure", ("AZURE_OPENAI_API_KEY",), "anthropic")
    assert (row.auth, row.doors, row.dated_doors) == ("x-api-key", PROVIDERS["anthropic"].doors, {})
    assert (row.max_tokens_field, row.headers) == ("max_tokens", PROVIDERS["anthropic"].headers)
    assert respoken(PROVIDERS["anthropic"], "openai_chat").headers == ()
    assert respoken(PROVIDERS["azure"], "openai_chat") is PROVIDERS["azure"]


class TestOrder:
    def test_is_the_stated_one(self):
        assert ORDER == ("openai", "anthropic", "deepseek", "gemini")

    def test_others_come_after_as_they_were_named(self):
        named = ["wall", "gemini", "openrouter", "deepseek", "attic", "openai", "anthropic"]
        assert in_order(named) == ["openai", "anthropic", "deepseek", "gemini", "wall", "openrouter", "attic"]

    @given(st.lists(st.sampled_from([*PROVIDERS, "wall", "attic"]), unique=True))
    def test_of_any_it_is_the_same_for_any_subset(self, named):
        every = in_order(named)
        for left_out in named:
            assert in_order(name for name in named if name != left_out) == [
                name for name in every if name != left_out
            ]

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


def test_azures_dated_paths_are_those_that_its_sdk_asks_at():
    with AzureOpenAI(api_key="k", api_version="2024-10-21", azure_endpoint="https://ours.example") as sdk:
        for name, path in (
            ("openai_chat", "/chat/completions"),
            ("openai_responses", "/responses"),
            ("openai_embeddings", "/embeddings"),
        ):
            options = FinalRequestOptions.construct(method="post", url=path, json_data={"model": "gpt-x"})
            asked = sdk._build_request(options, retries_taken=0).url
            door = PROVIDERS["azure"].dated_doors[name]
            assert asked.path == door.path.replace("{model}", "gpt-x")
            assert asked.params["api-version"] == "2024-10-21"
            assert PROVIDERS["azure"].auth in sdk._build_request(options, retries_taken=0).headers
