"""What each of the client's events does, and what it is told where it can't mean anything."""

import asyncio
import base64
import copy

import pytest
from tests.unit.chaos.realtime_client import only, said, serving, talking

from holdfast.chaos.realtime import RealtimeSettings
from holdfast.chaos.realtime.audio import BYTES_PER_S, sound
from holdfast.chaos.realtime.conversation import Conversation, Stored
from holdfast.chaos.realtime.preferences import Preferences
from holdfast.chaos.realtime.wrong import Wrong

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
SESSION = {"type": "realtime"}


def audio(seconds, kind="audio/pcm"):
    return base64.b64encode(bytes(int(seconds * BYTES_PER_S[kind]))).decode()


def session(work, settings=None, **config):
    """Run ``work`` in a session; what it returns."""

    async def run():
        async with (
            serving(settings, tokens=config.pop("tokens", 3), **config) as server,
            talking(server) as talker,
        ):
            return await work(talker, server)

    return asyncio.run(run())


def _session(**fields):
    return {"session": {**SESSION, **fields}}


def _item(**fields):
    return {"item": {**USER, **fields}}


SOUND = {"type": "input_audio", "audio": "?"}
PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,?"}
WRONG = [
    ("session.update", _session(foo=1), "unknown_parameter", "session.foo"),
    ("session.update", {"session": {"instructions": "x"}}, "missing_required_parameter", "session.type"),
    ("session.update", {"session": {"type": "transcription"}}, "invalid_value", "session.type"),
    ("session.update", {}, "missing_required_parameter", "session"),
    ("session.update", _session(instructions=3), "invalid_type", "session.instructions"),
    ("session.update", _session(model="other"), "invalid_value", "session.model"),
    ("session.update", _session(output_modalities=["text", "audio"]), "invalid_value", "session.output_modalities"),
    ("session.update", _session(max_output_tokens=5000), "invalid_value", "session.max_output_tokens"),
    ("session.update", _session(audio={"output": {"speed": 9}}), "invalid_value", "session.audio.output.speed"),
    ("session.update", _session(audio={"input": {"turn_detection": {"type": "x"}}}), "invalid_value",
      "session.audio.input.turn_detection.type"),
    ("session.update", _session(tools=[{"type": "function"}]), "missing_required_parameter", "session.tools[0].name"),
    ("conversation.item.create", {"item": {"type": "message"}}, "missing_required_parameter", "item.role"),
    ("conversation.item.create", {"item": {"type": "message", "role": "user"}},
     "missing_required_parameter", "item.content"),
    ("conversation.item.create", {"item": {"type": "x"}}, "invalid_value", "item.type"),
    ("conversation.item.create", _item(output="x"), "unknown_parameter", "item.output"),
    ("conversation.item.create", _item(role="assistant"), "invalid_value", "item.content[0].type"),
    ("conversation.item.create", _item(content=[{"type": "input_text"}]), "missing_required_parameter",
      "item.content[0].text"),
    ("conversation.item.create", _item(content=[SOUND]), "invalid_value", "item.content[0].audio"),
    ("conversation.item.create", _item(content=[PICTURE]), "invalid_value", "item.content[0].image_url"),
    ("conversation.item.create", {"item": USER, "previous_item_id": "none"},
     "item_create_invalid_previous_item_id", "previous_item_id"),
    ("conversation.item.create", {"item": {"type": "function_call_output", "call_id": "c", "output": ""}},
     "item_create_invalid_call_id", "item.call_id"),
    ("conversation.item.create", {"item": {"type": "item_reference", "id": "x"}}, "invalid_value", "item.type"),
    ("conversation.item.delete", {"item_id": "none"}, "item_delete_invalid_item_id", "item_id"),
    ("conversation.item.retrieve", {"item_id": "none"}, "item_retrieve_invalid_item_id", "item_id"),
    ("conversation.item.truncate", {"item_id": "none", "content_index": 0, "audio_end_ms": 0},
     "item_truncate_invalid_item_id", "item_id"),
    ("conversation.item.truncate", {"item_id": "none"}, "missing_required_parameter", "content_index"),
    ("input_audio_buffer.append", {"audio": "not base64"}, "invalid_value", "audio"),
    ("input_audio_buffer.append", {}, "missing_required_parameter", "audio"),
    ("input_audio_buffer.commit", {}, "input_audio_buffer_commit_empty", None),
    ("response.create", {"response": {"foo": 1}}, "unknown_parameter", "response.foo"),
    ("response.create", {"response": {"input": [{"type": "item_reference", "id": "x"}]}},
     "invalid_value", "response.input[0].id"),
    ("response.create", {"response": {"input": [{"type": "item_reference"}]}},
     "missing_required_parameter", "response.input[0].id"),
    ("response.cancel", {}, "response_cancel_not_active", None),
    ("response.cancel", {"response_id": "resp_x"}, "response_cancel_not_active", None),
    ("nonsense", {}, "invalid_value", "type"),
]  # fmt: skip  # one case a line


