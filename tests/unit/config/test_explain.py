"""Where every effective value came from; what is likely not meant; and that no key is ever shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.config.reading import EXAMPLE, WALL, problems, read

from holdfast.config import Config, Explanation, check, explain, load, with_simulated
from holdfast.config.defaults import GATES
from holdfast.errors import ConfigError

NOVEMBER_2026_NS = 1_795_000_000 * 10**9
CANARY = "sk-canary-7d41c0"

LAYERS = (
    WALL
    + """
[providers.WALL2]
dialect = "openai_chat"
base_url = "http://127.0.0.1:8402/v1"
api_key = "y"
[providers.WALL2.timeouts]
connect_s = 2
idle_s = 12
[providers.WALL2.retry]
max_s = 6
[timeouts]
connect_s = 3
idle_s = 13
first_token_s = 23
total_s = "${TOTAL:-500}"
[retry]
max_attempts = 4
multiplier = 3
budget_ratio = 0.2
[rate]
requests = 100
window_s = 10
[providers.WALL2.rate]
tokens = 1000
[idempotency]
ttl_s = 60
[routes.mine]
targets = ["wall/m", "wall2/m"]
drop = ["seed"]
[routes.mine.rate]
requests = 50
[routes.mine.idempotency]
max_joined = 5
[routes.mine.timeouts]
connect_s = 1
keepalive_s = 15
"""
)


def limits(explanation: Explanation, target: str) -> dict[str, tuple[object, str]]:
    found = next(each for each in explanation.targets if each.target == target)
    return {value.name: (value.value, value.source) for value in found.limits}


def test_the_nearest_setting_counts_and_says_where_it_is() -> None:
    config = read(LAYERS, {"TOTAL": "400"})
    said = explain(config, "mine")

    wall, wall2 = limits(said, "wall/m"), limits(said, "WALL2/m")
    assert wall["connect_s"] == wall2["connect_s"] == (1, "routes.mine.timeouts.connect_s")
    assert wall["idle_s"] == (13, "timeouts.idle_s")
    assert wall2["idle_s"] == (12, "providers.WALL2.timeouts.idle_s")
    assert wall["first_token_s"] == (23, "timeouts.first_token_s")
    assert wall["max_s"] == (8, "built-in")
    assert wall2["max_s"] == (6, "providers.WALL2.retry.max_s")
    assert wall2["multiplier"] == (3, "retry.multiplier")
    assert wall2["jitter"] == ("full", "built-in")
    policy = {value.name: (value.value, value.source) for value in said.policy}
    assert policy["total_s"] == (400, "timeouts.total_s (environment TOTAL)")
    assert policy["keepalive_s"] == (15, "routes.mine.timeouts.keepalive_s")
    assert policy["max_attempts"] == (4, "retry.max_attempts")
    assert policy["drop"] == (["seed"], "routes.mine.drop")
    assert policy["on_break"] == ("error", "built-in")


def _served(served: Any, name: str) -> Any:
    """The value of a setting as the engine sees it."""
    for gate, (table, kind, prefix) in GATES.items():
        field = name.removeprefix(f"{table}.{prefix}")
        if field == "enabled":
            return getattr(served.gates, gate) is not None
        if field != name:
            return getattr(getattr(served.gates, gate) or kind(), field)
    return getattr(served.timeouts if hasattr(served.timeouts, name) else served.retry, name)


def test_what_is_explained_is_what_is_served() -> None:
    config = read(LAYERS)
    for model in ("mine", "wall/other", "WALL2/other"):
        said = explain(config, model)
        for shown in said.targets:
            provider = config.providers[shown.target.partition("/")[0].casefold()]
            served = next(
                (target for target in config.routes["mine"].targets if str(target) == shown.target), provider
            )
            for value in shown.limits:
                assert _served(served, value.name) == value.value
        policy = config.routes["mine"].policy if model == "mine" else config.policy
        for value in said.policy:
            table, dot, name = value.name.partition(".")
            served_value = getattr(getattr(policy, table), name) if dot else getattr(policy, value.name)
            assert value.value == (sorted(served_value) if isinstance(value.value, list) else served_value)


@pytest.mark.parametrize(
    ("where", "target"),
    [("timeouts", "wall/m"), ("routes.mine.timeouts", "wall/m"), ("providers.wall.timeouts", "wall/m")],
)
def test_a_first_token_limit_alone_counts_for_whole_answers_too(where: str, target: str) -> None:
    text = WALL + f'[routes.mine]\ntargets = ["wall/m"]\n[{where}]\nfirst_token_s = 9\n'
    found = limits(explain(read(text), "mine"), target)
    assert found["answer_s"] == (9, f"{where}.first_token_s")
    found = limits(explain(read(text + "answer_s = 90\n"), "mine"), target)
    assert found["answer_s"] == (90, f"{where}.answer_s")


def test_a_nearer_first_token_limit_goes_before_a_farther_answer_limit() -> None:
    text = (
        WALL
        + '[routes.mine]\ntargets = ["wall/m"]\n[routes.mine.timeouts]\nfirst_token_s = 9\n[timeouts]\nanswer_s = 90\n'
    )
    assert limits(explain(read(text), "mine"), "wall/m")["answer_s"] == (
        9,
        "routes.mine.timeouts.first_token_s",
    )


def test_says_which_targets_are_skipped_and_where_keys_come_from() -> None:
    said = explain(read(EXAMPLE), "chat").to_dict()
    assert [(each["target"], each["skipped"]) for each in said["targets"]] == [
        ("wall/fb-ok", None),
        ("openai/gpt-4o", "openai has no key"),
    ]
    assert said["targets"][0]["key"] == "providers.wall.api_key"
    assert "environment OPENAI_API_KEY" in said["targets"][1]["key"]
    assert explain(load(None, {"OPENAI_API_KEY": "k"}), "chat").targets[0].key == "environment OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("model", "match", "because"),
    [
        ("chat", "route", "it is the name of the route chat"),
        ("fb-9", "pattern", "it matches routes.drill.models"),
        ("wall/x", "provider", "it names the provider wall"),
        ("gpt-4o", "catalog", "it is a model of openai"),
        ("else", "default", "nothing else has it, and default_route is drill"),
    ],
)
def test_says_why(model: str, match: str, because: str) -> None:
    said = explain(read('default_route = "drill"\n' + EXAMPLE, {"OPENAI_API_KEY": "k"}), model)
    assert (said.match, said.because, said.error) == (match, because, None)


def test_a_model_that_nothing_answers_to_is_explained_as_the_caller_is_told() -> None:
    said = explain(read(EXAMPLE), "caht").to_dict()
    assert said["targets"] == []
    assert "the nearest are chat" in said["error"]


def test_the_built_in_route_and_simulated_providers_can_be_explained() -> None:
    said = explain(with_simulated(load(None, {}), {"openai": "http://127.0.0.1:1/v1"}), "chat")
    assert said.because == "it is the name of the route chat, which is built in"
    assert [(each.target, each.key) for each in said.targets] == [
        ("openai/gpt-5.4-mini", "none is needed: it is simulated")
    ]


SPREAD = (
    WALL
    + """
