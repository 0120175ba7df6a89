"""An export as a file that is whole or not there, or as a stream."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from holdfast.cli.output import say_bytes
from holdfast.errors import ConfigError
from holdfast.ledger.export import csv_lines, jsonl_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.ledger import Record

__all__ = ["Format", "write_export"]

Format = Literal["jsonl", "csv"]

_LINES: Final[dict[Format, Callable[[Iterable[Record]], Iterator[str]]]] = {
    "jsonl": jsonl_lines,
    "csv": csv_lines,
}


def write_export(records: Iterable[Record], form: Format, out: Path, *, ledger: Path | None) -> None:
    """Writes ``records`` to ``out``; ``-`` is stdout.

    ``ledger`` is the file that they come from, if they do from one. A file appears under its name only when it is complete
    and on disk: a full disk or Ctrl-C leaves what was there.

    Raises:
        ConfigError: ``out`` is the ledger itself.
        OSError: it can't be written.
    """
    lines = _LINES[form](records)
    if str(out) == "-":
        say_bytes(line.encode() for line in lines)
        return
    if ledger is not None and _same(out, ledger):
        raise ConfigError(f"--out {out} is the ledger itself: an export would replace it")
    fd, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")  # mode 0600, as the ledger's
    unfinished = Path(name)
    try:
        with open(fd, "w", encoding="utf-8", newline="") as file:  # noqa: PTH123  # a descriptor, not a path
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(out)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)
