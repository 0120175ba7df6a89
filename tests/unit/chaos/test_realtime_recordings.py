"""Recorded sessions, spoken again: the client's events get the recorded answers, in their order, with their fields."""

import asyncio
import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from tests.unit.chaos.realtime_client import Talker, serving
from websockets.asyncio.client import connect

from holdfast.chaos.realtime import RealtimeSettings

LINES = (Path(__file__).parent / "recordings" / "realtime.jsonl").read_text().splitlines()
SESSIONS = {session["id"]: session["frames"] for session in map(json.loads, LINES)}
TURN = RealtimeSettings(turn_s=0.0378)  # of the recorded audio only the first bytes of each piece are there
AUDIO = "conversation.item.input_audio_transcription"

ELSEWHERE = ("output_audio_buffer.started", "output_audio_buffer.stopped")  # WebRTC's: no such buffer is here
WHEN_READY = (
    f"{AUDIO}.delta",
    f"{AUDIO}.completed",
)  # a transcript comes beside the answer, at its own times
ONCE = "rate_limits.updated"  # recorded once; here after every response
SPOKEN = ("response.output_audio_transcript.delta", "response.output_audio.delta")  # they take turns
PADDING = {"obfuscation"}  # random; it would only cost bytes
DELTAS = (*SPOKEN, "response.output_text.delta", "response.function_call_arguments.delta", f"{AUDIO}.delta")


def paths(value: Any, path: str, found: set[str]) -> set[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            where = f"{path}.{name}" if path else name
            found.add(where)
            if name != "parameters":
                paths(inner, where, found)
    elif isinstance(value, list):
        for inner in value:
            paths(inner, f"{path}[]", found)
    return found


def order(types: list[str]) -> list[str]:
    """The course of a session: repetitions told once, and nothing of what may come at any time."""
    passing = (*ELSEWHERE, *WHEN_READY, ONCE)
    course = ["spoken" if kind in SPOKEN else kind for kind in types if kind not in passing]
    return [kind for kind, _ in groupby(course)]


async def replay(frames: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """Send what the client sent, each event once what came before it has come; all that is received."""
    received: list[dict[str, Any]] = []
    awaited: list[str] = []
    begun = frames[0].get("received") == "session.created"
    async with (
        serving(TURN, tokens=3, scripts={"gpt-realtime": "tools=1; ok"}) as server,
        connect(f"ws://127.0.0.1:{server.port}{path}") as socket,
    ):
        talker = Talker(socket)
        if not begun:  # who joins a call isn't told that it began
            await talker.receive()
        for frame in frames:
            if "received" in frame:
                awaited.append(frame["received"])
                continue
            await _catch_up(talker, received, awaited)
            event = frame["sent"]
            if event.get("item", {}).get("type") == "function_call_output":
                call = next(e for e in received if e["type"] == "response.function_call_arguments.done")
                event["item"]["call_id"] = call["call_id"]
            await talker.send(event.pop("type"), **event)
        await _catch_up(talker, received, awaited)
        received += await talker.until(ONCE)
    return received


async def _catch_up(talker: Talker, received: list[dict[str, Any]], awaited: list[str]) -> None:
    """Until each type that is awaited came as often, but for what comes in any number."""
    for kind in {kind for kind in awaited if not kind.endswith(".delta")} - {*ELSEWHERE, ONCE}:
        while [event["type"] for event in received].count(kind) < awaited.count(kind):
            received.append(await talker.receive())


@pytest.mark.parametrize("name", SESSIONS)
def test_a_recorded_session_takes_the_same_course(name):
    frames = json.loads(json.dumps(SESSIONS[name]))
    azure = name.startswith("azure/")
    tools = "tool_call" in name
    path = f"/{'openai/' if azure else ''}v1/realtime?model={'gpt-realtime' if tools else 'm'}"
    received = asyncio.run(replay(frames, path))
    recorded = [frame["received"] for frame in frames if "received" in frame]
    course = order([event["type"] for event in received])
    assert course == order(recorded)
    shapes: dict[str, set[frozenset[str]]] = {}
    for frame in frames:
        if "received" in frame:
            fields = set(frame["fields"]) - (PADDING if frame["received"] in DELTAS else set())
            shapes.setdefault(frame["received"], set()).add(frozenset(fields))
    for event in received:
        if (known := shapes.get(event["type"])) is not None:
            assert frozenset(paths(event, "", set())) in known, event


def test_the_recordings_are_about_something():
    types = {frame.get("received") for frames in SESSIONS.values() for frame in frames}
    assert len(SESSIONS) == 5
    assert len(types) > 25
