"""An answer whose end comes without a finish reason."""

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import rewritten, without
from holdfast.chaos.plan import Context, Reply


def _apply(reply: Reply, _settings: FaultSettings, context: Context) -> Reply:
    if context.stream:
        reply.parts = without(reply.parts, "finish")
        return reply

    def unfinished(body: bytes) -> bytes:
        for choice in context.answer.choices:
            body = body.replace(
                b'"finish_reason":' + msgspec.json.encode(choice.finish), b'"finish_reason":null'
            )
        return body

    return rewritten(reply, unfinished)


FAULT = Fault("no_finish", "no finish reason, but the end marker", _apply)
