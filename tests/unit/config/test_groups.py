"""What may stand in a route's ``targets``: texts, tables with a weight and parameters, lists of equals."""

from __future__ import annotations

from tests.unit.config.reading import WALL, problems, read

from holdfast.config import check
from holdfast.dialects.fields import HARMLESS
from holdfast.engine.route import Routes

KEYS = '[providers.openai]\napi_keys = ["a", "b"]\n'


def targets(text: str, model: str = "r") -> list[tuple[str, int, float]]:
    return [(str(each), each.tier, each.weight) for each in Routes(read(text)).resolve(model).targets]


def test_each_item_is_a_place_of_the_chain() -> None:
    text = (
        WALL + '[routes.r]\ntargets = ["wall/a", ["wall/b", "wall/c"], { target = "wall/d" }, ["wall/e"]]\n'
    )
    assert targets(text) == [
        ("wall/a", 0, 1),
        ("wall/b", 1, 1),
        ("wall/c", 1, 1),
        ("wall/d", 2, 1),
        ("wall/e", 3, 1),
    ]


def test_weights_multiply_with_those_of_the_deployments() -> None:
    text = """
[providers.wall]
dialect = "openai_chat"
api_key = "k"
[[providers.wall.deployments]]
name = "big"
base_url = "http://127.0.0.1:1/v1"
weight = 3
[[providers.wall.deployments]]
name = "small"
base_url = "http://127.0.0.1:2/v1"
[providers.openai]
api_key = "k"
[routes.r]
targets = [[{ target = "wall/m", weight = 2 }, { target = "openai/m", weight = "${W:-0.5}" }], "wall/n"]
"""
    assert targets(text) == [
        ("wall[big]/m", 0, 6),
        ("wall[small]/m", 0, 2),
        ("openai/m", 0, 0.5),
        ("wall[big]/n", 1, 3),
        ("wall[small]/n", 1, 1),
    ]


def test_a_target_has_parameters_of_its_own() -> None:
    text = (
        WALL + '[routes.r]\ntargets = [{ target = "wall/a", set = { seed = 1, stop = ["x"] } }, "wall/b"]\n'
    )
    first, second = read(text).routes["r"].targets
    assert (first.set, second.set) == ({"seed": 1, "stop": ["x"]}, {})


def test_the_model_asked_for_is_filled_in_for_equals_too() -> None:
    text = WALL + KEYS + '[routes.r]\nmodels = ["x-*"]\ntargets = [["wall/{model}", "openai/{model}"]]\n'
    assert [each for each, _, _ in targets(text, "x-1")] == ["wall/x-1", "openai[1]/x-1", "openai[2]/x-1"]


def test_what_may_be_dropped_is_harmless_by_default_and_nothing_if_the_route_says_so() -> None:
    config = read(WALL + '[routes.r]\ntargets = ["wall/a"]\n[routes.s]\ntargets = ["wall/a"]\ndrop = []\n')
    assert config.policy.drop == config.routes["r"].policy.drop == HARMLESS
    assert config.routes["s"].policy.drop == frozenset()
    named = read(WALL + '[routes.r]\ntargets = ["wall/a"]\ndrop = ["image.detail", "seed", "x_own"]\n')
    assert named.routes["r"].policy.drop == {"image.detail", "seed", "x_own"}


def test_a_route_may_set_what_may_be_dropped_by_default() -> None:
    read(WALL + '[routes.r]\ntargets = ["wall/a"]\nset = { cache_control = { type = "ephemeral" } }\n')


LIMITS = """
[providers.slow]
dialect = "openai_chat"
base_url = "http://127.0.0.1:1/v1"
api_key = "x"
[providers.slow.retry]
base_s = 20
max_s = 30
[routes.r]
targets = [["wall/a", { target = "slow/b" }]]
[routes.r.retry]
max_s = 10
"""


def test_limits_that_cant_hold_together_are_found_in_groups_and_tables() -> None:
    (found,) = problems(WALL + LIMITS)
    assert found.startswith("providers.slow.retry.base_s: must be at most max_s, which is 10")


def warned(tmp_path, text: str) -> list[str]:
    file = tmp_path / "holdfast.toml"
    file.write_text(text + '[prices."m"]\ninput_per_1m = 1\noutput_per_1m = 1\n', encoding="utf-8")
    report = check(file, {}, at_ns=1_795_000_000 * 10**9)
    assert report.problems == ()
    return list(report.warnings)


def test_check_warns_of_weights_that_weigh_nothing_and_of_keys_that_are_none_or_the_same(tmp_path) -> None:
    text = """
[providers.openai]
api_keys = ["a", "none", "a"]
[routes.r]
targets = [{ target = "wall/m", weight = 2 }, { target = "openai/m", weight = 2 }]
"""
    assert warned(tmp_path, WALL + text) == [
        'providers.openai: 2 is not used: providers.openai.api_keys[1] is empty or "none"',
        "providers.openai: 3 has the address and key of 1: nothing is gained",
        "routes.r.targets[0].weight: means nothing: it has no equals; put them into one list: [[{ … }, { … }]]",
        "routes.r.targets[1].weight: means nothing: it has no equals; put them into one list: [[{ … }, { … }]]",
    ]


def test_several_deployments_are_no_equals_for_a_weight(tmp_path) -> None:
    """They share it, so that it changes nothing between them."""
    text = """
[routes.r]
targets = [
  { target = "openai/m", weight = 2 },
  [{ target = "wall/m", weight = 2 }],
  [{ target = "wall/n", weight = 2 }, "openai/n"],
]
[prices."n"]
input_per_1m = 1
output_per_1m = 1
"""
    assert [warning.split(":")[0] for warning in warned(tmp_path, WALL + KEYS + text)] == [
        "routes.r.targets[0].weight",
        "routes.r.targets[1][0].weight",
    ]


def test_a_repeated_target_is_told_once_however_many_keys_it_has(tmp_path) -> None:
    assert warned(tmp_path, KEYS + '[routes.r]\ntargets = ["openai/m", "openai/m"]\n') == [
        "routes.r.targets: openai/m is there 2 times; use retry.max_retries to try again"
    ]


def test_the_same_target_with_other_parameters_is_another_one(tmp_path) -> None:
    text = '[routes.r]\ntargets = [["wall/m", { target = "wall/m", set = { temperature = 0 } }]]\n'
    assert warned(tmp_path, WALL + text) == []
    twice = '[routes.r]\ntargets = [["wall/m", { target = "wall/m" }]]\n'
    assert warned(tmp_path, WALL + twice) == [
        "routes.r.targets: wall/m is there 2 times; use retry.max_retries to try again"
    ]


def test_check_says_which_deployments_key_travels_readable(tmp_path) -> None:
    text = """
[providers.openai]
[[providers.openai.deployments]]
name = "near"
base_url = "http://127.0.0.1:1/v1"
api_key = "a"
[[providers.openai.deployments]]
name = "far"
base_url = "http://models.example/v1"
api_key = "b"
"""
    assert warned(tmp_path, text) == [
        "providers.openai.base_url: of far is http://, so the key travels readable; use https://"
    ]
