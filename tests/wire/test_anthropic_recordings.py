"""What Anthropic really said comes back as it was, but for the listed differences."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.wire.anthropic_recorded import COUNTED, EXCHANGES, REFUSED, STREAMED, WHOLE, gathered, listed
from tests.wire.recorded import Found, diff, payloads

from holdfast.dialects.anthropic.codec import AnthropicCodec
from holdfast.dialects.anthropic.differences import DIFFERENCES
from holdfast.dialects.anthropic.frames import frame
from holdfast.dialects.openai_chat.differences import Where
from holdfast.model import Answer, Ended, fold, in_pieces, split

CODEC = AnthropicCodec()

MARK = {"type": "ephemeral", "ttl": "1h"}
TEXT = {"type": "text", "text": "x"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": [1, {"b": None}]}}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
CITED = [
    {
        "type": "char_location", "cited_text": "c", "document_index": 0, "document_title": None,
        "start_char_index": 0, "end_char_index": 1, "file_id": None,
    },
    {
        "type": "page_location", "cited_text": "c", "document_index": 0, "document_title": "t",
        "start_page_number": 1, "end_page_number": 2,
    },
    {
        "type": "content_block_location", "cited_text": "c", "document_index": 1, "document_title": "t",
        "start_block_index": 1, "end_block_index": 2,
    },
    {"type": "web_search_result_location", "cited_text": "c", "url": "u", "title": None, "encrypted_index": "e"},
    {
        "type": "search_result_location", "cited_text": "c", "source": "s", "title": "t", "search_result_index": 0,
        "start_block_index": 0, "end_block_index": 1,
    },
]  # fmt: skip  # a list reads better packed


def asked(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    default = [{"role": "user", "content": "x"}]
    return {"model": "m", "max_tokens": 9, "messages": list(messages) or default, **fields}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def model(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def result(**fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "toolu_1", **fields}


def answered(*blocks: Any, **fields: Any) -> dict[str, Any]:
    base = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": list(blocks)}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    return {**base, **end, "usage": {"input_tokens": 3, "output_tokens": 4}, **fields}


def started(**fields: Any) -> dict[str, Any]:
    message = answered(stop_reason=None) | fields
    return {"type": "message_start", "message": message}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ended(delta: dict[str, Any] | None = None, **fields: Any) -> list[dict[str, Any]]:
    said = {"stop_reason": "end_turn", "stop_sequence": None} | (delta or {})
    usage = {"input_tokens": 3, "output_tokens": 9}
    return [{"type": "message_delta", "delta": said, "usage": usage, **fields}, {"type": "message_stop"}]


def streamed(*events: Any) -> str:
    flat = [each for event in events for each in (event if isinstance(event, list) else [event])]
    return b"".join(frame(event) for event in flat).decode()


LOSSLESS: dict[Where, dict[str, Any]] = {
    Where.REQUEST: {
        "system as a text": asked(system="be brief"),
        "system as blocks": asked(system=[TEXT, {**TEXT, "cache_control": MARK, "odd": 1}]),
        "an empty system": asked(system=[]),
        "a system of one block": asked(system=[TEXT]),
        "system prompts among the messages": asked(
            {"role": "system", "content": "first"},
            user(TEXT),
            {"role": "system", "content": [TEXT, {"type": "tool_addition", "tool": {"type": "tool_reference"}}]},
            system="top",
        ),
        "strings and blocks": asked(
            {"role": "user", "content": "x"}, model(TEXT), user(TEXT, TEXT), {"role": "assistant", "content": ""},
            user(), {"role": "user", "content": [TEXT], "odd": {"a": None}},
        ),
        "images": asked(user(
            {"type": "image", "source": PNG, "cache_control": MARK, "odd": 1},
            {"type": "image", "source": {**PNG, "media_type": "image/bmp", "odd": 1}},
            {"type": "image", "source": {"type": "base64", "data": "A"}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}, "transformations": {}},
            {"type": "image", "source": {"type": "later", "x": 1}}, {"type": "image"},
        )),
        "documents": asked(user(
            {"type": "document", "source": PDF, "title": "t", "context": "c", "citations": {"enabled": True}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ä\U0001f642"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/html", "data": "<p>"}},
            {"type": "document", "source": {**PDF, "media_type": "text/plain"}},
            {"type": "document", "source": {"type": "content", "content": [TEXT]}, "title": None},
            {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}, "cache_control": MARK},
        )),
        "what nobody else knows": asked(
            user({"type": "search_result", "source": "s", "title": "t", "content": [TEXT]}, {"type": "container_upload"}),
            model({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}),
            model({"type": "mcp_tool_use", "id": "s", "input": {}}, {"type": "compaction", "content": "c"}, {"type": "x"}),
        ),
        "citations": asked(model({**TEXT, "citations": CITED}, {**TEXT, "citations": None}, {**TEXT, "citations": []})),
        "thoughts": asked(model(
            {"type": "thinking", "thinking": "hm", "signature": "s", "odd": 1},
            {"type": "thinking", "thinking": "", "signature": "s"},
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "redacted_thinking", "data": "d", "odd": 1},
        )),
        "calls and results": asked(
            model(CALL, {**CALL, "caller": {"type": "direct"}, "cache_control": MARK},
                  {**CALL, "caller": {"type": "code_execution_20260120", "tool_id": "s"}, "toolset_name": "t"}),
            user(result(content="text"), result(content=[TEXT]), result(content=[]), result(), result(content=None),
                 result(is_error=True, content=[{"type": "image", "source": PNG}], cache_control=MARK),
                 result(is_error=False, content=[{"type": "document", "source": PDF}, {"type": "tool_reference"}]), TEXT),
        ),
        "arguments that floats would lose": asked(model({**CALL, "input": {"n": 12345678901234567890123, "x": 0.1}})),
        "tools": asked(tools=[
            {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True, "cache_control": MARK},
            {"type": "custom", "name": "g", "input_schema": {}, "input_examples": [{}], "defer_loading": True},
            {"type": None, "name": "h"}, {"type": "web_search_20260318", "name": "web_search", "max_uses": 2},
            {"type": "mcp_toolset", "mcp_server_name": "s"},
        ], mcp_servers=[{"type": "url"}]),
        "no tools": asked(tools=[], stop_sequences=[], metadata={}, thinking=None, tool_choice=None, output_config={}),
        "any": asked(tool_choice={"type": "any", "disable_parallel_tool_use": True}),
        "auto, in parallel": asked(tool_choice={"type": "auto", "disable_parallel_tool_use": False}),
        "one": asked(tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True, "odd": 1}),
        "none": asked(tool_choice={"type": "none"}),
        "none, one at a time": asked(tool_choice={"type": "none", "disable_parallel_tool_use": True}),
        "a choice of another kind": asked(tool_choice={"type": "some", "names": [], "disable_parallel_tool_use": True}),
        "budgeted": asked(thinking={"type": "enabled", "budget_tokens": 1024, "display": "omitted"}),
        "adaptive": asked(thinking={"type": "adaptive", "display": "summarized"}, output_config={"effort": "max"}),
        "between tools": asked(thinking={"type": "between_tools"}),
        "off": asked(thinking={"type": "disabled", "budget_tokens": 5}),
        "of another kind": asked(thinking={"type": "dreaming", "sheep": 9}),
        "effort alone": asked(output_config={"effort": "later", "task_budget": {"total": 1}}),
        "structured": asked(output_config={
            "format": {"type": "json_schema", "schema": {"type": "object"}, "odd": 1}, "effort": "low", "odd": None,
        }),
        "structured, as in the beta": asked(output_format={"type": "json_schema", "schema": {"type": "object"}}),
        "without a schema": asked(output_config={"format": {"type": "json_schema"}}),
        "in another way": asked(output_config={"format": {"type": "grammar"}}, output_format={"type": "grammar"}),
        "the rest": asked(
            temperature=0.5, top_p=1, top_k=40, stop_sequences=["a", "b"], metadata={"user_id": "u", "odd": 1},
            service_tier="auto", container={"id": "c"}, cache_control=MARK, stream=True, odd=[None],
        ),
        "marks of other kinds": asked(cache_control={"type": "eternal"}, system=[{**TEXT, "cache_control": {"odd": 1}}]),
        "a user who isn't said": asked(metadata={"user_id": None}, cache_control=None, max_tokens=0),
        "to be counted": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    },
    Where.ANSWER: {
        "every block": answered(
            {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
            {**TEXT, "citations": CITED}, {**TEXT, "citations": None}, {**CALL, "caller": {"type": "direct"}},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "web_search_result"}]},
            {"type": "compaction", "content": None}, {"type": "image", "source": PNG},
        ),
        "every reason": answered(stop_reason="stop_sequence", stop_sequence="END"),
        "refused": answered(stop_reason="refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "e"}),
        "a reason of a later version": answered(TEXT, stop_reason="meditating"),
        "not finished": answered(TEXT, stop_reason=None),
        "a container, and more": answered(
            TEXT, container={"id": "c", "expires_at": "t"}, context_management={"applied_edits": []}, diagnostics=None
        ),
        "usage in every kind": answered(usage={
            "input_tokens": 1, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 3, "output_tokens": 4,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2, "odd": 1},
            "output_tokens_details": {"thinking_tokens": 2, "odd": 1}, "server_tool_use": {"web_search_requests": 1},
            "service_tier": "standard", "inference_geo": "global", "iterations": [{"type": "message"}], "speed": None,
        }),
        "usage of nothing": answered(usage={"input_tokens": 0, "output_tokens": 0}),
        "usage with nulls": answered(usage={
            "input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": None, "cache_creation": None,
        }),
        "another role": answered(role="model", type="message_v2"),
    },
    Where.STREAM: {
        "every kind of delta": streamed(
            started(), {"type": "ping"},
            block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "h"},
                  {"type": "thinking_delta", "thinking": "m"}, {"type": "signature_delta", "signature": "s"}),
            block(1, {"type": "redacted_thinking", "data": "d"}),
            block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "x"},
                  {"type": "citations_delta", "citation": CITED[0]}, {"type": "text_delta", "text": "y"}),
            block(3, {**CALL, "input": {}}, {"type": "input_json_delta", "partial_json": ""},
                  {"type": "input_json_delta", "partial_json": '{"a":'},
                  {"type": "input_json_delta", "partial_json": " 1}"}),
            block(4, {**CALL, "input": {}}),
            block(5, {"type": "server_tool_use", "id": "s", "name": "n", "input": {}},
                  {"type": "input_json_delta", "partial_json": '{"q": '},
                  {"type": "input_json_delta", "partial_json": "[]}"}),
            block(6, {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"type": "x"}]}),
            ended({"stop_reason": "tool_use"}),
        ),
        "thoughts that aren't shown": streamed(
            started(), block(0, {"type": "thinking", "thinking": "", "signature": ""},
                             {"type": "signature_delta", "signature": "s"}),
            block(1, {"type": "thinking", "thinking": "", "signature": ""}), block(2, TEXT), ended(),
        ),
        "a compaction": streamed(
            started(), block(0, {"type": "compaction", "content": ""}, {"type": "compaction_delta", "content": "c"}),
            ended({"stop_reason": "compaction"}, context_management={"applied_edits": []}),
        ),
        "an end with details": streamed(
            started(stop_details=None, container=None),
            ended({"stop_reason": "refusal", "stop_details": {"type": "refusal"}, "container": {"id": "c"}}),
        ),
        "input at once": streamed(started(), block(0, CALL), ended()),
    },
    Where.ERROR: {
        "as usual": {"type": "error", "error": {"type": "overloaded_error", "message": "m"}, "request_id": "r"},
        "with a cause": {
            "type": "error", "error": {"type": "api_error", "message": "m", "details": {"error_code": "c"}, "odd": 1},
        },
    },
}  # fmt: skip  # a list reads better packed

DIFFERENT: dict[str, tuple[Where, Any]] = {
    "a call's input": (Where.REQUEST, asked(model({"type": "tool_use", "id": "i", "name": "f"}))),
    "a thought's signature": (Where.REQUEST, asked(model({"type": "thinking", "thinking": "hm"}))),
    "what goes without saying": (Where.ANSWER, {"content": [{"type": "tool_use", "id": "i", "name": "f"}]}),
    "what isn't known yet": (Where.STREAM, streamed(started(stop_details=None), block(0, TEXT), ended())),
    "the message's counts, once more": (Where.STREAM, streamed(started(usage={"output_tokens": 1}), {
        "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {},
    }, {"type": "message_stop"})),
    "one shape for an error": (Where.ERROR, {"message": "m"}),
}  # fmt: skip  # a list reads better packed


def differences(where: Where, original: Any) -> list[Found]:
    """How ``original`` differs from what we make of it."""
    if where is Where.STREAM:
        again = streamed_again(original.encode())
        return list(diff(gathered(payloads(original.encode())), gathered(payloads(again))))
    body = json.dumps(original).encode()
    if where is Where.REQUEST:
        again = CODEC.encode_request(CODEC.decode_request(body))
    elif where is Where.ANSWER:
        again = CODEC.encode_answer(CODEC.decode_answer(body))
    else:
        again = CODEC.encode_error(CODEC.decode_error(500, body))
    return list(diff(original, json.loads(again)))


def streamed_again(stream: bytes) -> bytes:
    decoder, encoder = CODEC.stream_decoder(), CODEC.stream_encoder()
    events = decoder.feed(stream) + decoder.finish()
    return b"".join(encoder.encode(event) for event in events)


def folded(stream: bytes) -> Answer:
    decoder = CODEC.stream_decoder()
    return fold(decoder.feed(stream) + decoder.finish())


def test_the_recordings_are_all_here() -> None:
    assert (len(EXCHANGES), len(COUNTED), len(STREAMED), len(WHOLE), len(REFUSED)) == (138, 3, 8, 128, 2)


@pytest.mark.parametrize("exchange", EXCHANGES + COUNTED, ids=lambda exchange: exchange["id"])
def test_a_recorded_request_comes_back_as_it_was(exchange: dict[str, Any]) -> None:
    assert differences(Where.REQUEST, exchange["request"]) == []


@pytest.mark.parametrize("exchange", WHOLE, ids=lambda exchange: exchange["id"])
def test_a_recorded_answer_comes_back_as_it_was(exchange: dict[str, Any]) -> None:
    assert differences(Where.ANSWER, exchange["response"]) == []


@pytest.mark.parametrize("exchange", REFUSED, ids=lambda exchange: exchange["id"])
def test_a_recorded_error_comes_back_as_it_was(exchange: dict[str, Any]) -> None:
    assert differences(Where.ERROR, exchange["response"]) == []


@pytest.mark.parametrize("exchange", STREAMED, ids=lambda exchange: exchange["id"])
def test_a_recorded_stream_comes_back_as_it_was(exchange: dict[str, Any]) -> None:
    assert differences(Where.STREAM, exchange["stream"]) == []


@pytest.mark.parametrize(
    ("where", "name"), [(where, name) for where, cases in LOSSLESS.items() for name in cases]
)
def test_a_made_case_comes_back_as_it_was(where: Where, name: str) -> None:
    assert differences(where, LOSSLESS[where][name]) == []


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_as_listed(name: str) -> None:
    where, original = DIFFERENT[name]
    found = differences(where, original)
    assert found
    assert [each for each in found if name not in listed(where, each)] == []


def test_every_listed_difference_has_its_case() -> None:
    assert list(DIFFERENT) == [difference.name for difference in DIFFERENCES]
    assert all(difference.reason.endswith(".") for difference in DIFFERENCES)


STREAMS = [exchange["stream"] for exchange in STREAMED] + list(LOSSLESS[Where.STREAM].values())


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_tells_one_answer_in_every_form(stream: str) -> None:
    wire = stream.encode()
    answer = folded(wire)
    assert answer.choices[0].finish is not None
    assert folded(streamed_again(wire)) == answer
    encoder = CODEC.stream_encoder()
    pieces = b"".join(encoder.encode(event) for event in split(answer, in_pieces(3)))
    whole = json.loads(CODEC.encode_answer(answer))
    assert json.loads(CODEC.encode_answer(folded(pieces))) == whole
    assert json.loads(CODEC.encode_answer(CODEC.decode_answer(json.dumps(whole).encode()))) == whole
    said = gathered(payloads(wire))
    del said["ends"]
    assert list(diff(said, whole)) == []


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_is_the_same_in_single_bytes(stream: str) -> None:
    wire = stream.encode()
    decoder, at_once = CODEC.stream_decoder(), CODEC.stream_decoder()
    events = [event for at in range(len(wire)) for event in decoder.feed(wire[at : at + 1])]
    assert events == at_once.feed(wire)
    assert isinstance(events[-1], Ended)
