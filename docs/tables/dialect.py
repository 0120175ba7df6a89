"""OpenAI Chat Completions: ``dialect-openai-chat.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.tables.markdown import table

from holdfast.dialects.openai_chat.differences import DIFFERENCES
from holdfast.providers.catalog import PROVIDERS

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


def providers() -> str:
    rows = [
        (
            f"`{row.name}`",
            f"`{row.base_url}{row.chat_path}`",
            ", ".join(f"`{name}`" for name in row.key_env) or "none",
            f"`{row.default_model}`" if row.default_model else "none",
        )
        for row in PROVIDERS.values()
    ]
    return table(
        ("provider", "address", "key from the environment", "model behind the built-in route `chat`"), rows
    )


PARTS: Parts = {"differences": differences, "providers": providers}
