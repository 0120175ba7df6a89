"""The OpenAPI document: sound in itself, and about what is really served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.simulation.chat_wire import refuses, request, speaks, stream, whole
from tests.unit.gateway.door import Door

from holdfast import __version__
from holdfast.gateway.openapi import openapi
from holdfast.gateway.paths import POSTS, find
from holdfast.testing.memory_transport import Reply
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = openapi(__version__)
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)


def test_every_reference_leads_somewhere():
    for node in walk(DOCUMENT):
        if "$ref" not in node:
            continue
        found: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_operations_have_names_of_their_own_and_say_what_they_are():
    names = [DOCUMENT["paths"][path][method]["operationId"] for path, method in OPERATIONS]
    assert len(names) == len(set(names))
    for path, method in OPERATIONS:
        operation = DOCUMENT["paths"][path][method]
        assert operation["summary"]
        assert "200" in operation["responses"]
        for response in operation["responses"].values():
            assert "$ref" in response or response["description"]
    assert DOCUMENT["info"]["version"] == __version__


BODIES = {
    "openai_chat": request(stream=False),
    "openai_responses": b'{"model":"chat","input":"hi"}',
    "openai_embeddings": b'{"model":"chat","input":"hi"}',
    "anthropic": b'{"model":"chat","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}',
    "anthropic_count_tokens": b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}',
    "gemini": b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}',
    "gemini_count_tokens": b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}',
}


ANSWERS = {
    "openai_responses": {
        "id": "r",
        "model": "m",
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "openai_embeddings": {"model": "m", "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 1}},
}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_it_lists_is_served_and_with_that_method_only(path, method):
    """Both targets speak OpenAI's dialects: a count of tokens, which can't be translated, is refused, and says so."""

    async def main(clock: VirtualClock) -> None:
        filled = path.replace("{model}", "chat")
        place = find(filled, b"")
        dialect = place.dialect if place else ""
        reply = speaks(*stream("a")) if place and place.stream else whole()
        if dialect in ANSWERS:
            reply = Reply(
                200, {"content-type": "application/json"}, ((0.0, msgspec.json.encode(ANSWERS[dialect])),)
            )
        door = await Door.open(clock, [reply])
        said = await door.ask(method.upper(), filled, BODIES[dialect] if place else b"")
        assert said.status == (501 if "count" in dialect else 200)
        operation = DOCUMENT["paths"][path][method]["responses"]
        assert str(said.status) in operation
        if said.status == 200:
            assert said.headers["content-type"].split(";")[0] in operation["200"]["content"]
        wrong = await door.ask("DELETE", filled)
        assert wrong.status == 405

    run_virtual(main)


def test_what_is_served_is_listed():
    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock)
        listed = {path for path, _ in OPERATIONS if "{" not in path}
        assert {*door.gateway._open, *door.gateway._gets, *POSTS} == listed
        assert (await door.ask("GET", "/openapi.json")).json == DOCUMENT

    run_virtual(main)


def test_every_status_and_header_that_goes_out_is_documented():
    operation = DOCUMENT["paths"]["/v1/chat/completions"]["post"]
    told = set(operation["responses"]["200"]["headers"])
    always = {"content-type", "content-length", "x-request-id", "cache-control", "x-accel-buffering"}

    async def main(clock: VirtualClock) -> None:
        door = await Door.open(
            clock, [whole(), speaks(*stream("a")), refuses(429), refuses(429), refuses(500), refuses(500)]
        )
        for body in (request(stream=False), request()):
            said = await door.chat(body)
            assert set(said.headers) <= told | always
        for body in (request(), request(), b"{", request(model="nobody-knows")):
            said = await door.chat(body)
            assert str(said.status) in operation["responses"]

    run_virtual(main)
