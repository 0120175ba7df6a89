r"""Counting tokens of texts of any length, exactly, a stretch at a time.

An encoding (OpenAI's, DeepSeek's) cuts a text into pieces: words, groups of digits, runs of signs or spaces. Each piece's
bytes are merged by rank, which gets slower by the byte the longer it is: three to five times at 1 MB. So a long text is
counted in stretches, cut where that changes nothing:

- *Between pieces.* Behind a letter or digit a piece ends where a space or a sign comes (but for ``'`` as in *don't*), and
  any piece ends where a space or tab follows something that isn't one. Nothing before such a place looks beyond it.
- *Within a piece*, where no other place is near: inside a long run of small letters, of signs, or of spaces and tabs. The
  merges near the cut may come out otherwise than in the whole piece, so the last tokens before it are counted again with
  what follows. That is exact if the last token kept and the first one after it, taken as a text, are those two tokens
  again: merges go by rank, then from left to right, so the first merge across that seam in the whole would be one in the
  pair too.
"""

from __future__ import annotations

import re
from string import ascii_letters, punctuation
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import tiktoken

__all__ = ["STRETCH", "count_tokens"]

STRETCH: Final = 16_384
"""Characters counted in one go, where the text can be cut."""

_SEARCHED: Final = 1_024
"""Characters in which a place between pieces is looked for. Text of most languages has one within a few dozen."""

_BETWEEN: Final = re.compile(
    r"""(?<=\S)(?=[ \t])"""
    r"""|(?<=[^\W_])(?=[\s,.;:!?"()\[\]{}<>=+*/&|#$%\\\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f])"""
    r"""|(?<=[A-Za-z])(?=[0-9])"""
    r"""|(?<=[0-9])(?=[A-Za-z])"""
)
"""Python's letters and digits are the encodings' or fewer (its Unicode is older), its spaces theirs and four controls."""

_MARGIN: Final = 4_096
"""Characters of a run on each side of a cut within it: room for all tokens that are looked at, of 128 characters at most."""
_LETTERS: Final = re.compile("[a-z]{8192}")
_SIGNS: Final = re.compile(r"[!-.:-@\[-`{-~]{8192}")
_SPACES: Final = re.compile("[ \t]{8192}")
"""Runs of twice the margin. No ``/``: one that follows a line's end may belong to the signs before it."""

_COUNTED_AGAIN: Final = (2, 4, 8, 16)
"""Tokens before a cut within a piece; more where fewer weren't exact."""


def count_tokens(encoder: tiktoken.Encoding, text: str) -> int:
    """How many tokens ``text`` has: ``len(encoder.encode_ordinary(text))``, with less time and memory for a long text.

    What looks like a special token (``<|endoftext|>``) is text, and half a surrogate pair counts as U+FFFD.
    """
    encode = encoder.encode_ordinary
    counted, end, within = 0, 0, False
    tokens: list[int] = []  # of the stretch before ``end``
    while end < len(text):
        following, following_within = _next_cut(text, end)
        if not within:
            counted += len(tokens)
            tokens = encode(text[end:following])
        else:
            joined = _join(encoder, text, tokens, end, following)
            if joined is None:
                return len(encode(text))
            kept, tokens = joined
            counted += kept
        end, within = following, following_within
    return counted + len(tokens)


def _next_cut(text: str, start: int) -> tuple[int, bool]:
    """Where the stretch that begins at ``start`` ends, and whether that is within a piece."""
    at = start + STRETCH
    while at < len(text):
        between = _BETWEEN.search(text, at, at + _SEARCHED)
        if between is not None:
            return between.start(), False
        if _in_run(text, start, at):
            return at, True
        at += STRETCH
    return len(text), False


def _in_run(text: str, start: int, at: int) -> bool:
    """Whether ``at`` lies in a run such that the text from ``start`` may be cut there, in any of the encodings."""
    around = at - _MARGIN, at + _MARGIN
    if _SIGNS.fullmatch(text, *around):
        return True
    # A run that goes back further was refused a stretch ago, or is taken for refused: looking back has to end.
    first = max(start, at - 2 * STRETCH)
    if _LETTERS.fullmatch(text, *around):
        before = text[first:at].rstrip(ascii_letters)
        # After a sign, DeepSeek's pieces have no letters beyond ASCII; from a cut on, they would.
        return not before.endswith(tuple(punctuation)) if before else first == start
    if _SPACES.fullmatch(text, *around):
        before = text[first:at]
        spaces = before[len(before.rstrip()) :]
        # With a line's end among them, those before a cut would be two pieces.
        return "\n" not in spaces and "\r" not in spaces and (len(spaces) < len(before) or first == start)
    return False


def _join(
    encoder: tiktoken.Encoding, text: str, tokens: list[int], cut: int, end: int
) -> tuple[int, list[int]] | None:
    """How many ``tokens`` before the cut stand, and the tokens from there to ``end``; None if that can't be told."""
    for again in _COUNTED_AGAIN:
        start = cut - len(encoder.decode_bytes(tokens[-again:]))  # a byte is a character: all runs are ASCII
        following = encoder.encode_ordinary(text[start:end])
        pair = [tokens[-again - 1], following[0]]
        if encoder.encode_ordinary(encoder.decode(pair)) == pair:
            return len(tokens) - again, following
    return None
