"""A12, BU1: what of a request nobody here can tell the size of; and what only looks like it."""

from __future__ import annotations

import json
from collections import Counter

import msgspec
import pytest
from tests.wire.recorded import recordings

from holdfast.dialects.unseen import unseen

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def found_in(body) -> str | None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return unseen(FIELDS.decode(text))


def chat(*parts, **more):
    return {"messages": [{"role": "user", "content": list(parts)}], **more}


def asked(text="hi", **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def gemini(*parts, **more):
    return {"contents": [{"role": "user", "parts": list(parts)}], **more}


def responses(*items, **more):
    return {"input": list(items), **more}


FUNCTION = {"type": "function", "function": {"name": "web_search", "parameters": {"type": "object"}}}

UNSEEN = {
    # OpenAI's Chat Completions
    "an image by its address": (
        chat({"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}),
        "messages: url",
    ),
    "an address that isn't one": (chat({"type": "image_url", "image_url": {"url": ""}}), "messages: url"),
    "a file by its id": (chat({"type": "file", "file": {"file_id": "file-1"}}), "messages: file_id"),
    "a file's pages": (
        chat({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}),
        "messages: file_data",
    ),
    "sound": (
        chat({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}),
        "messages: input_audio",
    ),
    "sound of an earlier answer": (
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
        "messages: audio",
    ),
    "a search": (asked(web_search_options={"search_context_size": "low"}), "web_search_options"),
    # OpenAI's Responses
    "an answer that is kept there": (responses(previous_response_id="resp_1"), "previous_response_id"),
    "a conversation that is kept there": (responses(conversation={"id": "conv_1"}), "conversation"),
    "a prompt that is kept there": (responses(prompt={"id": "pmpt_1"}), "prompt"),
    "an item that is kept there": (
        responses({"type": "item_reference", "id": "msg_1"}),
        "input: item_reference",
    ),
    "reasoning that is kept there": (
        responses({"type": "reasoning", "id": "rs_1", "summary": []}),
        "input: reasoning",
    ),
    "an image by its address in an item": (
        responses({"role": "user", "content": [{"type": "input_image", "image_url": "https://a.b/c"}]}),
        "input: image_url",
    ),
    "a file by its address": (
        responses({"role": "user", "content": [{"type": "input_file", "file_url": "https://a.b/c.pdf"}]}),
        "input: file_url",
    ),
    "a tool that searches": (responses(tools=[{"type": "web_search"}]), "tools: web_search"),
    "a tool that nobody knows yet": (responses(tools=[{"type": "telepathy"}]), "tools: telepathy"),
    "a tool among others": (responses(tools=[FUNCTION, {"type": "mcp", "server_url": "x"}]), "tools: mcp"),
    # Anthropic's Messages
    "a document by its address": (
        chat({"type": "document", "source": {"type": "url", "url": "https://a.b/c.pdf"}}),
        "messages: url",
    ),
    "a document's pages": (
        chat(
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}}
        ),
        "messages: media_type",
    ),
    "a file in a tool's result": (
        chat(
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}],
            }
        ),
        "messages: file_id",
    ),
    "a server's tools": (asked(mcp_servers=[{"type": "url", "url": "x", "name": "n"}]), "mcp_servers"),
    "a container": (asked(container="c_1"), "container"),
    "a tool of Anthropic's": (
        asked(tools=[{"type": "web_fetch_20250910", "name": "web_fetch"}]),
        "tools: web_fetch_20250910",
    ),
    "a computer": (
        asked(tools=[{"type": "computer_20250124", "name": "computer"}]),
        "tools: computer_20250124",
    ),
    # Google's
    "a cache": (gemini(cachedContent="cachedContents/1"), "cachedContent"),
    "a cache, spelt with a line": (gemini(cached_content="cachedContents/1"), "cached_content"),
    "a film": (gemini({"fileData": {"fileUri": "https://a.b/c"}}), "contents: fileUri"),
    "sound within": (gemini({"inlineData": {"mimeType": "audio/mp3", "data": "AA"}}), "contents: mimeType"),
    "sound within, spelt with a line": (
        gemini({"inline_data": {"mime_type": "Audio/MP3", "data": "AA"}}),
        "contents: mime_type",
    ),
    "a file among a function's results": (
        gemini(
            {"functionResponse": {"name": "f", "response": {}, "parts": [{"fileData": {"fileUri": "x"}}]}}
        ),
        "contents: fileUri",
    ),
    "Google's search": (gemini(tools=[{"googleSearch": {}}]), "tools: googleSearch"),
    "Google's search beside functions": (
        gemini(tools=[{"functionDeclarations": [], "urlContext": {}}]),
        "tools: urlContext",
    ),
    "a tool of Google's that nobody knows yet": (gemini(tools={"telepathy": {}}), "tools: telepathy"),
    # Whoever hides a name
    "a name spelt as numbers": (
        rb'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"\u0075rl":"https://a"}}]}]}',
        "messages: url",
    ),
    "a tool's kind spelt as numbers": (
        rb'{"input":"hi","tools":[{"\u0074ype":"\u0077eb_search"}]}',
        "tools: web_search",
    ),
}

