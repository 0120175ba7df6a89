"""Time to the first token, and tokens per second after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.chaos.plan import Part
    from holdfast.chaos.settings import AnswerSettings

__all__ = ["paced"]


def paced(parts: Iterable[Part], settings: AnswerSettings) -> Iterator[Part]:
    """``parts`` with pauses. With a batch the pause stands before each batch, as long as its tokens take together."""
    seen = 0
    per_token = 1 / settings.tps if settings.tps else 0.0
    for part in parts:
        if part.tokens:
            if seen == 0:
                part.pause += settings.ttft + (part.tokens - 1) * per_token
            elif seen % settings.batch == 0:
                part.pause += settings.batch * per_token
            seen += part.tokens
        yield part
