"""What differs between two configurations, and what of it people may see."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import parse
from holdfast.config.changes import HIDDEN, changes_between, fingerprint_of
from holdfast.config.fixed import fixed_problems

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.config import Config

BASE = """
[providers.openai]
api_key = "sk-canary-one"
[routes.chat]
targets = ["openai/gpt-4o", { target = "openai/b", weight = 2 }]
"""


def config_of(text: str = BASE, env: dict[str, str] | None = None) -> Config:
    return parse(tomllib.loads(text, parse_float=Decimal), env or {})


def told(before: Config, after: Config) -> dict[str, tuple[str, Any, Any]]:
    return {
        change.path: (change.kind, change.before, change.after) for change in changes_between(before, after)
    }


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (BASE + "[retry]\nmax_s = 5\n", "retry.max_s", ("added", None, 5.0)),
        (BASE.replace("weight = 2", "weight = 3"), "routes.chat.targets[1].weight", ("changed", 2, 3)),
        (BASE + "[providers.deepseek]\n", "providers.deepseek", ("added", None, {})),
        (
            BASE + '[models."gpt-*"]\nrate = { requests = 4 }\n',
            'models."gpt-*".rate.requests',
            ("added", None, 4),
        ),
        (BASE + "[budgets.b]\nlimit_usd = 0.5\n", "budgets.b.limit_usd", ("added", None, "0.5")),
        (BASE.replace("one", "two"), "providers.openai.api_key", ("changed", HIDDEN, HIDDEN)),
        (BASE + "[gateway]\nadmin_key = 'adm-canary-key'\n", "gateway.admin_key", ("added", None, HIDDEN)),
        (BASE + "[outbound]\nproxy = 'http://u:canary@p:1'\n", "outbound.proxy", ("added", None, HIDDEN)),
        (BASE + "[routes.chat.set]\nuser = 'canary'\n", "routes.chat.set.user", ("added", None, HIDDEN)),
        (BASE + "[timeouts]\nidle_s = 7\n", "timeouts.idle_s", ("added", None, 7.0)),
    ],
)
def test_each_setting_with_its_path(text, path, said):
    before, after = config_of(), config_of(text)
    assert told(before, after)[path] == said
    kind, was, now = said
    turned = {"added": "removed", "removed": "added", "changed": "changed"}[kind]
    assert told(after, before)[path] == (turned, now, was)
    assert "canary" not in repr(changes_between(before, after))
    assert fingerprint_of(before) != fingerprint_of(after)


def test_what_the_environment_filled_in_is_kept_back():
    text = BASE + '[routes.chat.timeouts]\ntotal_s = "${T}"\n'
    assert told(config_of(text, {"T": "5"}), config_of(text, {"T": "6"})) == {
        "routes.chat.timeouts.total_s": ("changed", HIDDEN, HIDDEN)
    }


def test_a_comment_and_another_order_are_no_change():
    routes = '[routes.chat]\ntargets = [ "openai/gpt-4o", { weight = 2, target = "openai/b" }]\n'
    other = f'# more\n{routes}[providers.openai]\napi_key = "sk-canary-one"\n'
    assert changes_between(config_of(), config_of(other)) == ()
    assert fingerprint_of(config_of()) == fingerprint_of(config_of(other))


def test_keys_that_come_from_elsewhere(tmp_path: Path) -> None:
    """A key in a file, in the environment, the master keys: the file of the configuration says nothing of them."""
    file = tmp_path / "key"
    file.write_text("sk-canary-file")
    text = (
        "[providers.openai]\n[providers.openrouter]\n[keys.a]\nsha256 = '"
        + "0" * 64
        + f"'\n[keys.a.providers.openai]\napi_key_file = '{file}'\n"
    )
    env = {"OPENAI_API_KEY": "sk-canary-env", "HOLDFAST_MASTER_KEY": "A" * 43 + "="}
    before = config_of(text, env)
    file.write_text("sk-canary-newer")
    assert told(before, config_of(text, env)) == {"keys.a.providers.openai": ("changed", HIDDEN, HIDDEN)}
    file.write_text("sk-canary-file")
    assert told(before, config_of(text, {**env, "OPENAI_API_KEY": "sk-canary-other"})) == {
        "providers.openai": ("changed", HIDDEN, HIDDEN)
    }
    assert told(before, config_of(text, {**env, "OPENROUTER_API_KEY": "sk-canary-new"})) == {
        "providers.openrouter": ("added", None, HIDDEN)
    }
    assert told(before, config_of(text, {**env, "HOLDFAST_MASTER_KEY": "B" * 42 + "A="})) == {
        "gateway.master_key": ("changed", HIDDEN, HIDDEN)
    }


def test_a_password_alone_is_another_database():
    text = '[ledger]\nurl = "postgresql://u:canary-1@h/d"\n' + BASE
    before, after = config_of(text), config_of(text.replace("canary-1", "canary-2"))
    (problem,) = fixed_problems(before, after)
    assert problem.startswith("ledger.url: can't change while the gateway runs")
    assert "canary" not in problem
    assert fingerprint_of(before) != fingerprint_of(after)
    assert fixed_problems(before, config_of(text)) == ()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=4))
def test_nothing_differs_if_and_only_if_the_fingerprints_are_the_same(pairs):
    text = BASE + "".join(
        f"[budgets.{name}]\nlimit_tokens = {limit}\n" for name, limit in dict(pairs).items()
    )
    one, other = config_of(), config_of(text)
    assert (changes_between(one, other) == ()) == (fingerprint_of(one) == fingerprint_of(other))
    assert len(changes_between(one, other)) == len(dict(pairs))
