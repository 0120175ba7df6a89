"""Any HTTP status, with the body that fits it or one of one's own."""

import math
import re
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Annotated, Literal

import msgspec

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.faults.edit import said_in_200
from holdfast.chaos.limits import HeaderText, Seconds
from holdfast.chaos.plan import Context, Reply, whole
from holdfast.chaos.wire.errors import Problem, check_name

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110: a token

_DATE = re.compile(r"date([+-]\d{1,9})")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}

_BODILESS = (204, 205, 304)  # a body here would be read as the start of the next answer

Code = Annotated[int, msgspec.Meta(ge=200, le=599)]


class Status(FaultSettings, frozen=True):
    code: Code | None = None
    """The status; by default that of ``error``, else 500."""
    error: str | None = None
    """One of the known errors (see ``wire.errors.NAMED``), in the provider's own status and words."""
    retry_after: HeaderText | int | float | None = None
    """The Retry-After header, as it stands: seconds, decimals, an HTTP date or nonsense; or ``date+5``, the HTTP date of 5
    seconds from now, the only header that isn't the same in each run."""
    retry_after_ms: HeaderText | int | float | None = None
    retry_delay: Seconds | None = None
    """The delay in the body (Gemini's RetryInfo), without a header; by default ``retry_after``'s, if it is a number."""
    message: str | None = None
    """This message in the error body."""
    page: Literal["nginx", "cloudflare"] | None = None
    """The page of such a proxy before the provider instead of an error body. None: Cloudflare's where ``error`` is
    ``bad_gateway``, unless ``message`` is set, else none."""
    body: str | None = None
    """This body instead, as it stands."""
    content_type: HeaderText | None = None
    """Of the body; None: the provider's own for JSON."""
    headers: dict[str, HeaderText] = msgspec.field(default_factory=dict)
    """More headers."""

    def __post_init__(self) -> None:
        if self.error is not None:
            check_name(self.error)
        for name in self.headers:
            if not _NAME.fullmatch(name):
                raise ValueError(f"header {name!r} can't be sent")


def _apply(reply: Reply, settings: Status, context: Context) -> Reply:
    # A scripted code is the status; what it means in the body's words comes from the error, or from the code.
    problem = Problem(settings.code, settings.error, settings.message, wait_s=_wait_s(settings))
    error = context.error(problem)
    if error.status == 200 and settings.code is None and settings.body is None:
        return said_in_200(reply, context, error)  # a provider that refuses with an answer
    body, content_type = error.body, context.wire.json_type
    if settings.body is not None:
        body = settings.body.encode()
    elif (proxy := _proxy(settings)) is not None:
        body, content_type = _page(error.status, proxy), "text/html"
    content_type = settings.content_type or content_type
    reply = whole(error.status, b"" if error.status in _BODILESS else body, content_type)
    reply.headers.update(error.headers)
    if settings.retry_after is not None:
        reply.headers["retry-after"] = _retry_after(str(settings.retry_after))
    if settings.retry_after_ms is not None:
        reply.headers["retry-after-ms"] = str(settings.retry_after_ms)
    reply.headers.update(settings.headers)
    return reply


def _proxy(settings: Status) -> str | None:
    """Who speaks in the provider's place."""
    if settings.page is None and settings.error == "bad_gateway" and settings.message is None:
        return "cloudflare"
    return settings.page


def _page(status: int, proxy: str) -> bytes:
    title = f"{status} {_PHRASES.get(status, '')}".strip()
    head = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    return f"{head}<hr><center>{proxy}</center>\r\n</body>\r\n</html>\r\n".encode()


def _retry_after(text: str) -> str:
    """The header's value. A date is in whole seconds, and never sooner than it was asked for."""
    if (date := _DATE.fullmatch(text)) is None:
        return text
    return formatdate(math.ceil(time.time() + int(date[1])), usegmt=True)


def _wait_s(settings: Status) -> float | None:
    if settings.retry_delay is not None:
        return settings.retry_delay
    text = str(settings.retry_after or "")
    date = _DATE.fullmatch(text)
    try:
        return max(0.0, float(date[1] if date else text))
    except ValueError:
        return None


FAULT = Fault("status", "any HTTP status, with headers and body", _apply, Status, primary="code")
