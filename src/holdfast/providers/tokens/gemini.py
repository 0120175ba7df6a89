"""Tokens of Google's models: calibrated. Their tokenizer is near ``o200k_base``, but takes digits one by one."""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import replace

from holdfast.providers.tokens.bounds import OVERHEADS
from holdfast.providers.tokens.calibrated import Weights, by_makeup
from holdfast.providers.tokens.counter import Counter, Family
from holdfast.providers.tokens.media import gemini_image
from holdfast.providers.tokens.wrapped import WrappedCounter, Wrapping

__all__ = ["FAMILY"]

_WEIGHTS: Final = Weights(word=1_020, digit=1_000, punctuation=950, space=1_200, cjk=1_000, other=1_100)

_THIRD: Final = WrappedCounter(
    measure=by_makeup(_WEIGHTS),
    kind="calibrated",
    wrapping=Wrapping(request=1, call=4, result=4, tool_percent=90, keeps_thoughts=True, sealed_permille=205),
    overhead=OVERHEADS["gemini"],
    image=lambda _width, _height: 1_120,  # whatever its size, unless a resolution is asked for
)
_SECOND_AND_A_HALF: Final = replace(
    _THIRD,
    wrapping=Wrapping(request=1, call=11, result=11, tool_percent=88),
    image=gemini_image,
)
_SECOND: Final = replace(_SECOND_AND_A_HALF, wrapping=Wrapping(request=1, tool_percent=30))

_VERSION: Final = re.compile(r"^gemini-(\d{1,2})(?:\.(\d))?")


def _counter(model: str) -> Counter:
    found = _VERSION.match(model)
    version = (int(found[1]), int(found[2] or 0)) if found is not None else (3, 0)
    if version >= (3, 0):
        return _THIRD
    return _SECOND_AND_A_HALF if version >= (2, 5) else _SECOND


FAMILY = Family(beginnings=("gemini-",), providers=("gemini",), counter=_counter)
