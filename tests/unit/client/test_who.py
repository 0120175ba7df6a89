"""Who would answer: the chain, the next one, and who has a key; without a call and without a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Client, SyncClient
from holdfast.config import load
from holdfast.errors import ConfigError, UnknownModel
from holdfast.providers.catalog import ORDER, PROVIDERS, in_order

KEYS = {name: row.key_env[0] for name, row in PROVIDERS.items()}
names = st.sampled_from(sorted(PROVIDERS))


def client_of(*providers: str, **more) -> Client:
    env = {KEYS[name]: f"key-of-{name}" for name in providers}
    return Client(env={**env, "AZURE_OPENAI_ENDPOINT": "https://ours.example"}, **more)


@given(st.sets(names))
def test_the_chain_is_the_default_order_of_those_with_a_key(with_keys):
    client = client_of(*with_keys)
    assert client.fallback_chain == tuple(name for name in in_order(PROVIDERS) if name in with_keys)
    assert [name for name in ORDER if name in with_keys] == list(
        client.fallback_chain[: len(with_keys & {*ORDER})]
    )
    for name in PROVIDERS:
        assert client.is_provider_configured(name) == client.is_provider_configured(name.upper())
        assert client.is_provider_configured(name) == (name in with_keys)
    assert not client.is_provider_configured("nobody")
    assert client.provider_priority == tuple(in_order(PROVIDERS))


@given(st.lists(names, unique=True), st.sets(names))
def test_a_priority_goes_first_and_the_others_keep_their_order(priority, with_keys):
    client = client_of(*with_keys, provider_priority=[name.upper() for name in priority])
    rest = [name for name in in_order(PROVIDERS) if name not in priority]
    assert client.provider_priority == (*priority, *rest)
    assert client.fallback_chain == tuple(name for name in (*priority, *rest) if name in with_keys)
    again = client_of(*with_keys, provider_priority=priority)
    assert again.fallback_chain == client.fallback_chain


@given(st.sets(names), st.lists(names | st.just("nobody")))
def test_the_next_is_the_first_that_has_not_failed(with_keys, failed):
    client = client_of(*with_keys)
    left = [name for name in client.fallback_chain if name not in failed]
    assert client.next_provider(failed) == (left[0] if left else None)
    assert client.next_provider([name.upper() for name in failed]) == (left[0] if left else None)


def test_models_and_their_providers():
    client = client_of("openai", "deepseek")
    assert client.provider_for("chat") == client.provider_for("CHAT") == "openai"
    assert client.provider_for("deepseek/anything") == client.provider_for("deepseek-chat") == "deepseek"
    assert client.get_fallback_chain("DeepSeek-chat") == ("deepseek",)
    assert client.get_fallback_chain() == client.fallback_chain == ("openai", "deepseek")
    assert client.next_provider({"openai"}, "deepseek/x") == "deepseek"
    assert "chat" in client.models
    for ask in (client.provider_for, client.get_fallback_chain):
        with pytest.raises(UnknownModel) as caught:
            ask("chatt")
        assert "nearest are chat" in caught.value.message


def test_a_route_of_the_file_may_name_a_provider_twice():
    document = {
        "providers": {name: {"api_key": "k"} for name in ("openai", "deepseek")},
        "routes": {
            "chat": {"targets": ["deepseek/a", "openai/b", "deepseek/c"]},
            "other": {"targets": ["openai/b"]},
        },
    }
    client = Client(document, env={})
    assert client.fallback_chain == ("deepseek", "openai")
    assert client.get_fallback_chain("other") == ("openai",)


def test_keys_are_as_if_from_the_environment():
    client = Client(env={}, keys={"OpenAI": "sk-canary"})
    assert client.fallback_chain == ("openai",)
    assert "canary" not in repr(client)
    with SyncClient(env={}, keys={"deepseek": "sk-canary"}) as twin:
        assert twin.fallback_chain == ("deepseek",)
        assert repr(twin) == "<SyncClient open: deepseek>"


def test_without_any_key_nobody_answers():
    client = Client(env={})
    assert client.fallback_chain == ()
    assert client.next_provider(()) is None
    assert client.models == ()
    with pytest.raises(UnknownModel):
        client.provider_for("chat")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"keys": {"opnai": "x"}}, "openai"),
        ({"provider_priority": ["opnai"]}, "openai"),
        (
            {"config": {"routes": {"chat": {"targets": ["openai/x"]}}}, "provider_priority": ["openai"]},
            "of its own",
        ),
        ({"config": {"ruotes": {}}}, "ruotes"),
        ({"config": "/nowhere/holdfast.toml"}, "can't be read"),
        ({"config": load(None, {}), "keys": {"openai": "x"}}, "read already"),
    ],
)
def test_what_is_configured_wrongly_says_so_at_once(arguments, said):
    with pytest.raises(ConfigError, match=said):
        Client(**{"env": None if "keys" in arguments else {}, **arguments})


def test_a_file_is_the_gateways_own(tmp_path):
    file = tmp_path / "holdfast.toml"
    file.write_text(
        f'[ledger]\nurl = "sqlite:///{tmp_path}/calls.db"\n[providers.openai]\napi_key = "${{KEY}}"\n'
        '[routes.mine]\ntargets = ["openai/x"]\n'
    )
    for client in (
        Client(file, env={"KEY": "k"}),
        Client(str(file), env={"KEY": "k"}),
        Client(load(file, {"KEY": "k"})),
    ):
        assert client.get_fallback_chain("mine") == ("openai",)
    with SyncClient(file, env={"KEY": "k"}):
        assert (tmp_path / "calls.db").exists()
