"""Claude Code's habits: what the program was seen to send, against the gateway, with simulated providers behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import tomllib
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from anthropic import Anthropic
from anthropic.types.beta import BetaModelInfo
from tests.docs.pages import blocks
from tests.support import claude_code
from tests.support.gateway import CANARY, document_of, run_gateway
from tests.support.http import Answer, ask
from tests.support.replay import Recorded, json_answer, replaying, sse_answer
from tests.support.six import SIX, six_providers

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.gateway import Running

TOOLS = "tools=1 preamble=3 reasoning=2; tokens=9"
SCRIPTS = {
    "claude-text": "tokens=9",
    "claude-down": "529",
    "claude-broken": "500",
    "claude-event": "tokens=20 tps=200 error_event after=5; tokens=9",
    "claude-400": "400",
    "claude-429": "429",
    **{f"claude-tools-{name}": TOOLS for name in SIX},
    "gemini-3-tools": TOOLS,
}
OTHERS = [name for name in SIX if name != "anthropic"]


def recommended() -> list[str]:
    """``drop`` of the route that the page recommends."""
    (block,) = [block for block in blocks("toml") if "context_management" in block.text]
    assert block.page.name == "gateway.md"
    return tomllib.loads(block.text)["routes"]["claude"]["drop"]


def model_for(provider: str) -> str:
    """Gemini wants its calls' signatures back only from its own newer models."""
    return "gemini-3-tools" if provider == "gemini" else f"claude-tools-{provider}"


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("claude-code")
    document = document_of(chaos.base_url, folder / "ledger.db", models=[*SCRIPTS])
    document["providers"] = six_providers(chaos.url)
    document["retry"] = {"max_retries": 0}
    document["routes"] = {
        "claude-strict": {"targets": ["openai/claude-text", "gemini/claude-text"]},
        "claude-passing": {"targets": ["openai/claude-text", "anthropic/claude-text"]},
        "claude-lenient": {
            "targets": ["anthropic/claude-down", "openai/claude-text"],
            "drop": recommended(),
        },
        **{
            f"claude-{name}": {"targets": [f"{name}/{model_for(name)}"], "drop": recommended()}
            for name in SIX
        },
    }
    with run_gateway(document) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(chaos: Chaos) -> None:
    chaos.reset()


def post(gateway: Running, body: dict[str, Any] | bytes) -> Answer:
    return asyncio.run(ask(gateway.port, body, path=claude_code.PATH, headers=claude_code.HEADERS))


def message_of(answer: Answer) -> dict[str, Any]:
    """What the stream says, put together as the program does: content blocks, why it ended, and an error."""
    assert answer.status == 200, answer.body
    blocks_: dict[int, dict[str, Any]] = {}
    said: dict[str, Any] = {"stop_reason": None, "error": None}
    kinds = []
    for event in answer.events:
        if event.data is None:
            continue
        value = event.json
        kinds.append(value["type"])
        match value["type"]:
            case "content_block_start":
                blocks_[value["index"]] = dict(value["content_block"], partial="")
            case "content_block_delta":
                block, delta = blocks_[value["index"]], value["delta"]
                for name in ("text", "thinking", "signature"):
                    if name in delta:
                        block[name] = block.get(name, "") + delta[name]
                block["partial"] += delta.get("partial_json", "")
            case "message_delta":
                said["stop_reason"] = value["delta"]["stop_reason"]
            case "error":
                said["error"] = value["error"]
    assert kinds[0] == "message_start"
    assert kinds[-1] in ("message_stop", "error")
    for block in blocks_.values():
        partial = block.pop("partial")
        if block["type"] == "tool_use":
            block["input"] = json.loads(partial or "{}")
    return {**said, "content": list(blocks_.values())}


