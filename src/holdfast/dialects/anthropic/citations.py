"""Citations: where a text has something from. What counts in the cited document stays Anthropic's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.writing import Writer, merged
from holdfast.model import Citation

if TYPE_CHECKING:
    from holdfast.dialects.reading import Fields

__all__ = ["read_citation", "read_citations", "write_citation"]

_TITLE, _DOCUMENT = "title", "document_title"
_ABROAD: Final = "web_search_result_location"


def read_citations(text: Fields) -> tuple[Citation, ...]:
    return tuple(read_citation(citation) for citation in text.each("citations"))


def read_citation(citation: Fields) -> Citation:
    """Any kind: its type and what only it has are in ``extra``."""
    titled = _DOCUMENT if _DOCUMENT in citation.left else _TITLE
    return Citation(
        url=citation.text("url"),
        title=citation.text(titled),
        cited_text=citation.text("cited_text"),
        extra=citation.left,
    )


def write_citation(citation: Citation, writer: Writer) -> dict[str, Any]:
    """Another dialect's is told as one from the web: the kind that has an address."""
    if not writer.own or "type" not in citation.extra:
        said = {"type": _ABROAD, "url": citation.url or "", "title": citation.title}
        return said | {"cited_text": citation.cited_text or "", "encrypted_index": ""}
    kind = citation.extra.get("type")
    titled = _DOCUMENT if isinstance(kind, str) and kind in _DOCUMENTS else _TITLE
    known = {"url": citation.url, titled: citation.title, "cited_text": citation.cited_text}
    return merged(known, citation.extra)


_DOCUMENTS: Final = frozenset({"char_location", "page_location", "content_block_location"})
