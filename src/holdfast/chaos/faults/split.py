"""The right bytes, cut at one byte of the answer, or at many that the seed chooses: within a line, a name, a character."""

import random
from collections.abc import Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Positive, Seconds
from holdfast.chaos.plan import Context, Reply


class Split(FaultSettings, frozen=True):
    at: Positive | None = None
    """The byte of the answer, headers and chunk sizes included, that begins a segment of its own; None: many."""
    most: Positive = 64
    """Largest segment, where the seed chooses them."""
    pause: Seconds = 0.0
    """Seconds between them; 0: each goes in a turn of its own, and what arrives at once may be read at once."""


def _apply(reply: Reply, settings: Split, context: Context) -> Reply:
    reply.segment_pause = settings.pause
    if settings.at is not None:
        reply.segments = iter((settings.at,))
    else:
        reply.segments = _sizes(random.Random(int(context.draw.hex("split", 16), 16)), settings.most)
    return reply


def _sizes(chance: random.Random, most: int) -> Iterator[int]:
    while True:
        yield chance.randint(1, most)


FAULT = Fault("split", "segments that end anywhere", _apply, Split, primary="at")
