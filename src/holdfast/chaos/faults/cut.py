"""The answer ends after k tokens, without its end."""

from typing import Literal

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After, first_tokens, plain_until, with_body
from holdfast.chaos.plan import Context, Reply


class Cut(FaultSettings, frozen=True):
    how: Literal["fin", "reset", "clean"] = "fin"
    """fin: the connection closes in the body; reset: it is reset there; clean: the body ends as HTTP wants it, but
    without finish reason or end marker."""
    after: After | None = None
    """Tokens served first; None: all of them."""


def _apply(reply: Reply, settings: Cut, context: Context) -> Reply:
    if context.stream:
        reply.parts = first_tokens(reply.parts, settings.after)
    elif settings.how == "clean":
        with_body(reply, plain_until(reply, context, settings.after))
    else:
        reply.parts = (plain_until(reply, context, settings.after),)
    if settings.how != "clean":
        reply.ending = settings.how
    return reply


FAULT = Fault("cut", "the answer ends after k tokens, without its end", _apply, Cut, primary="how")
