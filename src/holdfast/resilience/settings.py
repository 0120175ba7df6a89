"""Settings whose ranges are data: checked where they are made, and known to whoever reads or documents them.

A policy's settings are a frozen struct. A number's range stands in its annotation and nowhere else::

    class BackoffSettings(Settings, frozen=True, kw_only=True):
        base_s: Annotated[float, Meta(gt=0, le=3600)] = 0.5
"""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Meta

__all__ = ["Range", "Settings", "ranges"]


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """What a number may be. Bounds are finite; None: that side has none."""

    integer: bool
    least: float | None = None
    most: float | None = None
    above: bool = False
    """``least`` itself is too little."""
    below: bool = False
    """``most`` itself is too much."""

    def __str__(self) -> str:
        kind = "a whole number" if self.integer else "a number"
        low, high = _plain(self.least), _plain(self.most)
        least = f"{'above' if self.above else 'from'} {low}" if low else ""
        most = f"{'below' if self.below else 'at most'} {high}" if high else ""
        if least and most and not self.above and not self.below:
            return f"{kind} {least} to {high}"
        return " ".join((kind, " and ".join(part for part in (least, most) if part))).strip()

    def permits(self, value: Any) -> bool:
        """Whether ``value`` is such a number; booleans, NaN and the infinite never are."""
        if isinstance(value, bool) or not isinstance(value, int if self.integer else (int, float)):
            return False
        if not math.isfinite(value):
            return False
        if self.least is not None and (value < self.least or (self.above and value == self.least)):
            return False
        return self.most is None or not (value > self.most or (self.below and value == self.most))


def _plain(number: float | None) -> str:
    """Without an exponent, and without a point where it has no fraction."""
    if number is None:
        return ""
    return str(int(number)) if number == int(number) else str(number)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Base of every policy's settings.

    Raises:
        ValueError: a number is out of its range; the message begins with the setting's name.
    """

    def __post_init__(self) -> None:
        for name, allowed in ranges(type(self)).items():
            value = getattr(self, name)
            if not isinstance(value, str) and value is not None and not allowed.permits(value):
                raise ValueError(f"{name} must be {allowed}, not {value!r}")
        self.check()

    def check(self) -> None:
        """What must hold between several settings: raises ValueError, its message beginning with one's name."""


@cache
def ranges(settings: type[Settings]) -> dict[str, Range]:
    """The ranges of the numbers in ``settings``, by name, in the order of the fields."""
    fields = msgspec.structs.fields(settings)
    return {field.name: allowed for field in fields if (allowed := _range(field.type)) is not None}


def _range(hint: Any) -> Range | None:
    """The range in ``Annotated[float, Meta(…)]``, also as one side of a union."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        for note in notes:
            if isinstance(note, Meta):
                low = note.gt if note.gt is not None else note.ge
                high = note.lt if note.lt is not None else note.le
                return Range(
                    integer=kind is int,
                    least=low,
                    most=high,
                    above=note.gt is not None,
                    below=note.lt is not None,
                )
    return next((found for part in get_args(hint) if (found := _range(part)) is not None), None)
