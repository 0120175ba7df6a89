"""Recorded traffic of Gemini, and what a stream of it says in all its chunks together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.wire.recorded import Found, recordings

from holdfast.dialects.gemini.differences import DIFFERENCES

if TYPE_CHECKING:
    from holdfast.dialects.openai_chat.differences import Where

EXCHANGES = recordings("gemini")
STREAMED = [exchange for exchange in EXCHANGES if "stream" in exchange]
WHOLE = [
    exchange
    for exchange in EXCHANGES
    if exchange["status"] == 200 and exchange["path"].endswith(":generateContent")
]
REFUSED = [exchange for exchange in EXCHANGES if exchange["status"] != 200]


def listed(where: Where, found: Found) -> set[str]:
    """The names of the listed differences that ``found`` is one of."""
    return {
        each.name
        for each in DIFFERENCES
        if each.where is where and found.change in each.changes and re.fullmatch(each.path, found.path)
    }


def gathered(chunks: list[Any]) -> dict[str, Any]:
    """What a stream says in all its chunks together; nothing is thrown away but repetition and empty texts.

    A later chunk's fields replace an earlier one's; of a content the parts are lined up, plain texts of one kind joined.
    """
    total: dict[str, Any] = {}
    candidates: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        total |= {name: value for name, value in chunk.items() if name != "candidates"}
        for candidate in chunk.get("candidates", []):
            mine = candidates.setdefault(candidate.get("index", 0), {"content": {"parts": []}})
            mine |= {name: value for name, value in candidate.items() if name != "content"}
            content = candidate.get("content", {})
            mine["content"] |= {name: value for name, value in content.items() if name != "parts"}
            for part in content.get("parts", []):
                _line_up(mine["content"]["parts"], part)
    return total | {"candidates": list(candidates.values())}


def _line_up(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    if part == {"text": ""}:
        return
    last = parts[-1] if parts else {}
    plain = {"text", "thought"}
    same = last.get("thought") == part.get("thought") and set(last) <= plain and "text" in last
    if same and set(part) <= plain and "text" in part:
        parts[-1] = {**last, "text": last["text"] + part["text"]}
    elif same and part.get("text") == "" and set(part) <= plain | {"thoughtSignature"}:
        parts[-1] = {**last, "thoughtSignature": part["thoughtSignature"]}
    else:
        parts.append(dict(part))
