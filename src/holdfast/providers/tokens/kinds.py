"""What a text is made of: tokens of ``o200k_base`` by kind. Tokenizers differ by kind of text far more than by text."""

from __future__ import annotations

import re
from collections import Counter as Tally
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.providers.tokens.encodings import encoding

if TYPE_CHECKING:
    import tiktoken

__all__ = ["Makeup", "makeup"]

_WORD, _PUNCTUATION, _SPACE, _CJK, _OTHER, _DIGITS = 0, 1, 2, 3, 4, 5
"""A token of n digits is ``_DIGITS + n - 1``: ``o200k_base`` takes up to three at once, others one by one."""

_STRETCH: Final = 16_384
"""Characters looked at in one go: a word of a megabyte takes longer by the byte. A word cut in two is a token more."""

_LETTER: Final = re.compile("[A-Za-z]")
_CJK_LETTER: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


class Makeup(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens of each kind; of digits how many characters."""

    word: int = 0
    """With a letter of ASCII in it: prose and code."""
    digit: int = 0
    """Digits of ASCII, each counted."""
    punctuation: int = 0
    space: int = 0
    cjk: int = 0
    """Chinese, Japanese, Korean."""
    other: int = 0
    """Every other script, signs beyond ASCII, and pieces of a character."""


def makeup(text: str) -> Makeup:
    """What ``text`` is made of. Blocks as the counting of ``o200k_base`` does."""
    encoder = encoding("o200k_base")
    kinds = _kinds(encoder)
    tally: Tally[int] = Tally()
    for start in range(0, len(text), _STRETCH):
        tally.update(map(kinds.__getitem__, encoder.encode_ordinary(text[start : start + _STRETCH])))
    return Makeup(
        word=tally[_WORD],
        digit=sum(n * tally[_DIGITS + n - 1] for n in (1, 2, 3)),
        punctuation=tally[_PUNCTUATION],
        space=tally[_SPACE],
        cjk=tally[_CJK],
        other=tally[_OTHER],
    )


class _Kinds(dict[int, int]):
    """Kinds by token, worked out when first met: at most as many as the vocabulary has. Threads may work one out twice."""

    def __init__(self, encoder: tiktoken.Encoding) -> None:
        self._bytes = encoder.decode_single_token_bytes

    def __missing__(self, token: int) -> int:
        kind = self[token] = _kind(self._bytes(token))
        return kind


_known: dict[str, _Kinds] = {}


def _kinds(encoder: tiktoken.Encoding) -> _Kinds:
    found = _known.get(encoder.name)
    if found is None:
        found = _known.setdefault(encoder.name, _Kinds(encoder))
    return found


def _kind(token: bytes) -> int:
    if token.isdigit():
        return _DIGITS + len(token) - 1
    text = token.decode("utf-8", "replace")
    if text.isspace():
        return _SPACE
    if _CJK_LETTER.search(text):
        return _CJK
    if not text.isascii():
        return _OTHER
    return _WORD if _LETTER.search(text) else _PUNCTUATION
