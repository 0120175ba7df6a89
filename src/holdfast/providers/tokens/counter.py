"""What counts the tokens of a family of models, and how its models are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.model.request import Request
    from holdfast.providers.tokens.count import Count

__all__ = ["Counter", "Family"]


class Counter(Protocol):
    """Counts for one model. Holds no state of a call: threads may share it."""

    def text(self, text: str) -> Count:
        """The tokens of a bare text: none if it is empty, else at least one."""
        ...

    def request(self, request: Request) -> Count:
        """The input tokens that the provider would bill: messages, tools, formats and what it wraps them in."""
        ...


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Models that are counted alike.

    A model's name decides; where no family knows the name, the provider does. Names come in lower case, bare
    (``gpt-5``, never ``models/…`` or ``openai/…``).
    """

    beginnings: tuple[str, ...]
    """How its models' names begin. Over all families the longest that fits wins."""
    providers: tuple[str, ...] = ()
    """Whose unknown models are taken to be of this family."""
    counter: Callable[[str], Counter]
    """The counter for a model, by its bare name. Cheap: what is slow to load is loaded at the first count."""
