"""Made cases for what the recordings don't show: each listed difference, and shapes that only documents or users report."""

from __future__ import annotations

import json
from typing import Any

from holdfast.dialects.openai_chat.differences import Where

_ASK = {"role": "user", "content": "x"}


def _request(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [_ASK], **fields}


def _answer(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, **message},
        "finish_reason": "stop",
    }
    return {"id": "i", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **fields}


def _called(call: dict[str, Any]) -> dict[str, Any]:
    return _request(_ASK, {"role": "assistant", "tool_calls": [call]})


def _user(*parts: dict[str, Any]) -> dict[str, Any]:
    return _request({"role": "user", "content": list(parts)})


def _stream(*chunks: dict[str, Any]) -> str:
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def _chunk(
    delta: dict[str, Any], finish: str | None = None, index: int = 0, choice: Any = None, **fields: Any
) -> dict[str, Any]:
    inner = {"index": index, "delta": delta, "finish_reason": finish, **(choice or {})}
    base = {"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**base, "choices": [inner], **fields}


_FUNCTION = {"name": "f", "arguments": "{}"}
_CALL = {"id": "c", "type": "function", "function": _FUNCTION}
_TEXT = {"type": "text", "text": "x"}

LOSSLESS: dict[Where, dict[str, Any]] = {
    Where.REQUEST: {
        "every role": _request(
            {"role": "system", "content": "s", "name": "n"},
            {"role": "developer", "content": [_TEXT]},
            {"role": "user", "content": "u", "name": "n", "odd": [1]},
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": "a", "tool_calls": None, "refusal": None, "function_call": None},
        ),
        "functions as they were": _request(
            _ASK,
            {"role": "assistant", "content": None, "function_call": {**_FUNCTION, "odd": 1}},
            {"role": "function", "name": "f", "content": "r"},
            functions=[{"name": "f", "parameters": {"type": "object"}, "odd": 1}],
            function_call={"name": "f"},
        ),
        "images": _user(
            {
                "type": "image_url",
                "image_url": {"url": "https://x/y.png", "detail": "low", "odd": 1},
                "odd": 2,
            },
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
            {"type": "image_url", "image_url": {"url": "data:text/plain,hi"}},
            {"type": "image_url", "image_url": {"url": "data:;base64,iVBO"}},
            {"type": "image_url", "image_url": {"url": "data:text/plain,a;base64,b"}},
            {"type": "image_url", "image_url": {"url": "data:image/svg+xml;charset=utf-8;base64,PHN2"}},
        ),
        "sound, files, film": _user(
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "mp3"}},
            {"type": "input_audio", "input_audio": {"data": "UklG"}},
            {"type": "file", "file": {"file_id": "file-1"}},
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE", "odd": 1},
            },
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "JVBE"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://x/a.pdf"}},
            {"type": "video_url", "video_url": {"url": "https://x/y.mp4", "fps": 2}},
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        ),
        "a part nobody knows": _user(_TEXT, {"type": "hologram", "hologram": {"depth": 3}}),
        "marks for caching": _request(
            {"role": "user", "content": [{**_TEXT, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {"role": "user", "content": [{**_TEXT, "cache_control": {"type": "eternal", "odd": 1}}]},
            {"role": "user", "content": [{**_TEXT, "cache_control": {}}]},
            tools=[{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}],
            cache_control={"type": "ephemeral"},
        ),
        "an assistant's own media and refusals": _request(
            {"role": "assistant", "content": [_TEXT, {"type": "refusal", "refusal": "no"}]},
            {"role": "assistant", "refusal": "no"},
            {"role": "assistant", "audio": {"id": "audio_1"}},
            {
                "role": "assistant",
                "content": "x",
                "images": [{"type": "image_url", "image_url": {"url": "https://x"}}],
            },
            {"role": "assistant", "content": "x", "images": "none"},
            {
                "role": "assistant",
                "content": [_TEXT, {"type": "image_url", "image_url": {"url": "https://x"}}],
            },
            {
                "role": "assistant",
                "content": [{"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}],
            },
            {"role": "assistant", "content": "x", "tool_calls": []},
            {"role": "assistant", "content": []},
        ),
        "reasoning handed back": _request(
            {"role": "assistant", "content": "x", "reasoning_content": "hm"},
            {"role": "assistant", "content": "x", "reasoning_content": ""},
            {"role": "assistant", "content": "x", "reasoning": "hm"},
            {"role": "assistant", "content": "x", "reasoning": "hm", "reasoning_content": "hm"},
            {"role": "assistant", "content": "x", "reasoning": "hm", "reasoning_content": "other"},
            {
                "role": "assistant",
                "content": "x",
                "reasoning": "hm",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "h", "signature": "s", "format": "f", "index": 0},
                    {"type": "reasoning.summary", "summary": "m", "index": 0},
                    {"type": "reasoning.encrypted", "data": "d", "id": "r", "index": 0},
                    {"type": "reasoning.encrypted", "data": None, "index": 1},
                    {"type": "reasoning.encrypted", "data": "d", "summary": "", "index": 2},
                    {"type": "reasoning.text", "text": None, "signature": "s", "index": 1},
                    {"type": "reasoning.dream", "dream": "sheep"},
                    {"odd": 1},
                ],
            },
            {"role": "assistant", "content": "x", "reasoning": "other", "reasoning_details": []},
            {
                "role": "assistant",
                "content": "x",
                "reasoning": "other",
                "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
            },
        ),
        "tools of every kind": _request(
            tools=[
                {
                    "type": "function",
                    "function": {"name": "f", "description": "d", "parameters": {}, "strict": None, "odd": 1},
                    "odd": 2,
                },
                {"type": "function", "function": {"name": "g", "parameters": None}},
                {"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}},
                {"type": "openrouter:web_search", "parameters": {"max_results": 2}},
            ],
            tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            parallel_tool_calls=False,
        ),
        "a custom tool's call": _called({"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}),
        "a call with more": _called(
            {
                **_CALL,
                "index": 0,
                "extra_content": {"google": {"thought_signature": "s"}},
                "function": {**_FUNCTION, "odd": 1},
            }
        ),
        "one tool": _request(tool_choice={"type": "function", "function": {"name": "f"}}),
        "one tool and more": _request(tool_choice={"type": "function", "function": {"name": "f"}, "odd": 1}),
        "one custom tool": _request(tool_choice={"type": "custom", "custom": {"name": "f"}}),
        "structured": _request(
            response_format={
                "type": "json_schema",
                "json_schema": {
                    "name": "n",
                    "description": "d",
                    "schema": {"type": "object"},
                    "strict": True,
                    "odd": 1,
                },
                "odd": 2,
            }
        ),
        "a grammar": _request(response_format={"type": "grammar", "grammar": "root ::= x"}),
        "plain text": _request(response_format={"type": "text", "odd": None}),
        "sampling": _request(
            temperature=0.7,
            top_p=1,
            top_k=40,
            min_p=0.05,
            frequency_penalty=-0.5,
            presence_penalty=2,
            repetition_penalty=1.1,
            seed=12345678901234567890123,
            logprobs=True,
            top_logprobs=5,
            logit_bias={"50256": -100},
            stop=["a", "b"],
            n=2,
            user="u",
            metadata={"a": "b"},
            stream=False,
        ),
        "nulls": _request(
            temperature=None,
            stop=None,
            tools=None,
            tool_choice=None,
            n=None,
            stream=None,
            response_format=None,
            stream_options=None,
            reasoning=None,
            metadata=None,
            max_tokens=None,
            messages_odd=None,
        ),
        "empty lists": _request(stop=[], tools=[], functions=[]),
        "stop as a text": _request(stop="x", max_tokens=5),
        "two maxima": _request(max_tokens=5, max_completion_tokens=6),
        "streamed": _request(stream=True, stream_options={"include_usage": False, "odd": 1}),
        "streamed, no options": _request(stream=True, stream_options={}),
        "effort": _request(reasoning_effort="low"),
        "OpenRouter's reasoning": _request(
            reasoning={"effort": "high", "max_tokens": 5, "enabled": True, "exclude": False},
            reasoning_effort="low",
        ),
        "OpenRouter's reasoning, empty": _request(reasoning={}),
        "DeepSeek's thinking": _request(thinking={"type": "disabled"}, reasoning_effort="low"),
        "thinking of another kind": _request(thinking={"type": "adaptive"}),
        "what nobody knows": _request(
            service_tier="flex",
            verbosity="low",
            modalities=["text"],
            audio={"voice": "v"},
            odd={"a": [1, None]},
        ),
        "numbers that floats would lose": _request(odd=[12345678901234567890, 0.1, -0.0]),
    },
    Where.ANSWER: {
        "said aloud": _answer(
            {"audio": {"id": "a", "data": "UklG", "expires_at": 1, "transcript": "hi"}, "refusal": None}
        ),
        "refused": _answer({"refusal": "no"}),
        "pictures": _answer(
            {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,A"}, "index": 0}]}
        ),
        "cited, and more": _answer(
            {
                "content": "x",
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "odd": 1}, "odd": 2},
                ],
            }
        ),
        "cited otherwise": _answer(
            {
                "content": "x",
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": "u"}},
                    {"type": "file_citation", "file_citation": {}},
                ],
            }
        ),
        "cited wrongly": _answer(
            {"content": "x", "annotations": [{"type": "url_citation", "url_citation": {"url": 1}}]}
        ),
        "cited without text": _answer(
            {"annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}
        ),
        "text in parts": _answer({"content": [_TEXT, {"type": "thinking", "thinking": []}]}),
        "no content at all": {
            "id": "i",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "refusal": "no"}, "finish_reason": "stop"}
            ],
        },
        "another role": _answer({"role": "model", "content": "x"}),
        "a call as it was": _answer({"function_call": _FUNCTION}),
        "a custom tool's call": _answer(
            {"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}]}
        ),
        "log probabilities": {
            **_answer({"content": "x"}),
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "x"},
                    "finish_reason": None,
                    "logprobs": {
                        "content": [{"token": "x", "logprob": -0.1, "bytes": [120], "top_logprobs": []}]
                    },
                    "content_filter_results": {"hate": {"filtered": False}},
                }
            ],
        },
        "an unknown ending": {
            **_answer({"content": "x"}),
            "choices": [
                {
                    "index": 1,
                    "message": {"role": "assistant", "content": "x"},
                    "finish_reason": "insufficient_system_resource",
                }
            ],
        },
        "another object": _answer({"content": "x"}) | {"object": "chat.completion.v2", "usage": None},
        "usage that doesn't add up": _answer(
            {}, usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9}
        ),
        "usage in other kinds": _answer(
            {},
            usage={
                "prompt_tokens": 1,
                "completion_tokens": 2,
                "total_tokens": 3,
                "prompt_tokens_details": None,
                "completion_tokens_details": {},
                "cost": 0.1,
            },
        ),
        "no choices": _answer({}) | {"choices": []},
    },
    Where.STREAM: {
        "every kind of delta": _stream(
            _chunk({"role": "assistant"}),
            _chunk({"reasoning_content": "h"}),
            _chunk({"reasoning_content": "m"}),
            _chunk({"content": "a"}, choice={"logprobs": {"content": [{"token": "a"}]}}),
            _chunk({"content": "b"}, choice={"logprobs": {"content": [{"token": "b"}]}}),
            _chunk({"refusal": "no"}),
            _chunk({"refusal": "pe"}),
            _chunk({"tool_calls": [{"index": 0, **_CALL, "function": {"name": "f", "arguments": ""}}]}),
            _chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            _chunk({"tool_calls": [{"index": 1, **_CALL, "id": "d"}]}),
            _chunk({}, "tool_calls"),
        ),
        "sound": _stream(
            _chunk({"role": "assistant", "audio": {"id": "a", "transcript": "h"}}),
            _chunk({"audio": {"data": "UklG", "transcript": "i"}}),
            _chunk({"audio": {"expires_at": 5}}),
            _chunk({}, "stop"),
        ),
        "two choices": _stream(
            _chunk({"role": "assistant", "content": "a"}, index=1),
            _chunk({"role": "assistant", "content": "b"}),
            _chunk({}, "stop", index=1),
            _chunk({}, "length"),
        ),
        "a custom tool": _stream(
            _chunk(
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}
                    ],
                }
            ),
            _chunk({"tool_calls": [{"index": 0, "custom": {"input": "a"}}]}),
            _chunk({"tool_calls": [{"index": 0, "custom": {"input": "b"}}]}),
            _chunk({}, "tool_calls"),
        ),
        "a call as it was": _stream(
            _chunk({"role": "assistant", "function_call": {"name": "f", "arguments": ""}}),
            _chunk({"function_call": {"arguments": "{}"}}),
            _chunk({}, "function_call"),
        ),
        "thoughts of each type under one index": _stream(
            _chunk(
                {
                    "role": "assistant",
                    "reasoning": "a",
                    "reasoning_details": [{"type": "reasoning.summary", "summary": "a", "index": 0}],
                }
            ),
            _chunk(
                {
                    "reasoning": "b",
                    "reasoning_details": [{"type": "reasoning.summary", "summary": "b", "index": 0}],
                }
            ),
            _chunk(
                {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "id": "r", "index": 0}]}
            ),
            _chunk({"reasoning_details": [{"type": "reasoning.dream", "dream": "sheep", "index": 0}]}),
            _chunk({"reasoning_details": [{"type": "reasoning.dream", "dream": "p", "index": 0}]}),
            _chunk({"content": "c"}),
            _chunk({}, "stop"),
        ),
        "pictures and what nobody knows": _stream(
            _chunk(
                {"role": "assistant", "images": [{"type": "image_url", "image_url": {"url": "https://x"}}]}
            ),
            _chunk({"odd": "a", "deep": {"x": "1"}}, choice={"native": "n"}, tier="t"),
            _chunk({"odd": "b", "deep": {"x": "2"}}, choice={"native": "n"}, tier="t"),
            _chunk({}, "stop", choice={"native": "m"}, tier="u"),
        ),
        "annotations of two kinds": _stream(
            _chunk(
                {"role": "assistant", "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}
            ),
            _chunk({"annotations": [{"type": "file_citation", "file_citation": {}}]}),
            _chunk({"content": "x"}),
            _chunk({}, "stop"),
        ),
        "another role": _stream(_chunk({"role": "model", "content": "x"}), _chunk({}, "stop")),
    },
    Where.ERROR: {
        "OpenAI's": {"error": {"message": "m", "type": "t", "param": "p", "code": "c"}},
        "OpenRouter's": {
            "error": {"message": "m", "type": None, "param": None, "code": 429, "metadata": {"raw": "x"}},
            "user_id": "u",
        },
        "with more inside": {
            "error": {"message": "m", "type": None, "param": None, "code": None, "inner": {"a": 1}}
        },
        "of wrong types": {"error": {"message": "m", "type": 1, "param": ["p"], "code": {}}},
    },
}
"""What has to come back as it was."""

