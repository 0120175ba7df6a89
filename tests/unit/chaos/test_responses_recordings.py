"""The Responses API against its recordings: what providers accepted, what they refused, and what their answers look like."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.chaos.raw import arrived, receive, send

from holdfast.chaos import ChaosConfig, run_chaos, signature
from holdfast.chaos.wire.errors import Refused
from holdfast.chaos.wire.openai_responses import ids
from holdfast.chaos.wire.routes import find

HERE = Path(__file__).parent / "recordings"
LINES = [json.loads(line) for line in (HERE / "responses_requests.jsonl").read_text().splitlines()]
TAKEN = [line for line in LINES if "error" not in line]
REFUSED = [line for line in LINES if "error" in line]
RECORDED = json.loads((HERE / "responses_shapes.json").read_text())
SHAPES = RECORDED["shapes"]
PATHS = {
    "openai": "/v1/responses",
    "azure": "/openai/v1/responses",
    "openrouter": "/api/v1/responses",
    "deepseek": "/responses",
}
FREE = {"parameters", "schema", "metadata", "content_filter_results", "tools", "moderation"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "name": "t", "parameters": SCHEMA}
ENCRYPTED = {"include": ["reasoning.encrypted_content"]}
THINK = {"effort": "low", "summary": "auto"}
ASKED: tuple[dict[str, Any], ...] = (
    {},
    {"reasoning": THINK, **ENCRYPTED},
    {"reasoning": {"effort": "low"}, **ENCRYPTED},
    {"tools": [TOOL], "tool_choice": "required", **ENCRYPTED, "reasoning": {"effort": "high"}},
    {"input": "[[chaos: cached=2 cache-written=1 tools=2 preamble=1]]", "tools": [TOOL]},
    {"background": True},
)

UNRECORDED = {
    "item message": {"phase": {"string"}},  # of the newest models, and only whole
    "begun message": {"phase": {"string"}},
    # Nobody asked for a summary; an effort was always told where the newest models were asked.
    "plain": {"reasoning.effort": {"null", "string"}, "reasoning.summary": {"string"}},
    "response of": {"reasoning.effort": {"string"}, "reasoning.summary": {"string"}, "moderation": {"null"}},
}
LEFT_OUT = {"obfuscation"}  # random padding; it would only cost bytes
ELSEWHERE = ("azure", "openrouter")
"""Nothing was streamed there, nothing thought and nothing called: OpenAI's recordings stand for theirs."""
UNHEARD = re.compile(r"response\.reasoning_summary")
"""Nothing of these was recorded; the SDK's types know them."""


