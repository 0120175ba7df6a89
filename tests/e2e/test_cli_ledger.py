"""``holdfast ledger`` over a file with every kind of request in it, while nobody writes to it."""

from __future__ import annotations

import asyncio
import csv
import json
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from random import Random
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cli_process import called, called_json, holdfast

from holdfast.clock import SystemClock
from holdfast.ledger import AttemptRow, End, Intent
from holdfast.ledger.sqlite import SqliteLedger
from holdfast.model import Usage

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 86_400 * 10**9
BASE_NS = 1_769_860_800_123_456_789  # 2026-01-31T12:00:00.123456789Z
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def uuid7(ms: int, number: int) -> str:
    digits = f"{ms:012x}7{number:03x}8{number:015x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def at(day: int) -> int:
    return BASE_NS + day * DAY_NS


def identity(day: int, number: int = 0) -> str:
    return uuid7(at(day) // 10**6, number)


def attempt(number: int, outcome: str, **more: object) -> AttemptRow:
    values = {"provider": "wall", "model": "m", "total_ms": 5.0, "billed": "none", "cost_nano": 0, **more}
    return AttemptRow(number=number, started_ns=BASE_NS, outcome=outcome, **values)  # type: ignore[arg-type]  # a table of cases


async def _fill(path: Path) -> None:
    ledger = await SqliteLedger.open(f"sqlite:///{path}", clock=SystemClock(), rng=Random(1))
    usage = Usage(input_tokens=7, output_tokens=19)

    async def put(day: int, end: dict[str, object] | None, number: int = 0, **intent: object) -> None:
        request_id = identity(day, number)
        given = {
            "route": "chat",
            "model": "chat",
            "dialect": "openai_chat",
            "stream": True,
            "request_bytes": 9,
        }
        await ledger.begin(Intent(id=request_id, started_ns=at(day), **{**given, **intent}))  # type: ignore[arg-type]  # a table of cases
        if end is not None:
            ledger.end(End(id=request_id, ended_ns=at(day) + 10**9, **end))  # type: ignore[arg-type]  # a table of cases

    ok = {
        "state": "ok",
        "status": 200,
        "provider": "openai",
        "model": "gpt-4o",
        "total_ms": 12.5,
        "usage": usage,
    }
    served = (
        attempt(1, "overloaded", status=503),
        attempt(2, "ok", provider="openai", deployment="eu", billed="provider", cost_nano=1),
    )
    await put(0, {**ok, "cost_nano": 12_345_678_901_234_567, "attempts": served}, key="search", session="s1")
    await put(
        1, {"state": "failed", "status": 502, "error_label": "connection_lost", "error": f"it said {ESCAPE}"}
    )
    await put(2, {"state": "cancelled"}, model=f"=cmd{ESCAPE}")
    await put(3, None)
    await put(3, {**ok, "cost_nano": None}, number=1)
    await ledger.flush()
    await ledger.aclose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asyncio.run(_fill(tmp_path / "holdfast.db"))
    return tmp_path


def test_list_is_newest_first_exact_and_dated_twice(folder: Path) -> None:
    rows = called_json(folder, "ledger", "list")
    assert [row["state"] for row in rows] == ["ok", "in_flight", "cancelled", "failed", "ok"]
    oldest = rows[-1]
    assert Decimal(oldest["cost_usd"]) == Decimal("12345678.901234567")
    assert oldest["started_ns"] == BASE_NS
    assert oldest["started_at"] == "2026-01-31T12:00:00.123456789Z"
    assert oldest["attempts"][0]["started_at"] == oldest["started_at"]
    assert rows[0]["cost_usd"] is None
    assert [row.get("served_deployment") for row in rows] == [None, None, None, None, "eu"]
    assert "openai[eu]/gpt-4o" in called(folder, "ledger", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        (["--state", "failed"], [1]),
        (["--provider", "openai"], [3, 0]),
        (["--provider", "wall"], [0]),
        (["--model", "gpt-4o"], [3, 0]),
        (["--key", "search"], [0]),
        (["--session", "s1"], [0]),
        (["--since", "2026-02-02T12:00:00Z"], [3, 3, 2]),
        (["--until", "2026-02-01T13:00:00+00:00"], [1, 0]),
        (["--since", "2026-02-01T00Z", "--until", "2026-02-02T00Z", "--state", "failed"], [1]),
        (["--limit", "2"], [3, 3]),
        (["--since", "5m"], []),
    ],
)
def test_filters(folder: Path, arguments: list[str], days: list[int]) -> None:
    rows = called_json(folder, "ledger", "list", *arguments)
    assert [(row["started_ns"] - BASE_NS) // DAY_NS for row in rows] == days


def test_tables_show_local_time(folder: Path) -> None:
    table = holdfast(
        folder,
        "ledger",
        "list",
        "--since",
        "2026-02-01T17:30",
        "--until",
        "2026-02-01T17:31",
        env={"TZ": "Asia/Kolkata"},
    ).stdout
    assert table.splitlines()[0].startswith("started (IST)")
    assert table.splitlines()[2].startswith("2026-02-01T17:30:00 ")


def test_what_callers_and_providers_say_cant_drive_the_terminal(folder: Path) -> None:
    for command in (["list"], ["show", identity(1)], ["show", identity(2)]):
        shown = called(folder, "ledger", *command)
        assert shown.returncode == 0
        assert "\x1b" not in shown.stdout
        assert "\x07" not in shown.stdout
        assert r"\x1b" in shown.stdout or command == ["list"]


def test_show_takes_an_id_or_how_one_begins(folder: Path) -> None:
    whole = called_json(folder, "ledger", "show", identity(0))
    assert called_json(folder, "ledger", "show", identity(0)[:13]) == whole
    assert [a["outcome"] for a in whole["attempts"]] == ["overloaded", "ok"]
    text = called(folder, "ledger", "show", identity(0).upper()).stdout
    lines = [line.split() for line in text.splitlines()]
    assert ["cost", "$12345678.901234567"] in lines
    assert ["served", "by", "openai[eu]/gpt-4o"] in lines
    assert ["1", "wall/m", "overloaded", "503", "5", "0.000000000", "none"] in lines
    assert ["2", "openai[eu]/m", "ok", "5", "0.000000001", "provider"] in lines


def test_show_of_several_lists_them_and_of_none_says_so(folder: Path) -> None:
    several = called(folder, "ledger", "show", identity(3)[:13])
    assert several.returncode == 1
    assert {identity(3), identity(3, 1)} <= set(several.stderr.split())
    for wrong in (uuid7(1, 1), "ffffffff", "0199", "no-id", "", "'; drop"):
        none = called(folder, "ledger", "show", wrong)
        assert (none.returncode, none.stdout) == (1, "")
        assert none.stderr.startswith("error: ")


def test_exports_are_whole_and_the_oldest_comes_first(folder: Path) -> None:
    lines = called(folder, "ledger", "export").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [
        identity(0), identity(1), identity(2), identity(3), identity(3, 1),
    ]  # fmt: skip
    done = called(folder, "ledger", "export", "--format", "csv", "--out", "all.csv")
    assert (done.returncode, done.stdout) == (0, "")
    rows = list(csv.DictReader(StringIO((folder / "all.csv").read_text())))
    assert [row["state"] for row in rows] == ["ok", "failed", "cancelled", "in_flight", "ok"]
    assert rows[2]["model"].startswith("'=cmd")
    assert rows[0]["served_deployment"] == "eu"
    assert (folder / "all.csv").stat().st_mode & 0o077 == 0


def test_an_export_never_replaces_the_ledger_and_leaves_no_half_file(folder: Path) -> None:
    before = called_json(folder, "ledger", "list")
    over_itself = called(folder, "ledger", "export", "--out", "holdfast.db")
    assert over_itself.returncode == 1
    assert "ledger itself" in over_itself.stderr
    nowhere = called(folder, "ledger", "export", "--out", "no/such/folder/x.jsonl")
    assert nowhere.returncode == 1
    assert "Traceback" not in nowhere.stderr
    (folder / "taken").mkdir()
    written_in_vain = called(
        folder, "ledger", "export", "--out", "taken"
    )  # only the last step fails: a folder is there
    assert written_in_vain.returncode == 1
    assert called_json(folder, "ledger", "list") == before
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_ledger_is_found_by_path_url_or_configuration(folder: Path) -> None:
    (folder / "holdfast.db").rename(folder / "other.db")
    missing = called(folder, "ledger", "list")
    assert missing.returncode == 1
    assert "no ledger at holdfast.db" in missing.stderr
    assert not (folder / "holdfast.db").exists()
    expected = called_json(folder, "ledger", "list", "--ledger", "other.db")
    assert called_json(folder, "ledger", "list", "--ledger", "sqlite:///other.db") == expected
    (folder / "own.toml").write_text('[ledger]\nurl = "sqlite:///other.db"\n')
    assert called_json(folder, "ledger", "list", "--config", "own.toml") == expected
    (folder / "own.toml").rename(folder / "holdfast.toml")
    assert called_json(folder, "ledger", "list") == expected


def test_repair_closes_what_is_open(folder: Path) -> None:
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    text = called(folder, "ledger", "repair").stdout
    assert text.splitlines()[0] == "closed 1 request as unknown:"
    assert identity(3)[:18] in text
    record = called_json(folder, "ledger", "show", identity(3))
    assert (record["state"], record["settled_by"]) == ("unknown", "recovery")
    assert record["ended_at"] >= today
    assert called(folder, "ledger", "repair").stdout == "nothing was open: nothing to repair\n"
