"""Every command of the command line: the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer.main
from docs.tables.markdown import table

from holdfast.cli.commands import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docs.tables.markdown import Parts

__all__ = ["PARTS", "commands"]


def commands() -> Iterator[tuple[str, str]]:
    """Each command's words after ``holdfast`` and the first sentence of its help."""
    yield from _below(typer.main.get_command(app), ())


def _below(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(words), (getattr(command, "help", None) or "").partition("\n\n")[0].replace("\n", " ")
        return
    for name, sub in inner.items():
        yield from _below(sub, (*words, name))


def command_table() -> str:
    return table(("command", "what it does"), [(f"`holdfast {name}`", said) for name, said in commands()])


PARTS: Parts = {"commands": command_table}