def kind_of(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    return {dict: "object", list: "array", str: "string"}.get(type(value), "number")


def shape(value: Any, path: str = "") -> dict[str, str]:
    """Each place within ``value``, and what stands there."""
    found: dict[str, str] = {}
    if isinstance(value, dict):
        inner = [(f"{path}.{name}" if path else name, name, item) for name, item in value.items()]
    else:
        inner = [(f"{path}[]", "", item) for item in value] if isinstance(value, list) else []
    for where, name, item in inner:
        found[where] = kind_of(item)
        if name not in FREE:
            found |= shape(item, where)
    return found


def label(event: dict[str, Any]) -> str:
    inner = event.get("item") or event.get("part") or {}
    return " ".join(filter(None, (event["type"], inner.get("type"))))


def ask(port: int, provider: str, **asked: Any) -> list[dict[str, Any]]:
    """The body; or the events, if they are asked for."""
    body = json.dumps({"model": "m", "input": "hi", **asked}).encode()
    with send(port, body, path=PATHS[provider]) as sock:
        text = receive(sock).body.decode()
    if not asked.get("stream"):
        return [json.loads(text)]
    found = [re.fullmatch(r"event: (.+)\ndata: (.+)", event) for event in text.split("\n\n") if event]
    events = [(one[1], json.loads(one[2])) for one in found if one is not None]
    assert len(events) == len(found)
    assert all(name == event["type"] for name, event in events)
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    return [event for _, event in events]


def parts(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A body or an event, the response and the items in it, each under its own name."""
    response = value.get("response", value)
    name = f"response of {value['type']}" if "response" in value else "plain"
    found = {f"item {item['type']}": item for item in response.get("output", ())}
    if "output" in response:
        found[name] = {**response, "output": []}
    if "item" in value:
        begun = "begun" if value["type"].endswith("added") else "item"
        found[f"{begun} {value['item']['type']}"] = value["item"]
    if "type" in value:
        outside = {inner: 0 for inner in ("response", "item") if inner in value}
        found[label(value)] = {**value, **outside}
    return found


@pytest.fixture(scope="module")
def chaos():
    with run_chaos(ChaosConfig(tokens=3)) as chaos:
        yield chaos


@pytest.fixture(scope="module", params=list(PATHS))
def said(request, chaos):
    """A provider, and all that chaos says in its name."""
    values = [ask(chaos.port, request.param, **asked) for asked in ASKED]
    streams = [ask(chaos.port, request.param, **asked, stream=True) for asked in ASKED]
    return request.param, values, streams


def test_bodies_events_and_items_have_the_recorded_fields(said):
    provider, values, streams = said
    recorded = SHAPES[provider]
    if provider in ELSEWHERE:
        recorded = {
            name: known for name, known in SHAPES["openai"].items() if "response of" not in name
        } | recorded
    heard = set()
    for value in itertools.chain(*values, *streams):
        for name, part in parts(value).items():
            heard.add(name)
            if name not in recorded:
                continue
            ever = recorded[name]["ever"]
            more = next((more for start, more in UNRECORDED.items() if name.startswith(start)), {})
            for path, kind in shape(part).items():
                allowed = {*ever.get(path, ()), *more.get(path, ())}
                assert kind in allowed, f"{provider} never says {kind} at {path} of a {name}"
            left_out = set(recorded[name]["always"]) - set(shape(part)) - LEFT_OUT
            assert not left_out, f"{provider} always says that in a {name}"
    unheard = {name for name in heard - set(recorded) if not UNHEARD.match(name)}
    begun = ("created", "queued", "in_progress", "completed")
    assert unheard <= {"response.queued", *(f"response of response.{when}" for when in begun)}
    assert set(SHAPES[provider]) <= heard


def test_a_streams_last_response_is_the_whole_answer(said):
    provider, values, streams = said
    for whole, stream in zip(values, streams, strict=True):
        last = stream[-1]["response"]
        beside = {"billing": "object", "billing.payer": "string"} if provider == "openai" else {}
        assert shape(last) | beside == shape(whole[0])
        assert all(set(event["response"]) == set(last) for event in stream if "response" in event)


def segments(order: list[str]) -> list[tuple[str, ...]]:
    """The events of a stream without repetitions, item by item."""
    found: list[list[str]] = [[]]
    for i, name in enumerate(order):
        if "output_item.added" in name or (i and "output_item.done" in order[i - 1]):
            found.append([])
        found[-1].append(name)
    return [tuple(each) for each in found]


def collapsed(events: list[dict[str, Any]]) -> list[str]:
    names = [label(event) for event in events]
    return [name for i, name in enumerate(names) if not i or names[i - 1] != name]


def test_events_come_in_the_recorded_order(chaos):
    seen = {provider: set() for provider in PATHS}
    for provider, path_seen in seen.items():
        for asked in ASKED:
            path_seen.update(segments(collapsed(ask(chaos.port, provider, **asked, stream=True))))
    checked = 0
    for recorded in RECORDED["orders"]:
        for segment in segments([name for name in recorded["order"] if "annotation" not in name]):
            item = segment[0].partition(" ")[2]
            if item in ("", "message", "function_call", "reasoning"):
                assert segment in seen[recorded["provider"]], recorded["id"]
                checked += 1
    assert checked > 20


def prepared(value: Any) -> Any:
    """With what chaos could have made, where a provider's own encrypted thoughts and ids stood."""
    if isinstance(value, list):
        return [prepared(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    made = {name: prepared(inner) for name, inner in value.items()}
    if made.get("type") == "reasoning" and made.get("encrypted_content") == "{signature}":
        made["encrypted_content"] = signature.made("openai responses thoughts", "", made["id"][3:27])
    if made.get("previous_response_id") is not None:
        made["previous_response_id"] = ids.made("openai responses", "resp", "0123")
    return made


def read(path: str, body: Any) -> Any:
    came = arrived(path, json.dumps(body).encode(), **{"content-type": "application/json"})
    found = find(came)
    assert found is not None
    return found.wire.read(came, found.place)


@pytest.mark.parametrize("recorded", TAKEN, ids=lambda recorded: recorded["id"])
def test_what_a_provider_accepted_is_accepted(recorded):
    body = prepared(recorded["request"])
    if "conversation" in body:  # chaos keeps none, so there can't be one
        with pytest.raises(Refused, match=r"Conversation with id 'conv_0100.*' not found") as refused:
            read(recorded["path"], body)
        assert refused.value.problem.status == 404
        body = {name: value for name, value in body.items() if name != "conversation"}
        body["input"] = [item for item in body["input"] if item.get("type") != "function_call_output"] or "hi"
    assert read(recorded["path"], body).prompt_tokens > 0
    if prepared(recorded["request"]) != recorded["request"]:
        with pytest.raises(
            Refused, match=r"could not be verified|Previous response with id 'resp_.*' not found"
        ):
            read(recorded["path"], recorded["request"])


@pytest.mark.parametrize("recorded", REFUSED, ids=lambda recorded: recorded["id"])
def test_what_a_provider_refused_is_refused_in_its_words(chaos, recorded):
    body = prepared(recorded["request"])
    if (
        recorded["error"]["code"] == "model_not_found"
    ):  # a model of any name is there, unless the script says no
        chaos.script(body["model"], "model_not_found")
    with send(chaos.port, json.dumps(body).encode(), path=recorded["path"]) as sock:
        seen = receive(sock)
    assert (seen.status, json.loads(seen.body)) == (recorded["status"], {"error": recorded["error"]})


def test_the_recordings_are_about_something():
    assert len(TAKEN) > 70
    assert len(REFUSED) >= 4
    kinds = {item.get("type") for one in TAKEN for item in one["request"]["input"] if isinstance(item, dict)}
    assert {"reasoning", "function_call", "function_call_output", "tool_search_call", "compaction"} <= kinds
