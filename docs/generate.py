"""Writes the reference tables of these pages from the code's own models: ``python -m docs.generate``.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``; what is around it is written by
hand. ``--check`` changes nothing and fails where a page isn't what would be generated; the tests do the same.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from docs.tables import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docs.tables.markdown import Parts

__all__ = ["DOCS", "current", "generated", "main"]

DOCS: Final = Path(__file__).parent

_PART: Final = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[\w-]+) -->\n)(?P<text>.*?)(?P<end><!-- end of (?P=name) -->\n)",
    re.DOTALL,
)


def generated(page: str, parts: Parts = PARTS) -> str:
    """``page`` with every generated part made anew. Raises KeyError for a part that no module of docs/tables has."""
    return _PART.sub(lambda found: f"{found['begin']}\n{parts[found['name']]()}\n\n{found['end']}", page)


def current() -> Iterator[tuple[Path, str, str]]:
    """Each page that has generated parts: its path, what stands in it, and what should."""
    for path in sorted(DOCS.rglob("*.md")):
        page = path.read_text(encoding="utf-8")
        if _PART.search(page):
            yield path, page, generated(page)


def main(arguments: list[str]) -> int:
    """0: every page is as generated (or now is); 1: with ``--check``, some aren't."""
    stale = [(path, new) for path, old, new in current() if old != new]
    for path, new in stale:
        sys.stdout.write(f"{path.relative_to(DOCS.parent)}\n")
        if "--check" not in arguments:
            path.write_text(new, encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
