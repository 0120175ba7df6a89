"""Messages, both ways: a request's and an answer's are the same thing here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from holdfast.dialects.openai_chat.names import DIALECT
from holdfast.dialects.openai_chat.parts import read_image, read_part, write_part
from holdfast.dialects.openai_chat.reasoning import DETAILS, SPELLING, read_reasoning, write_reasoning
from holdfast.dialects.openai_chat.signed import place, take, whose
from holdfast.dialects.openai_chat.tools import read_call, read_legacy_call, write_call
from holdfast.dialects.openai_chat.writer import ChatWriter, opaque_name
from holdfast.dialects.writing import merged
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

_Placed: TypeAlias = "Sequence[tuple[str, Part]]"
"""Parts with their paths in the neutral request, for what is said about one that can't be written."""

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
    message: Message, writer: ChatWriter, path: str, *, answered: bool = False
) -> list[dict[str, Any]]:
    """The wire messages for ``message``: more than one where it holds several tool results, or results beside text."""
    spelling = writer.spelling(message.spelling)
    extra = writer.leftovers(message.extra, path)
    placed = [(f"{path}.parts[{at}]", part) for at, part in enumerate(message.parts)]
    others = [(where, part) for where, part in placed if not isinstance(part, ToolResult)]
    out = [
        _write_result(part, spelling, writer, where) for where, part in placed if isinstance(part, ToolResult)
    ]
    if out and not others:
        out[-1] = merged(out[-1], extra)
        return out
    role = spelling.get("role", message.role.value)
    known: dict[str, Any] = {"role": role, "name": message.name}
    if message.role is Role.ASSISTANT:
        known |= _write_assistant(others, spelling, writer, path, answered=answered)
    else:
        known["content"] = _write_content(others, spelling, writer)
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


def write_citation(citation: Citation, writer: ChatWriter, path: str) -> dict[str, Any]:
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


def write_audio(audio: Audio, writer: ChatWriter, path: str) -> dict[str, Any]:
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


def _write_content(placed: _Placed, spelling: dict[str, str], writer: ChatWriter) -> Any:
    as_list = spelling.get("content") == "parts"
    if not placed:
        return [] if as_list else None
    path, text = placed[0]
    if not as_list and len(placed) == 1 and isinstance(text, Text) and _is_plain(text, writer, path):
        return text.text
    written = (write_part(part, writer, path) for path, part in placed)
    return [part for part in written if part is not None]


def _is_plain(text: Text, writer: ChatWriter, path: str) -> bool:
    return text.cache is None and not writer.leftovers(text.extra, path)


def _read_result(message: Fields, name: str | None, spelling: dict[str, str]) -> ToolResult:
    legacy = spelling.get("role") == "function"
    call_id = None if legacy else message.needed_text("tool_call_id", "the id of the tool call it answers")
    parts = _read_content(message, spelling, needed=not legacy)
    allowed = tuple(part for part in parts if not isinstance(part, ToolCall | ToolResult))
    return ToolResult(call_id=call_id, name=name, parts=allowed)


def _write_result(
    result: ToolResult, spelling: dict[str, str], writer: ChatWriter, path: str
) -> dict[str, Any]:
    placed = [(f"{path}.parts[{at}]", part) for at, part in enumerate(result.parts)]
    known = {
        "role": spelling.get("role", Role.TOOL.value),
        "tool_call_id": result.call_id,
        "name": result.name,
        "content": _write_content(placed, spelling, writer),
    }
    if known["content"] is None and "role" not in spelling:
        known["content"] = ""
    return merged(known, writer.leftovers(result.extra, path))


def _read_assistant(message: Fields, spelling: dict[str, str], *, answered: bool) -> tuple[Part, ...]:
    thoughts, said = read_reasoning(message, answered=answered)
    if said is not None:
        spelling[SPELLING] = said
    if answered and "content" not in message.left:
        spelling["content"] = "absent"
    content = _read_content(message, spelling)
    if answered:
        message.left.pop("content", None)  # null, which is how an answer says that there is none
    content = _signed(_cited(content, message), message, answered=answered)
    parts: list[Part] = [*thoughts, *content]
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
    parts.extend(read_call(call, answered=answered) for call in message.each("tool_calls"))
    if not any(_is_call(part) for part in parts) and (call := message.fields("function_call")) is not None:
        spelling["tool_calls"] = "function_call"
        parts.append(read_legacy_call(call))
    return tuple(parts)


