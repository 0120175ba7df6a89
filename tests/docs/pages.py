"""Every page that users read, its fenced blocks, headings and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
)

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: \S.* -->\n+\Z")
_HEADING = re.compile(r"^#+ +(?P<text>.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\((?P<to>[^)\s]+)\)")
_SIGN = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``not_run`` where the page says why it can't be."""

    page: Path
    line: int
    language: str
    text: str
    not_run: bool

    @property
    def uses_library(self) -> bool:
        """It makes a client: it needs a provider, and a program of its own."""
        return self.language == "python" and "from holdfast import" in self.text

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(language: str) -> list[Block]:
    """Every block of that language, in all pages."""
    return [block for page in PAGES for block in _blocks(page) if block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    text = text_of(page)
    for found in _FENCE.finditer(text):
        before = text[: found.start()]
        yield Block(
            page, before.count("\n") + 1, found["language"], found["text"], bool(_NOT_RUN.search(before))
        )


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings as GitHub names them."""
    named: set[str] = set()
    for heading in _HEADING.finditer(prose(page)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"])
        named.add(_SIGN.sub("", words.lower()).strip().replace(" ", "-"))
    return named


def links(page: Path) -> list[str]:
    """Every link's target."""
    return [found["to"] for found in _LINK.finditer(re.sub(r"`[^`\n]*`", "", prose(page)))]
