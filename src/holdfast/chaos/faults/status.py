"""Any HTTP status, with the body that fits it or one of one's own."""

import re
from typing import Annotated

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import HeaderText
from holdfast.chaos.plan import Context, Reply, whole
from holdfast.chaos.wire import errors

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110: a token

_BODILESS = (204, 205, 304)  # a body here would be read as the start of the next answer

Code = Annotated[int, msgspec.Meta(ge=200, le=599)]


class Status(FaultSettings, frozen=True):
    code: Code | None = None
    """The status; by default that of ``error``, else 500."""
    error: str | None = None
    """One of the known errors (see ``wire.errors.NAMED``): its status, type, code and message."""
    retry_after: HeaderText | int | float | None = None
    """The Retry-After header, as it stands: seconds, decimals, an HTTP date or nonsense."""
    retry_after_ms: HeaderText | int | float | None = None
    message: str | None = None
    """This message in the error body."""
    body: str | None = None
    """This body instead, as it stands."""
    content_type: HeaderText = "application/json"
    headers: dict[str, HeaderText] = msgspec.field(default_factory=dict)
    """More headers."""

    def __post_init__(self) -> None:
        if self.error is not None:
            errors.named(self.error)
        for name in self.headers:
            if not _NAME.fullmatch(name):
                raise ValueError(f"header {name!r} can't be sent")


def _apply(_reply: Reply, settings: Status, context: Context) -> Reply:
    error = errors.named(settings.error) if settings.error else errors.for_status(settings.code or 500)
    if settings.message is not None:
        error = msgspec.structs.replace(error, message=settings.message)
    body = errors.body_of(error, context.model) if settings.body is None else settings.body.encode()
    status = settings.code or error.status
    reply = whole(status, b"" if status in _BODILESS else body, settings.content_type)
    if settings.retry_after is not None:
        reply.headers["retry-after"] = str(settings.retry_after)
    if settings.retry_after_ms is not None:
        reply.headers["retry-after-ms"] = str(settings.retry_after_ms)
    reply.headers.update(settings.headers)
    return reply


FAULT = Fault("status", "any HTTP status, with headers and body", _apply, Status, primary="code")
