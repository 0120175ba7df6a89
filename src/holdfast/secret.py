"""A secret is a type that doesn't print."""

from __future__ import annotations

from typing import Final

__all__ = ["Secret"]

_MASK: Final = "***"


class Secret:
    """A value that shows as ``***`` wherever it is printed, formatted, logged, pickled or compared by accident.

    Only :meth:`reveal` gives it out, so that a search for that word lists every place where a secret is used.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def scrub(self, data: bytes) -> bytes:
        """``data`` without this secret in it: what a provider says back is never trusted to keep it."""
        value = self._value.encode()
        return data.replace(value, _MASK.encode()) if len(value) >= 4 else data  # shorter is a placeholder

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Secret({_MASK!r})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret can't be pickled or copied into another process")
