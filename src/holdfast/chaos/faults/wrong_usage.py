"""Usage that can't be true (the journal still bills what is)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import decoded, rewritten
from holdfast.chaos.plan import Context, Part, Reply

_HUGE = 10**15


class WrongUsage(FaultSettings, frozen=True):
    how: Literal["zero", "negative", "huge", "half", "double", "fraction", "text", "null"] = "zero"
    """What each count of tokens becomes."""


_BECOMES: dict[str, Callable[[int], Any]] = {
    "zero": lambda _: 0,
    "negative": lambda count: -max(count, 1),
    "huge": lambda _: _HUGE,
    "half": lambda count: count // 2,
    "double": lambda count: count * 2,
    "fraction": lambda count: count + 0.5,
    "text": str,
    "null": lambda _: None,
}


def _apply(reply: Reply, settings: WrongUsage, context: Context) -> Reply:
    becomes = _BECOMES[settings.how]
    if context.stream:
        reply.parts = _each(reply.parts, becomes)
        return reply
    return rewritten(reply, lambda data: _changed(data, becomes))


def _each(parts: Iterable[Part], becomes: Callable[[int], Any]) -> Iterator[Part]:
    for part in parts:
        changed = _changed(part.data, becomes)
        if changed != part.data and part.at:
            part.at = max(0, changed.find(part.data[part.at : part.at + 16]))
        part.data = changed
        yield part


def _changed(data: bytes, becomes: Callable[[int], Any]) -> bytes:
    if b"oken" not in data:  # no usage in this event: …_tokens, …TokenCount
        return data
    start, value, end = decoded(data)
    if value is None or not _count(value, becomes):
        return data
    return start + msgspec.json.encode(value) + end


def _count(value: Any, becomes: Callable[[int], Any]) -> bool:
    """Change the counts within ``value``; whether there were any."""
    found = False
    if isinstance(value, list):
        for inner in value:
            found = _count(inner, becomes) or found
    elif isinstance(value, dict):
        for name, inner in value.items():
            if _is_count(name, inner):
                value[name] = becomes(inner)
                found = True
            else:
                found = _count(inner, becomes) or found
    return found


def _is_count(name: str, value: Any) -> bool:
    """Of tokens that were used, not of those that were allowed."""
    counted = isinstance(value, int) and not isinstance(value, bool)
    return counted and "token" in name.lower() and not name.startswith("max")


FAULT = Fault("wrong_usage", "usage that can't be true", _apply, WrongUsage, primary="how")
