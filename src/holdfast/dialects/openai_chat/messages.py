"""Messages, both ways: a request's and an answer's are the same thing here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.openai_chat.parts import read_image, read_part, write_part
from holdfast.dialects.openai_chat.reasoning import DETAILS, SPELLING, read_reasoning, write_reasoning
from holdfast.dialects.openai_chat.tools import read_call, read_legacy_call, write_call
from holdfast.dialects.writing import Writer, merged
from holdfast.model import (
    Audio,
    Citation,
    Image,
    Message,
    Opaque,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from holdfast.dialects.reading import Fields

__all__ = ["read_audio", "read_citation", "read_message", "write_audio", "write_citation", "write_message"]

_ROLES: Mapping[str, Role] = {role.value: role for role in Role} | {"function": Role.TOOL}


def read_message(message: Fields, *, answered: bool = False) -> Message:
    """A message of a request, or (``answered``) the one of an answer's choice, which may leave its role out."""
    word = message.text("role") if answered else message.needed_text("role", _one_of_roles())
    role = _ROLES.get(word or Role.ASSISTANT.value)
    if role is None and not answered:
        raise message.fault("role", f"is {word!r}; it must be {_one_of_roles()}")
    spelling: dict[str, str] = {}
    if word is not None and (role is None or word != role.value):
        spelling["role"] = word
    name = message.text("name")
    if role is Role.TOOL:
        parts: tuple[Part, ...] = (_read_result(message, name, spelling),)
        name = None
    elif role in (Role.ASSISTANT, None):
        parts = _read_assistant(message, spelling, answered=answered)
        role = Role.ASSISTANT
    else:
        parts = _read_content(message, spelling, needed=True)
    return Message(role=role, parts=parts, name=name, spelling=spelling, extra=message.left)


def write_message(
    message: Message, writer: Writer, path: str, *, answered: bool = False
) -> list[dict[str, Any]]:
    """The wire messages for ``message``: more than one where it holds several tool results, or results beside text."""
    spelling = writer.spelling(message.spelling)
    extra = writer.leftovers(message.extra, path)
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    others = [part for part in message.parts if not isinstance(part, ToolResult)]
    out = [_write_result(result, spelling, writer, path) for result in results]
    if results and not others:
        out[-1] = merged(out[-1], extra)
        return out
    role = spelling.get("role", message.role.value)
    known: dict[str, Any] = {"role": role, "name": message.name}
    if message.role is Role.ASSISTANT:
        known |= _write_assistant(others, spelling, writer, path, answered=answered)
    else:
        known["content"] = _write_content(others, spelling, writer, path)
    if known.get("annotations") and isinstance(extra.get("annotations"), list):
        known["annotations"] += extra["annotations"]  # citations first, what isn't one after them
    written = merged(known, extra)
    if answered and spelling.get("content") != "absent":
        written.setdefault("content", None)
    return [*out, written]


def read_citation(annotation: Any) -> Citation | None:
    """A ``url_citation``; None for every other kind of annotation, which only this dialect knows."""
    if not isinstance(annotation, dict) or annotation.get("type") != "url_citation":
        return None
    cited = annotation.get("url_citation")
    if not isinstance(cited, dict):
        return None
    left = dict(cited)
    known: dict[str, Any] = {}
    for ours, (theirs, type_) in _CITATION.items():
        value = left.get(theirs)
        if value is None:
            continue
        if type(value) is not type_:
            return None
        known[ours] = left.pop(theirs)
    beside = {name: value for name, value in annotation.items() if name not in ("type", "url_citation")}
    extra = ({"url_citation": left} if left else {}) | beside
    return Citation(**known, extra=extra)


def write_citation(citation: Citation, writer: Writer, path: str) -> dict[str, Any]:
    cited = {theirs: getattr(citation, ours) for ours, (theirs, _) in _CITATION.items()}
    return merged(
        {"type": "url_citation", "url_citation": merged(cited, {})}, writer.leftovers(citation.extra, path)
    )


def read_audio(audio: Fields) -> Audio:
    """What the model said aloud."""
    return Audio(
        file_id=audio.text("id"),
        data=audio.text("data"),
        transcript=audio.text("transcript"),
        extra=audio.left,
    )


