"""Which targets a model means: the order of the rules, in any case, the same after every start."""

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine.policy import Gates, Policy, Retry, Route, Target, Timeouts
from holdfast.engine.route import DIRECT, MODEL_CHARS, Resolved, Routes, fold, matcher
from holdfast.errors import UnknownModel


class Upstream(msgspec.Struct, frozen=True):
    name: str
    usable: bool = True
    shares: tuple[tuple[str, float], ...] = (("", 1.0),)
    timeouts: Timeouts = Timeouts(idle_s=7)
    retry: Retry = Retry()
    gates: Gates = Gates()


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    providers: Mapping[str, Upstream]
    routes: Mapping[str, Route]
    default_route: str | None = None
    policy: Policy = Policy(total_s=77)


def target(text: str) -> Target:
    provider, _, model = text.partition("/")
    return Target(provider=provider, model=model)


def route(name: str, *targets: str, models: tuple[str, ...] = ()) -> Route:
    return Route(name=name, targets=tuple(map(target, targets)), models=models)


def routing(*routes: Route, keyless: str = "", default: str | None = None) -> Routing:
    names = ("openai", "deepseek", "Wall")
    return Routing(
        providers={fold(name): Upstream(name, usable=fold(name) not in keyless.split()) for name in names},
        routes={fold(each.name): each for each in routes},
        default_route=default,
    )


CHAT = route("Chat", "openai/gpt-4o", "Wall/fb-ok")
DRILL = route("drill", "wall/{model}", "wall/fb-ok", models=("fb-*", "Exact-Name", "gpt-4o"))
LATE = route("late", "deepseek/late", models=("fb-late", "late-?", "*-end"))


def sent(resolved: Resolved) -> list[str]:
    return [str(each) for each in resolved.targets]


@pytest.mark.parametrize(
    ("model", "match", "name", "targets"),
    [
        ("chat", "route", "Chat", ["openai/gpt-4o", "Wall/fb-ok"]),
        ("CHAT", "route", "Chat", ["openai/gpt-4o", "Wall/fb-ok"]),
        ("fb-1", "pattern", "drill", ["wall/fb-1", "wall/fb-ok"]),
        ("FB-Up", "pattern", "drill", ["wall/FB-Up", "wall/fb-ok"]),
        ("exact-name", "pattern", "drill", ["wall/Exact-Name", "wall/fb-ok"]),
        (
            "fb-late",
            "pattern",
            "drill",
            ["wall/fb-late", "wall/fb-ok"],
        ),  # the earlier pattern in the file wins
        ("late-7", "pattern", "late", ["deepseek/late"]),
        ("a-b-end", "pattern", "late", ["deepseek/late"]),
        ("gpt-4o", "pattern", "drill", ["wall/gpt-4o", "wall/fb-ok"]),  # a route's pattern before the catalog
        ("openai/gpt-4o", "provider", DIRECT, ["openai/gpt-4o"]),
        ("OpenAI/GPT-4o", "provider", DIRECT, ["openai/gpt-4o"]),
        ("WALL/Some/Path", "provider", DIRECT, ["Wall/Some/Path"]),  # at the first slash; the rest as it came
        ("GPT-5", "catalog", DIRECT, ["openai/gpt-5"]),
        ("ft:gpt-4o:Org::aB3", "catalog", DIRECT, ["openai/ft:gpt-4o:Org::aB3"]),
        ("deepseek-chat", "catalog", DIRECT, ["deepseek/deepseek-chat"]),
        ("unheard-of", "default", "Chat", ["openai/gpt-4o", "Wall/fb-ok"]),
        ("nobody/unheard-of", "default", "Chat", ["openai/gpt-4o", "Wall/fb-ok"]),
        ("late-77", "default", "Chat", ["openai/gpt-4o", "Wall/fb-ok"]),
    ],
)
def test_the_rules_in_their_order(model: str, match: str, name: str, targets: list[str]) -> None:
    resolved = Routes(routing(CHAT, DRILL, LATE, default="CHAT")).resolve(model)
    assert (resolved.match, resolved.route, sent(resolved)) == (match, name, targets)
    assert resolved.asked == model


def test_a_routes_name_goes_before_patterns_and_providers() -> None:
    named = route("openai/gpt-4o", "deepseek/m")
    resolved = Routes(routing(route("all", "Wall/x", models=("*",)), named)).resolve("OPENAI/gpt-4o")
    assert (resolved.match, sent(resolved)) == ("route", ["deepseek/m"])


def test_a_direct_request_has_the_providers_limits_and_the_common_policy() -> None:
    resolved = Routes(routing(CHAT)).resolve("Wall/m")
    assert resolved.targets[0].timeouts.idle_s == 7
    assert resolved.policy.total_s == 77


def test_without_a_default_an_unknown_model_is_404_with_the_nearest_names() -> None:
    with pytest.raises(UnknownModel, match="the nearest are drill") as caught:
        Routes(routing(CHAT, DRILL)).resolve("dril")
    assert caught.value.status == 404
    assert caught.value.param == "model"