SEEN = {
    "text": asked(),
    "text that quotes names": asked('{"file_id": "x", "url": "https://a.b", "type": "web_search"}'),
    "text that is a name": asked("file_id"),
    "an image within": chat({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}),
    "an image within, as PHP writes it": (
        rb'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image\/png;base64,AA"}}]}]}'
    ),
    "an image within, at Anthropic's": chat(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    ),
    "an image within, at Google's": gemini({"inlineData": {"mimeType": "IMAGE/png", "data": PIXEL}}),
    "an image within an item": responses(
        {"role": "user", "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}]}
    ),
    "a document's text": chat(
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "file_id"}}
    ),
    "what a tool that fetches pages was asked": {
        "messages": [
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "t", "name": "fetch", "input": {"url": "https://a.b"}}
                ],
            }
        ]
    },
    "what a function was asked at Google's": gemini(
        {"functionCall": {"name": "f", "args": {"uri": "https://a.b"}}}
    ),
    "what a function said at Google's": gemini(
        {"functionResponse": {"name": "f", "response": {"file_uri": "x", "url": "y"}}}
    ),
    "what a function was asked at OpenAI's": {
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"url": "https://a.b"}'},
                    }
                ],
            }
        ]
    },
    "what an answer quoted": {
        "messages": [
            {
                "role": "assistant",
                "content": "so",
                "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a.b"}}],
            }
        ]
    },
    "one's own tools": asked(
        tools=[
            FUNCTION,
            {"type": "custom", "custom": {"name": "shell"}},
            {"name": "computer", "input_schema": {"properties": {"shell": {"type": ["string", "null"]}}}},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "e"},
        ]
    ),
    "one's own tools at Google's": gemini(
        tools=[{"functionDeclarations": [{"name": "googleSearch", "parameters": {"type": "OBJECT"}}]}]
    ),
    "one's own tools at Google's, spelt with a line": gemini(
        tools=[{"function_declarations": [], "googleSearch": None}]
    ),
    "nothing in its place": asked(container=None, web_search_options={}, mcp_servers=[], prompt=""),
    "reasoning that came encrypted": responses(
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAAA"}
    ),
    "letters beyond ASCII spelt as numbers": asked("caf\u00e9 <b> & \u201c"),
    "an empty file": chat({"type": "file", "file": {"file_id": None}}),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_unseen(name):
    body, found = UNSEEN[name]
    assert found_in(body) == found


def test_what_is_nested_too_deep_to_be_read():
    """The reading of the request went just as deep, with less on the stack."""
    deep = msgspec.Raw(b"[" * 5_000 + b'{"file_id":1}' + b"]" * 5_000)
    assert unseen({"messages": deep}) == "an object in too many others"


@pytest.mark.parametrize("name", SEEN)
def test_seen(name):
    assert found_in(SEEN[name]) is None


RECORDED = {
    "openai_chat": {"messages: file_data": 3, "web_search_options": 2, "messages: url": 1},
    "anthropic": {
        "tools: tool_search_tool_bm25_20251119": 19,
        "tools: web_search_20250305": 8,
        "tools: web_search_20260209": 1,
        "tools: advisor_20260301": 5,
        "tools: code_execution_20260120": 2,
        "messages: file_id": 7,
        "messages: url": 4,
        "messages: media_type": 1,
        "container": 4,
    },
    "gemini": {
        "contents: fileUri": 9,
        "contents: file_data": 3,
        "contents: mimeType": 2,
        "cachedContent": 2,
        "tools: googleSearch": 5,
        "tools: codeExecution": 3,
        "tools: fileSearch": 2,
        "tools: urlContext": 2,
    },
    "openrouter_chat": {
        "tools: openrouter:web_search": 2,
        "tools: openrouter:advisor": 1,
        "messages: url": 1,
    },
    "deepseek_chat": {},
    "azure_chat": {},
    "embeddings": {},
}
"""What is unseen in requests that were really made, and how often; all others are seen whole."""


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_requests(name):
    found = Counter(found_in(each["request"]) for each in recordings(name))
    assert found.pop(None) > 0, "most requests are seen whole"
    assert found == RECORDED[name]
