"""``holdfast explain --key`` and ``holdfast keys change``, as an operator uses them without a gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cli_process import called, called_json

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
[gateway]
rate = { requests = 100 }
[providers.openai]
api_key = "sk-canary-shared"
[providers.anthropic]
api_key = "sk-canary-shared"
[routes.chat]
targets = ["openai/gpt-4o"]
[routes.other]
targets = ["anthropic/claude-sonnet-4-5"]
[keys.team]
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
routes = ["chat"]
team = "search"
tags = { env = "prod" }
[keys.team.providers.anthropic]
api_key = "sk-canary-own"
[keys.alone]
sha256 = "1000000000000000000000000000000000000000000000000000000000000000"
own_keys_only = true
rate = { tokens = 5 }
[budgets.all]
limit_usd = 100
[budgets.search]
scope = "team"
limit_usd = 5
window = "day"
hard = false
[budgets.proj]
scope = "tag:project"
limit_usd = 3
[budgets.env]
scope = "tag:env"
limit_tokens = 4000
[budgets.beta]
scope = "team"
match = ["beta"]
limit_tokens = 4000
[budgets.each]
scope = "model"
match = ["gpt-*"]
limit_tokens = 4000
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "holdfast.toml").write_text(FILE)
    return tmp_path


def explained(folder: Path, key: str, *more: str) -> Any:
    return called_json(folder, "explain", "holdfast.toml", "--key", key, *more)


def test_a_key_of_the_file(folder: Path) -> None:
    told = explained(folder, "TEAM")
    assert (told["key"], told["source"], told["state"]) == ("team", "file", "active")
    assert (told["routes"], told["models"], told["names"]) == (["chat"], None, ["chat"])
    assert {each["name"]: each["counts"] for each in told["budgets"]} == {
        "all": "everybody",
        "search": "the team search",
        "proj": "requests tagged project",
        "env": "the tag env=prod",
        "each": "each model matching gpt-*",
    }
    assert {each["name"]: each["source"] for each in told["rates"]}["requests"] == "gateway.rate.requests"
    assert [(each["provider"], each["key"]) for each in told["providers"]] == [
        ("openai", "shared"),
        ("anthropic", "own"),
    ]
    text = called(folder, "explain", "holdfast.toml", "--key", "team")
    assert text.returncode == 0
    assert "may use   route chat" in text.stdout
    assert "$5 a day" in text.stdout
    assert "4,000 tokens a month" in text.stdout
    assert "canary" not in text.stdout + json.dumps(told)


def test_one_that_is_served_with_its_own_keys_alone(folder: Path) -> None:
    told = explained(folder, "alone")
    assert told["names"] == []
    assert {each["key"] for each in told["providers"]} == {"none"}
    assert "own_keys_only" in told["providers"][0]["source"]
    assert {each["name"]: each["source"] for each in told["rates"]}["tokens"] == "keys.alone.rate.tokens"
    assert (
        "nothing: no target of those has a key"
        in called(folder, "explain", "holdfast.toml", "-k", "alone").stdout
    )


def test_with_a_model_it_is_that_models_way(folder: Path) -> None:
    seen = explained(folder, "team", "--model", "chat")
    assert [each["target"] for each in seen["targets"]] == ["openai/gpt-4o"]
    refused = called(folder, "explain", "holdfast.toml", "--key", "team", "--model", "other")
    assert refused.returncode == 1
    assert "may not use the model 'other'" in refused.stderr


def test_a_key_in_the_ledger_and_its_changes(folder: Path) -> None:
    made = called(folder, "keys", "create", "alice", "--budget-usd", "3", "--per", "day", "--model", "gpt-*")
    assert made.returncode == 0
    before = explained(folder, "alice")
    assert (before["source"], before["models"]) == ("ledger", ["gpt-*"])
    assert before["budgets"][0]["limit"] == "3.000000000"
    changed = called_json(
        folder, "keys", "change", "alice", "--clear", "models", "--route", "chat", "--rate-requests", "7",
        "--budget-tokens", "9", "--per", "forever", "--team", "search",
    )  # fmt: skip
    assert (changed["models"], changed["routes"], changed["team"]) == (None, ["chat"], "search")
    after = explained(folder, "alice")
    assert (after["routes"], after["models"]) == (["chat"], None)
    assert [
        (each["limit"], each["window"]) for each in after["budgets"] if each["source"] == "the key itself"
    ] == [(9, "forever")]
    assert {each["name"]: each["value"] for each in after["rates"]}["requests"] == 7
    called(folder, "keys", "change", "alice", "--clear", "rate", "--clear", "budgets")
    bare = explained(folder, "alice")
    assert [each["source"] for each in bare["rates"]] == [
        "gateway.rate." + each["name"] for each in bare["rates"]
    ]
    assert called(folder, "keys", "revoke", "alice", "--yes").returncode == 0
    over = called(folder, "explain", "holdfast.toml", "--key", "alice", "--json")
    assert (over.returncode, json.loads(over.stdout)["state"]) == (1, "revoked")


def test_changes_that_are_none(folder: Path) -> None:
    called(folder, "keys", "create", "alice")
    for arguments, says in (
        (("alice",), "say what is to change"),
        (("alice", "--clear", "hope"), "'hope' is none of team, tags"),
        (("alice", "--team", "x", "--clear", "team"), "is given as well"),
        (("alice", "--expires", "2030-01-01T00:00", "--clear", "expires"), "is given as well"),
        (("alice", "--per", "day"), "goes with --budget-usd"),
    ):
        done = called(folder, "keys", "change", *arguments)
        assert done.returncode == 2
        assert says in done.stderr
    for arguments, says in (
        (("nobody", "--team", "x"), "there is no key 'nobody'"),
        (("team", "--team", "x"), "stands in holdfast.toml: change it there"),
        (("alice", "--route", "nix"), "there is no route 'nix'"),
    ):
        done = called(folder, "keys", "change", *arguments)
        assert done.returncode == 1
        assert says in done.stderr


def test_who_is_asked_about_must_be_there(folder: Path) -> None:
    called(folder, "keys", "create", "ops", "--admin")
    for arguments, code, says in (
        (("--key", "tem"), 1, "there is no key 'tem'; did you mean team?"),
        (("--key", "ops"), 1, "opens /admin, and asks no models"),
        ((), 2, "say which model, or which --key"),
    ):
        done = called(folder, "explain", "holdfast.toml", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