def test_targets_without_a_key_are_skipped_and_said() -> None:
    resolved = Routes(routing(CHAT, keyless="openai")).resolve("chat")
    assert sent(resolved) == ["Wall/fb-ok"]
    assert [(str(skip.target), skip.reason) for skip in resolved.skipped] == [
        ("openai/gpt-4o", "openai has no key")
    ]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("chat", 'no target of the route "Chat" can be used: openai has no key; Wall has no key'),
        ("openai/gpt-4o", "names the provider openai, which has no key here"),
        ("gpt-5", "belongs to openai, which has no key here"),
        ("claude-haiku-4-5", "belongs to anthropic, which isn't configured here"),
        ("", '"model" is empty'),
        ("/", 'there is no route, provider or known model "/"'),
        ("openai/", 'there is no route, provider or known model "openai/"'),
        ("a\nb", "characters that can't be printed"),
        ("\ud800", "characters that can't be printed"),
        ("x" * (MODEL_CHARS + 1), f"at most {MODEL_CHARS} characters, this one {MODEL_CHARS + 1}"),
    ],
)
def test_what_cant_be_served_is_a_clear_error(model: str, said: str) -> None:
    routes = Routes(routing(CHAT, keyless="openai wall deepseek"))
    for _ in range(2):  # the remembered answer is the same
        with pytest.raises(UnknownModel) as caught:
            routes.resolve(model)
        assert said in caught.value.message


def test_a_routes_name_is_no_model_to_fill_in() -> None:
    resolved = Routes(routing(DRILL)).resolve("drill")
    assert sent(resolved) == ["wall/fb-ok"]
    assert [str(skip.target) for skip in resolved.skipped] == ["wall/{model}"]
    with pytest.raises(UnknownModel, match="stands for nothing"):
        Routes(routing(route("only", "wall/{model}", models=("x-*",)))).resolve("only")


def test_the_default_route_fills_in_what_was_asked() -> None:
    assert sent(Routes(routing(route("d", "wall/{model}"), default="d")).resolve("Any-Thing")) == [
        "wall/Any-Thing"
    ]


def test_models_lists_what_can_be_asked_for_once_and_in_order() -> None:
    names = [(entry.id, entry.owned_by) for entry in Routes(routing(CHAT, DRILL, LATE)).models()]
    assert names == [
        ("Chat", "holdfast"),
        ("drill", "holdfast"),
        ("late", "holdfast"),
        ("Exact-Name", "holdfast"),
        ("gpt-4o", "holdfast"),
        ("fb-late", "holdfast"),
        ("openai/gpt-4o", "openai"),
        ("Wall/fb-ok", "Wall"),
        ("deepseek/late", "deepseek"),
    ]
    assert Routes(routing(CHAT, keyless="openai wall")).models() == ()


def test_what_is_remembered_is_bounded_and_asked_once() -> None:
    asked: list[str] = []

    def owner(model: str) -> None:
        asked.append(model)

    routes = Routes(routing(route("d", "Wall/m"), default="d"), owner=owner)
    for _ in range(3):
        routes.resolve("again")
    assert asked == ["again"]
    for number in range(5_000):
        routes.resolve(f"made-up-{number}")
    routes.resolve("again")
    assert asked.count("again") == 2  # it had to go: 5,000 names aren't kept


def test_stars_of_a_pattern_dont_backtrack() -> None:
    """A backtracking engine needs about 10^18 steps for this; the test's own time limit would end it."""
    matches = matcher(["*a*a*a*a*a*a*a*a*a*a*a*b"])
    assert matches is not None
    assert not matches("a" * MODEL_CHARS)


@pytest.mark.parametrize(
    ("pattern", "name", "holds"),
    [
        ("a.c", "abc", False),
        ("a?c", "abc", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("a*", "a\n", True),
        ("a", "ab", False),
    ],
)
def test_only_star_and_question_mark_are_wildcards(pattern: str, name: str, holds: bool) -> None:
    matches = matcher([pattern])
    assert matches is not None
    assert (matches(name) is not None) is holds
    assert matcher([]) is None


NAMES = st.sampled_from(
    ["chat", "drill", "fb-1", "openai/gpt-4o", "openai/", "/x", "gpt-5", "Wall/{model}", "claude-x", "late"]
)
MODELS = (
    NAMES | NAMES.map(str.upper) | st.text(max_size=300) | st.text(alphabet="abgptwl-/.:{}*", max_size=12)
)
CONFIGS = st.builds(
    lambda routes, keyless, default: routing(*routes, keyless=" ".join(keyless), default=default),
    st.lists(
        st.sampled_from([CHAT, DRILL, LATE, route("all", "deepseek/{model}", models=("*",))]),
        max_size=4,
        unique_by=id,
    ),
    st.lists(st.sampled_from(["openai", "deepseek", "wall"]), max_size=3),
    st.sampled_from([None, "chat", "DRILL", "gone"]),
)


def outcome(config: Routing, model: str) -> Resolved | str:
    try:
        return Routes(config).resolve(model)
    except UnknownModel as error:
        return error.message


@given(CONFIGS, MODELS)
def test_every_name_is_a_valid_target_or_a_clear_error_the_same_after_every_start(
    config: Routing, model: str
) -> None:
    first = outcome(config, model)
    assert first == outcome(config, model)
    if isinstance(first, str):
        assert first
        assert first.isprintable()
        return
    assert first.targets
    for each in first.targets:
        assert config.providers[fold(each.provider)].usable
        assert each.model
        assert "{model}" not in each.model or "{model}" in model


@given(CONFIGS, MODELS)
def test_names_match_without_regard_to_case(config: Routing, model: str) -> None:
    lower, upper = outcome(config, model.lower()), outcome(config, model.upper())
    if fold(model.lower()) != fold(model.upper()) or isinstance(lower, str) or isinstance(upper, str):
        assert isinstance(lower, str) == isinstance(upper, str) or fold(model.lower()) != fold(model.upper())
        return
    assert (lower.match, lower.route) == (upper.match, upper.route)
    assert [fold(str(each)) for each in lower.targets] == [fold(str(each)) for each in upper.targets]
