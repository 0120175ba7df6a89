"""Going on after a break (``on_break = "resume"``): another attempt repeats what was delivered, and then says more.

What the caller has seen can't be taken back, so the new attempt's text must begin with it, byte for byte. Until then
nothing goes out; where it differs, the resumption has failed and the caller is told so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.dialects.base import TEXT, Edit, Signal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.dialects.base import Dialect

__all__ = ["Replay"]


class Replay:
    """Takes the delivered prefix out of a new attempt's signals.

    Args:
        dialect: changes the one event in which the prefix ends.
        delivered: the text that the caller has.
    """

    __slots__ = ("_delivered", "_dialect", "matched")

    def __init__(self, dialect: Dialect, delivered: str) -> None:
        self._dialect = dialect
        self._delivered = delivered
        self.matched = 0
        """Characters of the prefix that were repeated so far."""

    @property
    def complete(self) -> bool:
        return self.matched == len(self._delivered)

    def filter(self, signals: Iterable[Signal]) -> list[Signal]:
        """The signals less what the caller has. A malformed signal stands where the attempt diverged."""
        return [kept for signal in signals if (kept := self._filter(signal)) is not None]

    def _filter(self, signal: Signal) -> Signal | None:
        if self.complete:
            return signal
        if signal.error is not None or signal.malformed is not None or signal.end:
            return signal
        rest = self._delivered[self.matched :]
        text = signal.text
        if any(content & ~TEXT for _, content, _ in signal.beats) or not (
            text.startswith(rest) or rest.startswith(text)
        ):
            return self._diverged(signal)
        self.matched += min(len(text), len(rest))
        if len(text) < len(rest):
            if any(finish is not None for _, _, finish in signal.beats):
                return self._diverged(signal)  # it ended before it had said what the caller has
            return replace(signal, raw=b"", beats=()) if signal.usage is not None else None
        left = text[len(rest) :]
        beats = tuple((index, TEXT if left else 0, finish) for index, _, finish in signal.beats)
        return replace(signal, raw=self._dialect.edit(signal.raw, Edit(text=left)), beats=beats, text=left)

    def _diverged(self, signal: Signal) -> Signal:
        return Signal(
            signal.raw,
            malformed=f"the new attempt says something else after {self.matched} repeated characters",
        )
