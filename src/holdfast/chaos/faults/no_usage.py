"""An answer that keeps its usage to itself (the journal still bills it)."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import less, rewritten, without
from holdfast.chaos.plan import Context, Part, Reply


def _apply(reply: Reply, _settings: FaultSettings, context: Context) -> Reply:
    if context.stream:
        reply.parts = _silent(without(reply.parts, "usage"), context)
        return reply
    return rewritten(reply, less(context, "usage"))


def _silent(parts: Iterable[Part], context: Context) -> Iterator[Part]:
    change = less(context, "usage")
    for part in parts:
        part.data = change(part.data)
        yield part


FAULT = Fault("no_usage", "usage is left out", _apply)
