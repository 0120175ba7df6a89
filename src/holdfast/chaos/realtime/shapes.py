"""The shapes of what a client may say: each field that is known, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

__all__ = [
    "Append",
    "Bare",
    "Cancel",
    "CreateItem",
    "CreateResponse",
    "Item",
    "OfItem",
    "Piece",
    "ResponseParams",
    "Session",
    "Truncate",
    "UpdateSession",
]

Id = Annotated[str, Meta(min_length=1, max_length=512)]
Modalities = Annotated[list[Literal["text", "audio"]], Meta(min_length=1, max_length=1)]
MaxTokens = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]
Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """An object whose fields are all known."""


class Format(Strict):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: Literal[24000] | UnsetType = UNSET


class Transcription(Strict):
    model: str | UnsetType = UNSET
    language: str | UnsetType | None = UNSET
    languages: list[str] | UnsetType = UNSET
    prompt: str | UnsetType | None = UNSET
    keywords: list[str] | UnsetType = UNSET
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | UnsetType = UNSET


class NoiseReduction(Strict):
    type: Literal["near_field", "far_field"]
    strength: float | UnsetType = UNSET


class ServerVad(Strict, tag_field="type", tag="server_vad"):
    threshold: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    prefix_padding_ms: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    silence_duration_ms: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | UnsetType | None = UNSET
    create_response: bool | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET


class SemanticVad(Strict, tag_field="type", tag="semantic_vad"):
    eagerness: Literal["low", "medium", "high", "auto"] | UnsetType = UNSET
    create_response: bool | UnsetType = UNSET
    interrupt_response: bool | UnsetType = UNSET


class AudioInput(Strict):
    format: Format | UnsetType = UNSET
    transcription: Transcription | UnsetType | None = UNSET
    noise_reduction: NoiseReduction | UnsetType | None = UNSET
    turn_detection: ServerVad | SemanticVad | UnsetType | None = UNSET


class VoiceId(Strict):
    id: str


class AudioOutput(Strict):
    format: Format | UnsetType = UNSET
    voice: str | VoiceId | UnsetType = UNSET
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | UnsetType = UNSET


class Audio(Strict):
    input: AudioInput | UnsetType = UNSET
    output: AudioOutput | UnsetType = UNSET


class FunctionTool(Strict, tag_field="type", tag="function"):
    name: Name
    description: str | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType | None = UNSET


class McpTool(msgspec.Struct, tag_field="type", tag="mcp"):
    """Taken, but never called."""

    server_label: str


class ToolChoice(Strict):
    type: Literal["function", "mcp"]
    name: str | UnsetType = UNSET
    server_label: str | UnsetType = UNSET


Tools = list[FunctionTool | McpTool]


class Session(Strict):
    """``session`` of ``session.update``."""

    type: Literal["realtime"]
    model: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    output_modalities: Modalities | UnsetType = UNSET
    audio: Audio | UnsetType = UNSET
    tools: Tools | UnsetType = UNSET
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    max_output_tokens: MaxTokens | UnsetType = UNSET
    reasoning: dict[str, Any] | UnsetType = UNSET
    tracing: Literal["auto"] | dict[str, Any] | UnsetType | None = UNSET
    truncation: Literal["auto", "disabled"] | dict[str, Any] | UnsetType = UNSET
    prompt: dict[str, Any] | UnsetType | None = UNSET
    include: list[str] | UnsetType | None = UNSET


class Piece(Strict):
    """A part of a message."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio"]
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None
    image_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None


class Item(Strict):
    """An item of a conversation, of any type."""

    type: Literal["message", "function_call", "function_call_output", "item_reference"]
    id: Id | UnsetType = UNSET
    object: Literal["realtime.item"] | UnsetType = UNSET
    status: Literal["completed", "incomplete", "in_progress"] | UnsetType | None = UNSET
    role: Literal["user", "assistant", "system"] | UnsetType = UNSET
    content: list[Piece] | UnsetType = UNSET
    call_id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET
    output: str | UnsetType = UNSET


class ResponseOutput(Strict):
    format: Format | UnsetType = UNSET
    voice: str | VoiceId | UnsetType = UNSET


class ResponseAudio(Strict):
    output: ResponseOutput | UnsetType = UNSET


class ResponseParams(Strict):
    """``response`` of ``response.create``."""

    conversation: Literal["auto", "none"] = "auto"
    input: list[Item] | None = None
    instructions: str | None = None
    output_modalities: Modalities | None = None
    audio: ResponseAudio | None = None
    tools: Tools | None = None
    tool_choice: Literal["auto", "none", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: MaxTokens | None = None
    metadata: Metadata | None = None
    prompt: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None


class Bare(Strict):
    """An event that says nothing but its type."""

    type: str
    event_id: Id | None = None


class UpdateSession(Bare, kw_only=True):
    session: Session


class CreateItem(Bare, kw_only=True):
    item: Item
    previous_item_id: str | None = None


class OfItem(Bare, kw_only=True):
    item_id: str


class Truncate(OfItem, kw_only=True):
    content_index: Annotated[int, Meta(ge=0)]
    audio_end_ms: Annotated[int, Meta(ge=0)]


class Append(Bare, kw_only=True):
    audio: Annotated[str, Meta(max_length=20_971_520)]  # 15 MiB of audio


class CreateResponse(Bare, kw_only=True):
    response: ResponseParams | None = None


class Cancel(Bare, kw_only=True):
    response_id: str | None = None
