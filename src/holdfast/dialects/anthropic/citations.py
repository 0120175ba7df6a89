"""Citations of every kind. Where in its source something stands counts in that kind's own units and stays in ``extra``.

One that another dialect's provider gave is told as found on the web, the only kind with an address. That kind needs
Anthropic's own proof (``encrypted_index``), so the mark of the other dialect stands there: it comes back as a citation
without a kind, which no request to Anthropic can say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.anthropic.names import DIALECT
from holdfast.dialects.signatures import mark, unmark
from holdfast.dialects.writing import merged
from holdfast.model import Citation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.dialects.anthropic.writer import AnthropicWriter
    from holdfast.dialects.reading import Fields

__all__ = ["read_citation", "read_citations", "write_citation", "write_citations"]

_WEB: Final = "web_search_result_location"
_PROOF: Final = "encrypted_index"
_TITLES: Final = ("document_title", "title")


def read_citations(text: Fields, *, answered: bool = False) -> tuple[Citation, ...]:
    return tuple(read_citation(citation, answered=answered) for citation in text.each("citations"))


def read_citation(citation: Fields, *, answered: bool = False) -> Citation:
    proof = citation.left.get(_PROOF)
    if not answered and isinstance(proof, str) and unmark(proof, DIALECT)[1] != DIALECT:
        for name in ("type", _PROOF):
            citation.left.pop(name, None)
    titled = next((name for name in _TITLES if citation.left.get(name) is not None), _TITLES[-1])
    return Citation(
        url=citation.text("url"),
        title=citation.text(titled),
        cited_text=citation.text("cited_text"),
        extra=citation.left,
    )


def write_citations(
    citations: Sequence[Citation], writer: AnthropicWriter, path: str
) -> list[dict[str, Any]] | None:
    """Those of a text; None where there are none to write."""
    if not writer.answered and any(not _has_kind(each, writer) for each in citations):
        writer.refuse(path, "citations")
        citations = [each for each in citations if _has_kind(each, writer)]
    return [write_citation(each, writer) for each in citations] or None


def write_citation(citation: Citation, writer: AnthropicWriter) -> dict[str, Any]:
    if _has_kind(citation, writer):
        titled = "document_title" if "document_index" in citation.extra else "title"
        known = {"url": citation.url, titled: citation.title, "cited_text": citation.cited_text}
        return merged(known, citation.extra)
    return {
        "type": _WEB,
        "url": citation.url or "",
        "title": citation.title,
        "cited_text": citation.cited_text or "",
        _PROOF: mark("", writer.origin, DIALECT),
    }


def _has_kind(citation: Citation, writer: AnthropicWriter) -> bool:
    return writer.own and "type" in citation.extra
