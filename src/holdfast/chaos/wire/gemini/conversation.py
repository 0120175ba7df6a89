"""System instruction and contents: what is in them, and what the API refuses about them."""

from __future__ import annotations

from typing import Any

from holdfast.chaos import signature
from holdfast.chaos.wire.base import MESSAGE_TOKENS, PART_TOKENS, Media, text_tokens
from holdfast.chaos.wire.gemini.fields import invalid, value_error
from holdfast.chaos.wire.gemini.write import ISSUER
from holdfast.chaos.wire.media import inline

__all__ = ["Prompt", "prompt_of"]

_ROLES = (None, "", "user", "model", "function", "tool")
_DATA = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
    "toolCall", "toolResponse",
)  # fmt: skip  # a list reads better packed
_WAIVERS = frozenset((
    "skip_thought_signature_validator", "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
    "context_engineering_is_the_way_to_go", "Y29udGV4dF9lbmdpbmVlcmluZ19pc190aGVfd2F5X3RvX2dv",
))  # fmt: skip  # pairs: as text, and as the bytes that the field holds
"""Signatures that the API documents for calls that it didn't make itself."""


class Prompt:
    """What was found in the conversation."""

    def __init__(self) -> None:
        self.tokens = 0
        self.last_user_text = ""
        self.media: list[Media] = []


def prompt_of(request: dict[str, Any], model: str) -> Prompt:
    """System instruction and contents of ``request``. Raises :class:`Refused`."""
    prompt = Prompt()
    given = request.get("contents")
    contents = [given] if isinstance(given, dict) else given
    if not contents:
        raise invalid("* GenerateContentRequest.contents: contents is not specified\n")
    if not isinstance(contents, list):
        raise value_error("contents", "message", contents)
    if (system := request.get("systemInstruction")) is not None:
        _content(system, "system_instruction", prompt)
    for i, content in enumerate(contents):
        if not isinstance(content, dict):
            raise value_error(f"contents[{i}]", "message", content)
        _content(content, f"contents[{i}]", prompt)
    _check_turns(contents)
    if model.lower().startswith("gemini-3"):
        _check_signed(contents)
    return prompt


def _content(content: dict[str, Any], path: str, prompt: Prompt) -> None:
    if content.get("role") not in _ROLES:
        raise invalid("Please use a valid role: user, model.")
    parts = _parts(content)
    if not parts:
        raise invalid(f"* GenerateContentRequest.{path}.parts: contents.parts must not be empty.\n")
    prompt.tokens += MESSAGE_TOKENS
    said: list[str] = []
    for i, part in enumerate(parts):
        _part(part, f"{path}.parts[{i}]", prompt, said)
    if said and content.get("role") != "model" and path != "system_instruction":
        prompt.last_user_text = "".join(said)


def _parts(content: dict[str, Any]) -> list[dict[str, Any]]:
    given = content.get("parts")
    return [given] if isinstance(given, dict) else given or []


def _part(part: dict[str, Any], path: str, prompt: Prompt, said: list[str]) -> None:
    brought = [name for name in _DATA if part.get(name) is not None]
    if len(brought) != 1:
        raise invalid(
            f"* GenerateContentRequest.{path}.data: required oneof field 'data' must have one initialized field\n"
        )
    kind = brought[0]
    value = part[kind]
    match kind:
        case "text":
            if not isinstance(value, str):
                raise value_error(f"{path}.text", "TYPE_STRING", value)
            prompt.tokens += text_tokens(value)
            said.append(value)
            _check_signature(part, "text")
        case "inlineData":
            prompt.tokens += PART_TOKENS
            prompt.media.append(_inline(value, path))
        case "fileData":
            prompt.tokens += PART_TOKENS
            prompt.media.append(Media("file", str(value.get("fileUri"))[:200]))
        case "functionCall":
            if not value.get("name"):
                raise invalid(f"* GenerateContentRequest.{path}.function_call.name: Name cannot be empty.\n")
            _check_signature(part, f"call {value['name']}")
        case "functionResponse":
            if not value.get("name"):
                raise invalid(
                    f"* GenerateContentRequest.{path}.function_response.name: Name cannot be empty.\n"
                )
            if not isinstance(value.get("response") or {}, dict):
                raise value_error(f"{path}.function_response.response", "Struct", value["response"])
        case _:
            prompt.tokens += PART_TOKENS


def _inline(value: dict[str, Any], path: str) -> Media:
    media_type = str(value.get("mimeType") or "")
    kind = "image" if media_type.startswith("image/") else "file"
    if not media_type:
        raise invalid(f"* GenerateContentRequest.{path}.inline_data.mime_type: must be set.\n")
    try:
        return inline(kind, media_type, str(value.get("data") or ""))
    except ValueError:
        raise value_error(f"{path}.inline_data.data", "TYPE_BYTES", "Base64 decoding failed") from None


def _check_signature(part: dict[str, Any], over: str) -> None:
    given = part.get("thoughtSignature")
    if given is None or (isinstance(given, str) and given in _WAIVERS):
        return
    if not isinstance(given, str) or not signature.holds(ISSUER, over, given):
        raise invalid("Corrupted thought signature.")


def _check_signed(contents: list[dict[str, Any]]) -> None:
    """In the current turn (after the last text of the user), the first call of each step carries its signature."""
    for i in range(len(contents) - 1, -1, -1):
        content = contents[i]
        parts = _parts(content)
        if content.get("role") != "model" and any(part.get("text") is not None for part in parts):
            return
        calls = [part for part in parts if part.get("functionCall") is not None]
        if calls and not calls[0].get("thoughtSignature"):
            name = calls[0]["functionCall"]["name"]
            raise invalid(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
                "correctly, and missing thought_signature may lead to degraded model performance. Additional data, "
                f"function call `default_api:{name}` , position {i + 1}. Please refer to "
                "https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
            )


def _check_turns(contents: list[dict[str, Any]]) -> None:
    """Responses stand in the turn after the calls, as many as there were calls."""
    calls = 0
    for content in contents:
        parts = _parts(content)
        responses = sum(part.get("functionResponse") is not None for part in parts)
        if responses != calls and (calls or responses):
            if not calls:
                raise invalid(
                    "Please ensure that function response turn comes immediately after a function call turn."
                )
            raise invalid(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        calls = sum(part.get("functionCall") is not None for part in parts)
