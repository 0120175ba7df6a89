"""Events whose lines end with CR LF, as the standard allows."""

import re
from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply

_BARE = re.compile(rb"(?<!\r)\n")


def _apply(reply: Reply, _settings: FaultSettings, _context: Context) -> Reply:
    reply.parts = _ended(reply.parts)
    return reply


def _ended(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        if part.at:
            part.at += _bare(part.data[: part.at])
        part.data = _BARE.sub(b"\r\n", part.data)
        yield part


def _bare(data: bytes) -> int:
    return len(_BARE.findall(data))


FAULT = Fault("crlf", "lines end with CR LF", _apply, plain=False, where=lambda context: context.asked.sse)
