"""The OpenAPI document: sound in itself, and about what is really served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.simulation.chat_wire import refuses, request, speaks, stream, whole
from tests.unit.gateway.door import CONFIG, Door
from tests.unit.gateway.reloading import BASE, Reloading, reloading

from holdfast import __version__
from holdfast.gateway.admin import PATHS as ADMIN
from holdfast.gateway.admin_keys import OPERATIONS as KEY_OPERATIONS
from holdfast.gateway.admin_keys import is_keys
from holdfast.gateway.admin_money import OPERATIONS as MONEY_OPERATIONS
from holdfast.gateway.admin_money import is_money
from holdfast.gateway.admin_provider_keys import is_provider_keys
from holdfast.gateway.admin_reload import OPERATIONS as RELOAD_OPERATIONS
from holdfast.gateway.admin_reload import is_reload
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
        assert {"200", "201"} & set(operation["responses"])
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


def _is_managed(path):
    """Its operations change something, and are tried in their turn."""
    return is_keys(path) or is_provider_keys(path) or is_money(path) or is_reload(path)


@pytest.mark.parametrize(("path", "method"), [each for each in OPERATIONS if not _is_managed(each[0])])
def test_what_it_lists_is_served_and_with_that_method_only(path, method):
    """Both targets speak OpenAI's dialects: what no target counts, the gateway counts itself."""

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
        assert said.status == 200
        operation = DOCUMENT["paths"][path][method]["responses"]
        assert str(said.status) in operation
        if said.status == 200:
            assert said.headers["content-type"].split(";")[0] in operation["200"]["content"]
        wrong = await door.ask("DELETE", filled)
        assert wrong.status == 405

    run_virtual(main)


def test_keys_are_served_as_it_says():
    """One life of a key: each operation in its turn, with what the document calls for."""

    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock)
        bodies = {
            "NewKey": b'{"name":"ops","admin":true}',
            "KeyChanges": b'{"team":"search"}',
            "KeyRotation": b"",
        }
        answers: dict[str, Any] = {}
        headers: dict[str, str] = {}
        order = ["POST", "GET", "PATCH", "DELETE"]  # made first, ended last
        steps = sorted(KEY_OPERATIONS, key=lambda step: (order.index(step[0]), step[1].count("/")))
        for method, path in steps:
            operation = DOCUMENT["paths"][path][method.lower()]
            form = (
                operation.get("requestBody", {})
                .get("content", {})
                .get("application/json", {})
                .get("schema", {})
            )
            body = bodies[form["$ref"].rpartition("/")[2]] if form else b""
            said = await door.ask(method, path.replace("{name}", "ops"), body, headers)
            answers[operation["operationId"]] = said
            assert str(said.status) in operation["responses"]
            assert said.status in (200, 201)
            if "key" in said.json:
                headers = {"authorization": f"Bearer {said.json['key']}"}
            for key in said.json.get("keys", [said.json]):
                assert set(key) <= set(DOCUMENT["components"]["schemas"]["Key"]["properties"])
        assert set(answers) == {each.name for each in KEY_OPERATIONS.values()}
        for path in {path for _, path in KEY_OPERATIONS}:
            wrong = await door.ask("PUT", path.replace("{name}", "ops"), headers=headers)
            assert wrong.status == 401  # revoked by now
        fresh = await Door.open(clock)
        for path in {path for _, path in KEY_OPERATIONS}:
            assert (await fresh.ask("PUT", path.replace("{name}", "ops"))).status == 405

    run_virtual(main)


def test_money_is_told_as_it_says():
    """A session that spends, is looked at and ended, and a cost breaker that is reset."""

    async def main(clock: VirtualClock) -> None:
        config = CONFIG + "[cost_protection]\nenabled = true\n[budgets.all]\nlimit_usd = 5\n"
        door = await Door.open(clock, [whole()], config)
        bare = await Door.open(clock)
        assert (await door.chat(request(stream=False), {"x-holdfast-session": "s/1"})).status == 200
        order = {"list_sessions": 0, "end_session": 2, "reset_cost_breaker": 3}
        steps = sorted(MONEY_OPERATIONS.items(), key=lambda step: order.get(step[1].name, 1))
        for (method, path), known in steps:
            operation = DOCUMENT["paths"][path][method.lower()]
            assert operation["operationId"] == known.name
            asked = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
            assert asked == set(known.query)
            filled = path.replace("{key}", "local").replace("{id}", "s/1")
            said = await door.ask(method, filled)
            assert said.status == 200
            agrees(said.json, operation["responses"]["200"]["content"]["application/json"]["schema"])
            for status, wrong in (
                (400, await door.ask(method, f"{filled}?no=1")),
                (404, await door.ask(method, f"{filled}/")),
                (405, await door.ask("PUT", filled)),
            ):
                assert wrong.status == status
                assert str(status) in operation["responses"]
            assert str((await bare.ask(method, filled)).status) in operation["responses"]

    run_virtual(main)


def test_reloads_are_told_as_it_says():
    """What is refused, what would change, what changed, and what came of it."""
    text = BASE + '[routes.chat]\ntargets = ["a/m"]\n'

    async def main(here: Reloading) -> None:
        responses = {
            each.name: DOCUMENT["paths"][path][method.lower()]["responses"]
            for (method, path), each in RELOAD_OPERATIONS.items()
        }
        assert set(responses) == {"reload_config", "show_config"}
        other = text.replace("a/m", "b/m") + "[budgets.b]\nlimit_usd = 1\n"
        for query, config, status in (
            ("", "[gateway]\nport = 1\n", 422),
            ("?dry_run=true", other, 200),
            ("", other, 200),
            ("?no=1", other, 400),
        ):
            said = await here.reload(config, query)
            assert said.status == status
            told = responses["reload_config"][str(status)]
            if "$ref" not in told:
                agrees(said.json, told["content"]["application/json"]["schema"])
            shown = responses["show_config"]["200"]["content"]["application/json"]["schema"]
            agrees(await here.config(), shown)

    reloading(main, text)


def agrees(value: Any, schema: dict[str, Any]) -> None:
    """Whether ``value`` is what ``schema`` says: all of it, and nothing that it doesn't name."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        assert value in schema["enum"]
        return
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert type(value) in {kind for name in kinds for kind in KINDS[name]}, (value, schema)
    if isinstance(value, list):
        for each in value:
            agrees(each, schema["items"])
    elif "properties" in schema:
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
        for name, each in value.items():
            agrees(each, schema["properties"][name])


KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "object": (dict,),
    "array": (list,), "null": (type(None),),
}  # fmt: skip


def test_what_is_served_is_listed():
    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock)
        listed = {path for path, _ in OPERATIONS if "{" not in path and not _is_managed(path)}
        assert {*door.gateway._open, *door.gateway._gets, *POSTS, *ADMIN, "/metrics"} == listed
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
