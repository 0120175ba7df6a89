"""An answer that keeps its usage to itself (the journal still bills it)."""

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
        reply.parts = without(reply.parts, "usage")
        return reply
    value = msgspec.json.decode(plain_body(reply))
    del value["usage"]
    answer = context.answer
    body = msgspec.json.encode(value)
    return with_body(
        reply, Part(body, "body", answer.usage.completion_tokens, "".join(answer.choices[0].text))
    )


FAULT = Fault("no_usage", "usage is left out", _apply)