def test_mistakes_are_told_and_the_session_goes_on():
    async def work(talker, server):
        told = []
        for i, (kind, fields, *_) in enumerate(WRONG):
            await talker.send(kind, event_id=f"mine {i}", **fields)
            told.append(await talker.receive())
        return told, server.journal.entries()

    told, entries = session(work)
    for (kind, _, code, param), (i, event) in zip(WRONG, enumerate(told), strict=True):
        error = event["error"]
        assert (event["type"], error["code"], error["param"]) == ("error", code, param), kind
        assert (error["type"], error["event_id"]) == ("invalid_request_error", f"mine {i}")
        assert (
            param is None or param.rpartition(".")[2] in error["message"] or code == "invalid_value" or kind
        )
    assert [entry.operation for entry in entries] == ["connect"]


@pytest.mark.parametrize(
    ("message", "code"),
    [("{", "invalid_json"), ("[]", "invalid_type"), ("{}", "missing_required_parameter"), (b"{}", "invalid_event"),
     ("[" * 100_000, "invalid_json"), ('{"type": 3}', "invalid_value")],
)  # fmt: skip  # short cases
def test_what_is_no_event(message, code):
    async def work(talker, _server):
        await talker.socket.send(message)
        return await talker.receive()

    assert session(work)["error"]["code"] == code


def test_an_update_changes_what_it_names():
    async def work(talker, _server):
        given = {
            "tools": [TOOL], "tool_choice": "required", "max_output_tokens": 100,
            "audio": {
                "input": {"turn_detection": {"type": "semantic_vad"}, "transcription": {"model": "x"}},
                "output": {"voice": "ash"},
            },
        }  # fmt: skip  # reads better packed
        await talker.send("session.update", session={**SESSION, **given})
        [first] = await talker.until("session.updated")
        await talker.send("session.update", session={**SESSION, "audio": {"input": {"turn_detection": None}}})
        [second] = await talker.until("session.updated")
        return first["session"], second["session"]

    first, second = session(work)
    assert (first["tools"], first["tool_choice"], first["max_output_tokens"]) == ([TOOL], "required", 100)
    assert first["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "ash",
        "speed": 1.0,
    }
    turns = {"type": "semantic_vad", "eagerness": "auto", "create_response": True, "interrupt_response": True}
    assert first["audio"]["input"]["turn_detection"] == turns
    assert first["audio"]["input"]["transcription"] == {"model": "x", "language": None, "prompt": None}
    assert second["audio"]["input"]["turn_detection"] is None
    assert second["audio"]["input"]["transcription"] == first["audio"]["input"]["transcription"]
    assert second["tools"] == [TOOL]


def test_the_voice_is_set_once_it_was_heard():
    async def work(talker, _server):
        await talker.ask("hi")
        await talker.send("session.update", session={**SESSION, "audio": {"output": {"voice": "ash"}}})
        return await talker.receive()

    assert session(work)["error"]["code"] == "cannot_update_voice"


def test_a_refused_update_changes_nothing():
    preferences = Preferences("sess_1", "m", 0)
    before = copy.deepcopy(preferences.values)
    with pytest.raises(Wrong):
        preferences.update(
            {"instructions": "new", "audio": {"output": {"speed": 1.2, "voice": "ash"}}}, spoken=True
        )
    assert preferences.values == before


def test_items_come_and_go_in_their_order():
    async def work(talker, _server):
        async def create(name, **where):
            await talker.send("conversation.item.create", item={**USER, "id": name}, **where)
            return (await talker.until("conversation.item.done"))[-1]["previous_item_id"]

        before = [await create("a"), await create("b"), await create("c", previous_item_id="a")]
        before.append(await create("d", previous_item_id="root"))
        await talker.send("conversation.item.create", item={**USER, "id": "a"})
        twice = await talker.receive()
        await talker.send("conversation.item.delete", item_id="a")
        gone = await talker.receive()
        before.append(await create("e", previous_item_id="c"))
        await talker.send("conversation.item.retrieve", item_id="c")
        return before, twice, gone, await talker.receive()

    before, twice, gone, retrieved = session(work)
    assert before == [None, "a", "a", None, "c"]
    assert twice["error"]["code"] == "item_create_duplicate_id"
    assert (gone["type"], gone["item_id"]) == ("conversation.item.deleted", "a")
    assert retrieved["type"] == "conversation.item.retrieved"
    assert retrieved["item"] == {**USER, "id": "c", "status": "completed"}


