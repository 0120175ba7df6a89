"""How everything is said: results on stdout, complaints on stderr, colours only for people who look at a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["clean", "complain", "console", "say", "say_bytes", "say_json", "say_table"]

_WIDE = 1_000  # a pipe has no edge to fold at


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Rich honours NO_COLOR and writes no colours where nobody looks. ``width``: the terminal's."""
    if width is None and not (sys.stderr if stderr else sys.stdout).isatty():
        width = _WIDE
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def say(text: str = "") -> None:
    """A line on stdout, there at once, never folded: what is printed to be pasted must be pastable."""
    console().print(text, soft_wrap=True)
    sys.stdout.flush()


def say_bytes(lines: Iterable[bytes]) -> None:
    """Data on stdout: UTF-8, whatever the terminal's encoding is."""
    sys.stdout.flush()
    for line in lines:
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def say_json(value: Any, *, indent: int = 2) -> None:
    """One JSON document on stdout; with ``indent=0`` one line."""
    data = msgspec.json.encode(value)
    say_bytes(((msgspec.json.format(data, indent=indent) if indent else data) + b"\n",))


def say_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()) -> None:
    """A table on stdout. Numbers' columns are named in ``right``."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    aligned = frozenset(right)
    for column in columns:
        table.add_column(column, justify="right" if column in aligned else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    # Wider than the terminal is better than folded to its width: the terminal wraps lines, not each column on its own.
    console(width=_WIDE).print(table, soft_wrap=True)
    sys.stdout.flush()


def complain(message: str) -> None:
    """An error on stderr."""
    text = Text("error: ", style="bold red", end="")
    text.append("\n".join(clean(line) for line in message.splitlines()), style="not bold default")
    console(stderr=True).print(text, soft_wrap=True)


def clean(text: str) -> str:
    """``text`` without what a terminal would obey: model names and error texts come from callers and providers."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
