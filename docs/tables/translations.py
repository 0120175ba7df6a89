"""Where each field of each dialect goes in each other: ``translations.md``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from docs.tables.markdown import table

from holdfast.dialects.anthropic.fields import FIELDS as ANTHROPIC
from holdfast.dialects.fields import HARMLESS, NEUTRAL, Cant, Said
from holdfast.dialects.gemini.fields import FIELDS as GEMINI
from holdfast.dialects.openai_chat.fields import FIELDS as OPENAI_CHAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docs.tables.markdown import Parts

    from holdfast.dialects.fields import Table

__all__ = ["PARTS", "SPOKEN"]

SPOKEN: Final[Mapping[str, Table]] = {
    "openai_chat": OPENAI_CHAT,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
}
"""The dialects that are translated, by name."""


def harmless() -> str:
    return table(
        ("field", "what it is"), [(f"`{name}`", said) for name, said in NEUTRAL.items() if name in HARMLESS]
    )


def fields_of(dialect: str) -> str:
    """What callers of ``dialect`` can say, where they say it, and what becomes of it for each other dialect's providers."""
    own = SPOKEN[dialect]
    others = [name for name in SPOKEN if name != dialect]
    rows = [
        (f"`{name}`", meaning, _cell(own[name]), *(_cell(SPOKEN[other][name]) for other in others))
        for name, meaning in NEUTRAL.items()
        if isinstance(own[name], Said)
    ]
    heads = ("field", "what it is", f"`{dialect}`", *(f"`{other}`" for other in others))
    unsaid = [
        f"- `{name}`: {row.why}" if row.why else f"- `{name}`"
        for name, row in own.items()
        if isinstance(row, Cant)
    ]
    return "\n".join([table(heads, rows), "", f"Not in `{dialect}`:", "", *unsaid])


def _cell(row: Said | Cant) -> str:
    if isinstance(row, Cant):
        return f"can't: {row.why}" if row.why else "can't"
    said = f"`{row.path}`: {row.note}" if row.note else f"`{row.path}`"
    return said if row.back else f"{said}; one way only"


PARTS: Parts = {
    "harmless": harmless,
    **{f"fields-{dialect.replace('_', '-')}": partial(fields_of, dialect) for dialect in SPOKEN},
}
