"""Ending a stream that crawls: alive enough for the idle limit, too slow to be of use."""

from __future__ import annotations

from typing import Final

__all__ = ["WINDOW_S", "Pace", "tokens_seen"]

WINDOW_S: Final = 10.0
"""A stream is judged by each ten seconds of waiting for it: one slow moment isn't a crawl."""

_CHARACTERS: Final = 4  # to a token of English text, as OpenAI's guide to its tokenizer says


def tokens_seen(deltas: int, characters: int) -> int:
    """About how many tokens have come; too many rather than too few, so that no healthy stream is ended.

    Args:
        deltas: each brought at least one.
        characters: of text, in all of them.
    """
    return deltas + characters // _CHARACTERS


class Pace:
    """Judges one stream, by the time that was spent waiting for it: a caller who doesn't read is no fault of the provider.

    Args:
        least_per_s: tokens per second, above 0.
    """

    __slots__ = ("_before", "_least_per_s", "_waited_s")

    def __init__(self, least_per_s: float) -> None:
        self._least_per_s = least_per_s
        self._waited_s = 0.0
        self._before = 0

    def crawls(self, waited_s: float, tokens: int) -> bool:
        """Whether the window that ends now brought too little.

        Args:
            waited_s: since the last call.
            tokens: in all.
        """
        self._waited_s += waited_s
        if self._waited_s < WINDOW_S:
            return False
        came, wanted = tokens - self._before, self._least_per_s * self._waited_s
        self._before, self._waited_s = tokens, 0.0
        return came < wanted
