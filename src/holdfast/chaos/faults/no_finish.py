"""An answer whose end comes without a finish reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..plan import Part
from .base import Fault, FaultSettings
from .edit import plain_body, with_body, without

if TYPE_CHECKING:
    from ..plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, context: Context) -> Reply:
    if context.stream:
        reply.parts = without(reply.parts, "finish")
        return reply
    body = plain_body(reply)
    for choice in context.answer.choices:
        body = body.replace(b'"finish_reason":' + msgspec.json.encode(choice.finish), b'"finish_reason":null')
    answer = context.answer
    return with_body(
        reply, Part(body, "body", answer.usage.completion_tokens, "".join(answer.choices[0].text))
    )


FAULT = Fault("no_finish", "no finish reason, but the end marker", _apply)