def _write_assistant(
    placed: _Placed, spelling: dict[str, str], writer: ChatWriter, path: str, *, answered: bool
) -> dict[str, Any]:
    sorted_ = _Sorted(placed, spelling, writer)
    known = write_reasoning(sorted_.thoughts, spelling.get(SPELLING), writer)
    texts = [(where, part) for where, part in sorted_.content if isinstance(part, Text)]
    if answered and spelling.get("content") != "parts":
        # An answer's text is one string, and nothing else fits in.
        known["content"] = _text_of(texts) if texts else None
    else:
        known["content"] = _write_content(sorted_.content, spelling, writer)
    citations = [(where, each) for where, text in texts for each in text.citations]
    known["annotations"] = [write_citation(each, writer, where) for where, each in citations] or None
    known |= _write_text_signature(texts, writer)
    known["refusal"] = _text_of(sorted_.refusals) if sorted_.refusals else None
    known["audio"] = write_audio(sorted_.audio[0], writer, f"{path}.audio") if sorted_.audio else None
    images = (write_part(image, writer, where) for where, image in sorted_.images)
    known["images"] = [image for image in images if image is not None] or None
    calls = sorted_.calls
    legacy = spelling.get("tool_calls") == "function_call" and len(calls) == 1
    if legacy and isinstance(only := calls[0][1], ToolCall):
        known["function_call"] = write_call(only, writer, calls[0][0], legacy=True)
    else:
        known["tool_calls"] = [
            call.data if isinstance(call, Opaque) else write_call(call, writer, where)
            for where, call in calls
        ] or None
    return known


def _write_text_signature(texts: Sequence[tuple[str, Text]], writer: ChatWriter) -> dict[str, Any]:
    """The first signature on a text, as the message's: it has room for one."""
    said: dict[str, Any] = {}
    for path, text in texts:
        if text.signature is None:
            continue
        if not writer.answered and writer.issuer(text.signed_by) != DIALECT:
            writer.refuse(path, "reasoning.foreign")
        elif said:
            writer.refuse(path, "reasoning.signature")
        else:
            said = place(writer.proof(text.signature, text.signed_by))
    return said


class _Sorted:
    """An assistant's parts by the field they belong to. Order is kept within a field; across fields it has no place."""

    def __init__(self, placed: _Placed, spelling: dict[str, str], writer: ChatWriter) -> None:
        self.thoughts: list[tuple[str, Part]] = []
        self.content: list[tuple[str, Part]] = []
        self.refusals: list[tuple[str, Refusal]] = []
        self.audio: list[Audio] = []
        self.images: list[tuple[str, Image]] = []
        self.calls: list[tuple[str, ToolCall | Opaque]] = []
        for path, part in placed:
            match part:
                case Reasoning():
                    self.thoughts.append((path, part))
                case ToolCall():
                    self.calls.append((path, part))
                case Refusal() if "refusal" not in spelling:
                    self.refusals.append((path, part))
                case Audio() if "audio" not in spelling:
                    if self.audio:
                        writer.refuse(path, "audio.data")
                        continue
                    self.audio.append(part)
                case Image() if "image" not in spelling:
                    self.images.append((path, part))
                case Opaque() if part.dialect != DIALECT:
                    writer.refuse(path, opaque_name(part.data))
                case Opaque() if part.place == DETAILS:
                    self.thoughts.append((path, part))
                case Opaque() if part.place == "tool_calls":
                    self.calls.append((path, part))
                case _:
                    self.content.append((path, part))


def _text_of(placed: Iterable[tuple[str, Text | Refusal]]) -> str:
    return "".join(part.text for _, part in placed)


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


def _signed(content: tuple[Part, ...], message: Fields, *, answered: bool) -> tuple[Part, ...]:
    """``content`` with the message's signature on its first text; without a text it is left."""
    for at, part in enumerate(content):
        if isinstance(part, Text):
            signature, signed_by = take(message.left), None
            if signature is None:
                return content
            if not answered:
                signature, signed_by = whose(signature)
            signed = msgspec.structs.replace(part, signature=signature, signed_by=signed_by)
            return (*content[:at], signed, *content[at + 1 :])
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
