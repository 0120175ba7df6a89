"""Events with the other fields that the standard has: ``id:`` and ``retry:``, and one that it hasn't."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import retold
from holdfast.chaos.plan import Context, Part, Reply


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.parts = _with_fields(reply.parts)
    return reply


def _with_fields(parts: Iterable[Part]) -> Iterator[Part]:
    for i, part in enumerate(parts):
        yield retold(part, b"id: %d\nretry: 10000\nx-unknown: 1\n" % i + part.data)


FAULT = Fault(
    "sse_fields", "other fields in the events", _apply, plain=False, where=lambda context: context.asked.sse
)