def test_a_conversation_forgets_its_oldest_items():
    conversation = Conversation()
    for i in range(5_000):
        conversation.add(Stored({"id": f"i{i}"}))
    assert len(list(conversation)) == 4_096
    assert (conversation.get("i903"), conversation.last_id) == (None, "i4999")
    long = "x" * 40_000_000
    for name in ("one", "two"):
        conversation.add(Stored({"id": name, "text": long}))
    assert [stored.id for stored in conversation] == ["two"]


def test_speech_that_was_not_heard_is_truncated():
    async def work(talker, _server):
        done = only(await talker.ask("hi"), "response.output_item.done")[0]["item"]
        where = {"item_id": done["id"], "content_index": 0}
        await talker.send("conversation.item.truncate", **where, audio_end_ms=151)
        late = await talker.receive()
        await talker.send("conversation.item.truncate", **where, audio_end_ms=50)
        truncated = await talker.receive()
        await talker.send("conversation.item.retrieve", item_id=done["id"])
        item = (await talker.receive())["item"]
        usage = (await talker.ask("and"))[-2]["response"]["usage"]
        return late, truncated, item, usage

    late, truncated, item, usage = session(work)
    assert (late["error"]["code"], late["error"]["param"]) == ("invalid_value", "audio_end_ms")
    assert (truncated["type"], truncated["audio_end_ms"]) == ("conversation.item.truncated", 50)
    assert item["content"] == [{"type": "output_audio", "transcript": ""}]
    assert usage["input_token_details"]["audio_tokens"] == 1  # of three, two weren't heard


def test_the_prompt_is_counted_by_the_rule():
    async def work(talker, _server):
        await talker.write_only()
        content = [
            {"type": "input_text", "text": "x" * 10}, {"type": "input_audio", "audio": audio(0.25)},
            {"type": "input_image", "image_url": "https://example.org/a.png"},
        ]  # fmt: skip  # reads better packed
        await talker.send(
            "conversation.item.create", item={"type": "message", "role": "user", "content": content}
        )
        await talker.send("session.update", session={**SESSION, "instructions": "x" * 8, "tools": [TOOL]})
        await talker.until("session.updated")
        done = (await talker.ask("[[chaos: tokens=2 cached=100]]"))[-2]
        return done["response"]["usage"]

    usage = session(work)
    marker = 4 + 8  # the message that sets the script
    text = (4 + 2) + 10 + (4 + 3 + 85) + marker  # instructions, a tool, the message
    assert usage["input_token_details"] == {
        "text_tokens": text, "audio_tokens": 3, "image_tokens": 0, "cached_tokens": 100,
        "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 0, "image_tokens": 0},
    }  # fmt: skip  # reads better packed
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (text + 3, 2, text + 5)


@pytest.mark.parametrize(("modality", "served"), [("text", 2), ("audio", 1)])
def test_output_has_a_limit(modality, served):
    async def work(talker, _server):
        return await talker.ask("hi", output_modalities=[modality], max_output_tokens=2)

    events = session(work)
    response = events[-2]["response"]
    assert (response["status"], response["max_output_tokens"]) == ("incomplete", 2)
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert len(said(events).split()) == served
    assert response["usage"]["output_tokens"] == 2


def test_a_response_has_settings_and_a_prompt_of_its_own():
    async def work(talker, _server):
        given = {
            "output_modalities": ["text"], "metadata": {"a": "b"}, "conversation": "none", "instructions": "",
            "input": [{**USER, "content": [{"type": "input_text", "text": "[[chaos: echo=true]] alone"}]}],
        }  # fmt: skip  # reads better packed
        events = await talker.ask("not this", **given)
        await talker.send("conversation.item.retrieve", item_id=events[-2]["response"]["output"][0]["id"])
        return events, await talker.receive()

    events, retrieved = session(work)
    response = events[-2]["response"]
    assert said(events) == "[[chaos: echo=true]] alone"
    assert (response["conversation_id"], response["metadata"]) == (None, {"a": "b"})
    assert not [event for event in events if event["type"].startswith("conversation.")]
    assert retrieved["error"]["code"] == "item_retrieve_invalid_item_id"


