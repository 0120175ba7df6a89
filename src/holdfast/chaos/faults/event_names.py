"""Events without their ``event:`` line, or with a wrong one: what proxies make of those that know only OpenAI's chat."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import has_typed_events, retold
from holdfast.chaos.plan import Context, Part, Reply

_LINE = re.compile(rb"^event:[^\r\n]*\r?\n", re.MULTILINE)


class EventNames(FaultSettings, frozen=True):
    how: Literal["gone", "wrong"] = "gone"
    """gone: no such lines; wrong: all of them say ``message``, which is what no line means too."""


_BECOMES = {"gone": b"", "wrong": b"event: message\n"}


def _apply(reply: Reply, settings: EventNames, _context: Context) -> Reply:
    reply.parts = _renamed(reply.parts, _BECOMES[settings.how])
    return reply


def _renamed(parts: Iterable[Part], line: bytes) -> Iterator[Part]:
    for part in parts:
        yield retold(part, _LINE.sub(line, part.data))


FAULT = Fault(
    "event_names",
    "event lines are gone or wrong",
    _apply,
    EventNames,
    primary="how",
    plain=False,
    where=has_typed_events,
)
