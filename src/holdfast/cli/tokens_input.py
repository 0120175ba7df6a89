"""What ``holdfast tokens count`` is given: a text from wherever it stands, and a request in whichever dialect it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
import typer
from msgspec.structs import replace

from holdfast.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from holdfast.dialects.base import Dialect
    from holdfast.model import Request

__all__ = ["MOST_BYTES", "Spoken", "dialect_of", "read_input", "read_request"]

MOST_BYTES: Final = 64 * 1024 * 1024
"""A minute's counting or so; a pipe that never ends must end somewhere."""

Spoken: TypeAlias = Literal["chat", "anthropic", "gemini"]

_ANTHROPICS: Final = frozenset(
    ("system", "thinking", "stop_sequences", "anthropic_version", "output_config", "mcp_servers")
)
"""Fields that OpenAI's chat format hasn't."""
_ANTHROPICS_PARTS: Final = frozenset(
    ("tool_use", "tool_result", "thinking", "redacted_thinking", "image", "document", "search_result")
)
"""Types of parts, likewise."""


def read_input(text: str | None, file: Path | None) -> str:
    """The text: given, a file's, or standard input's.

    Raises:
        typer.BadParameter: none was given, or two.
        InvalidRequest: it isn't text, or too long.
        OSError: the file can't be read.
    """
    if text is not None and file is not None:
        raise typer.BadParameter("a text and --file were given: one of them is enough")
    if file is not None:
        with file.open("rb") as opened:
            return _decoded(opened, str(file))
    if text is None:
        raise typer.BadParameter("nothing to count: give a text, --file FILE, or - for standard input")
    return _decoded(sys.stdin.buffer, "standard input") if text == "-" else text


def read_request(text: str, spoken: Spoken | None) -> Request:
    """A request's JSON body; its model is empty where the body names none.

    Raises:
        InvalidRequest: it is none of that dialect's; ``param`` says where.
    """
    from holdfast.dialects.anthropic import Anthropic
    from holdfast.dialects.gemini import Gemini
    from holdfast.dialects.openai_chat import OpenAIChat
    from holdfast.engine.lane import codec_of

    try:
        fields: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"the request is no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("the request is no JSON object")
    spoken = spoken or dialect_of(fields)
    if spoken == "gemini":  # which names its model in the path, and counts a whole request inside another
        fields = fields.get("generateContentRequest") or fields.get("generate_content_request") or fields
        if not isinstance(fields, dict):
            raise InvalidRequest(f"this is no request as {_SPEAKERS[spoken]} has it: it is no JSON object")
    dialects: dict[Spoken, Dialect] = {"chat": OpenAIChat(), "anthropic": Anthropic(), "gemini": Gemini()}
    codec = codec_of(dialects[spoken])
    named = fields.get("model")
    try:
        request = codec.decode_request(msgspec.json.encode({"model": "-", **fields}))
    except InvalidRequest as error:
        at = f" (at {error.param})" if error.param else ""
        raise InvalidRequest(
            f"this is no request as {_SPEAKERS[spoken]} has it{at}: {error.message}", param=error.param
        ) from None
    return replace(request, model=named if isinstance(named, str) else "")


def dialect_of(fields: dict[str, Any]) -> Spoken:
    """The dialect of a request, as far as it can be told: texts alone are said alike by OpenAI and by Anthropic.

    Raises:
        InvalidRequest: it is of no dialect that can be counted here.
    """
    if {"contents", "generateContentRequest", "generate_content_request"} & fields.keys():
        return "gemini"
    if "messages" not in fields:
        hint = ": of a Responses body, count the texts" if "input" in fields else ""
        raise InvalidRequest(f"this is no request: it has neither `messages` nor `contents`{hint}")
    tools = fields.get("tools")
    taught = isinstance(tools, list) and any(
        isinstance(each, dict) and "input_schema" in each for each in tools
    )
    if (
        taught
        or _ANTHROPICS & fields.keys()
        or any(kind in _ANTHROPICS_PARTS for kind in _kinds(fields["messages"]))
    ):
        return "anthropic"
    return "chat"


_SPEAKERS: Final[dict[Spoken, str]] = {
    "chat": "OpenAI's Chat Completions",
    "anthropic": "Anthropic's Messages",
    "gemini": "Gemini's generateContent",
}


def _kinds(messages: Any) -> Iterator[str]:
    """The types of all messages' parts, as far as they look like any."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and isinstance(kind := part.get("type"), str):
                yield kind


def _decoded(opened: BinaryIO, name: str) -> str:
    data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise InvalidRequest(f"{name} is larger than {MOST_BYTES // 2**20} MiB: count it in parts")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{name} is not UTF-8 at offset {error.start}: only text can be counted"
        ) from None
