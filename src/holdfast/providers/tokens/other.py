"""Tokens of models that nothing is known of: as ``o200k_base`` would count them, and a tenth more."""

from __future__ import annotations

from typing import Final

from holdfast.providers.tokens.bounds import UNKNOWN
from holdfast.providers.tokens.calibrated import Weights, by_makeup
from holdfast.providers.tokens.counter import Counter, Family
from holdfast.providers.tokens.wrapped import WrappedCounter, Wrapping

__all__ = ["FAMILY"]

_COUNTER: Final = WrappedCounter(
    # Open vocabularies of 2024 to 2026 lie between o200k_base and a fifth above it in Latin script, further off in others.
    measure=by_makeup(Weights(word=1_100, digit=900, punctuation=1_050, space=1_100, cjk=1_300, other=1_400)),
    kind="calibrated",
    wrapping=Wrapping(request=3, message=4, tools=60, tool=10, call=20, result=10, schema=20),
    overhead=UNKNOWN,
    image=lambda _width, _height: UNKNOWN.image,
)


def _counter(_model: str) -> Counter:
    return _COUNTER


FAMILY = Family(beginnings=(), counter=_counter)
"""Every model that no other family knows."""
