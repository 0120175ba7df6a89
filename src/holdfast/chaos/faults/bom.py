"""A byte order mark before the first event, as the standard allows."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply

_BOM = b"\xef\xbb\xbf"


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.parts = _marked(reply.parts)
    return reply


def _marked(parts: Iterable[Part]) -> Iterator[Part]:
    yield Part(_BOM, "noise")
    yield from parts


FAULT = Fault(
    "bom", "a byte order mark before the events", _apply, plain=False, where=lambda context: context.asked.sse
)
