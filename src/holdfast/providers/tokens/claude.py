"""Tokens of Anthropic's models: calibrated. Neither of its tokenizers is public.

There are two. Claude up to 4.6 needs about 8 % more tokens than ``o200k_base``, Claude since 4.7 about 40 %. The vocabulary
of Claude 2, which Anthropic once published, was tried: it is further off for the older and no better for the newer.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import replace

from holdfast.providers.tokens.bounds import OVERHEADS
from holdfast.providers.tokens.calibrated import Weights, by_makeup
from holdfast.providers.tokens.counter import Counter, Family
from holdfast.providers.tokens.media import claude_image, claude_large_image
from holdfast.providers.tokens.wrapped import WrappedCounter, Wrapping

__all__ = ["FAMILY"]

# Of CJK and other scripts the recordings hold too little to fit: these two are the published vocabulary's ratios, rounded.
_OLDER: Final = Weights(word=1_080, digit=700, punctuation=970, space=1_300, cjk=1_500, other=1_500)
_NEWER: Final = Weights(word=1_420, digit=900, punctuation=1_300, space=1_500, cjk=1_600, other=1_700)

_WRAPPING: Final = Wrapping(
    request=3,
    message=4,
    system=-4,  # a system prompt has no marks of its own
    call=38,
    result=20,
    tools=497,
    forced=92,
    tool=8,
    schema=122,
    thinking=28,
)

_OLDER_COUNTER: Final = WrappedCounter(
    measure=by_makeup(_OLDER),
    kind="calibrated",
    wrapping=_WRAPPING,
    overhead=OVERHEADS["anthropic"],
    image=claude_image,
)
_NEWER_COUNTER: Final = replace(
    _OLDER_COUNTER,
    measure=by_makeup(_NEWER),
    wrapping=replace(
        _WRAPPING, tools=420, forced=110, call=50, result=27, schema=160, thinking=0, keeps_thoughts=True
    ),
    image=claude_large_image,
)

_EARLIER_TOOLS: Final = 314
_LATER_TOOLS: Final = 664
_TOOLS: Final = (
    # Names' beginnings -> the prompt that teaches calling, which differs by model and not by tokenizer.
    ("claude-haiku-4-5", 265),
    ("claude-sonnet-4-5", 497),
    ("claude-opus-4-5", 497),
    ("claude-sonnet-4-6", 497),
    ("claude-opus-4-6", 497),
    ("claude-opus-4-7", _LATER_TOOLS),
    ("claude-opus-4-8", _LATER_TOOLS),
    ("claude-3", _EARLIER_TOOLS),
    ("claude-sonnet-4", _EARLIER_TOOLS),
    ("claude-opus-4", _EARLIER_TOOLS),
)

_VERSION: Final = re.compile(r"^claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2})(?!\d))?")
_NEWER_SINCE: Final = (4, 7)


def _counter(model: str) -> Counter:
    name = model.replace(".", "-")
    counter = _NEWER_COUNTER if _newer(name) else _OLDER_COUNTER
    tools = next((tools for beginning, tools in _TOOLS if name.startswith(beginning)), None)
    return counter if tools is None else replace(counter, wrapping=replace(counter.wrapping, tools=tools))


def _newer(name: str) -> bool:
    """Whether it has the tokenizer of 2026. What names no version is taken to be new."""
    found = _VERSION.match(name)
    return found is None or (int(found[1]), int(found[2] or 0)) >= _NEWER_SINCE


FAMILY = Family(beginnings=("claude-",), providers=("anthropic",), counter=_counter)
