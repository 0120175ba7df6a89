"""Status 200 with an error inside: as the body, or as a stream's first event."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import said_in_200
from holdfast.chaos.plan import Context, Reply
from holdfast.chaos.wire.errors import Problem, check_name


class ErrorIn200(FaultSettings, frozen=True):
    error: str | None = None
    """One of the known errors; a server error by default."""
    as_json: bool = False
    """A JSON body even where a stream was asked for."""

    def __post_init__(self) -> None:
        if self.error is not None:
            check_name(self.error)


def _apply(reply: Reply, settings: ErrorIn200, context: Context) -> Reply:
    return said_in_200(reply, context, context.error(Problem(name=settings.error)), as_json=settings.as_json)


FAULT = Fault("error_in_200", "200 with an error inside", _apply, ErrorIn200, primary="error")
