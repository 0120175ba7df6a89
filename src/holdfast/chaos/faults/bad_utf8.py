"""Bytes inside a JSON string that are no UTF-8."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, change_token, plain_body, with_body
from holdfast.chaos.plan import Context, Part, Reply


class BadUtf8(FaultSettings, frozen=True):
    after: After = 0
    """Tokens of a stream served first."""


def _apply(reply: Reply, settings: BadUtf8, context: Context) -> Reply:
    if context.stream:
        reply.parts = change_token(reply.parts, settings.after, _spoil)
        return reply
    return with_body(reply, _spoil(plain_body(reply)))


def _spoil(part: Part) -> Part:
    at = part.at or part.data.find(b'"') + 1  # no text in it: any string will do
    data = part.data[:at] + b"\xc3\x28\xff" + part.data[at:]
    return Part(data, "noise", pause=part.pause, hold=part.hold)


FAULT = Fault("bad_utf8", "invalid UTF-8 in a JSON string", _apply, BadUtf8, primary="after")