def test_an_item_is_referred_to():
    async def work(talker, _server):
        await talker.write_only()
        item = {
            **USER,
            "id": "first",
            "content": [{"type": "input_text", "text": "[[chaos: echo=true]] first"}],
        }
        await talker.send("conversation.item.create", item=item)
        await talker.until("conversation.item.done")
        return await talker.ask("second", input=[{"type": "item_reference", "id": "first"}])

    assert said(session(work)) == "[[chaos: echo=true]] first"


def test_two_responses_at_once_are_one_too_many():
    async def work(talker, server):
        await talker.write_only()
        await talker.say("[[chaos: stall=2]]")
        await talker.until("conversation.item.done")
        await talker.send("response.create")
        first = await talker.until("response.output_text.delta")
        await talker.send("response.create")
        refused = await talker.until("error")
        apart = {"conversation": "none", "input": [USER]}
        await talker.send("response.create", response=apart)
        beside = await talker.until("response.done")
        return first[0]["response"]["id"], refused[-1], beside[-1]["response"]

    first, refused, beside = session(work)
    assert refused["error"]["code"] == "conversation_already_has_active_response"
    assert first in refused["error"]["message"]
    assert (beside["status"], beside["id"] != first) == ("completed", True)


def test_cancelled_in_the_middle():
    async def work(talker, server):
        await talker.write_only()
        await talker.say("[[chaos: stall=2 tokens=9]]")
        await talker.until("conversation.item.done")
        await talker.send("response.create")
        events = await talker.until("response.output_text.delta")
        events += await talker.until("response.output_text.delta")
        await talker.send("response.cancel")
        events += await talker.until("response.done")
        item = events[-1]["response"]["output"][0]
        await talker.send("conversation.item.retrieve", item_id=item["id"])
        kept = (await talker.receive())["item"]
        again = await talker.ask("next")
        return events, kept, again, server.journal.entries()

    events, kept, again, entries = session(work)
    response = events[-1]["response"]
    assert (response["status"], response["usage"]["output_tokens"]) == ("cancelled", 2)
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert response["output"][0] == kept
    assert (kept["status"], kept["content"]) == (
        "incomplete",
        [{"type": "output_text", "text": said(events)}],
    )
    ends = [event["type"] for event in events][-5:]
    assert ends == [
        "response.output_text.done", "response.content_part.done", "conversation.item.done", "response.output_item.done",
        "response.done",
    ]  # fmt: skip  # reads better packed
    assert again[-2]["response"]["status"] == "completed"
    _, cut, whole = entries
    assert (cut.end, cut.tokens, cut.text, cut.usage.completion_tokens) == ("client_left", 2, said(events), 2)
    assert (whole.end, whole.usage.prompt_tokens) == (
        "complete",
        again[-2]["response"]["usage"]["input_tokens"],
    )


@pytest.mark.parametrize("script", ["hang=9", "stall=0"])
def test_cancelled_before_a_word(script):
    async def work(talker, server):
        await talker.write_only()
        await talker.say(f"[[chaos: {script}]]")
        await talker.until("conversation.item.done")
        await talker.send("response.create")
        if script == "stall=0":
            await talker.until("response.content_part.added")
        await talker.send("response.cancel")
        return await talker.until("response.done"), server.journal.entries()[-1]

    events, entry = session(work)
    assert (events[-1]["response"]["status"], entry.end, entry.tokens) == ("cancelled", "client_left", 0)
    if script == "hang=9":  # nothing was begun
        assert ([event["type"] for event in events], events[-1]["response"]["output"]) == (
            ["response.created", "response.done"],
            [],
        )


