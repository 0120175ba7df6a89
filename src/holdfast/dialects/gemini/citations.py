"""Citations: ``groundingMetadata`` (what a search found) and ``citationMetadata`` (what was recited), on a candidate.

They tell of the candidate's text. In the neutral model they stand on that text, and the metadata stays a leftover of the
candidate, whole: it says more than citations do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.model import Citation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["citations_in", "grounding_of"]

_GROUNDING, _RECITATION = "groundingMetadata", "citationMetadata"
_SOURCES: Final = ("citationSources", "citations")
"""The Gemini API's name, and Vertex AI's."""
_PLACES: Final = ("web", "retrievedContext", "maps", "image")


def citations_in(candidate: Mapping[str, Any]) -> list[Citation]:
    """The citations that a candidate's leftovers tell of. What can't be read as one is none."""
    return [*_grounded(candidate.get(_GROUNDING)), *_recited(candidate.get(_RECITATION))]


def grounding_of(citations: Iterable[Citation]) -> dict[str, Any]:
    """The candidate's field that tells of another dialect's citations; empty where there are none."""
    chunks: list[dict[str, Any]] = []
    supports: list[dict[str, Any]] = []
    for at, each in enumerate(citations):
        web = {"uri": each.url, "title": each.title}
        segment = {"startIndex": each.start, "endIndex": each.end}
        chunks.append({"web": {name: value for name, value in web.items() if value is not None}})
        supports.append(
            {
                "segment": {name: value for name, value in segment.items() if value is not None},
                "groundingChunkIndices": [at],
            }
        )
    return {_GROUNDING: {"groundingChunks": chunks, "groundingSupports": supports}} if chunks else {}


def _grounded(metadata: Any) -> Iterable[Citation]:
    if not isinstance(metadata, dict):
        return
    chunks = _objects(metadata.get("groundingChunks"))
    for support in _objects(metadata.get("groundingSupports")):
        segment = support.get("segment")
        indices = support.get("groundingChunkIndices")
        for index in indices if isinstance(indices, list) else ():
            if type(index) is int and 0 <= index < len(chunks):
                url, title = _source(chunks[index])
                start, end = _span(segment)
                yield Citation(url=url, title=title, start=start, end=end)


def _recited(metadata: Any) -> Iterable[Citation]:
    if not isinstance(metadata, dict):
        return
    for name in _SOURCES:
        for source in _objects(metadata.get(name)):
            start, end = _span(source)
            yield Citation(url=_text(source, "uri"), title=_text(source, "title"), start=start, end=end)


def _source(chunk: Mapping[str, Any]) -> tuple[str | None, str | None]:
    for place in _PLACES:
        if isinstance(inner := chunk.get(place), dict):
            return _text(inner, "uri"), _text(inner, "title")
    return None, None


def _span(segment: Any) -> tuple[int | None, int | None]:
    """Where the cited text stands. Google's JSON leaves zeros out."""
    if not isinstance(segment, dict):
        return None, None
    start, end = segment.get("startIndex"), segment.get("endIndex")
    if type(end) is not int:
        return (start if type(start) is int else None), None
    return (start if type(start) is int else 0), end


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _objects(values: Any) -> list[dict[str, Any]]:
    """The list with an empty object for whatever isn't one, so that positions stay."""
    return [each if isinstance(each, dict) else {} for each in values] if isinstance(values, list) else []