DIFFERENT: dict[str, tuple[Where, Any]] = {
    "mp3 by its usual name": (
        Where.REQUEST,
        _user({"type": "input_audio", "input_audio": {"data": "A", "format": "mpeg"}}),
    ),
    "a call's type": (Where.REQUEST, _called({"id": "c", "function": _FUNCTION})),
    "a call's arguments": (
        Where.REQUEST,
        _called({"id": "c", "type": "function", "function": {"name": "f"}}),
    ),
    "a call's null arguments": (
        Where.REQUEST,
        _called({"id": "c", "type": "function", "function": {"name": "f", "arguments": None}}),
    ),
    "a thought's text": (
        Where.REQUEST,
        _request(
            {
                "role": "assistant",
                "content": "x",
                "reasoning_details": [{"type": "reasoning.text", "signature": "s"}],
            }
        ),
    ),
    "what goes without saying": (
        Where.ANSWER,
        {"choices": [{"message": {"content": None, "tool_calls": [{"id": "c", "function": _FUNCTION}]}}]},
    ),
    "an answer's arguments": (
        Where.ANSWER,
        _answer({"tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}]}),
    ),
    "the sum of tokens": (Where.ANSWER, _answer({}, usage={"prompt_tokens": 1, "completion_tokens": 2})),
    "cached tokens in OpenAI's place": (
        Where.ANSWER,
        _answer(
            {},
            usage={
                "prompt_tokens": 3,
                "completion_tokens": 2,
                "total_tokens": 5,
                "prompt_cache_hit_tokens": 1,
                "prompt_cache_miss_tokens": 2,
            },
        ),
    ),
    "the chunk's clock": (
        Where.STREAM,
        _stream(_chunk({"role": "assistant", "content": "x"}), _chunk({}, "stop", created=2)),
    ),
    "tool calls counted from 0": (
        Where.STREAM,
        _stream(
            _chunk({"role": "assistant", "tool_calls": [{"index": 1, **_CALL}]}), _chunk({}, "tool_calls")
        ),
    ),
    "one object for an error": (Where.ERROR, {"error": "m"}),
    "an error's four fields": (Where.ERROR, {"error": {"message": "m"}}),
}
"""One case for each listed difference that the recordings don't show."""
