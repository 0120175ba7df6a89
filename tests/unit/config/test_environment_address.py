"""Addresses from the environment, as each SDK reads them: a key and an address from there belong together."""

from __future__ import annotations

import pytest

from holdfast.config import load, parse
from holdfast.errors import ConfigError

PROXY = "https://proxy.example/openai/v1"
ENV = {"OPENAI_API_KEY": "sk-of-the-proxy", "OPENAI_BASE_URL": f"{PROXY}/"}


def test_without_a_file():
    assert load(None, ENV).providers["openai"].deployments[0].base_url == PROXY


def test_with_a_file_that_leaves_both_to_the_environment():
    assert parse({"providers": {"openai": {}}}, ENV).providers["openai"].deployments[0].base_url == PROXY


def test_an_address_in_the_file_wins():
    config = parse({"providers": {"openai": {"base_url": "https://mine.example/v1"}}}, ENV)
    assert config.providers["openai"].deployments[0].base_url == "https://mine.example/v1"


def test_a_key_in_the_file_does_not_go_to_the_environments_address():
    config = parse({"providers": {"openai": {"api_key": "sk-mine"}}}, ENV)
    assert config.providers["openai"].deployments[0].base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize("address", ["", "  "])
def test_an_empty_address_is_none(address):
    config = load(None, {**ENV, "OPENAI_BASE_URL": address})
    assert config.providers["openai"].deployments[0].base_url == "https://api.openai.com/v1"


def test_an_address_that_is_none_is_an_error_that_names_the_variable():
    with pytest.raises(ConfigError) as caught:
        load(None, {**ENV, "OPENAI_BASE_URL": "proxy.example"})
    (problem,) = caught.value.problems
    assert problem.startswith("environment OPENAI_BASE_URL: must be an address")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {"OPENAI_BASE_URL": "https://h/v1/chat/completions"},
            "OPENAI_BASE_URL: ends with /chat/completions, which",
        ),
        (
            {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://h/openai"},
            "AZURE_OPENAI_ENDPOINT: ends with /openai",
        ),
        (
            {
                "AZURE_OPENAI_API_KEY": "k",
                "AZURE_OPENAI_ENDPOINT": "https://h",
                "OPENAI_API_VERSION": "2024?x=1",
            },
            "OPENAI_API_VERSION: must be a version such as",
        ),
        (
            {"ANTHROPIC_AUTH_TOKEN": "a\nb"},
            "ANTHROPIC_AUTH_TOKEN: holds characters that can't be part of a key",
        ),
        (
            {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "https://h/v1/"},
            "ANTHROPIC_BASE_URL: ends with /v1, which is added to it: leave that out",
        ),
        (
            {"GEMINI_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": "https://h/v1beta"},
            "GOOGLE_GEMINI_BASE_URL: ends with /v1beta, which is added to it",
        ),
    ],
    ids=range(6),
)
def test_what_the_environment_holds_is_checked_as_the_file_is(env, said):
    with pytest.raises(ConfigError) as caught:
        load(None, {"OPENAI_API_KEY": "k", **env})
    (problem,) = caught.value.problems
    assert problem.startswith(f"environment {said}")
