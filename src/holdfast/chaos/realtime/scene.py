"""What one response is made with: the session's settings, with the response's own over them, and its prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.realtime.conversation import Conversation, Stored, said
from holdfast.chaos.wire.base import MESSAGE_TOKENS, TOOL_TOKENS, Asked, Tool, text_tokens

if TYPE_CHECKING:
    from holdfast.chaos.realtime.preferences import Preferences

__all__ = ["Scene", "scene"]


class Scene(msgspec.Struct):
    """One response's circumstances."""

    asked: Asked
    audio: bool
    """Whether it is spoken."""
    kind: str
    """The format of its audio."""
    voice: Any
    max_output_tokens: int | str
    metadata: dict[str, str] | None
    prompt_audio_tokens: int
    conversation: Conversation | None
    """Where its items go; None: nowhere."""
    conversation_id: str | None
    azure: bool


def scene(
    preferences: Preferences,
    given: dict[str, Any],
    conversation: Conversation,
    prompt: list[Stored] | None,
    conversation_id: str,
    *,
    azure: bool,
) -> Scene:
    """``given``: the object ``response``, of the right shape; ``prompt``: its own, instead of the conversation."""
    values = {**preferences.values, **{name: value for name, value in given.items() if value is not None}}
    output = {**preferences.output, **(given.get("audio") or {}).get("output", {})}
    entries = list(conversation if prompt is None else prompt)
    audio = values["output_modalities"] == ["audio"]
    most = values["max_output_tokens"]
    text, media = said(entries)
    audio_tokens = sum(entry.audio_tokens for entry in entries)
    choice, names = _choice(values["tool_choice"])
    apart = given.get("conversation") == "none"
    asked = Asked(
        model=values["model"],
        stream=True,
        sse=False,
        last_user_text=text,
        prompt_tokens=sum(entry.text_tokens for entry in entries)
        + audio_tokens
        + MESSAGE_TOKENS
        + text_tokens(values["instructions"])
        + TOOL_TOKENS * len(values["tools"]),
        # A token of speech costs one of text and one of sound.
        limit=None if most == "inf" else max(1, most // 2) if audio else most,
        tools=tuple(
            Tool(tool["name"], tool.get("parameters"))
            for tool in values["tools"]
            if tool["type"] == "function"
        ),
        tool_choice=choice,
        tool_names=names,
        parallel=values.get("parallel_tool_calls") is not False,
        thoughts="off",
        media=media,
    )
    return Scene(
        asked=asked,
        audio=audio,
        kind=output["format"]["type"],
        voice=output["voice"],
        max_output_tokens=most,
        metadata=given.get("metadata"),
        prompt_audio_tokens=audio_tokens,
        conversation=None if apart else conversation,
        conversation_id=None if apart else conversation_id,
        azure=azure,
    )


def _choice(given: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Asked's ``tool_choice`` and ``tool_names``."""
    if isinstance(given, dict):
        return "any", (given["name"],) if "name" in given else None
    return "any" if given == "required" else given, None
