"""A provider's usage as the stream guard keeps it: the counts, and beside them whatever else that provider says.

No answer is lost over its usage: what can't be read holds no count, and all that was said stands in ``extra``. Whether
counts can be believed is judged where they are priced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.reading import Fields, bad_answer
from holdfast.errors import BadAnswer
from holdfast.model.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["counted", "readable"]

_COUNTS: Final = tuple(name for name in Usage.__struct_fields__ if name != "extra")
_TOO_LARGE: Final = 1 << 63
"""A ledger's columns hold less."""


def counted(told: Any, read: Callable[[Fields], Usage | None]) -> Usage | None:
    """The usage in ``told``, decoded JSON, as the dialect's ``read`` has it; None: there is none, or it says nothing."""
    if not isinstance(told, dict):
        return None
    try:
        usage = read(Fields(told, "usage", bad_answer))
    except BadAnswer:
        return _unread(told)
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    for name in _COUNTS:
        count = getattr(usage, name)
        if count is not None and not -_TOO_LARGE < count < _TOO_LARGE:
            return _unread(told)
    if usage.extra:
        _prune(usage.extra)
    return usage


def readable(usage: Fields | None, read: Callable[[Fields], Usage | None]) -> Usage | None:
    """For a translation: what can be told in another dialect; nothing, where it can't be read."""
    if usage is None:
        return None
    try:
        return read(usage)
    except BadAnswer:
        return None


def _unread(told: dict[str, Any]) -> Usage:
    said = dict(told)
    _prune(said)
    return Usage(extra=said)


def _prune(values: dict[str, Any]) -> None:
    """Takes out what is null or empty. In place: the answer was decoded for this alone."""
    for name, value in list(values.items()):
        if isinstance(value, dict):
            _prune(value)
        if value is None or value == {}:
            del values[name]
