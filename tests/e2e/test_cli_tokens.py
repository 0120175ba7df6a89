"""``holdfast tokens``, as a user and as a program would read it."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cli_process import HOLDFAST, called, called_json, environment

from holdfast.cli.tokens_input import MOST_BYTES, dialect_of, read_input
from holdfast.errors import InvalidRequest
from holdfast.providers.tokens import count_text

if TYPE_CHECKING:
    from pathlib import Path

FOX = "The quick brown fox."
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": FOX}]}
CLAUDE: dict[str, Any] = {"model": "claude-opus-4-8", "system": "Be brief.", "messages": CHAT["messages"]}
GEMINI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": FOX}]}]}


class TestTexts:
    def test_a_text_for_people(self, tmp_path: Path) -> None:
        done = called(tmp_path, "tokens", "count", FOX, "--model", "gpt-5")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "5 tokens for gpt-5",
            "exact: the provider's own tokenizer, over this very text",
            "at most 5",
            "as input $0.000006250 (at openai)",
        ]

    def test_an_estimate_says_that_it_is_one(self, tmp_path: Path) -> None:
        said = called(tmp_path, "tokens", "count", FOX, "-m", "claude-opus-4-8").stdout
        assert "calibrated: an estimate" in said
        assert f"at most {len(FOX)}\n" in said
        assert " at most (at anthropic)" in said

    def test_a_text_for_programs(self, tmp_path: Path) -> None:
        said = called_json(tmp_path, "tokens", "count", FOX, "--model", "openai/gpt-5")
        (cost,) = said.pop("input_costs")
        assert said == {
            "model": "openai/gpt-5",
            "provider": None,
            "tokens": 5,
            "kind": "exact",
            "upper": 5,
            "unseen": False,
            "known_model": True,
        }
        assert (cost["provider"], Decimal(cost["cost_usd"])) == ("openai", Decimal("0.00000625"))

    def test_a_stated_price_goes_first(self, tmp_path: Path) -> None:
        (tmp_path / "holdfast.toml").write_text("[prices.zork]\ninput_per_1m = 10\noutput_per_1m = 30\n")
        said = called(tmp_path, "tokens", "count", "hi", "--model", "zork").stdout
        assert "as input $0.000020000 (as your file states)" in said
        assert "nothing is known of this model's tokenizer" in said

    def test_a_model_that_nobody_prices(self, tmp_path: Path) -> None:
        assert "as input: no price is known" in called(tmp_path, "tokens", "count", "hi", "-m", "zork").stdout

    def test_a_provider_says_whose_an_unheard_model_is(self, tmp_path: Path) -> None:
        said = called_json(tmp_path, "tokens", "count", FOX, "--model", "zork", "--provider", "deepseek")
        assert (said["kind"], said["known_model"]) == ("exact", True)

    @pytest.mark.parametrize("model", ["gpt-5", "claude-opus-4-8"])
    def test_a_files_text_counts_to_its_last_character(self, tmp_path: Path, model: str) -> None:
        text = "naïve café 漢字 🦊\n" * 1000 + "\n\n"
        (tmp_path / "text").write_text(text)
        said = called_json(tmp_path, "tokens", "count", "--file", "text", "--model", model)
        assert said["tokens"] == count_text(text, model).tokens

    def test_standard_input(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [HOLDFAST, "tokens", "count", "-", "--model", "gpt-5", "--json"],
            input=FOX, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout)["tokens"] == 5

    def test_an_empty_text_has_none(self, tmp_path: Path) -> None:
        assert called(tmp_path, "tokens", "count", "", "-m", "gpt-5").stdout.startswith(
            "0 tokens for gpt-5\n"
        )


class TestRequests:
    @pytest.mark.parametrize(
        ("body", "kind"),
        [(CHAT, "reconstructed"), (CLAUDE, "calibrated"), (GEMINI | {"model": "gemini-3-pro"}, "calibrated")],
    )
    def test_a_request_of_each_dialect_names_its_model(self, tmp_path: Path, body: Any, kind: str) -> None:
        (tmp_path / "body.json").write_text(json.dumps(body))
        said = called_json(tmp_path, "tokens", "count", "--request", "--file", "body.json")
        assert (said["model"], said["kind"]) == (body["model"], kind)
        assert said["tokens"] > 5
        assert said["upper"] > said["tokens"]

    def test_whoever_is_named_by_hand_goes_before(self, tmp_path: Path) -> None:
        (tmp_path / "body.json").write_text(json.dumps(CHAT))
        said = called_json(
            tmp_path, "tokens", "count", "--request", "-f", "body.json", "-m", "claude-opus-4-8"
        )
        assert (said["model"], said["kind"]) == ("claude-opus-4-8", "calibrated")

    def test_what_is_read_elsewhere_is_said(self, tmp_path: Path) -> None:
        part = {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}
        body = CHAT | {"messages": [{"role": "user", "content": [part]}]}
        said = called(tmp_path, "tokens", "count", "--request", json.dumps(body)).stdout
        assert "of what can be seen" in said

    @pytest.mark.parametrize(
        ("more", "dialect"),
        [
            ({}, "chat"),
            ({"max_tokens": 5}, "chat"),
            ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "chat"),
            ({"system": "s"}, "anthropic"),
            ({"tools": [{"name": "f", "input_schema": {}}]}, "anthropic"),
            ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "anthropic"),
            ({"contents": []}, "gemini"),
            ({"generateContentRequest": {}}, "gemini"),
        ],
    )
    def test_a_dialect_is_told_by_what_only_it_has(self, more: Any, dialect: str) -> None:
        assert dialect_of(CHAT | more) == dialect

    def test_a_whole_gemini_request_inside_another(self, tmp_path: Path) -> None:
        whole = {"generateContentRequest": {"model": "models/gemini-2.5-pro", **GEMINI}}
        said = called_json(tmp_path, "tokens", "count", "--request", json.dumps(whole))
        bare = called_json(
            tmp_path, "tokens", "count", "--request", json.dumps(GEMINI), "-m", "gemini-2.5-pro"
        )
        assert (said["model"], said["tokens"]) == ("models/gemini-2.5-pro", bare["tokens"])


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "--model is missing"),
            ((FOX, "-m", ""), "--model is missing"),
            (("-m", "gpt-5"), "nothing to count: give a text, --file FILE, or - for standard input"),
            ((FOX, "-f", "x", "-m", "gpt-5"), "one of them is enough"),
            ((FOX, "-m", "gpt-5", "--dialect", "chat"), "--request is missing"),
            ((json.dumps(GEMINI), "--request"), "the request names none"),
        ],
    )
    def test_called_wrongly(self, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
        done = called(tmp_path, "tokens", "count", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("{", "the request is no JSON"),
            ("[" * 100_000, "the request is no JSON"),
            ("[]", "no JSON object"),
            ("{}", "neither `messages` nor `contents`"),
            ('{"input": "hi"}', "of a Responses body, count the texts"),
            ('{"messages": [{"role": "user"}]}', "messages[0].content"),
            ('{"generateContentRequest": 7}', "Gemini's generateContent"),
        ],
    )
    def test_no_request(self, tmp_path: Path, body: str, said: str) -> None:
        (tmp_path / "body").write_text(body)
        done = called(tmp_path, "tokens", "count", "--request", "-f", "body", "-m", "gpt-5")
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr

    def test_no_file_and_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "bytes").write_bytes(b"ab\xff")
        missing = called(tmp_path, "tokens", "count", "-f", "nowhere", "-m", "gpt-5")
        assert (missing.returncode, "nowhere: No such file" in missing.stderr) == (1, True)
        garbage = called(tmp_path, "tokens", "count", "-f", "bytes", "-m", "gpt-5")
        assert (garbage.returncode, "bytes is not UTF-8 at offset 2" in garbage.stderr) == (1, True)

    def test_a_file_without_end_is_let_go(self, tmp_path: Path) -> None:
        file = tmp_path / "endless"
        with file.open("wb") as opened:
            opened.truncate(MOST_BYTES + 1)
        with pytest.raises(InvalidRequest, match="larger than 64 MiB"):
            read_input(None, file)


class TestModels:
    def test_who_is_counted_how(self, tmp_path: Path) -> None:
        families = {each["family"]: each for each in called_json(tmp_path, "tokens", "models")["families"]}
        kinds = {name: (each["text"], each["request"]) for name, each in families.items()}
        assert kinds == {
            "openai": ("exact", "reconstructed"),
            "deepseek": ("exact", "reconstructed"),
            "gemini": ("calibrated", "calibrated"),
            "anthropic": ("calibrated", "calibrated"),
            "others": ("calibrated", "calibrated"),
        }
        assert "gpt-5" in families["openai"]["models"]

    def test_for_people(self, tmp_path: Path) -> None:
        said = called(tmp_path, "tokens", "models").stdout
        assert "claude-…" in said
        assert "reconstructed: the provider's own tokenizer" in said
