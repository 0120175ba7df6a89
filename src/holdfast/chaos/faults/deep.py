"""Nesting too deep for a parser's stack, where the answer should be."""

from typing import Annotated

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, change_token, decoded, holder, plain_body, with_body
from holdfast.chaos.plan import Context, Part, Reply


class Deep(FaultSettings, frozen=True):
    levels: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000
    """Arrays within arrays."""
    after: After = 0
    """Tokens of a stream served first; its next event is the one."""


def _apply(reply: Reply, settings: Deep, context: Context) -> Reply:
    if not context.stream:
        return with_body(reply, Part(_nested(plain_body(reply).data, settings.levels, context), "body"))

    def spoil(part: Part) -> Part:
        data = _nested(part.data, settings.levels, context)
        return Part(data, "noise", pause=part.pause, hold=part.hold)

    reply.parts = change_token(reply.parts, settings.after, spoil)
    return reply


def _nested(data: bytes, levels: int, context: Context) -> bytes:
    start, value, end = decoded(data)
    nest = b"[" * levels + b"]" * levels
    if value is None:
        return data
    fields = {name: msgspec.json.encode(inner) for name, inner in value.items()}
    fields[holder(value, context) or "answer"] = nest
    said = b",".join(msgspec.json.encode(name) + b":" + inner for name, inner in fields.items())
    return start + b"{" + said + b"}" + end


FAULT = Fault("deep", "nesting too deep for a parser", _apply, Deep, primary="levels")
