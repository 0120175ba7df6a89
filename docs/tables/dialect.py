"""OpenAI Chat Completions: ``dialect-openai-chat.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.tables.markdown import table

from holdfast.dialects.openai_chat.differences import DIFFERENCES

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def differences() -> str:
    rows = [
        (
            difference.name,
            difference.where.value,
            f"`{difference.path}`",
            ", ".join(change.value for change in difference.changes),
            difference.reason,
        )
        for difference in DIFFERENCES
    ]
    return table(("difference", "where", "path", "change", "why"), rows)


PARTS: Parts = {"differences": differences}
