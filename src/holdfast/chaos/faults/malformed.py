"""JSON that doesn't parse: one event of a stream, or a plain body."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, change_token, plain_body, with_body
from holdfast.chaos.plan import Context, Part, Reply


class Malformed(FaultSettings, frozen=True):
    after: After = 0
    """Tokens of a stream served first; its next token is the broken event, the rest follows as if nothing were."""


def _apply(reply: Reply, settings: Malformed, context: Context) -> Reply:
    if context.stream:
        reply.parts = change_token(reply.parts, settings.after, _broken)
        return reply
    return with_body(reply, Part(plain_body(reply).data.replace(b":", b"=", 1), "body"))


def _broken(part: Part) -> Part:
    said = part.data.rstrip(b"\r\n")
    half = said[: len(said) // 2] + part.data[len(said) :]
    return Part(half, "noise", pause=part.pause, hold=part.hold)


FAULT = Fault("malformed", "JSON that doesn't parse", _apply, Malformed, primary="after")
