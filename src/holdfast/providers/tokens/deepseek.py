"""Tokens of DeepSeek's models: its own tokenizer, V3's and V4's alike, over texts as its template joins them.

A text that spells one of its control tokens (``<think>``) is counted as what it spells, which is more.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from holdfast.providers.tokens.bounds import OVERHEADS
from holdfast.providers.tokens.bpe import count_tokens
from holdfast.providers.tokens.counter import Counter, Family
from holdfast.providers.tokens.deepseek_encoding import deepseek_encoding
from holdfast.providers.tokens.wrapped import WrappedCounter, Wrapping

__all__ = ["FAMILY"]


def _measure(text: str) -> int:
    return 1_000 * count_tokens(deepseek_encoding(), text)


# Of V3.2's published template: a prompt that teaches calling (246 tokens), a frame around a turn's calls and one around
# their results, each call and argument an element of its own, system prompts without marks, tools as JSON without spaces.
# V4's is a little shorter; and 77 more are billed where tools are called: as many as its prompt for the highest effort has.
_THIRD: Final = WrappedCounter(
    measure=_measure,
    kind="exact",
    own=True,
    wrapping=Wrapping(
        request=3, message=1, system=-1, tools=246, tool=1, compact=True,
        calls=13, call=12, argument=7, results=10, result=6,
    ),
    overhead=OVERHEADS["deepseek"],
    image=lambda _width, _height: OVERHEADS["deepseek"].image,
)  # fmt: skip  # a table
_FOURTH: Final = replace(_THIRD, wrapping=replace(_THIRD.wrapping, tools=228, agent=77))
_THIRDS: Final = ("deepseek-chat", "deepseek-reasoner", "deepseek-v3", "deepseek-r1")


def _counter(model: str) -> Counter:
    return _THIRD if model.startswith(_THIRDS) else _FOURTH


FAMILY = Family(beginnings=("deepseek-",), providers=("deepseek",), counter=_counter)
