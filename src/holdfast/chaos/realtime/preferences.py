"""A session's settings: what they are at first, and what an update makes of them."""

from __future__ import annotations

from typing import Any

from holdfast.chaos.realtime.wrong import Wrong

__all__ = ["Preferences"]

_INSTRUCTIONS = "You are a helpful assistant."
_SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_TRANSCRIPTION = {"model": "whisper-1", "language": None, "prompt": None}
_PCM = {"type": "audio/pcm", "rate": 24000}


class Preferences:
    """The object ``session``, as the provider tells it."""

    def __init__(self, session_id: str, model: str, expires_at: int) -> None:
        self.values: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": session_id,
            "model": model,
            "output_modalities": ["audio"],
            "instructions": _INSTRUCTIONS,
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "tracing": None,
            "truncation": "auto",
            "prompt": None,
            "expires_at": expires_at,
            "audio": {
                "input": {
                    "format": _PCM,
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": _SERVER_VAD,
                },
                "output": {"format": _PCM, "voice": "alloy", "speed": 1.0},
            },
            "include": None,
        }

    @property
    def input(self) -> dict[str, Any]:
        audio: dict[str, Any] = self.values["audio"]["input"]
        return audio

    @property
    def output(self) -> dict[str, Any]:
        audio: dict[str, Any] = self.values["audio"]["output"]
        return audio

    def update(self, given: dict[str, Any], *, spoken: bool) -> None:
        """What ``given`` says, over what stands; it has the right shape. Raises :class:`Wrong`, and then changes nothing.

        ``spoken``: whether there was audio output already.
        """
        if given.get("model", self.values["model"]) != self.values["model"]:
            raise Wrong("invalid_value", "A session's model can't be changed.", "session.model")
        audio = given.get("audio", {})
        output = audio.get("output", {})
        if spoken and output.get("voice", self.output["voice"]) != self.output["voice"]:
            message = "Cannot update a conversation's voice if assistant audio is present."
            raise Wrong("cannot_update_voice", message, "session.audio.output.voice")
        self.values.update({name: value for name, value in given.items() if name != "audio"})
        self.input.update(_filled(audio.get("input", {})))
        self.output.update(_filled(output))


def _filled(given: dict[str, Any]) -> dict[str, Any]:
    """``given`` with the defaults inside its objects."""
    filled = dict(given)
    if turns := given.get("turn_detection"):
        filled["turn_detection"] = (_SERVER_VAD if turns["type"] == "server_vad" else _SEMANTIC_VAD) | turns
    if transcription := given.get("transcription"):
        filled["transcription"] = _TRANSCRIPTION | transcription
    if (given.get("format") or {}).get("type") == "audio/pcm":
        filled["format"] = _PCM
    return filled
