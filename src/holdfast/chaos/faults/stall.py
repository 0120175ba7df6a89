"""Silence after k tokens, with the connection open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..limits import Seconds
from ..plan import FOREVER, Part
from .base import Fault, FaultSettings
from .edit import After, change_token, plain_body, plain_until

if TYPE_CHECKING:
    from ..plan import Context, Reply


class Stall(FaultSettings, frozen=True):
    after: After = 0
    """Tokens served first."""
    seconds: Seconds | None = None
    """None: until the client leaves. Else the rest follows."""


def _apply(reply: Reply, settings: Stall, context: Context) -> Reply:
    pause = FOREVER if settings.seconds is None else settings.seconds
    if not context.stream:
        body = plain_body(reply)
        start = plain_until(reply, context, settings.after)
        total = context.answer.usage.completion_tokens
        said = "".join(context.answer.choices[0].text)[len(start.said) :]
        rest = Part(body[len(start.data) :], "body", total - start.tokens, said, pause=pause)
        reply.parts = (start, rest)
        reply.early_head = True
        return reply

    def wait(part: Part) -> Part:
        part.pause += pause
        return part

    reply.parts = change_token(reply.parts, settings.after, wait)
    return reply


FAULT = Fault("stall", "silence after k tokens", _apply, Stall, primary="after")
