"""``holdfast budgets`` and ``holdfast sessions``: a running gateway's money as tables and as JSON, and what is said where
none can be asked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cli_process import called, called_json, holdfast
from tests.e2e.test_cli_targets import other_server
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import ask, chat

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY, CALLER = "adm-canary-77c1", "key-canary-of-ann"
BUDGETS = {
    "total": {"limit_usd": 1_234, "window": "forever"},
    "each-key": {"scope": "key", "limit_tokens": 2_000, "window": "hour"},
    "gentle": {"limit_usd": Decimal("0.0001"), "hard": False},
}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts={"*": "tokens=20"})) as server:
        yield server


def document(chaos: Chaos, folder: Path, **sections: Any) -> dict[str, Any]:
    return document_of(
        chaos.base_url, folder / "ledger.db", models=["m"], retry={"max_retries": 0}, **sections
    )


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With an admin key, three budgets, and two sessions of which one has an end to come."""
    made = document(
        chaos,
        tmp_path_factory.mktemp("cli-budgets"),
        gateway={"admin_key": KEY},
        keys={"ann": {"sha256": hashlib.sha256(CALLER.encode()).hexdigest()}},
        budgets=BUDGETS,
        cost_protection={"enabled": True},
    )
    with run_gateway(made) as running:
        for name in ("s-1", "s-2", "team/a:b"):
            headers = {"authorization": f"Bearer {CALLER}", "x-holdfast-session": name}
            answer = asyncio.run(ask(running.port, {**chat("one/m"), "max_tokens": 20}, headers=headers))
            assert answer.status == 200
        yield running
        running.no_traceback()


def at(gateway: Running) -> tuple[str, str, str, str]:
    return "--url", gateway.base_url, "--admin-key", KEY


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip(" ─")]


class TestBudgets:
    def test_the_table(self, gateway, tmp_path):
        done = called(tmp_path, "budgets", *at(gateway))
        assert (done.returncode, done.stderr) == (0, "")
        head, first, *rest = lines(done.stdout)
        assert head == [
            "budget",
            "subject",
            "window",
            "limit",
            "spent",
            "reserved",
            "left",
            "used",
            "refused",
        ]
        assert first[:5] == ["gentle", "(soft)", "all", "month", "$0.0001"], "the fullest first"
        spent = json.loads(called(tmp_path, "budgets", "total", "--json", *at(gateway)).stdout)["accounts"][
            0
        ]["spent"]
        found = {row[0]: row for row in rest}
        assert found["total"][1:4] == ["all", "forever", "$1,234.00"]
        assert found["total"][4] == f"${spent.rstrip('0')}"
        assert found["each-key"][1:5] == ["ann", "hour", "2,000", "tokens"]
        assert found["cost_protection.hourly"][1] == "ann"
        assert [row[1] for row in rest if row[0] == "cost_protection.session"] == [
            "ann/s-1",
            "ann/s-2",
            "ann/team/a:b",
        ]

    def test_one_budget_and_one_subject(self, gateway, tmp_path):
        done = called(tmp_path, "budgets", "cost_protection.session", "--subject", "ann/s-2", *at(gateway))
        assert [row[:2] for row in lines(done.stdout)[1:]] == [["cost_protection.session", "ann/s-2"]]
        done = called(tmp_path, "budgets", "each-key", "--subject", "bob", *at(gateway))
        assert (done.returncode, done.stdout) == (0, "Nothing has been spent yet by bob of each-key.\n")

    def test_a_budget_that_isnt_there(self, gateway, tmp_path):
        done = called(tmp_path, "budgets", "totle", *at(gateway))
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no budget 'totle': did you mean total?" in done.stderr

    def test_json_is_what_the_gateway_tells(self, gateway, tmp_path):
        told = called_json(tmp_path, "budgets", *at(gateway))
        answer = asyncio.run(
            ask(gateway.port, method="GET", path="/admin/budgets", headers={"x-api-key": KEY})
        ).json
        assert told["budgets"] == answer["budgets"]
        assert [each["spent"] for each in told["accounts"]] == [each["spent"] for each in answer["accounts"]]

    def test_the_key_from_the_environment(self, gateway, tmp_path):
        url = f"127.0.0.1:{gateway.port}/admin/budgets"
        done = holdfast(tmp_path, "budgets", "--url", url, env={"HOLDFAST_ADMIN_KEY": KEY})
        assert (done.returncode, "each-key" in done.stdout) == (0, True)
        without = holdfast(tmp_path, "budgets", "--url", url)
        assert (without.returncode, without.stdout) == (1, "")
        assert "HOLDFAST_ADMIN_KEY" in without.stderr

    def test_nothing_was_spent_and_nothing_is_limited(self, chaos, tmp_path):
        with run_gateway(document(chaos, tmp_path, budgets=BUDGETS)) as running:
            done = called(tmp_path, "budgets", "--url", running.base_url)
            assert (done.returncode, done.stdout) == (
                0,
                "Nothing has been spent yet of total, each-key, gentle.\n",
            )
        with run_gateway(document(chaos, tmp_path)) as running:
            done = called(tmp_path, "budgets", "--url", running.base_url)
            assert (done.returncode, done.stdout) == (0, "There is no budget: state one in [budgets.NAME].\n")


