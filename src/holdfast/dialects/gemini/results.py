"""What a function answered: ``functionResponse``, whose ``response`` is an object.

Google's convention: ``output`` holds what it gave, ``error`` why it failed; an object without them is the output itself.
A text that is a JSON object goes as that object, any other text as ``output``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.gemini.media import read_media, write_media
from holdfast.dialects.gemini.names import DIALECT
from holdfast.dialects.reading import bad_answer, read_json
from holdfast.dialects.writing import merged, write_json
from holdfast.errors import BadAnswer
from holdfast.model import Media, Opaque, Text, ToolResult

if TYPE_CHECKING:
    from holdfast.dialects.gemini.writer import GeminiWriter
    from holdfast.dialects.reading import Fields

__all__ = ["as_object", "read_result", "write_result"]

_OUTPUT, _ERROR = "output", "error"
_PLACE: Final = "functionResponse.parts"
_AS_TEXT, _AS_JSON, _WHOLE, _ABSENT = "text", "json", "whole", "absent"


def read_result(part: Fields) -> tuple[ToolResult, str | None]:
    """The result in a part, and how its response was spelled where that isn't the usual way."""
    inner = part.needed_fields("functionResponse")
    call_id, name = inner.text("id"), inner.text("name")
    text, is_error, spelt = _read_response(inner.mapping("response"))
    parts: list[Any] = [] if text is None else [Text(text=text)]
    parts += [_read_part(each) for each in inner.each("parts")]
    part.keep("functionResponse", inner if inner.left else None)
    result = ToolResult(
        call_id=call_id, name=name, parts=tuple(parts), is_error=is_error or None, extra=part.left
    )
    usual = _WHOLE if text is None else _usual(text, is_error=is_error)
    return result, spelt if spelt != usual else None


def write_result(
    result: ToolResult, writer: GeminiWriter, path: str, spelt: str | None
) -> dict[str, Any] | None:
    """The part for ``result``; None where it can't be said and may be left out."""
    if result.name is None and not writer.same:
        writer.refuse(path, "tool_result.text")  # nothing in the conversation says whose result it is
        return None
    texts: list[str] = []
    media: list[dict[str, Any]] = []
    for at, part in enumerate(result.parts):
        where = f"{path}.parts[{at}]"
        if isinstance(part, Text):
            if part.citations:
                writer.refuse(where, "citations")
            if part.cache is not None:
                writer.refuse(where, "cache_control")
            writer.leftovers(part.extra, where)
            texts.append(part.text)
        elif isinstance(part, Media):
            if part.cache is not None:
                writer.refuse(where, "cache_control")
            known = write_media(part, writer, where)
            if known is not None:
                media.append(merged(known, writer.leftovers(part.extra, where)))
        elif isinstance(part, Opaque) and part.dialect == DIALECT:
            media.append(part.data)
        else:
            writer.refuse(where, "tool_result.text")
    if result.cache is not None:
        writer.refuse(path, "cache_control")
    known = {
        "id": result.call_id,
        "name": result.name,
        "response": _write_response(texts, spelt, is_error=bool(result.is_error)),
        "parts": media or None,
    }
    return merged({"functionResponse": merged(known, {})}, writer.leftovers(result.extra, path))


def as_object(text: str) -> dict[str, Any] | None:
    """The object that ``text`` is as JSON; None where it is something else."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = read_json(text.encode("utf-8", "surrogatepass"), bad_answer)
    except BadAnswer:
        return None
    return value if isinstance(value, dict) else None


def _read_part(part: Fields) -> Any:
    for name in ("inlineData", "fileData"):
        if isinstance(part.left.get(name), dict):
            return read_media(part, name)
    return Opaque(dialect=DIALECT, data=part.left, place=_PLACE)


def _read_response(response: dict[str, Any] | None) -> tuple[str | None, bool, str]:
    """The text of a response, whether it tells a failure, and how it was spelled."""
    if response is None:
        return None, False, _ABSENT
    if not response:
        return None, False, _WHOLE
    for name in (_OUTPUT, _ERROR):
        if response.keys() == {name}:
            said = response[name]
            if isinstance(said, str):
                return said, name == _ERROR, _AS_TEXT
            return write_json(said).decode(), name == _ERROR, _AS_JSON
    return write_json(response).decode(), False, _WHOLE


def _usual(text: str, *, is_error: bool) -> str:
    """How a text is spelled unless something says otherwise."""
    if is_error:
        return _AS_TEXT
    value = as_object(text)
    # An object with these names would be read as something else than the output that it is.
    return _AS_TEXT if not value or _OUTPUT in value or _ERROR in value else _WHOLE


def _write_response(texts: list[str], spelt: str | None, *, is_error: bool) -> dict[str, Any] | None:
    name = _ERROR if is_error else _OUTPUT
    if not texts:
        if spelt == _ABSENT:
            return None
        return {_ERROR: ""} if is_error else {}
    text = "".join(texts)
    way = spelt or _usual(text, is_error=is_error)
    if way == _WHOLE and (value := as_object(text)) is not None:
        return value
    if way == _AS_JSON:
        try:
            return {name: read_json(text.encode("utf-8", "surrogatepass"), bad_answer)}
        except BadAnswer:
            pass  # changed since it was read
    return {name: text}
