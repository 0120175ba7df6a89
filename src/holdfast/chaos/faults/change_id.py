"""A stream whose id (or model) changes on its way."""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After
from holdfast.chaos.plan import Context, Part, Reply


class ChangeId(FaultSettings, frozen=True):
    after: After = 1
    """Tokens that still carry the first one."""
    field: Literal["id", "model"] = "id"


def _apply(reply: Reply, settings: ChangeId, context: Context) -> Reply:
    answer = context.answer
    old = {"id": answer.id, "model": answer.model}[settings.field]
    new = f"chatcmpl-{context.draw.hex('changed', 28)}" if settings.field == "id" else f"{old}-changed"
    name = f'"{settings.field}":'.encode()
    reply.parts = _changed(
        reply.parts, settings.after, name + msgspec.json.encode(old), name + msgspec.json.encode(new)
    )
    return reply


def _changed(parts: Iterable[Part], after: int, old: bytes, new: bytes) -> Iterator[Part]:
    seen = 0
    for part in parts:
        if seen >= after and part.kind != "role":
            part.data = part.data.replace(old, new, 1)
        seen += part.tokens
        yield part


FAULT = Fault("change_id", "the id changes in mid-stream", _apply, ChangeId, primary="after", plain=False)
