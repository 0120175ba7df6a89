"""Events whose data stands on two lines, as the standard allows."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply

_START = b"data: {"
_TWO_LINES = b"data: {\ndata: "  # a line's end is white space between JSON's tokens


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.parts = _folded(reply.parts)
    return reply


def _folded(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        if part.at and _START in part.data[: part.at]:
            part.at += len(_TWO_LINES) - len(_START)
        part.data = part.data.replace(_START, _TWO_LINES, 1)
        yield part


FAULT = Fault("multi_line", "data on two lines", _apply, plain=False, where=lambda context: context.asked.sse)
