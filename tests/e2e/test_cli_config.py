"""``holdfast check`` and ``holdfast explain`` as a program would read them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cli_process import called, holdfast, holdfast_json
from tests.e2e.test_cli_serve import EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path

ISSUE_FILE = """
[gateway]
port = "many"
[ledger]
url = "sqlite:///holdfast.db"
[providers.openai]
api_key = "${OPENAI_API_KEY:?set it to your key}"
[routes.chat]
targets = ["openai/gpt-4o", "opnai/gpt-4o"]
[routes.chat.timeouts]
conect_s = 5
"""

SPREAD = """
[outbound]
proxy = "http://user:canary@proxy.example:3128"
[providers.openai]
api_keys = ["canary-1", "canary-2"]
[providers.wall]
dialect = "anthropic"
base_url = "http://127.0.0.1:1/v1"
auth = "none"
proxy = "none"
[routes.chat]
targets = [["openai/m", { target = "wall/m", weight = 2 }], "wall/n"]
"""


def test_the_example_is_good(tmp_path: Path) -> None:
    report = holdfast_json(tmp_path, "check", EXAMPLE)
    assert report["ok"] is True
    assert report["problems"] == []
    assert holdfast(tmp_path, "check", EXAMPLE).stdout.splitlines()[-1].startswith(f"{EXAMPLE}: good")


def test_all_problems_come_at_once_each_with_its_path_and_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(ISSUE_FILE)
    done = holdfast(tmp_path, "check", "bad.toml", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["file"], report["ok"]) == ("bad.toml", False)
    assert {problem.partition(": ")[0] for problem in report["problems"]} == {
        "gateway.port",
        "providers.openai.api_key",
        "routes.chat.targets[1]",
        "routes.chat.timeouts.conect_s",
    }
    assert any("did you mean connect_s?" in problem for problem in report["problems"])
    text = holdfast(tmp_path, "check", "bad.toml")
    assert (text.returncode, text.stderr) == (1, "")
    assert text.stdout.splitlines() == [*(f"error    {p}" for p in report["problems"]), "bad.toml: 4 errors"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"[gateway"])
def test_a_file_that_cant_be_read_is_a_finding_not_a_traceback(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "no.toml").write_bytes(content)
    done = called(tmp_path, "check", "no.toml")
    assert done.returncode == 1
    assert done.stdout.startswith("error    no.toml: ")
    assert done.stderr == ""


def test_explain_gives_the_order_the_limits_and_their_origin(tmp_path: Path) -> None:
    said = holdfast_json(tmp_path, "explain", EXAMPLE, "--model", "chat", env={"OPENAI_API_KEY": "sk-canary"})
    assert [(t["target"], t["skipped"]) for t in said["targets"]] == [
        ("openai/gpt-5.4-mini", None),
        ("wall/fb-ok", None),
    ]
    limits = {v["name"]: (v["value"], v["source"]) for v in said["targets"][0]["limits"]}
    assert limits["first_token_s"] == (30, "routes.chat.timeouts.first_token_s")
    assert limits["multiplier"] == (2, "built-in")
    assert said["targets"][0]["key"] == "providers.openai.api_key (environment OPENAI_API_KEY)"
    assert {v["name"]: v["value"] for v in said["policy"]}["total_s"] == 600


def test_explain_names_what_is_skipped_and_why(tmp_path: Path) -> None:
    said = holdfast_json(tmp_path, "explain", EXAMPLE, "--model", "chat")
    assert [(t["target"], t["skipped"]) for t in said["targets"]] == [
        ("wall/fb-ok", None),
        ("openai/gpt-5.4-mini", "openai has no key"),
    ]
    text = holdfast(tmp_path, "explain", EXAMPLE, "--model", "chat")
    assert text.returncode == 0
    rows = [line.split() for line in text.stdout.splitlines()]
    assert ["openai/gpt-5.4-mini", "openai", "has", "no", "key"] in rows
    assert ["wall", "idle_s", "30", "routes.chat.timeouts.idle_s"] in rows


def test_explain_shows_equals_with_their_shares_and_the_way_to_each(tmp_path: Path) -> None:
    (tmp_path / "spread.toml").write_text(SPREAD)
    done = holdfast(tmp_path, "explain", "spread.toml", "--model", "chat")
    assert (done.returncode, done.stderr) == (0, "")
    assert "canary" not in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    way, url = "http://proxy.example:3128", "https://api.openai.com/v1"
    key = "providers.openai.api_keys"
    assert ["1", "openai[1]/m", "25%", "openai_chat", url, way, f"{key}[0]"] in rows
    assert ["1", "openai[2]/m", "25%", "openai_chat", url, way, f"{key}[1]"] in rows
    assert ["2", "wall/n", "anthropic", "http://127.0.0.1:1/v1", "none", "is"] in [row[:6] for row in rows]
    assert holdfast(tmp_path, "check", "spread.toml").returncode == 0


def test_explain_of_a_model_that_nothing_serves_is_an_error(tmp_path: Path) -> None:
    done = holdfast(tmp_path, "explain", EXAMPLE, "--model", "chta")
    assert (done.returncode, done.stdout) == (1, "")
    assert "chat" in done.stderr
    as_json = holdfast(tmp_path, "explain", EXAMPLE, "--model", "chta", "--json")
    assert as_json.returncode == 1
    said = json.loads(as_json.stdout)
    assert said["targets"] == []
    assert said["error"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["explain", "x.toml"],
        ["serve", "--port", "many"],
        ["ledger", "list", "--since", "yesterday-ish"],
        ["ledger", "list", "--state", "sleeping"],
        ["ledger", "list", "--limit", "0"],
        ["chaos", "serve", "--script", "no equals sign"],
        ["frobnicate"],
    ],
)
def test_wrong_usage_is_2(tmp_path: Path, arguments: list[str]) -> None:
    done = called(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["serve"],
        ["check"],
        ["explain"],
        ["ledger"],
        ["ledger", "list"],
        ["ledger", "show"],
        ["ledger", "tail"],
        ["ledger", "export"],
        ["ledger", "repair"],
        ["chaos", "serve"],
    ],
)
def test_help_has_examples_and_exit_codes_and_no_colours_in_a_pipe(
    tmp_path: Path, command: list[str]
) -> None:
    done = called(tmp_path, *command, "--help")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    if command != ["ledger"]:
        assert "Exit codes:" in done.stdout
        assert f"holdfast {' '.join(command)}".strip() in done.stdout
