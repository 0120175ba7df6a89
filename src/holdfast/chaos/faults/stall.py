"""Silence after k tokens, with the connection open."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, change_token, plain_body, plain_until
from holdfast.chaos.limits import Seconds
from holdfast.chaos.plan import FOREVER, Context, Part, Reply


class Stall(FaultSettings, frozen=True):
    after: After = 0
    """Tokens served first."""
    seconds: Seconds | None = None
    """None: until the client leaves. Else the rest follows."""


def _apply(reply: Reply, settings: Stall, context: Context) -> Reply:
    silence = FOREVER if settings.seconds is None else settings.seconds
    if not context.stream:
        body = plain_body(reply)
        start = plain_until(reply, context, settings.after)
        rest = Part(
            body.data[len(start.data) :],
            "body",
            body.tokens - start.tokens,
            body.said[len(start.said) :],
            unseen=body.unseen,
            hold=silence,
        )
        reply.parts = (start, rest)
        reply.early_head = True
        return reply

    def wait(part: Part) -> Part:
        part.hold += silence
        return part

    reply.parts = change_token(reply.parts, settings.after, wait)
    return reply


FAULT = Fault("stall", "silence after k tokens", _apply, Stall, primary="after")
