"""Status 200 with an error inside: as the body, or as a stream's first event."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.plan import Context, Part, Reply, whole
from holdfast.chaos.wire import errors
from holdfast.chaos.wire.openai_chat import DONE


class ErrorIn200(FaultSettings, frozen=True):
    error: str | None = None
    """One of the known errors; a server error by default."""
    as_json: bool = False
    """A JSON body even where a stream was asked for."""

    def __post_init__(self) -> None:
        if self.error is not None:
            errors.named(self.error)


def _apply(reply: Reply, settings: ErrorIn200, context: Context) -> Reply:
    error = errors.named(settings.error) if settings.error else errors.for_status(500)
    body = errors.body_of(error, context.model)
    if not context.stream or settings.as_json:
        return whole(200, body)
    parts = (Part(b"data: " + body + b"\n\n", "noise"), Part(DONE, "done"))
    return Reply(200, reply.headers, parts, early_head=True)


FAULT = Fault("error_in_200", "200 with an error inside", _apply, ErrorIn200, primary="error")
