"""Texts as sequences of tokens, made as they are asked for: ten million of them cost nothing until they are told."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

__all__ = ["Lazy", "Numbered", "evenly", "first", "pieces", "spread", "until_stop"]

_PIECE = 6  # characters per token of text that isn't numbered
_SCANNED = 1024  # tokens that are searched for stop sequences at once


class Lazy(Sequence[str]):
    """``count`` tokens, each a function of its place alone."""

    def __init__(self, count: int) -> None:
        self._count = count

    @abstractmethod
    def token(self, index: int) -> str:
        """The token at ``index``, from 0."""

    @abstractmethod
    def first(self, count: int) -> Lazy:
        """The first ``count`` of them."""

    @abstractmethod
    def may_hold(self, text: str) -> bool:
        """False where ``text`` can't stand in these tokens, however many they are."""

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self.token(i) for i in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self.token(index)

    def __iter__(self) -> Iterator[str]:
        return map(self.token, range(self._count))


class Numbered(Lazy):
    """The tokens ``'{nonce}:0 '``, ``'{nonce}:1 '`` …"""

    def __init__(self, nonce: str, count: int) -> None:
        self._nonce = nonce
        self._count = count

    def token(self, index: int) -> str:
        return f"{self._nonce}:{index} "

    def first(self, count: int) -> Numbered:
        return Numbered(self._nonce, count)

    def may_hold(self, text: str) -> bool:
        return all(map(self._may_hold_part, text.split(" ")))

    def _may_hold_part(self, part: str) -> bool:
        before, colon, number = part.partition(":")
        if not colon:
            return part in self._nonce or (part.isdecimal() and len(part) <= len(str(self._count)))
        return self._nonce.endswith(before) and (not number or number.isdecimal())

    def __iter__(self) -> Iterator[str]:
        # A hexadecimal nonce has no '%' in it. Plain answers are mostly this.
        return map(f"{self._nonce}:%d ".__mod__, range(self._count))


def pieces(text: str) -> Sequence[str]:
    """``text`` in tokens of a few characters."""
    return [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]


def evenly(text: str, count: int) -> Sequence[str]:
    """``text`` in exactly ``count`` tokens; those that no character is left for are empty."""
    size = len(text)
    return [text[i * size // count : (i + 1) * size // count] for i in range(count)]


def spread(texts: Sequence[str], count: int) -> list[Sequence[str]]:
    """Each text in tokens, ``count`` of them in all: at least one for each text that isn't empty, and of the others as many
    as its length makes fair."""
    told = [text for text in texts if text]
    rest = max(0, count - len(told))
    size = sum(map(len, told))
    counts: list[int] = []
    behind = 0
    for text in texts:
        before, behind = behind, behind + len(text)
        counts.append((1 if text else 0) + (rest * behind // size - rest * before // size if size else 0))
    return [evenly(text, n) for text, n in zip(texts, counts, strict=True)]


def first(tokens: Sequence[str], count: int) -> Sequence[str]:
    """The first ``count`` tokens, or all."""
    if len(tokens) <= count:
        return tokens
    return tokens.first(count) if isinstance(tokens, Lazy) else tokens[:count]


def until_stop(
    tokens: Sequence[str], stop: Sequence[str], most: int | None = None
) -> tuple[Sequence[str], str | None]:
    """``tokens`` up to the first stop sequence in their text, and that sequence; of two at one place, the one that
    sorts first. No more than ``most`` tokens are searched, and no more than a window of them is held at a time."""
    if isinstance(tokens, Lazy):  # most stop sequences can't be in them, and need no search through millions
        stop = [word for word in stop if tokens.may_hold(word)]
    if not stop:
        return tokens, None
    longest = max(map(len, stop))
    running = iter(tokens) if most is None else islice(tokens, most)
    whole = 0  # tokens before the window
    window: list[str] = []
    more = True
    while more:
        new = list(islice(running, _SCANNED))
        more = len(new) == _SCANNED
        window += new
        text = "".join(window)
        found = [(at, word) for word in stop if (at := text.find(word)) >= 0]
        # Near the window's end a longer one that begins earlier may not have been seen to its end.
        if found and (not more or min(found)[0] + longest <= len(text)):
            end, word = min(found)
            return _cut(tokens, window, whole, end), word
        kept = _tail(window, longest - 1)
        whole += len(window) - kept
        window = window[len(window) - kept :]
    return tokens, None


def _tail(window: Sequence[str], characters: int) -> int:
    """How many tokens at the end of ``window`` hold its last ``characters``."""
    kept = 0
    while characters > 0 and kept < len(window):
        kept += 1
        characters -= len(window[-kept])
    return kept


def _cut(tokens: Sequence[str], window: Sequence[str], whole: int, end: int) -> Sequence[str]:
    """The ``whole`` tokens before the window, and the first ``end`` characters inside it."""
    kept = list(islice(tokens, whole))
    for piece in window:
        if end <= 0:
            break
        kept.append(piece[:end])
        end -= len(piece)
    return kept
