"""Which family counts a model's tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from holdfast.providers.tokens import claude, deepseek, gemini, openai, other

if TYPE_CHECKING:
    from holdfast.model.request import Request
    from holdfast.providers.tokens.count import Count
    from holdfast.providers.tokens.counter import Counter, Family

__all__ = ["FAMILIES", "bare_name", "count_request", "count_text", "counter_for"]

FAMILIES: Final[tuple[Family, ...]] = (openai.FAMILY, deepseek.FAMILY, gemini.FAMILY, claude.FAMILY)


def count_text(text: str, model: str, provider: str | None = None) -> Count:
    """The tokens of a bare text at ``model``: 0 if it is empty, else at least 1.

    Blocks for up to half a second per megabyte, and for the loading of a tokenizer at its first use: on an event loop use
    :func:`holdfast.providers.tokens.aside.count_text_async`.
    """
    return counter_for(model, provider).text(text)


def count_request(request: Request, model: str, provider: str | None = None) -> Count:
    """The input tokens that ``model`` at ``provider`` would bill for ``request``; blocks as :func:`count_text` does."""
    return counter_for(model, provider).request(request)


def counter_for(model: str, provider: str | None = None) -> Counter:
    """The counter for ``model``, in any spelling of its name; ``provider`` decides where the name says nothing."""
    return _counter_for(model[:_NAME_CHARACTERS], provider.lower() if provider is not None else None)


def bare_name(model: str) -> str:
    """``model`` in lower case, without who serves it: ``gpt-5`` for ``openai/GPT-5``, ``models/gpt-5``."""
    return model.lower().rpartition("/")[2]


_NAME_CHARACTERS: Final = 256
"""Names come from callers: what is kept of them is bounded."""


@lru_cache(maxsize=1_024)
def _counter_for(model: str, provider: str | None) -> Counter:
    name = bare_name(model)
    fits = [
        (len(beginning), family)
        for family in FAMILIES
        for beginning in family.beginnings
        if name.startswith(beginning)
    ]
    if fits:
        return max(fits, key=lambda fit: fit[0])[1].counter(name)
    for family in FAMILIES:
        if provider in family.providers:
            return family.counter(name)
    return other.FAMILY.counter(name)
