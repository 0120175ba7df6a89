"""A stream without the blank line that ends its last event: the standard has a client throw such an event away."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.parts = _unended(reply.parts)
    return reply


def _unended(parts: Iterable[Part]) -> Iterator[Part]:
    last: Part | None = None
    for part in parts:
        if last is not None:
            yield last
        last = part
    if last is not None:
        last.data = last.data.rstrip(b"\r\n") + b"\n"
        yield last


FAULT = Fault(
    "no_blank_line",
    "no blank line after the last event",
    _apply,
    plain=False,
    where=lambda context: context.asked.sse,
)
