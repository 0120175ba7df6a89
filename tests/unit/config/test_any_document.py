"""Whatever the file says: a configuration, or a ConfigError with every secret kept."""

import copy
import datetime as dt
import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Config, explain, parse
from holdfast.config.schema import Document
from holdfast.engine.route import Resolved, Routes
from holdfast.errors import ConfigError, UnknownModel

CANARY = "canary_4f1d9a"  # no host name, or a gateway may well be bound to it
ENV = {"KEY": CANARY, "OPENAI_API_KEY": CANARY, "NUMBER": "5", "EMPTY": ""}


def _names(model: Any) -> set[str]:
    """Every setting's name, of all tables."""
    if hasattr(model, "model_fields"):
        annotations = [field.annotation for field in model.model_fields.values()]
        return set(model.model_fields).union(*map(_names, annotations))
    return set().union(*map(_names, getattr(model, "__args__", ())))


NAMES = st.text(max_size=5) | st.sampled_from(
    [*sorted(_names(Document)), "wall", "openai", "Wall", "chat", "a b", "", "x/y"]
)
TEXTS = st.text(max_size=8) | st.sampled_from(
    [
        *("wall/m", "openai/gpt-4o", "wall/{model}", "openai_chat", "http://127.0.0.1/v1", "full", "error"),
        *("${KEY}", "${NUMBER}", "${EMPTY:-x}", "${GONE}", "${", "x${KEY}y", "wall/${KEY}", "${KEY}/m"),
        *(
            "${KEY:-${GONE}}",
            "gpt-*",
            "none",
            "0.0.0.0",
            "ab" * 32,
            "chat",
            "azure/m",
            "azure/{model}",
            "anthropic",
        ),
        *(
            "http://h:1",
            "http://u:${KEY}@h:1",
            "http://u:p/${KEY}@h",
            "/${KEY}.pem",
            "2024-10-21",
            "image.detail",
        ),
    ]
)
NUMBERS = st.integers() | st.decimals() | st.floats() | st.sampled_from([10**4200, Decimal("1e99999")])
SCALARS = TEXTS | NUMBERS | st.booleans() | st.just(dt.date(2026, 1, 1))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
GOOD: dict[str, Any] = {
    "gateway": {"host": "127.0.0.1", "port": 8080, "admin_key": "${KEY}"},
    "outbound": {"proxy": "http://u:${KEY}@127.0.0.1:3128"},
    "providers": {
        "openai": {"api_keys": ["${KEY}", CANARY], "headers": {"x-org": "${KEY}"}, "unsupported": ["seed"]},
        "azure": {
            "api_version": "2024-10-21",
            "deployments": [
                {
                    "name": "eu",
                    "base_url": "https://eu.example",
                    "api_key": "${KEY}",
                    "weight": Decimal("2.5"),
                },
                {"name": "us", "base_url": "https://us.example", "api_key": CANARY, "proxy": "none"},
            ],
        },
        "wall": {"dialect": "openai_chat", "base_url": "http://127.0.0.1:1/v1", "api_key": CANARY},
    },
    "routes": {
        "chat": {
            "targets": [
                "openai/gpt-4o",
                ["wall/m", {"target": "azure/m", "weight": 3, "set": {"top_k": 1}}],
                {"target": "wall/n"},
            ],
            "drop": ["image.detail", "seed"],
            "set": {"user": "${KEY}"},
            "retry": {"max_s": Decimal(8)},
            "timeouts": {"total_s": 600},
        },
        "any": {"targets": ["wall/{model}"], "models": ["x-*"]},
    },
    "keys": {"a": {"sha256": "ab" * 32, "routes": ["chat"]}},
    "prices": {
        "wall/m": {
            "input_per_1m": 1,
            "output_per_1m": Decimal("2.5"),
            "above": [{"input_tokens": 9, "input_per_1m": 2, "output_per_1m": "${NUMBER}"}],
            "flex": {"input_per_1m": 1, "output_per_1m": 1, "per_request_usd": 0},
        }
    },
    "pricing": {"unknown": "serve", "ceiling_input_per_1m": 1, "ceiling_output_per_1m": Decimal("0.1")},
    "default_route": "chat",
}


@st.composite
def near_good(draw: st.DrawFn) -> dict[str, Any]:
    """A sound document with a few places overwritten, emptied or added to."""
    document = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        here: Any = document
        while True:
            places = list(here) if isinstance(here, dict) else list(range(len(here)))
            place = draw(st.sampled_from(places)) if places else None
            if (
                place is None
                or not isinstance(here[place], (dict, list))
                or not here[place]
                or draw(st.booleans())
            ):
                break
            here = here[place]
        if isinstance(here, dict) and (place is None or draw(st.booleans())):
            place = draw(NAMES)
        if place is not None:
            here[place] = draw(VALUES)
    return document


def outcome(document: dict[str, Any]) -> Config | ConfigError:
    try:
        return parse(document, ENV)
    except ConfigError as error:
        return error


def answer(routes: Routes, model: str) -> Resolved | UnknownModel:
    try:
        return routes.resolve(model)
    except UnknownModel as error:
        return error


def assert_sound(document: dict[str, Any]) -> None:
    before = repr(document)
    result = outcome(document)
    assert repr(document) == before
    if isinstance(result, ConfigError):
        assert result.problems
        assert CANARY not in str(result)
        assert CANARY not in repr(result.problems)
        return
    assert_keeps_secrets(result)
    assert_resolves(result)


def assert_keeps_secrets(config: Config) -> None:
    """Keys and header values; what ``set`` holds goes out with every request and is the operator's to print."""
    assert CANARY not in repr(config.providers)
    assert CANARY not in repr(config.gateway)
    assert CANARY not in repr(config.document.providers)


def assert_resolves(config: Config) -> None:
    routes = Routes(config)
    for model in (*config.routes, "x-1", "openai/gpt-4o", "gpt-4o", "wall/m", "unknown", ""):
        said = answer(routes, model)
        assert isinstance(said, Resolved) or str(said)
        if isinstance(said, Resolved):
            assert said.targets
            for target in said.targets:
                provider = config.providers[target.provider.casefold()]
                assert provider.usable
                assert target.deployment in [each.name for each in provider.deployments]
            assert sorted(map(id, said.order(lambda: 0.5))) == sorted(map(id, said.targets))
        json.dumps(explain(config, model).to_dict())


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_any_document_is_a_configuration_or_a_config_error(document: dict[str, Any]) -> None:
    assert_sound(document)


@given(near_good())
def test_so_is_any_that_is_nearly_right(document: dict[str, Any]) -> None:
    assert_sound(document)


def test_the_sound_one_is_sound() -> None:
    parse(GOOD, ENV)
    assert_sound(GOOD)


@given(st.lists(NAMES, min_size=1, max_size=4), VALUES)
def test_so_is_a_value_anywhere(path: list[str], value: Any) -> None:
    document: Any = value
    for name in reversed(path):
        document = {name: document}
    assert_sound(document)
