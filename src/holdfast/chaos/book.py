"""The count of attempts under each script key."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Book"]


class Book:
    """Attempts by key, from 1."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._counts: dict[str, int] = {}

    def next_attempt(self, key: str) -> int:
        """The number of this attempt under ``key``."""
        number = self._counts.get(key, 0) + 1
        if number == 1 and len(self._counts) >= self._max_keys:
            del self._counts[next(iter(self._counts))]
        self._counts[key] = number
        return number

    def forget(self, patterns: Iterable[str]) -> None:
        """Attempts under keys that fit one of ``patterns`` count from 1 again."""
        given = [pattern.lower() for pattern in patterns]
        for key in [key for key in self._counts if any(fnmatchcase(key.lower(), p) for p in given)]:
            del self._counts[key]

    def reset(self) -> None:
        """All attempts count from 1 again."""
        self._counts.clear()
