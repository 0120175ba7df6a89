"""Bytes inside a JSON string that are no UTF-8."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, change_token, plain_body, with_body
from holdfast.chaos.plan import Context, Part, Reply

_MARK = b'"content":"'


class BadUtf8(FaultSettings, frozen=True):
    after: After = 0
    """Tokens of a stream served first."""


def _apply(reply: Reply, settings: BadUtf8, context: Context) -> Reply:
    if context.stream:
        reply.parts = change_token(reply.parts, settings.after, _spoil)
        return reply
    return with_body(reply, _spoil(Part(plain_body(reply), "body")))


def _spoil(part: Part) -> Part:
    head, quote, tail = part.data.partition(_MARK)
    if not quote:  # no text in it: any string will do
        head, quote, tail = part.data.partition(b'"')
    return Part(head + quote + b"\xc3\x28\xff" + tail, "noise", pause=part.pause, hold=part.hold)


FAULT = Fault("bad_utf8", "invalid UTF-8 in a JSON string", _apply, BadUtf8, primary="after")
