"""Recorded traffic, and how two pieces of JSON differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.dialects.openai_chat.differences import DIFFERENCES, Change, Difference, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent / "recordings"
CHAT = ("openai_chat", "deepseek_chat", "openrouter_chat", "azure_chat")
NOTHING = (None, "", [])


class Found(NamedTuple):
    path: str
    change: Change
    before: Any
    after: Any


def recordings(name: str) -> list[dict[str, Any]]:
    lines = (HERE / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def chat_exchanges() -> list[dict[str, Any]]:
    return [exchange for name in CHAT for exchange in recordings(name)]


def diff(before: Any, after: Any, path: str = "") -> Iterator[Found]:
    """Where ``after`` isn't ``before``. Lists of different length differ as a whole."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            where = f"{path}.{key}" if path else key
            if key not in after:
                dropped = Change.EMPTY_DROPPED if before[key] in NOTHING else Change.DROPPED
                yield Found(where, dropped, before[key], None)
            elif key not in before:
                yield Found(where, Change.ADDED, None, after[key])
            else:
                yield from diff(before[key], after[key], where)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for old, new in zip(before, after, strict=True):
            yield from diff(old, new, f"{path}[]")
    elif (
        type(before) is not type(after) and not {type(before), type(after)} <= {int, float}
    ) or before != after:
        yield Found(path, Change.CHANGED, before, after)


def listed(where: Where, found: Found) -> set[str]:
    """The names of the listed differences that ``found`` is one of."""
    return {each.name for each in DIFFERENCES if each.where is where and _matches(each, found)}


def _matches(difference: Difference, found: Found) -> bool:
    return found.change in difference.changes and re.fullmatch(difference.path, found.path) is not None


def payloads(stream: bytes) -> list[Any]:
    """A stream's chunks by the simplest reading there is, so that the framing under test isn't used to judge itself."""
    lines = stream.decode().replace("\r\n", "\n").split("\n")
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(each) for each in data if each != "[DONE]"]


def gathered(chunks: list[Any]) -> dict[str, Any]:
    """What a stream says in all its chunks together, field by field; nothing is thrown away but repetition."""
    total: dict[str, Any] = {}
    for chunk in chunks:
        choices = chunk.get("choices") or []
        _last(total, {name: value for name, value in chunk.items() if name != "choices"})
        for choice in choices:
            mine = total.setdefault("choices", {}).setdefault(choice["index"], {"index": choice["index"]})
            _last(mine, {name: value for name, value in choice.items() if name not in ("delta", "logprobs")})
            _add(mine, {name: value for name, value in choice.items() if name == "logprobs"})
            delta = dict(choice.get("delta") or {})
            mine.setdefault("delta", {}).update(
                {"role": role} if (role := delta.pop("role", None)) is not None else {}
            )
            _add(mine["delta"], delta)
    total["choices"] = list(total.get("choices", {}).values())
    return total


def _last(into: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        if value is not None or name not in into:
            into[name] = value


def _add(into: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        old = into.get(name)
        if old is None or old in ("", []):
            into[name] = _by_index(value) if name in ("tool_calls", "reasoning_details") else value
        elif value is None:
            continue
        elif name in ("tool_calls", "reasoning_details"):
            into[name] = _by_index([*old, *value])
        elif isinstance(old, dict):
            _add(old, value)
        elif isinstance(old, list):
            into[name] = [*old, *value]
        elif isinstance(old, str) and name not in ("id", "type", "format", "name"):
            into[name] = old + value
        else:
            into[name] = value


def _by_index(items: Any) -> Any:
    if not isinstance(items, list):
        return items
    merged: dict[Any, dict[str, Any]] = {}
    for item in items:
        _add(
            merged.setdefault((item.get("type") if "function" not in item else None, item.get("index")), {}),
            item,
        )
    return list(merged.values())
