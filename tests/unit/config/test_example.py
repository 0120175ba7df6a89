"""The file that must work as it stands, and the configurations that need no file."""

from pathlib import Path

import pytest
from tests.unit.config.reading import EXAMPLE, WALL, keys_of, read

from holdfast.config import CHAT, check, load, with_simulated
from holdfast.engine.policy import Retry
from holdfast.engine.route import Routes
from holdfast.errors import UnknownModel

NOVEMBER_2026_NS = 1_795_000_000 * 10**9


def test_the_example_works_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text(EXAMPLE, encoding="utf-8")

    config = load(file, {"OPENAI_API_KEY": "sk-real"})

    assert (config.gateway.host, config.gateway.port) == ("127.0.0.1", 8080)
    assert config.ledger.path == "holdfast.db"
    assert config.open
    openai, wall = config.providers["openai"], config.providers["wall"]
    assert keys_of(openai) == ["sk-real"]
    assert (openai.dialect, openai.base_url) == ("openai_chat", "https://api.openai.com/v1")
    assert (wall.dialect, wall.base_url) == ("openai_chat", "http://127.0.0.1:8401/v1")
    chat = config.routes[CHAT]
    assert [str(target) for target in chat.targets] == ["openai/gpt-4o", "wall/fb-ok"]
    for target in chat.targets:
        limits = target.timeouts
        assert (limits.connect_s, limits.first_token_s, limits.answer_s, limits.idle_s) == (5, 30, 300, 30)
        assert target.retry == Retry(max_retries=2, base_s=0.5, multiplier=2.0, max_s=8.0, jitter="full")
    assert chat.policy.total_s == 600
    routes = Routes(config)
    assert [str(target) for target in routes.resolve("fb-42").targets] == ["wall/fb-42", "wall/fb-ok"]
    assert check(file, {"OPENAI_API_KEY": "k"}, at_ns=NOVEMBER_2026_NS).problems == ()


def test_none_in_the_example_means_not_configured() -> None:
    config = read(EXAMPLE)
    assert not config.providers["openai"].usable
    assert config.has_providers
    resolved = Routes(config).resolve("chat")
    assert [str(target) for target in resolved.targets] == ["wall/fb-ok"]
    assert [(str(s.target), s.reason) for s in resolved.skipped] == [("openai/gpt-4o", "openai has no key")]


@pytest.mark.parametrize("written", ["", " ", "none", "None", "NONE"])
def test_a_provider_counts_as_configured_only_with_a_key(written: str) -> None:
    config = read(f'[providers.openai]\napi_key = "{written}"\n', {"OPENAI_API_KEY": "sk-elsewhere"})
    assert not config.providers["openai"].usable
    assert keys_of(config.providers["openai"]) == [None]
    assert not config.has_providers


def test_a_known_provider_takes_its_key_from_the_environment_where_the_file_names_none() -> None:
    config = read("[providers.OpenAI]\n", {"OPENAI_API_KEY": "sk-env\n"})
    assert keys_of(config.providers["openai"]) == ["sk-env"]
    assert config.providers["openai"].name == "openai"


def test_a_server_that_needs_no_key_is_used_without_one() -> None:
    without = WALL.replace('api_key = "x"\n', "")
    assert not read(without).providers["wall"].usable
    assert read(without + 'auth = "none"\n').providers["wall"].usable


def test_no_file_makes_chat_of_the_keys_in_the_environment_in_a_fixed_order() -> None:
    env = {"OPENROUTER_API_KEY": "or", "DEEPSEEK_API_KEY": "ds", "OPENAI_API_KEY": "oa"}
    config = load(None, env)
    assert [target.provider for target in config.routes[CHAT].targets] == ["openai", "deepseek", "openrouter"]
    assert load(None, dict(reversed(env.items()))).routes[CHAT] == config.routes[CHAT]
    del env["OPENAI_API_KEY"]
    assert [t.provider for t in load(None, env).routes[CHAT].targets] == ["deepseek", "openrouter"]


@pytest.mark.parametrize("env", [{}, {"OPENAI_API_KEY": ""}, {"OPENAI_API_KEY": "none"}, {"UNRELATED": "x"}])
def test_no_keys_at_all_is_no_error_but_is_said(env: dict[str, str]) -> None:
    config = load(None, env)
    assert not config.has_providers
    assert CHAT not in config.routes
    with pytest.raises(UnknownModel):
        Routes(config).resolve("chat")


def test_a_file_without_a_chat_route_gets_the_built_in_one() -> None:
    config = read(WALL + '[providers.openai]\napi_key = "k"\n[routes.mine]\ntargets = ["wall/m"]\n')
    assert [str(t) for t in config.routes[CHAT].targets] == ["openai/gpt-5.4-mini"]
    assert CHAT not in read(WALL + '[routes.mine]\ntargets = ["wall/m"]\n').routes


