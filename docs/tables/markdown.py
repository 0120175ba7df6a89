"""Markdown from values, and the sentences that stand under a class's attributes."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Parts", "attribute_docs", "code", "sentence", "table"]

Parts: TypeAlias = Mapping[str, Callable[[], str]]
"""Generated parts by name, each made by a call."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(value: Any) -> str:
    """``value`` as TOML would say it, set as code."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = f'"{value}"'
    elif isinstance(value, int | float):
        text = f"{value:_}" if isinstance(value, int) and value >= 10_000 else f"{value:g}"
    else:
        text = str(value)
    return f"`{text}`"


def sentence(docstring: str | None) -> str:
    """A docstring's text on one line, its reStructuredText marks as Markdown's."""
    text = " ".join((docstring or "").split())
    text = re.sub(r":(?:\w+:)?\w+:`~?(?:[^`<]*\.)?([^`<.]+)`", r"`\1`", text)
    return text.replace("``", "`")


@cache
def attribute_docs(kind: type) -> Mapping[str, str]:
    """The string under each attribute of ``kind``, as documentation tools read them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    definition = tree.body[0]
    found: dict[str, str] = {}
    if not isinstance(definition, ast.ClassDef):
        return found
    for line, after in zip(definition.body, [*definition.body[1:], None], strict=True):
        names = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        text = (
            after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        )
        for name in names:
            if isinstance(name, ast.Name):
                found[name.id] = sentence(text) if isinstance(text, str) else ""
    return found
