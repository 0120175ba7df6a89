"""Several keys and addresses of one provider, how each is reached, and which key goes where."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
import trustme
from tests.unit.config.reading import WALL, keys_of, problems, read

from holdfast.config import CHAT, Config, Deployment, Provider, load
from holdfast.engine.route import Routes
from holdfast.providers.catalog import ORDER, PROVIDERS

EU = "https://eu.openai.azure.com"
AZURE = f"""
[providers.azure]
api_key = "shared"
headers = {{ x-org = "all", x-team = "all" }}
proxy = "http://u:p@proxy.example:3128"
[[providers.azure.deployments]]
name = "eu"
base_url = "{EU}/"
api_key = "of-eu"
weight = 3
headers = {{ X-Team = "eu" }}
[[providers.azure.deployments]]
name = "us"
base_url = "https://us.openai.azure.com"
proxy = "none"
"""


def deployments(config: Config, name: str) -> dict[str, Deployment]:
    return {each.name: each for each in config.providers[name].deployments}


def test_each_deployment_inherits_what_it_doesnt_set() -> None:
    found = deployments(read(AZURE), "azure")
    assert list(found) == ["eu", "us"]
    eu, us = found["eu"], found["us"]
    assert (eu.base_url, us.base_url) == (EU, "https://us.openai.azure.com")
    assert keys_of(read(AZURE).providers["azure"]) == ["of-eu", "shared"]
    assert (eu.weight, us.weight) == (3, 1)
    assert {name: value.reveal() for name, value in eu.headers.items()} == {"x-org": "all", "x-team": "eu"}
    assert {name: value.reveal() for name, value in us.headers.items()} == {"x-org": "all", "x-team": "all"}
    assert str(eu.proxy) == "http://proxy.example:3128"
    assert us.proxy is None
    assert eu.auth == us.auth == "api-key"
    assert (eu.key_from, us.key_from) == (
        "providers.azure.deployments[0].api_key",
        "providers.azure.api_key",
    )


def test_keys_are_deployments_named_by_their_places() -> None:
    config = read('[providers.openai]\napi_keys = ["a", "b", "c"]\n')
    assert [(each.name, each.base_url) for each in config.providers["openai"].deployments] == [
        (place, "https://api.openai.com/v1") for place in "123"
    ]
    assert keys_of(config.providers["openai"]) == ["a", "b", "c"]


def test_one_key_in_a_list_is_a_key_without_a_name() -> None:
    (only,) = read('[providers.openai]\napi_keys = ["a"]\n').providers["openai"].deployments
    assert only.name == ""


def test_a_key_that_isnt_there_leaves_the_others_their_names() -> None:
    text = '[providers.openai]\napi_keys = ["${A:-}", "${B:-none}", "${C}"]\n'
    provider = read(text, {"B": "b", "C": "c"}).providers["openai"]
    assert [each.name for each in provider.deployments] == ["2", "3"]
    assert [(each.name, each.key_from) for each in provider.idle] == [
        ("1", 'providers.openai.api_keys[0] (environment A) is empty or "none"')
    ]
    nobody = read('[providers.openai]\napi_keys = ["", "none"]\n').providers["openai"]
    assert not nobody.usable
    assert [each.name for each in nobody.deployments] == ["1", "2"]


@pytest.mark.parametrize(
    ("way", "auth"),
    [
        ("", "bearer"),
        ('auth = "key"\n', "bearer"),
        ('auth = "x-api-key"\n', "x-api-key"),
        ('auth = "api-key"\n', "api-key"),
        ('auth = "x-goog-api-key"\n', "x-goog-api-key"),
        ('auth = "bearer"\n', "bearer"),
    ],
)
def test_a_key_travels_as_the_row_or_the_file_says(way: str, auth: str) -> None:
    assert read(WALL + way).providers["wall"].deployments[0].auth == auth


@pytest.mark.parametrize(
    ("dialect", "auth", "path"),
    [
        ("openai_chat", "bearer", "/chat/completions"),
        ("anthropic", "x-api-key", "/messages"),
        ("gemini", "x-goog-api-key", "/models/{model}:generateContent"),
    ],
)
def test_a_server_of_ones_own_speaks_what_the_file_says(dialect: str, auth: str, path: str) -> None:
    provider = read(WALL.replace("openai_chat", dialect)).providers["wall"]
    assert (provider.dialect, provider.deployments[0].auth) == (dialect, auth)
    assert provider.row.doors[dialect].path == path


def test_a_known_provider_may_speak_another_dialect_at_another_address() -> None:
    text = '[providers.deepseek]\ndialect = "anthropic"\nbase_url = "https://api.deepseek.com/anthropic/v1"\n'
    provider = read(text, {"DEEPSEEK_API_KEY": "k"}).providers["deepseek"]
    assert (provider.dialect, provider.deployments[0].auth, provider.unsupported) == (
        "anthropic",
        "x-api-key",
        (),
    )
    assert keys_of(provider) == ["k"]


# Which key goes to which address

ENV = {"OPENAI_API_KEY": "of-env", "OPENAI_BASE_URL": "https://of-env.example/v1"}
HOME = "https://api.openai.com/v1"


def test_the_environments_key_goes_to_the_environments_address_and_the_files_never() -> None:
    text = """