def test_a_file_of_its_own_chat_keeps_it_in_any_case() -> None:
    config = read(WALL + '[providers.openai]\napi_key = "k"\n[routes.Chat]\ntargets = ["wall/m"]\n')
    assert [str(t) for t in config.routes[CHAT].targets] == ["wall/m"]
    assert list(config.routes) == [CHAT]


def test_a_file_that_names_no_providers_has_those_of_the_environment() -> None:
    config = read('[routes.mine]\ntargets = ["deepseek/m"]\n', {"DEEPSEEK_API_KEY": "k"})
    assert str(Routes(config).resolve("MINE").targets[0]) == "deepseek/m"


def test_simulated_providers_stand_behind_chat() -> None:
    config = with_simulated(
        load(None, {}),
        {"azure": "http://127.0.0.1:9001", "anthropic": "http://127.0.0.1:9002/v1/"},
    )
    assert config.has_providers
    anthropic, azure = config.providers["anthropic"], config.providers["azure"]
    assert [each.base_url for each in anthropic.deployments] == ["http://127.0.0.1:9002/v1"]
    assert azure.usable
    assert keys_of(azure) == [None]
    targets = Routes(config).resolve("chat").targets
    assert [target.provider for target in targets] == ["anthropic", "azure"]


def test_simulated_providers_have_the_deployments_that_routes_name() -> None:
    text = """
[providers.openai]
[[providers.openai.deployments]]
name = "a"
api_key = "none"
weight = 3
[[providers.openai.deployments]]
name = "b"
api_key = "none"
[routes.mine]
targets = ["openai/m"]
"""
    simulated = with_simulated(read(text), {"openai": "http://127.0.0.1:9001/v1"})
    openai = simulated.providers["openai"]
    assert {(each.base_url, each.key) for each in openai.deployments} == {("http://127.0.0.1:9001/v1", None)}
    for model in ("mine", "chat", "openai/m"):
        targets = Routes(simulated).resolve(model).targets
        assert [(target.deployment, target.weight) for target in targets] == [("a", 3), ("b", 1)]


def test_simulated_providers_are_reached_past_any_proxy() -> None:
    config = read('[outbound]\nproxy = "http://proxy.example:1"\n')
    simulated = with_simulated(config, {"openai": "http://127.0.0.1:9001/v1"})
    assert simulated.providers["openai"].deployments[0].proxy is None
    assert config.providers["openai"].deployments[0].proxy is not None


def test_host_and_port_of_the_command_line_go_first() -> None:
    config = load(None, {}, host="localhost", port=0)
    assert (config.gateway.host, config.gateway.port) == ("localhost", 0)


def test_what_the_environment_gives_may_stand_for_a_number() -> None:
    text = '[gateway]\nport = "${PORT:-8081}"\n[timeouts]\ntotal_s = "${TOTAL}"\n'
    config = read(text, {"TOTAL": " 12.5 "})
    assert config.gateway.port == 8081
    assert config.policy.total_s == 12.5


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_bytes(b"\xef\xbb\xbf" + WALL.encode())
    assert "wall" in load(file, {}).providers


def test_routes_set_drop_and_bound_parameters() -> None:
    config = read(
        WALL
        + """[routes.mine]
targets = ["wall/m"]
set = { temperature = 0.7, stop = ["a"], user = "${WHO}" }
drop = ["seed"]
fallback_on = [401, "content_policy"]
max_output_tokens = 4096
on_break = "resume"
""",
        {"WHO": "me"},
    )
    policy = config.routes["mine"].policy
    assert policy.set == {"temperature": 0.7, "stop": ["a"], "user": "me"}
    assert type(policy.set["user"]) is str
    assert policy.drop == {"seed"}
    assert policy.fallback_on == {401, "content_policy"}
    assert (policy.max_output_tokens, policy.on_break) == (4096, "resume")


def test_callers_keys_permit_what_they_list() -> None:
    digest = "AB" * 32
    config = read(
        WALL
        + f"""[routes.mine]
targets = ["wall/m"]
[keys.all]
sha256 = "{digest}"
[keys.some]
sha256 = "{"cd" * 32}"
routes = ["Mine"]
models = ["wall/*"]
"""
    )
    assert not config.open
    assert config.keys["all"].sha256 == bytes.fromhex(digest)
    some = config.keys["some"]
    assert config.keys["all"].permits("", "anything")
    assert some.permits("mine", "whatever")
    assert some.permits("", "WALL/m")
    assert not some.permits("", "gpt-4o")
    assert not some.permits("chat", "chat")
