"""The pauses of an answer: before its headers, to its first token, and between tokens after it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.chaos.draws import Draw
    from holdfast.chaos.plan import Part, Reply
    from holdfast.chaos.settings import Pace

__all__ = ["paced"]


def paced(reply: Reply, pace: Pace, draw: Draw, *, stream: bool) -> Reply:
    """``reply`` at that pace. What is no stream comes whole, once its tokens would have been made."""
    reply.batch = pace.batch
    if not (pace.delay or pace.ttft or pace.tps):
        return reply
    vary = _jitter(pace.jitter, draw)
    reply.delay += vary(pace.delay)
    if stream or reply.status == 200:
        reply.parts = _with_pauses(reply.parts, pace, vary)
    return reply


def _jitter(share: float, draw: Draw) -> Callable[[float], float]:
    if not share:
        return lambda pause: pause
    # One generator per attempt, seeded by its draw: an attempt's pauses depend on nothing else.
    chance = random.Random(int(draw.hex("jitter", 16), 16))
    return lambda pause: pause * (1 + share * (2 * chance.random() - 1))


def _with_pauses(parts: Iterable[Part], pace: Pace, vary: Callable[[float], float]) -> Iterator[Part]:
    """With a batch the pause stands before each batch, as long as its tokens take together."""
    seen = 0
    per_token = 1 / pace.tps if pace.tps else 0.0
    for part in parts:
        if part.tokens:
            if seen == 0:
                part.pause += vary(pace.ttft + (part.tokens - 1) * per_token)
            elif seen % pace.batch == 0:
                part.pause += vary(pace.batch * per_token)
            seen += part.tokens
        yield part
