"""Token counts against bills, and the constants of bounds: ``tokens.md``. Figures are those of the last ``make tokens``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.tokens import RESULTS, by_model, by_size, summary
from docs.tables.markdown import attribute_docs, code, table

from holdfast.providers.tokens.bounds import OVERHEADS, Overhead

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def _results() -> dict[str, Any]:
    return json.loads((RESULTS / "tokens.json").read_text(encoding="utf-8"))


def overheads() -> str:
    said = attribute_docs(Overhead)
    rows = [
        (f"`{name}`", *(code(getattr(row, name)) for row in OVERHEADS.values()), said[name])
        for name in Overhead.__struct_fields__
    ]
    return table(("most tokens added", *OVERHEADS, "meaning"), rows)


PARTS: Parts = {
    "token-errors": lambda: summary(_results()),
    "token-models": lambda: by_model(_results()),
    "token-sizes": lambda: by_size(_results()),
    "token-overheads": overheads,
}
