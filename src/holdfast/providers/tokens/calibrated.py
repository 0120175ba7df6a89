"""Tokens of a tokenizer that isn't public, from the makeup of a text and what its provider was seen to bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.providers.tokens.kinds import makeup

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Weights", "by_makeup"]


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens for a thousand of ``o200k_base`` of each kind; of ``digit`` for a thousand digits."""

    word: int
    digit: int
    punctuation: int
    space: int
    cjk: int
    other: int


def by_makeup(weights: Weights) -> Callable[[str], int]:
    """A measure of texts, in thousandths of a token."""

    def measure(text: str) -> int:
        made = makeup(text)
        return (
            made.word * weights.word
            + made.digit * weights.digit
            + made.punctuation * weights.punctuation
            + made.space * weights.space
            + made.cjk * weights.cjk
            + made.other * weights.other
        )

    return measure
