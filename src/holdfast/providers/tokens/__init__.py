"""Tokens counted without a network: of a text or a whole request, for any model, with how sure the number is.

Tokenizers load at their first use; importing this loads none.
"""

from holdfast.providers.tokens.aside import count_request_async, count_text_async
from holdfast.providers.tokens.count import Count, Kind
from holdfast.providers.tokens.counter import Counter, Family
from holdfast.providers.tokens.openai import encoding_for
from holdfast.providers.tokens.registry import FAMILIES, count_request, count_text, counter_for

__all__ = [
    "FAMILIES",
    "Count",
    "Counter",
    "Family",
    "Kind",
    "count_request",
    "count_request_async",
    "count_text",
    "count_text_async",
    "counter_for",
    "encoding_for",
]