def text_of(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


class TestBeforeItAsks:
    def test_it_knocks_without_a_key(self, gateway) -> None:
        with closing(HTTPConnection("127.0.0.1", gateway.port, timeout=5)) as connection:
            connection.request("HEAD", "/")
            assert connection.getresponse().status == 200

    def test_the_list_of_models_comes_at_once_and_its_sdk_can_read_it(self, gateway) -> None:
        began = time.monotonic()
        answer = asyncio.run(
            ask(
                gateway.port,
                method="GET",
                path="/v1/models?limit=1000",
                headers=claude_code.MODELS_HEADERS,
            )
        )
        assert time.monotonic() - began < 1.5  # it waits 3 s
        assert answer.status == 200
        models = [BetaModelInfo.model_validate(each, strict=False) for each in answer.json["data"]]
        kept = {model.id for model in models if model.id.startswith(("claude", "anthropic"))}
        assert kept >= {"claude-lenient", "anthropic/claude-down"}
        assert answer.json["has_more"] is False
        assert (answer.json["first_id"], answer.json["last_id"]) == (models[0].id, models[-1].id)
        with Anthropic(base_url=f"http://127.0.0.1:{gateway.port}", api_key="x") as client:
            assert [each.id for each in client.beta.models.list(limit=1000)] == [each.id for each in models]

    def test_the_token_is_the_key_that_counts_where_both_are_sent(self, tmp_path, chaos) -> None:
        document = document_of(chaos.base_url, tmp_path / "ledger.db", models=SCRIPTS)
        document["providers"] = six_providers(chaos.url)
        document["keys"] = {"coder": {"sha256": _sha256("token-a")}}
        with run_gateway(document) as gateway:
            assert post(gateway, claude_code.asked("anthropic/claude-text")).status == 200
            swapped = {**claude_code.HEADERS, "authorization": "Bearer key-b", "x-api-key": "token-a"}
            body = claude_code.asked("anthropic/claude-text")
            refused = asyncio.run(ask(gateway.port, body, path=claude_code.PATH, headers=swapped))
            assert refused.status == 401
            assert refused.json["error"]["type"] == "authentication_error"


class TestAtAnthropic:
    def test_the_body_arrives_byte_for_byte_but_for_the_model(self, gateway, chaos) -> None:
        oddly = {"temperature": 1.0, "future_field": None, "text": "é\u2028"}
        asked = claude_code.asked("anthropic/claude-text", diagnostics=oddly)
        body = json.dumps(asked, separators=(",", ":"), ensure_ascii=False).encode()
        answer = post(gateway, body)
        (entry,) = chaos.wait_for(lambda entries: entries and entries[0].end)
        assert entry.body == body.replace(b'"anthropic/claude-text"', b'"claude-text"')
        assert entry.query == "beta=true"
        sent = dict(entry.headers)
        for name in ("anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access"):
            assert sent[name] == claude_code.HEADERS[name]
        assert entry.key_sha256 == _sha256(CANARY)
        assert "authorization" not in sent
        assert text_of(message_of(answer)) == entry.text != ""
        assert "x-holdfast-dropped" not in answer.headers

    def test_a_tool_and_its_result(self, gateway, chaos) -> None:
        round_trip(gateway, chaos, "anthropic")

    def test_its_headers_come_back(self, tmp_path) -> None:
        limits = {
            "anthropic-ratelimit-unified-status": "allowed",
            "anthropic-organization-id": "org",
            "set-cookie": "a=b",
        }
        with asking_anthropic(tmp_path, sse_answer(_STREAM, named=True, headers=limits)) as gateway:
            answer = post(gateway, claude_code.asked("anthropic/claude-text"))
        assert text_of(message_of(answer)) == "Seven."
        assert answer.headers["anthropic-ratelimit-unified-status"] == "allowed"
        assert answer.headers["anthropic-organization-id"] == "org"
        assert "set-cookie" not in answer.headers

    def test_its_refusals_come_back_in_its_own_bytes(self, tmp_path) -> None:
        error = {
            "type": "invalid_request_error",
            "message": "thinking: no",
            "details": {"error_visibility": 1},
        }
        refusal = {"type": "error", "error": error, "request_id": "req_1"}
        limits = {"anthropic-organization-id": "org"}
        with asking_anthropic(tmp_path, json_answer(refusal, 400, limits)) as gateway:
            answer = post(gateway, claude_code.asked("anthropic/claude-text"))
        assert (answer.status, answer.body) == (400, json.dumps(refusal).encode())
        assert answer.headers["anthropic-organization-id"] == "org"

    @pytest.mark.parametrize(
        ("model", "status", "kind"),
        [
            ("claude-broken", 502, "api_error"),
            ("claude-429", 429, "rate_limit_error"),
            ("claude-400", 400, "invalid_request_error"),
        ],
    )
    def test_it_is_told_not_to_ask_again(self, gateway, chaos, model, status, kind) -> None:
        answer = post(gateway, claude_code.asked(f"anthropic/{model}"))
        assert (answer.status, answer.headers["x-should-retry"]) == (status, "false")
        assert (answer.json["type"], answer.json["error"]["type"]) == ("error", kind)
        assert len(chaos.journal()) == 1

    def test_a_stream_that_broke_is_asked_again_plain(self, gateway, chaos) -> None:
        broken = message_of(post(gateway, claude_code.asked("anthropic/claude-event")))
        assert broken["error"] is not None
        assert text_of(broken) != ""
        assert broken["stop_reason"] is None
        plain = {**claude_code.asked("anthropic/claude-event")}
        del plain["stream"]
        again = post(gateway, plain)
        assert again.status == 200
        first, second = chaos.wait_for(lambda entries: len(entries) == 2 and entries[1].end and entries)
        assert text_of(again.json) == second.text
        assert first.nonce not in text_of(again.json)


class TestTranslated:
    def test_what_cant_be_said_is_a_400_that_names_field_and_targets(self, gateway, chaos) -> None:
        answer = post(gateway, claude_code.asked("claude-strict"))
        assert answer.status == 400
        error = answer.json["error"]
        assert (answer.json["type"], error["type"]) == ("error", "invalid_request_error")
        assert error["details"]["error_code"] == "unsupported_by_target"
        assert "context_management" in error["message"]
        assert "openai/claude-text" in error["message"]
        assert "gemini/claude-text" in error["message"]
        assert chaos.journal() == []

    def test_a_target_that_cant_say_it_is_passed_over(self, gateway, chaos) -> None:
        answer = post(gateway, claude_code.asked("claude-passing"))
        assert answer.headers["x-holdfast-provider"] == "anthropic"
        assert len(chaos.journal()) == 1
        assert gateway.record(answer.id).end.skipped == (("openai/claude-text", "context_management"),)

    def test_with_drops_openai_steps_in_and_what_was_left_out_is_told(self, gateway, chaos) -> None:
        answer = post(gateway, claude_code.asked("claude-lenient"))
        down, served = chaos.wait_for(lambda entries: len(entries) == 2 and entries[1].end and entries)
        assert (down.status, served.wire) == (529, "openai_chat")
        assert text_of(message_of(answer)) == served.text != ""
        assert answer.headers["x-holdfast-attempts"] == "2"
        dropped = set(answer.headers["x-holdfast-dropped"].split(", "))
        assert dropped == {"context_management", "cache_control"}
        asked = json.loads(served.body)
        assert len(asked["tools"]) == 24
        assert asked["reasoning_effort"] == "high"
        said = [message["content"] for message in asked["messages"] if message["role"] == "system"]
        assert [*_texts(said)] == [
            *(block["text"] for block in claude_code.ASKED["system"]),
            claude_code.ASKED["messages"][1]["content"],
        ]

    @pytest.mark.parametrize("provider", OTHERS)
    def test_a_tool_and_its_result(self, gateway, chaos, provider) -> None:
        answers = round_trip(gateway, chaos, provider)
        for answer in answers:
            dropped = set(answer.headers["x-holdfast-dropped"].split(", "))
            assert "context_management" in dropped
            assert dropped <= set(recommended())
            assert ("system.later" in dropped) == (provider == "gemini")


def round_trip(gateway: Running, chaos: Chaos, provider: str) -> list[Answer]:
    """A question, the model's call, the tool's failure as a string, and the answer to it."""
    model = f"claude-{provider}"
    first = post(gateway, claude_code.asked(model))
    message = message_of(first)
    assert message["stop_reason"] == "tool_use"
    (call,) = [block for block in message["content"] if block["type"] == "tool_use"]
    assert call["name"] == "Bash"
    assert set(call["input"]) == {"command", "timeout"}
    result = "bash: no such file in the harbour"
    second = post(gateway, claude_code.answered(model, message["content"], result, is_error=True))
    calling, served = chaos.wait_for(lambda entries: len(entries) == 2 and entries[1].end and entries)
    assert json.loads(calling.arguments) == call["input"]
    assert result.encode() in served.body
    assert text_of(message_of(second)) == served.text != ""
    return [first, second]


def _texts(contents: list[Any]) -> Iterator[str]:
    for content in contents:
        if isinstance(content, str):
            yield content
        else:
            yield from (part["text"] for part in content)


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


_USAGE = {"input_tokens": 9, "output_tokens": 2}
_STREAM: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-text", "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": _USAGE,
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Seven."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": _USAGE},
    {"type": "message_stop"},
]  # fmt: skip  # events read better one to a line


@contextmanager
def asking_anthropic(folder: Path, answer: Recorded) -> Iterator[Running]:
    """A gateway whose Anthropic gives that answer."""
    with replaying({("POST", "/v1/messages"): answer}) as provider:
        document = document_of("http://127.0.0.1:9/v1", folder / "ledger.db", models=SCRIPTS)
        document["providers"] = {"anthropic": {"base_url": f"{provider.base_url}/v1", "api_key": CANARY}}
        with run_gateway(document) as gateway:
            yield gateway