[providers.openai]
[[providers.openai.deployments]]
name = "env"
[[providers.openai.deployments]]
name = "file"
api_key = "of-file"
[[providers.openai.deployments]]
name = "own"
base_url = "https://own.example/v1"
"""
    found = deployments(read(text, ENV), "openai")
    assert {name: (each.base_url, keys_of_one(each)) for name, each in found.items()} == {
        "env": ("https://of-env.example/v1", "of-env"),
        "file": (HOME, "of-file"),
        "own": ("https://own.example/v1", "of-env"),
    }


def keys_of_one(deployment: Deployment) -> str | None:
    return deployment.key.reveal() if deployment.key is not None else None


@pytest.mark.parametrize("text", ['api_key = "mine"', 'api_keys = ["mine", "too"]', 'auth = "none"'])
def test_without_the_environments_key_its_address_counts_for_nothing(text: str) -> None:
    provider = read(f"[providers.openai]\n{text}\n", ENV).providers["openai"]
    assert {each.base_url for each in provider.deployments} == {HOME}


@pytest.mark.parametrize(
    ("name", "env", "base_url", "auth"),
    [
        ("anthropic", {"ANTHROPIC_API_KEY": "k"}, "https://api.anthropic.com/v1", "x-api-key"),
        ("anthropic", {"ANTHROPIC_AUTH_TOKEN": "k"}, "https://api.anthropic.com/v1", "bearer"),
        (
            "anthropic",
            {
                "ANTHROPIC_API_KEY": "k",
                "ANTHROPIC_AUTH_TOKEN": "t",
                "ANTHROPIC_BASE_URL": "https://p.example/a/",
            },
            "https://p.example/a/v1",
            "x-api-key",
        ),
        (
            "gemini",
            {"GOOGLE_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": "https://g.example"},
            "https://g.example/v1beta",
            "x-goog-api-key",
        ),
        (
            "gemini",
            {"GEMINI_API_KEY": "k", "GOOGLE_API_KEY": "of-maps"},
            "https://generativelanguage.googleapis.com/v1beta",
            "x-goog-api-key",
        ),
        ("azure", {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": f"{EU}/"}, EU, "api-key"),
    ],
)
def test_the_environment_is_read_as_each_sdk_does(
    name: str, env: dict[str, str], base_url: str, auth: str
) -> None:
    for config in (load(None, env), read(f"[providers.{name}]\n", env)):
        (only,) = config.providers[name].deployments
        assert (only.base_url, only.auth, keys_of_one(only)) == (base_url, auth, "k")
        assert config.providers[name].usable


# Azure

AZURE_ENV = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": EU}


def chat_path(provider: Provider) -> str:
    return provider.row.doors["openai_chat"].path


def test_azure_is_asked_at_its_v1_api_or_at_its_deployments() -> None:
    v1, dated = "/openai/v1/chat/completions", "/openai/deployments/{model}/chat/completions?api-version="
    assert chat_path(load(None, AZURE_ENV).providers["azure"]) == v1
    of_env = {**AZURE_ENV, "OPENAI_API_VERSION": "2024-10-21"}
    assert chat_path(load(None, of_env).providers["azure"]) == f"{dated}2024-10-21"
    own = f'[providers.azure]\nbase_url = "{EU}"\napi_key = "k"\n'
    assert chat_path(read(own + 'api_version = "2025-01-01-preview"\n').providers["azure"]).endswith(
        "-preview"
    )
    assert (
        chat_path(read(own, of_env).providers["azure"]) == v1
    )  # an address of the file's, and so its version
    embeddings = read(own + 'api_version = "2024-10-21"\n').providers["azure"].row.doors["openai_embeddings"]
    assert embeddings.path == "/openai/deployments/{model}/embeddings?api-version=2024-10-21"


def test_what_the_environment_lacks_leaves_azure_unused_and_what_the_file_lacks_is_an_error() -> None:
    env = {"AZURE_OPENAI_API_KEY": "k"}
    for config in (load(None, env), read("[providers.azure]\n", env)):
        azure = config.providers["azure"]
        assert not azure.usable
        assert azure.key_from == "environment AZURE_OPENAI_ENDPOINT is not set"
        assert CHAT not in config.routes
    assert not read("[providers.azure]\n").providers["azure"].usable
    assert problems('[providers.azure]\napi_key = "k"\n') == [
        "providers.azure.base_url: is missing: it is an address of your own, such as https://NAME.openai.azure.com"
    ]
    (found,) = problems('[providers.azure]\napi_key = "k"\n', {"AZURE_OPENAI_ENDPOINT": EU})
    assert found.endswith("; environment AZURE_OPENAI_ENDPOINT counts only beside the environment's key")
    text = (
        f'[providers.azure]\n[[providers.azure.deployments]]\nname = "a"\nbase_url = "{EU}"\napi_key = "k"\n'
    )
    assert read(text).providers["azure"].usable
    more = '[[providers.azure.deployments]]\nname = "b"\napi_key = "k"\n'
    (found,) = problems(text + more)
    assert found.startswith("providers.azure.deployments[1].base_url: is missing")


# The way out


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    file.write_bytes(trustme.CA().cert_pem.bytes())
    return str(file)


def test_the_way_out_is_everybodys_that_has_none_of_its_own(ca: str) -> None:
    text = f"""