def write_audio(audio: Audio, writer: Writer, path: str) -> dict[str, Any]:
    known = {"id": audio.file_id, "data": audio.data, "transcript": audio.transcript}
    return merged(known, writer.leftovers(audio.extra, path))


_CITATION: Mapping[str, tuple[str, type]] = {
    "url": ("url", str),
    "title": ("title", str),
    "cited_text": ("content", str),
    "start": ("start_index", int),
    "end": ("end_index", int),
}


def _one_of_roles() -> str:
    return "one of " + ", ".join(_ROLES)


def _read_content(message: Fields, spelling: dict[str, str], *, needed: bool = False) -> tuple[Part, ...]:
    content = message.take("content")
    if isinstance(content, str):
        return (Text(text=content),)
    if isinstance(content, list):
        spelling["content"] = "parts"
        return tuple(read_part(message.one_item(item, "content", at)) for at, item in enumerate(content))
    if content is not None or (needed and "content" in message.left):
        raise message.wrong(content, "a string or a list of content parts", "content")
    if needed:
        raise message.fault("content", "is missing; it must be a string or a list of content parts")
    return ()


def _write_content(parts: Sequence[Part], spelling: dict[str, str], writer: Writer, path: str) -> Any:
    as_list = spelling.get("content") == "parts"
    if not parts:
        return [] if as_list else None
    text = parts[0]
    if not as_list and len(parts) == 1 and isinstance(text, Text) and _is_plain(text, writer, path):
        return text.text
    written = (write_part(part, writer, f"{path}.content[{at}]") for at, part in enumerate(parts))
    return [part for part in written if part is not None]


def _is_plain(text: Text, writer: Writer, path: str) -> bool:
    return text.cache is None and not writer.leftovers(text.extra, path)


def _read_result(message: Fields, name: str | None, spelling: dict[str, str]) -> ToolResult:
    legacy = spelling.get("role") == "function"
    call_id = None if legacy else message.needed_text("tool_call_id", "the id of the tool call it answers")
    parts = _read_content(message, spelling, needed=not legacy)
    allowed = tuple(part for part in parts if not isinstance(part, ToolCall | ToolResult))
    return ToolResult(call_id=call_id, name=name, parts=allowed)


def _write_result(result: ToolResult, spelling: dict[str, str], writer: Writer, path: str) -> dict[str, Any]:
    """``is_error`` has no field here: what the tool said went wrong stands in its content, as it does everywhere."""
    known = {
        "role": spelling.get("role", Role.TOOL.value),
        "tool_call_id": result.call_id,
        "name": result.name,
        "content": _write_content(result.parts, spelling, writer, path),
    }
    if known["content"] is None and "role" not in spelling:
        known["content"] = ""
    return merged(known, writer.leftovers(result.extra, path))


def _read_assistant(message: Fields, spelling: dict[str, str], *, answered: bool) -> tuple[Part, ...]:
    thoughts, said = read_reasoning(message)
    if said is not None:
        spelling[SPELLING] = said
    if answered and "content" not in message.left:
        spelling["content"] = "absent"
    content = _read_content(message, spelling)
    if answered:
        message.left.pop("content", None)  # null, which is how an answer says that there is none
    parts: list[Part] = [*thoughts, *_cited(content, message)]
    if any(isinstance(part, Refusal) for part in content):
        spelling["refusal"] = "part"
    elif (refusal := message.text("refusal")) is not None:
        parts.append(Refusal(text=refusal))
    if any(isinstance(part, Audio) for part in content):
        spelling["audio"] = "part"
    elif (audio := message.fields("audio")) is not None:
        parts.append(read_audio(audio))
    if any(isinstance(part, Image) for part in content):
        spelling["image"] = "part"
    else:
        parts.extend(read_image(image) for image in _images(message))
    parts.extend(read_call(call) for call in message.each("tool_calls"))
    if not any(_is_call(part) for part in parts) and (call := message.fields("function_call")) is not None:
        spelling["tool_calls"] = "function_call"
        parts.append(read_legacy_call(call))
    return tuple(parts)


