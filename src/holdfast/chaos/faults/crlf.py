"""Events whose lines end with CR LF, as the standard allows."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.parts = _ended(reply.parts)
    return reply


def _ended(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        part.data = part.data.replace(b"\n", b"\r\n")
        yield part


FAULT = Fault("crlf", "lines end with CR LF", _apply, plain=False)
