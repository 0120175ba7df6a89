"""``OPENAI_BASE_URL``, as OpenAI's SDK reads it: a key and an address from the environment belong together."""

from __future__ import annotations

import pytest

from holdfast.config import load, parse
from holdfast.errors import ConfigError

PROXY = "https://proxy.example/openai/v1"
ENV = {"OPENAI_API_KEY": "sk-of-the-proxy", "OPENAI_BASE_URL": f"{PROXY}/"}


def test_without_a_file():
    assert load(None, ENV).providers["openai"].base_url == PROXY


def test_with_a_file_that_leaves_both_to_the_environment():
    assert parse({"providers": {"openai": {}}}, ENV).providers["openai"].base_url == PROXY


def test_an_address_in_the_file_wins():
    config = parse({"providers": {"openai": {"base_url": "https://mine.example/v1"}}}, ENV)
    assert config.providers["openai"].base_url == "https://mine.example/v1"


def test_a_key_in_the_file_does_not_go_to_the_environments_address():
    config = parse({"providers": {"openai": {"api_key": "sk-mine"}}}, ENV)
    assert config.providers["openai"].base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize("address", ["", "  "])
def test_an_empty_address_is_none(address):
    config = load(None, {**ENV, "OPENAI_BASE_URL": address})
    assert config.providers["openai"].base_url == "https://api.openai.com/v1"


def test_an_address_that_is_none_is_an_error_that_names_the_variable():
    with pytest.raises(ConfigError) as caught:
        load(None, {**ENV, "OPENAI_BASE_URL": "proxy.example"})
    (problem,) = caught.value.problems
    assert problem.startswith("environment OPENAI_BASE_URL: must be an address")
