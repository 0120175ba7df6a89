"""A stream whose id (or model) changes on its way."""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from holdfast.chaos.draws import Draw
from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import After
from holdfast.chaos.plan import Context, Part, Reply


class ChangeId(FaultSettings, frozen=True):
    after: After = 1
    """Tokens that still carry the first one."""
    field: Literal["id", "model"] = "id"


def _apply(reply: Reply, settings: ChangeId, context: Context) -> Reply:
    old = {"id": context.answer.id, "model": context.answer.model}[settings.field]
    new = context.wire.answer_id(_Other(context.draw)) if settings.field == "id" else f"{old}-changed"
    if not context.wire.repeats_names:
        changed = msgspec.structs.replace(context.answer, **{settings.field: new})
        opening = context.wire.opening(changed, context.asked)
        reply.parts = _opened_again(reply.parts, settings.after, Part(opening.data, "noise"))
        return reply
    name = f'"{context.wire.names[settings.field]}":'.encode()
    reply.parts = _changed(
        reply.parts, settings.after, name + msgspec.json.encode(old), name + msgspec.json.encode(new)
    )
    return reply


class _Other(Draw):
    """Draws of their own, so that the new id differs from the first."""

    def __init__(self, draw: Draw) -> None:
        super().__init__(0, draw.hex("changed", 28), 0)


def _changed(parts: Iterable[Part], after: int, old: bytes, new: bytes) -> Iterator[Part]:
    seen = 0
    for part in parts:
        if seen >= after and part.kind != "role":
            part.data = part.data.replace(old, new, 1)
        seen += part.tokens
        yield part


def _opened_again(parts: Iterable[Part], after: int, opening: Part) -> Iterator[Part]:
    """Where only the first event tells the id: another first event in the middle."""
    seen = 0
    rest = iter(parts)
    for part in rest:
        yield part
        seen += part.tokens
        if seen >= after and part.kind != "role":
            yield opening
            break
    yield from rest


FAULT = Fault("change_id", "the id changes in mid-stream", _apply, ChangeId, primary="after", plain=False)