[outbound]
proxy = "http://all.example:3128"
ca_file = "{ca}"
[providers.openai]
api_key = "k"
[providers.deepseek]
api_key = "k"
proxy = "https://own.example"
ca_file = "none"
[providers.gemini]
api_key = "k"
proxy = "${{DIRECT:-}}"
"""
    ways = {
        name: (str(each.deployments[0].proxy), each.deployments[0].ca_file)
        for name, each in read(text).providers.items()
    }
    assert ways == {
        "openai": ("http://all.example:3128", ca),
        "deepseek": ("https://own.example:443", None),
        "gemini": ("None", ca),
    }
    assert load(None, {}).providers["openai"].deployments[0].proxy is None


def test_it_is_the_known_providers_too_where_the_file_names_none() -> None:
    config = read('[outbound]\nproxy = "http://all.example:3128"\n', {"OPENAI_API_KEY": "k"})
    assert str(config.providers["openai"].deployments[0].proxy) == "http://all.example:3128"


def test_a_proxys_login_is_shown_nowhere() -> None:
    assert "canary" not in repr(read('[outbound]\nproxy = "http://u:canary@h:1"\n[providers.openai]\n'))


# The built-in route

KEYS = {name: row.key_env[0] for name, row in PROVIDERS.items()}


@pytest.mark.parametrize("size", range(7))
def test_chat_goes_over_all_that_have_a_key_in_the_default_order(size: int) -> None:
    """For every subset of the six, however the environment is ordered."""
    rest = [name for name in PROVIDERS if name not in ORDER]
    for chosen in combinations(PROVIDERS, size):
        expected = [name for name in (*ORDER, *rest) if name in chosen]
        orders = [chosen, chosen[::-1]] if size > 3 else permutations(chosen)
        for order in orders:
            env = {KEYS[name]: f"key-of-{name}" for name in order}
            if "azure" in order:
                env["AZURE_OPENAI_ENDPOINT"] = EU
            config = load(None, env)
            if not chosen:
                assert CHAT not in config.routes
                continue
            resolved = Routes(config).resolve("chat")
            assert [(each.provider, each.model, each.tier) for each in resolved.targets] == [
                (name, PROVIDERS[name].default_model, tier) for tier, name in enumerate(expected)
            ]
            assert resolved.order(lambda: 0.5) is resolved.targets


def test_chat_goes_over_every_key_of_a_provider() -> None:
    config = read('[providers.openai]\napi_keys = ["a", "b"]\n[providers.gemini]\napi_key = "k"\n')
    assert [(str(each), each.tier) for each in config.routes[CHAT].targets] == [
        ("openai[1]/gpt-5.4-mini", 0),
        ("openai[2]/gpt-5.4-mini", 0),
        ("gemini/gemini-3.5-flash-lite", 1),
    ]


def test_what_a_provider_doesnt_take_is_the_rows_and_the_files() -> None:
    text = '[providers.deepseek]\napi_key = "k"\nunsupported = ["seed", "image", "audio"]\n'
    assert read(text).providers["deepseek"].unsupported == ("audio", "file", "video", "seed", "image")
