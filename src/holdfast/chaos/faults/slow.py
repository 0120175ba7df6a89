"""The first token is late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..limits import Seconds
from .base import Fault, FaultSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..plan import Context, Part, Reply


class Slow(FaultSettings, frozen=True):
    seconds: Seconds = 1.0
    headers: Literal["early", "late"] = "early"
    """Whether a stream's headers and role event come at once, or wait too."""


def _apply(reply: Reply, settings: Slow, context: Context) -> Reply:
    if not context.stream or settings.headers == "late":
        reply.delay += settings.seconds
    else:
        reply.parts = _late(reply.parts, settings.seconds)
    return reply


def _late(parts: Iterable[Part], seconds: float) -> Iterator[Part]:
    rest = iter(parts)
    for part in rest:
        if part.kind != "role":
            part.pause += seconds
            yield part
            break
        yield part
    yield from rest


FAULT = Fault("slow", "the first token is late", _apply, Slow, primary="seconds")
