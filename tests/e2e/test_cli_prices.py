"""``holdfast prices``, as a user and as a program would read it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cli_process import called, called_json, holdfast_json

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTED = """
[prices.gpt-5]
input_per_1m = 10
output_per_1m = 30
[prices.gpt-5-mini]
input_per_1m = 3
output_per_1m = 15
[prices.gpt-realtime]
input_per_1m = 100
output_per_1m = 200
"""
WALL = """
[providers.wall]
dialect = "openai_chat"
base_url = "http://127.0.0.1:9/v1"
auth = "none"
[routes.chat]
targets = ["wall/m"]
"""


class TestShow:
    def test_what_an_answer_costs(self, tmp_path: Path) -> None:
        done = called(
            tmp_path, "prices", "show", "gpt-5", "--provider", "openai", "--input", "1000", "--cached", "400"
        )
        assert done.returncode == 0, done.stderr
        assert "openai/gpt-5, as listed:" in done.stdout
        assert "cost: $0.0008 exactly, billed as $0.000800000" in done.stdout
        assert "The list is genai-prices " in done.stdout

    @pytest.mark.parametrize(
        ("model", "given", "made", "dollars"),
        [
            ("gpt-5", 100_000, 200_000, "7"),
            ("gpt-5-mini", 500_000, 1_000_000, "16.5"),
            ("gpt-realtime", 25_000, 50_000, "12.5"),
        ],
    )
    def test_the_documents_examples(
        self, tmp_path: Path, model: str, given: int, made: int, dollars: str
    ) -> None:
        (tmp_path / "holdfast.toml").write_text(DOCUMENTED)
        said = called_json(tmp_path, "prices", "show", model, "--input", str(given), "--output", str(made))
        (price,) = said["prices"]  # stated for the model wherever it is served, so it is there once
        assert (price["provider"], price["stated"], price["price_id"][:9]) == ("any", True, "override:")
        assert price["cost"] | {"cost_usd": Decimal(price["cost"]["cost_usd"])} == {
            "tier": None,
            "exact_usd": dollars,
            "cost_usd": Decimal(dollars),
            "cost_nano": int(Decimal(dollars) * 10**9),
            "flag": None,
        }

    def test_a_tier(self, tmp_path: Path) -> None:
        arguments = ("prices", "show", "openai/gpt-5", "--input", "1000000", "--at", "2026-11-21T12:00+00:00")
        cost = {
            tier: called_json(tmp_path, *arguments, "--tier", tier)["prices"][0]["cost"]["exact_usd"]
            for tier in ("flex", "priority")
        }
        assert cost == {"flex": "0.625", "priority": "2.5"}

    def test_a_time_of_day(self, tmp_path: Path) -> None:
        night, noon = (
            called_json(tmp_path, "prices", "show", "deepseek/deepseek-chat", "--at", at)["prices"][0][
                "per_1m"
            ]["input"]
            for at in ("2026-01-31T20:00+00:00", "2026-01-31T12:00+00:00")
        )
        assert Decimal(night) < Decimal(noon)

    def test_kinds_and_searches(self, tmp_path: Path) -> None:
        said = called_json(
            tmp_path, "prices", "show", "gemini/gemini-2.5-flash-image",
            "--output", "2000", "--output-image", "1290",
        )  # fmt: skip
        assert said["prices"][0]["cost"]["exact_usd"] == "0.040475"
        said = called_json(
            tmp_path, "prices", "show", "anthropic/claude-sonnet-4-5", "--input", "1", "--searches", "3"
        )
        assert said["prices"][0]["cost"]["exact_usd"] == "0.030003"

    def test_a_name_that_is_nearly_one(self, tmp_path: Path) -> None:
        done = called(tmp_path, "prices", "show", "claude-sonet-4-5")
        assert (done.returncode, done.stdout) == (1, "")
        assert "did you mean anthropic/claude-sonnet-4-5 or" in done.stderr

    def test_nobody_s_model(self, tmp_path: Path) -> None:
        done = called(tmp_path, "prices", "show", "zzzzzz", "--provider", "openai", "--tier", "flex")
        assert done.returncode == 1
        assert "no price is known for zzzzzz at openai in the service tier flex" in done.stderr

    @pytest.mark.parametrize(
        "arguments",
        [("--input", "-1"), ("--input", "1.5"), ("--cached", "9"), ("--tier", "gold"), ("--at", "yesterday")],
    )
    def test_called_wrongly(self, tmp_path: Path, arguments: tuple[str, str]) -> None:
        assert called(tmp_path, "prices", "show", "gpt-5", *arguments).returncode == 2


class TestList:
    def test_stated_prices_come_first_and_instead(self, tmp_path: Path) -> None:
        (tmp_path / "own.toml").write_text(DOCUMENTED)
        said = called_json(
            tmp_path, "prices", "list", "--config", "own.toml", "--provider", "openai", "--model", "gpt-5"
        )
        names = [(price["model"], price["stated"]) for price in said["prices"]]
        assert names[:2] == [("gpt-5", True), ("gpt-5-mini", True)]
        assert ("gpt-5", False) not in names
        assert ("gpt-5-nano", False) in names

    def test_all_of_it_in_a_process_of_its_own(self, tmp_path: Path) -> None:
        said = holdfast_json(tmp_path, "prices", "list")
        assert len(said["prices"]) > 1_000
        assert {"name", "version", "newest"} == said["list"].keys()
        assert all(Decimal(price["per_1m"].get("input", "0")) >= 0 for price in said["prices"])
        assert {"openai", "anthropic", "gemini", "aws"} <= {price["provider"] for price in said["prices"]}

    def test_a_line_for_each_model(self, tmp_path: Path) -> None:
        done = called(tmp_path, "prices", "list", "--provider", "openai", "--model", "gpt-5.4-nano")
        assert done.returncode == 0
        (line,) = [line for line in done.stdout.splitlines() if "gpt-5.4-nano" in line]
        assert line.split()[:5] == ["openai", "gpt-5.4-nano", "0.2", "0.02", "1.25"]

    def test_none(self, tmp_path: Path) -> None:
        done = called(tmp_path, "prices", "list", "--provider", "nobody", "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["prices"] == []
        assert "no price matches" in done.stderr


class TestCheck:
    def test_a_model_without_a_price(self, tmp_path: Path) -> None:
        (tmp_path / "holdfast.toml").write_text(WALL)
        done = called(tmp_path, "prices", "check")
        assert done.returncode == 1
        assert 'error  prices."wall/m": no price is known' in done.stdout
        assert "1 problem." in done.stdout

    def test_with_one(self, tmp_path: Path) -> None:
        (tmp_path / "holdfast.toml").write_text(
            WALL + '[prices."wall/m"]\ninput_per_1m = 1\noutput_per_1m = 2\n'
        )
        said = called_json(tmp_path, "prices", "check")
        assert (said["ok"], said["problems"]) == (True, [])
        assert {"target": "wall/m", "price_id": "override:wall/m#"} in [
            {**target, "price_id": target["price_id"].partition("#")[0] + "#"} for target in said["targets"]
        ]

    def test_a_faulty_file_says_all_that_is_wrong(self, tmp_path: Path) -> None:
        (tmp_path / "holdfast.toml").write_text(
            "[prices.m]\ninput_per_1m = -1\n[pricing]\nceiling_input_per_1m = 1\n"
        )
        done = called(tmp_path, "prices", "check")
        assert done.returncode == 1
        assert "prices.m" in done.stderr or 'prices."m"' in done.stderr
        assert "pricing.ceiling_output_per_1m: is missing" in done.stderr