def test_cancelled_in_a_call():
    async def work(talker, _server):
        await talker.write_only()
        await talker.say("[[chaos: tools=2 preamble=1 stall=3]]")
        await talker.until("conversation.item.done")
        await talker.send("response.create", response={"tools": [TOOL | {"name": "a"}, TOOL | {"name": "b", "parameters": {
            "type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}}]})  # fmt: skip  # one call
        events = await talker.until("response.function_call_arguments.delta")
        events += await talker.until("response.function_call_arguments.delta")
        await talker.send("response.cancel")
        return events + await talker.until("response.done")

    events = session(work)
    deltas = only(events, "response.function_call_arguments.delta")
    message, first, second = events[-1]["response"]["output"]
    assert [item["status"] for item in (message, first, second)] == ["completed", "completed", "incomplete"]
    assert (first["arguments"], second["arguments"]) == tuple(event["delta"] for event in deltas)
    assert events[-1]["response"]["usage"]["output_tokens"] == 3


def test_turns_are_heard_in_what_is_appended():
    async def work(talker, server):
        given = {"audio": {"input": {"transcription": {"model": "x"}}}, "output_modalities": ["text"]}
        await talker.send("session.update", session={**SESSION, **given})
        await talker.until("session.updated")
        for _ in range(3):
            await talker.send("input_audio_buffer.append", audio=audio(0.2))
        first = await talker.until("rate_limits.updated")
        for _ in range(3):
            await talker.send("input_audio_buffer.append", audio=audio(0.2))
        return first, await talker.until("rate_limits.updated"), server.journal.entries()

    first, second, entries = session(work, RealtimeSettings(turn_s=0.5))
    started, stopped, committed, added = first[:4]
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (0, 600)
    assert (second[0]["audio_start_ms"], second[1]["audio_end_ms"]) == (600, 1200)
    assert {event["item_id"] for event in (started, stopped, committed)} == {added["item"]["id"]}
    completed = only(first, "conversation.item.input_audio_transcription.completed")[0]
    deltas = only(first, "conversation.item.input_audio_transcription.delta")
    assert completed["transcript"] == "".join(event["delta"] for event in deltas)
    assert completed["transcript"].startswith("600 ms of audio")
    assert completed["usage"] == {"type": "duration", "seconds": 1}
    assert first[-2]["response"]["usage"]["input_token_details"]["audio_tokens"] == 6
    assert second[-2]["response"]["usage"]["input_token_details"]["audio_tokens"] == 12
    assert [entry.operation for entry in entries] == ["connect", "realtime", "realtime"]


def test_who_speaks_in_between_interrupts():
    async def work(talker, _server):
        await talker.send("session.update", session={**SESSION, "output_modalities": ["text"]})
        await talker.until("session.updated")
        await talker.say("[[chaos: stall=2]]")
        await talker.send("response.create")
        await talker.until("response.output_text.delta")
        await talker.send("input_audio_buffer.append", audio=audio(0.5))
        return await talker.until("rate_limits.updated")

    events = session(work, RealtimeSettings(turn_s=0.5))
    done = only(events, "response.done")
    assert [event["response"]["status"] for event in done] == ["cancelled", "completed"]
    assert done[0]["response"]["status_details"]["reason"] == "turn_detected"
    kinds = [event["type"] for event in events]
    assert kinds.index("input_audio_buffer.speech_started") < kinds.index("response.done")
    assert kinds.index("response.done") < kinds.index("input_audio_buffer.committed")


@pytest.mark.parametrize("kind", list(BYTES_PER_S))
def test_turns_of_the_clients_own(kind):
    async def work(talker, server):
        turns = {"type": "server_vad", "create_response": False}
        given = {"format": {"type": kind}, "turn_detection": turns}
        await talker.send(
            "session.update",
            session={**SESSION, "audio": {"input": given, "output": {"format": {"type": kind}}}},
        )
        await talker.until("session.updated")
        await talker.send("input_audio_buffer.append", audio=audio(0.5, kind))
        heard = await talker.until("conversation.item.done")
        await talker.send("input_audio_buffer.append", audio=audio(0.3, kind))
        await talker.send("input_audio_buffer.clear")
        cleared = await talker.receive()
        await talker.send("input_audio_buffer.append", audio=audio(0.2, kind))
        await talker.send("input_audio_buffer.commit")
        committed = await talker.until("conversation.item.done")
        await talker.send("response.create")
        return heard, cleared, committed, await talker.until("rate_limits.updated")

    heard, cleared, committed, events = session(work, RealtimeSettings(turn_s=0.5))
    assert heard[1]["audio_end_ms"] == 500
    assert cleared["type"] == "input_audio_buffer.cleared"
    assert committed[0]["type"] == "input_audio_buffer.committed"
    assert committed[0]["previous_item_id"] == heard[-1]["item"]["id"]
    response = events[-2]["response"]
    assert response["usage"]["input_token_details"]["audio_tokens"] == 5 + 2
    assert response["audio"]["output"]["format"]["type"] == kind
    chunks = only(events, "response.output_audio.delta")
    assert {len(base64.b64decode(chunk["delta"])) for chunk in chunks} == {BYTES_PER_S[kind] // 20}


@pytest.mark.parametrize("kind", list(BYTES_PER_S))
def test_chunks_of_sound_can_be_told_apart(kind):
    assert len({sound(kind, i) for i in range(64)}) == 64
    assert sound(kind, 64) == sound(kind, 0)
