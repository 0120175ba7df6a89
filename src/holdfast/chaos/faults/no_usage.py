"""An answer that keeps its usage to itself (the journal still bills it)."""

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import rewritten, without
from holdfast.chaos.plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, context: Context) -> Reply:
    if context.stream:
        reply.parts = without(reply.parts, "usage")
        return reply
    return rewritten(reply, _less_usage)


def _less_usage(body: bytes) -> bytes:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):  # another fault was here before
        return body
    if isinstance(value, dict):
        value.pop("usage", None)
    return msgspec.json.encode(value)


FAULT = Fault("no_usage", "usage is left out", _apply)
