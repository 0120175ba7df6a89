"""What chaos says has the shape of what providers said; what they accepted, it accepts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.chaos.raw import Seen, arrived, receive, send
from tests.unit.chaos.speaking import SPEAKERS

from holdfast.chaos import ChaosConfig, run_chaos, signature
from holdfast.chaos.wire.errors import Refused
from holdfast.chaos.wire.routes import find

HERE = Path(__file__).parent / "recordings"
SHAPES = json.loads((HERE / "shapes.json").read_text())
REQUESTS = [json.loads(line) for line in (HERE / "requests.jsonl").read_text().splitlines()]

UNRECORDED = {
    ("openai", "plain"): {"choices[].message.reasoning_content"},  # DeepSeek's, which shares the wire
    ("openai", "event"): {"choices[].delta.reasoning_content"},
    ("anthropic", "plain"): {"content[].data"},  # redacted thoughts; recorded in a stream
    ("anthropic", "content_block_start tool_use"): {  # recorded are server_tool_use, with the same fields
        "type", "index", "content_block", "content_block.type", "content_block.id", "content_block.name",
        "content_block.input",
    },
    ("openrouter", "event"): {  # OpenAI's; none was recorded here
        f"choices[].delta.tool_calls{field}"
        for field in (
            "", "[].index", "[].id", "[].type", "[].function", "[].function.name", "[].function.arguments",
        )
    },
    ("gemini", "event"): {
        # In the recordings of whole answers; the one stream with a call is older than signatures.
        "candidates[].content.parts[].thoughtSignature",
        "usageMetadata.cachedContentTokenCount",
        "usageMetadata.cacheTokensDetails",
        "usageMetadata.cacheTokensDetails[].modality",
        "usageMetadata.cacheTokensDetails[].tokenCount",
        "candidates[].content.parts[].functionCall.id",
    },
    ("gemini", "plain"): {"candidates[].content.parts[].thought"},  # in the recordings of streams
    ("gemini", "error"): {  # google.rpc.BadRequest, which the recorded 404s don't need
        "error.details", "error.details[].@type", "error.details[].fieldViolations",
        "error.details[].fieldViolations[].field", "error.details[].fieldViolations[].description",
    },
}  # fmt: skip  # lists read better packed
LEFT_OUT = {
    ("openai", "event"): {"obfuscation"},  # random padding; it would only cost bytes
    ("deepseek", "plain"): {"choices[].message.reasoning_content"},  # recorded are thinking models
}
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCRIPTS = (
    "ok",
    "tools=2",
    "reasoning=2",
    "reasoning=2 tools=1 preamble=1",
    "cached=2 cache-written=1",
    "redacted=1",
)


def more(provider: str, script: str) -> dict[str, Any]:
    if "tools" not in script:
        return {}
    match provider:
        case "openai" | "deepseek" | "openrouter":
            return {"tools": [{"type": "function", "function": {"name": "t", "parameters": TOOL}}]}
        case "anthropic":
            return {"tools": [{"name": "t", "input_schema": TOOL}]}
    return {"tools": [{"functionDeclarations": [{"name": "t", "parametersJsonSchema": TOOL}]}]}


def paths(value: Any, path: str, found: set[str]) -> set[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            where = f"{path}.{name}" if path else name
            found.add(where)
            if name not in ("input", "args"):
                paths(inner, where, found)
    elif isinstance(value, list):
        for inner in value:
            paths(inner, f"{path}[]", found)
    return found


def kind(provider: str, event: dict[str, Any]) -> str:
    if provider != "anthropic":
        return "event"
    inner = event.get("content_block") or (event.get("delta") if "index" in event else None)
    return f"{event['type']} {inner['type']}" if inner else event["type"]


def said(provider: str) -> dict[str, list[set[str]]]:
    """The shapes of all that chaos says, by kind."""
    wire = SPEAKERS["openai_chat" if provider == "openai" else provider]
    shapes: dict[str, list[set[str]]] = {}
    with run_chaos(ChaosConfig(tokens=3)) as chaos:
        for model in ("m", "gemini-3-m"):
            for script in SCRIPTS:
                prompt = f"[[chaos: {script}]]"
                extra = more(provider, script)
                if provider == "gemini" and "reasoning" in script:
                    extra["generationConfig"] = {"thinkingConfig": {"includeThoughts": True}}
                for stream in (False, True):
                    seen = _ask(chaos.port, wire, prompt, model, stream=stream, **extra)
                    for value in wire.events(seen) if stream else [json.loads(seen.body)]:
                        if value != "[DONE]":
                            name = kind(provider, value) if stream else "plain"
                            shapes.setdefault(name, []).append(paths(value, "", set()))
        if "error" in SHAPES[provider]:
            error = wire.ask(chaos.port, messages=7, contents=7)
            shapes["error"] = [paths(json.loads(error.body), "", set())]
    if "event" not in SHAPES[provider] and provider == "deepseek":
        del shapes["event"]  # none was recorded
    return shapes


def _ask(port: int, wire: Any, prompt: str, model: str, *, stream: bool, **extra: Any) -> Seen:
    path = (wire.stream_path if stream else wire.plain_path).replace("/m:", f"/{model}:")
    body = wire.body(prompt, stream=stream, **extra)
    with send(port, body, path=path, **wire.headers) as sock:
        return receive(sock)


@pytest.mark.parametrize("provider", list(SHAPES))
def test_what_chaos_says_has_the_recorded_shape(provider):
    shapes = said(provider)
    recorded = SHAPES[provider]
    assert set(recorded) - set(shapes) <= {"count", "content_block_delta citations_delta"}
    for name, found in shapes.items():
        known = recorded.get(name, {"ever": (), "always": UNRECORDED.get((provider, name))})
        ever = set(known["ever"]) | UNRECORDED.get((provider, name), set())
        always = set(known["always"]) - LEFT_OUT.get((provider, name), set())
        assert set().union(*found) - ever == set(), f"{provider} never says that in a {name}"
        for one in found:
            assert always - one == set(), f"{provider} always says that in a {name}"


@pytest.mark.parametrize("recorded", REQUESTS, ids=lambda recorded: recorded["id"])
def test_what_a_provider_accepted_is_accepted(recorded):
    version = {"anthropic-version": "2023-06-01"}
    request = arrived(recorded["path"], json.dumps(_signed(recorded["request"])).encode(), **version)
    found = find(request)
    assert found is not None
    assert found.wire.read(request, found.place).prompt_tokens > 0
    if "{signature}" in json.dumps(recorded["request"]):
        foreign = json.dumps(recorded["request"]).encode()
        with pytest.raises(Refused, match=r"[Ss]ignature"):
            found.wire.read(arrived(recorded["path"], foreign, **version), found.place)


def _signed(value: Any) -> Any:
    """With signatures that chaos could have made, where a provider's stood."""
    if isinstance(value, list):
        return [_signed(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    signed = {name: _signed(inner) for name, inner in value.items()}
    if signed.get("signature") == "{signature}":
        signed["signature"] = signature.made("anthropic", signed["thinking"], "00")
    if signed.get("type") == "redacted_thinking":
        signed["data"] = signature.made("anthropic redacted", "", "00")
    if signed.get("thoughtSignature") == "{signature}":
        call = signed.get("functionCall")
        signed["thoughtSignature"] = signature.made(
            "gemini", f"call {call['name']}" if call else "text", "00"
        )
    return signed


def test_the_recordings_are_about_something():
    text = json.dumps(REQUESTS)
    assert len(re.findall(r"\{signature\}", text)) > 30
    assert {"tool_result", "functionResponse", "inlineData", "base64"} <= set(re.findall(r"\w+", text))