class TestSessions:
    def test_the_list(self, gateway, tmp_path):
        done = called(tmp_path, "sessions", "list", *at(gateway))
        assert (done.returncode, done.stderr) == (0, "")
        head, *rows = lines(done.stdout)
        assert head == ["key", "session", "state", "spent", "left", "warned"]
        assert {row[1]: row[2] for row in rows}["s-1"] == "active"
        assert all(
            row[3].startswith("$0.00") and row[-2:] == ["min", "no"] for row in rows if row[2] == "active"
        )
        nobody = called(tmp_path, "sessions", "list", "--key", "bob", *at(gateway))
        assert nobody.stdout == "There is no session of bob: a caller names one in x-holdfast-session.\n"

    def test_its_end(self, gateway, tmp_path):
        done = called(tmp_path, "sessions", "end", "ann", "team/a:b", *at(gateway))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Session team/a:b of ann is over; it spent $0.00")
        headers = {"authorization": f"Bearer {CALLER}", "x-holdfast-session": "team/a:b"}
        answer = asyncio.run(ask(gateway.port, chat("one/m"), headers=headers))
        assert answer.status == 410
        told = called_json(tmp_path, "sessions", "list", *at(gateway))["sessions"]
        assert [(each["id"], each["state"]) for each in told][-1] == ("team/a:b", "ended")
        again = called_json(tmp_path, "sessions", "end", "ann", "team/a:b", *at(gateway))
        assert again["state"] == "ended"

    @pytest.mark.parametrize(
        ("key", "session", "says"),
        [
            ("ann", "nobody's", "the key 'ann' has no session"),
            ("bob", "s-1", "the key 'bob' has no session 's-1'"),
            ("ann", "a b?x=1&é/../..", "has no session"),
            ("ann", "", "/admin/sessions/KEY/ID"),
            ("", "s-1", "/admin/sessions/KEY/ID"),
            ("../budgets", "s-1", "no session"),
        ],
    )
    def test_there_is_none(self, gateway, tmp_path, key, session, says):
        done = called(tmp_path, "sessions", "end", key, session, *at(gateway))
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr
        told = called_json(tmp_path, "sessions", "list", *at(gateway))["sessions"]
        assert {each["id"]: each["state"] for each in told}["s-1"] == "active"

    def test_without_cost_protection(self, chaos, tmp_path):
        with run_gateway(document(chaos, tmp_path)) as running:
            done = called(tmp_path, "sessions", "list", "--url", running.base_url)
            assert (done.returncode, "cost_protection.enabled" in done.stdout) == (0, True)
            done = called(tmp_path, "sessions", "end", "local", "s", "--url", running.base_url)
            assert (done.returncode, "cost_protection.enabled" in done.stderr) == (1, True)

    def test_nobody_named_one_yet(self, chaos, tmp_path):
        made = document(chaos, tmp_path, cost_protection={"enabled": True})
        with run_gateway(made) as running:
            done = called(tmp_path, "sessions", "list", "--url", running.base_url)
        assert done.stdout == "There is no session: a caller names one in x-holdfast-session.\n"


COMMANDS = (("budgets",), ("sessions", "list"), ("sessions", "end", "ann", "s-1"))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
class TestWrong:
    def complaint(self, folder: Path, *words: str) -> str:
        done = called(folder, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: ")
        assert not any(word in done.stderr for word in ("Traceback", KEY, CALLER, "\x1b[2J"))
        return done.stderr

    def test_no_gateway_or_no_url(self, tmp_path, command):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            free = listener.getsockname()[1]
        assert "holdfast serve" in self.complaint(tmp_path, *command, "--url", f"http://127.0.0.1:{free}")
        assert "is no URL of a gateway" in self.complaint(tmp_path, *command, "--url", "ftp://x")

    def test_another_key(self, gateway, tmp_path, command):
        for key in (f"{KEY}x", CALLER):
            said = called(tmp_path, *command, "--url", gateway.base_url, "--admin-key", key)
            assert said.returncode == 1
            assert "is not the admin key" in said.stderr
            assert key not in said.stderr

    @pytest.mark.parametrize(
        ("body", "more"),
        [
            (b"<html>", ()),
            (b"<html>", ("--json",)),
            (b'{"accounts":[5],"sessions":7,"id":"\x1b[2J"}', ()),
            (b"[" * 100_000, ("--json",)),
        ],
        ids=range(4),
    )
    def test_something_else_answers(self, tmp_path, command, body, more):
        with other_server(b"HTTP/1.0 200 OK\r\n\r\n" + body) as port:
            said = self.complaint(tmp_path, *command, "--url", f"http://127.0.0.1:{port}", *more)
        assert "is no gateway" in said

    def test_called_wrongly(self, tmp_path, command):
        done = called(tmp_path, *command, "--what")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--what" in done.stderr


def test_names_that_a_terminal_would_obey(tmp_path):
    """A gateway takes no such names; what answers may be none."""
    session = {
        "id": "\x1b[2J",
        "key": "\x1b]0;x",
        "state": "\x1b[1m",
        "left_s": 1,
        "warned": True,
        "spent_usd": "1",
    }
    account = {
        "budget": "\x1b[2J", "subject": "\x1b[2J", "window": "\x1b", "unit": "usd", "hard": True, "limit": "1", "spent": "1",
        "reserved": "1", "leased": None, "left": "1", "used": 1, "refused": 0,
    }  # fmt: skip
    told = {
        ("budgets",): {"budgets": [], "accounts": [account], "more": 0},
        ("sessions", "list"): {"enabled": True, "sessions": [session], "more": 0},
    }
    for command, body in told.items():
        with other_server(b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(body).encode()) as port:
            done = called(tmp_path, *command, "--url", f"http://127.0.0.1:{port}")
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        assert "\\x1b[2J" in done.stdout


def test_help_says_what_is_needed(tmp_path):
    done = called(tmp_path, "sessions", "--help")
    assert (done.returncode, "list" in done.stdout, "end" in done.stdout) == (0, True, True)
    bare = called(tmp_path, "sessions", "end", "ann")
    assert (bare.returncode, bare.stdout) == (2, "")
    assert "SESSION" in bare.stderr