[outbound]
proxy = "http://user:CANARY@proxy.example:3128"
[providers.openai]
api_keys = ["${KEY}", "CANARY"]
[providers.azure]
[[providers.azure.deployments]]
name = "eu"
base_url = "https://eu.openai.azure.com"
api_key = "CANARY"
weight = 3
proxy = "none"
[[providers.azure.deployments]]
name = "us"
base_url = "https://us.openai.azure.com"
api_key = "CANARY"
[providers.gemini]
[routes.r]
drop = ["image.detail"]
targets = [["openai/m", { target = "azure/m", weight = 2, set = { user = "CANARY" } }], "gemini/m", "wall/m"]
"""
).replace("CANARY", CANARY)


def test_says_who_shares_a_place_how_often_each_goes_first_and_by_which_way() -> None:
    config = read(SPREAD, {"KEY": CANARY})
    said = explain(config, "r").to_dict()
    proxy = "http://proxy.example:3128"
    assert [
        (each["target"], each["place"], each["share"], each["base_url"], each["proxy"], each["set"])
        for each in said["targets"]
    ] == [
        ("openai[1]/m", 1, 0.1, "https://api.openai.com/v1", proxy, []),
        ("openai[2]/m", 1, 0.1, "https://api.openai.com/v1", proxy, []),
        ("azure[eu]/m", 1, 0.6, "https://eu.openai.azure.com", None, ["user"]),
        ("azure[us]/m", 1, 0.2, "https://us.openai.azure.com", proxy, ["user"]),
        ("wall/m", 2, 1.0, "http://127.0.0.1:8401/v1", proxy, []),
        ("gemini/m", None, None, "https://generativelanguage.googleapis.com/v1beta", proxy, []),
    ]
    assert [each["key"] for each in said["targets"][:4]] == [
        "providers.openai.api_keys[0] (environment KEY)",
        "providers.openai.api_keys[1]",
        "providers.azure.deployments[0].api_key",
        "providers.azure.deployments[1].api_key",
    ]
    drop = next(value for value in said["policy"] if value["name"] == "drop")
    assert (drop["value"], drop["source"]) == (["image.detail"], "routes.r.drop")
    assert CANARY not in json.dumps(said) + repr(config.providers)


# What check warns of


def warned(tmp_path: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    file = tmp_path / "holdfast.toml"
    file.write_text(text, encoding="utf-8")
    report = check(file, env or {}, at_ns=NOVEMBER_2026_NS)
    assert report.problems == ()
    return list(report.warnings)


PRICE = '[prices."wall/m"]\ninput_per_1m = 1\noutput_per_1m = 1\n'
ROUTE = '[routes.r]\ntargets = ["wall/m"]\n'


def test_a_sound_file_warns_of_nothing(tmp_path: Path) -> None:
    assert warned(tmp_path, WALL + ROUTE + PRICE) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WALL + ROUTE, 'prices."wall/m": no price is known'),
        (
            WALL + "[providers.openai]\n",
            "providers.openai: is not used: environment OPENAI_API_KEY is not set",
        ),
        (
            '[providers.openai]\n[routes.r]\ntargets = ["openai/gpt-4o"]\n',
            "routes.r: can't serve: none of its targets' providers",
        ),
        ("[gateway]\n", "providers: no provider has a key"),
        (
            WALL.replace("127.0.0.1", "models.example.org"),
            "providers.wall.base_url: is http://, so the key travels readable",
        ),
        (
            WALL + '[routes.r]\ntargets = ["wall/m", "wall/m"]\n' + PRICE,
            "routes.r.targets: wall/m is there 2 times",
        ),
        (
            WALL
            + '[routes.r]\ntargets = ["wall/m"]\nmodels = ["x-*"]\n[routes.s]\ntargets = ["wall/m"]\nmodels = ["X-*"]\n',
            "routes.s.models: X-* never comes here: the route r has it before",
        ),
    ],
    ids=range(7),
)
def test_check_warns_of_what_is_likely_not_meant(tmp_path: Path, text: str, said: str) -> None:
    assert any(warning.startswith(said) for warning in warned(tmp_path, text))


def test_check_reports_problems_instead_of_raising(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text("[gateway]\nport = -1\nx = 1\n", encoding="utf-8")
    assert len(check(file, {}, at_ns=NOVEMBER_2026_NS).problems) == 2


# Canaries


SECRET_PLACES = [
    '[providers.openai]\napi_key = "{}"\n',
    '[providers.openai]\nheaders = {{ authorization = "Bearer {}" }}\n',
    '[providers.openai]\napi_keys = ["a", "{}"]\n',
    '[outbound]\nproxy = "http://u:{}@proxy.example"\n[providers.openai]\n',
    '[[providers.openai.deployments]]\nname = "a"\napi_key = "{}"\n',
    '[gateway]\nadmin_key = "{}"\n',
    '[providers.openai]\napi_key = "k"\n[routes.r]\ntargets = ["openai/gpt-4o"]\nset = {{ user = "{}" }}\n',
]


def everything_shown(config: Config) -> str:
    shown = [
        repr(config),
        str(config),
        repr(config.document.providers),
        str(config.gateway),
        f"{config.gateway!r}",
    ]
    shown += [
        json.dumps(explain(config, model).to_dict())
        for model in (*config.routes, "openai/x", "gpt-4o", "none")
    ]
    return "\n".join(shown)


@pytest.mark.parametrize("written", SECRET_PLACES[:-1])
@pytest.mark.parametrize("how", ["${KEY}", "literal"])
def test_a_secret_is_shown_nowhere(tmp_path: Path, written: str, how: str) -> None:
    text = written.format(CANARY if how == "literal" else how)
    config = read(text, {"KEY": CANARY})
    assert CANARY not in everything_shown(config)
    assert CANARY not in repr(warned(tmp_path, text, {"KEY": CANARY}))


def test_what_a_route_sets_is_explained_by_name_only() -> None:
    config = read(SECRET_PLACES[-1].format("${KEY}"), {"KEY": CANARY})
    assert CANARY not in json.dumps(explain(config, "r").to_dict())


MISPLACED = [
    '[gateway]\nport = "{}"\n',
    '[gateway]\nhost = "{} x"\n',
    '[gateway.log]\nlevel = "{}"\n',
    '[ledger]\nurl = "postgres://u:{}@h"\n',
    '[ledger]\nurl = "postgres://u:x/{}@h/d"\n',
    '[ledger]\nurl = "postgres://h/d?pass%77ord={}"\n',
    '[ledger]\nurl = "postgres://h:{}/d"\n',
    '[redis]\nurl = "http://:{}@h"\n',
    '[redis]\nurl = "redis://:x/{}@h"\n',
    '[redis]\nurl = "redis://:1/{}@h"\n',
    '[redis]\nprefix = "{} x"\n',
    '[ledger]\ndurability = "{}"\n',
    '[timeouts]\ntotal_s = "{}"\n',
    '[retry]\njitter = "{}"\n',
    '[providers.openai]\nbase_url = "{}"\n',
    '[providers.openai]\nbase_url = "https://u:{}@h/v1"\n',
    '[providers.openai]\nbase_url = "https://h/v1?key={}"\n',
    '[providers.openai]\ndialect = "{}"\n',
    '[providers.openai]\nauth = "{}"\n',
    '[providers.openai]\napi_key = "{} ü"\n',
    '[providers.openai]\napi_key = ["{}"]\n',
    '[providers.openai]\napi_keys = "{}"\n',
    '[providers.openai]\nheaders = {{ "a b" = "{}" }}\n',
    '[providers.openai]\nheaders = "{}"\n',
    '[providers.openai]\nproxy = "{}"\n',
    '[providers.openai]\nproxy = "http://u:{}/x@h:1"\n',
    '[providers.openai]\nproxy = "ftp://u:{}@h:1"\n',
    '[providers.openai]\nunsupported = ["{} x"]\n',
    '[providers.azure]\napi_version = "{}/"\n',
    '[[providers.openai.deployments]]\nname = "{} x"\n',
    '[[providers.openai.deployments]]\nname = "a"\nweight = "{}"\n',
    '[routes.r]\ntargets = [["{}"]]\n',
    '[routes.r]\ntargets = [{{ target = "{}" }}]\n',
    '[routes.r]\ntargets = [{{ target = "openai/m", weight = "{}" }}]\n',
    '[routes.r]\ntargets = [{{ target = "openai/m", set = "{}" }}]\n',
    '[routes.r]\ntargets = ["openai/m"]\ndrop = ["image.{}"]\n',
    '[routes.r]\ntargets = ["{}"]\n',
    '[routes.r]\ntargets = ["openai/{}\\n"]\n',
    '[routes.r]\ntargets = ["openai/m"]\non_break = "{}"\n',
    '[routes.r]\ntargets = ["openai/m"]\nfallback_on = ["{}"]\n',
    '[routes.r]\ntargets = ["openai/m"]\nmodels = ["{}["]\n',
    '[routes.r]\ntargets = ["openai/m"]\ndrop = ["{}"]\n',
    '[routes.r]\ntargets = ["openai/m"]\nset = "{}"\n',
    '[keys.a]\nsha256 = "{}"\n',
    '[prices."a/b"]\ninput_per_1m = "{}"\noutput_per_1m = 1\n',
    'default_route = "${{KEY}}"\n# {}\n',
    '[keys.a]\nsha256 = "' + "ab" * 32 + '"\nroutes = ["${{KEY}}"]\n# {}\n',
    '[routes.r]\ntargets = ["${{KEY}}/m"]\n# {}\n',
]


@pytest.mark.parametrize("written", MISPLACED, ids=range(len(MISPLACED)))
@pytest.mark.parametrize("how", ["${KEY}", "literal"])
def test_a_secret_in_the_wrong_place_is_an_error_that_doesnt_show_it(written: str, how: str) -> None:
    found = problems(written.format(CANARY if how == "literal" else how), {"KEY": CANARY})
    assert not any(CANARY in problem for problem in found)


def test_a_key_of_the_environment_that_is_none_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="environment OPENAI_API_KEY: holds characters") as caught:
        load(None, {"OPENAI_API_KEY": f"{CANARY}\nx"})
    assert CANARY not in str(caught.value)