def _write_assistant(
    parts: Sequence[Part], spelling: dict[str, str], writer: Writer, path: str, *, answered: bool
) -> dict[str, Any]:
    sorted_ = _Sorted(parts, spelling, writer, path)
    known = write_reasoning(sorted_.thoughts, spelling.get(SPELLING), writer, path)
    content = sorted_.content
    if (
        answered and spelling.get("content") != "parts"
    ):  # an answer's text is one string, and nothing else fits in
        content = [part for part in content if isinstance(part, Text)]
        known["content"] = _text_of(content) if content else None
    else:
        known["content"] = _write_content(content, spelling, writer, path)
    citations = [each for part in content if isinstance(part, Text) for each in part.citations]
    known["annotations"] = [write_citation(each, writer, f"{path}.annotations") for each in citations] or None
    known["refusal"] = _text_of(sorted_.refusals) if sorted_.refusals else None
    known["audio"] = write_audio(sorted_.audio[0], writer, f"{path}.audio") if sorted_.audio else None
    images = (write_part(image, writer, f"{path}.images") for image in sorted_.images)
    known["images"] = [image for image in images if image is not None] or None
    calls = sorted_.calls
    if spelling.get("tool_calls") == "function_call" and len(calls) == 1 and isinstance(calls[0], ToolCall):
        known["function_call"] = write_call(calls[0], writer, path, legacy=True)
    else:
        known["tool_calls"] = [
            call.data if isinstance(call, Opaque) else write_call(call, writer, f"{path}.tool_calls[{at}]")
            for at, call in enumerate(calls)
        ] or None
    return known


class _Sorted:
    """An assistant's parts by the field they belong to. Order is kept within a field; across fields it has no place."""

    def __init__(self, parts: Sequence[Part], spelling: dict[str, str], writer: Writer, path: str) -> None:
        self.thoughts: list[Part] = []
        self.content: list[Part] = []
        self.refusals: list[Part] = []
        self.audio: list[Audio] = []
        self.images: list[Image] = []
        self.calls: list[ToolCall | Opaque] = []
        for at, part in enumerate(parts):
            match part:
                case Reasoning():
                    self.thoughts.append(part)
                case ToolCall():
                    self.calls.append(part)
                case Refusal() if "refusal" not in spelling:
                    self.refusals.append(part)
                case Audio() if "audio" not in spelling:
                    self.audio.append(part)
                case Image() if "image" not in spelling:
                    self.images.append(part)
                case Opaque() if part.dialect != DIALECT:
                    writer.refuse(f"{path}.content[{at}]")
                case Opaque() if part.place == DETAILS:
                    self.thoughts.append(part)
                case Opaque() if part.place == "tool_calls":
                    self.calls.append(part)
                case _:
                    self.content.append(part)
        if len(self.audio) > 1:
            writer.refuse(f"{path}.audio")


def _text_of(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text | Refusal))


def _cited(content: tuple[Part, ...], message: Fields) -> tuple[Part, ...]:
    """``content`` with the message's annotations on its first text, where all of them are citations."""
    annotations = message.left.get("annotations")
    if not isinstance(annotations, list) or not annotations:
        return content
    citations = [read_citation(annotation) for annotation in annotations]
    for at, part in enumerate(content):
        if isinstance(part, Text) and None not in citations:
            del message.left["annotations"]
            cited = msgspec.structs.replace(
                part, citations=tuple(each for each in citations if each is not None)
            )
            return (*content[:at], cited, *content[at + 1 :])
    return content


def _images(message: Fields) -> list[Fields]:
    """Images that the model made, as OpenRouter gives them; left alone where they have another shape."""
    images = message.left.get("images")
    if isinstance(images, list) and all(
        isinstance(image, dict)
        and image.get("type") == "image_url"
        and isinstance(image.get("image_url"), dict)
        for image in images
    ):
        return message.each("images")
    return []


def _is_call(part: Part) -> bool:
    return isinstance(part, ToolCall) or (isinstance(part, Opaque) and part.place == "tool_calls")
