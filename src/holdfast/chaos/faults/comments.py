"""Comments between the events, as proxies send them to keep a connection open."""

from collections.abc import Iterable, Iterator

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import Positive
from holdfast.chaos.plan import Context, Part, Reply


class Comments(FaultSettings, frozen=True):
    every: Positive = 1
    """Events after each comment."""
    line: str = "keep-alive"

    def __post_init__(self) -> None:
        if "\n" in self.line or "\r" in self.line:
            raise ValueError("a comment is one line")


def _apply(reply: Reply, settings: Comments, _context: Context) -> Reply:
    reply.parts = _commented(reply.parts, settings.every, f": {settings.line}\n\n".encode())
    return reply


def _commented(parts: Iterable[Part], every: int, comment: bytes) -> Iterator[Part]:
    for i, part in enumerate(parts):
        if i % every == 0:
            yield Part(comment, "noise")
        yield part


FAULT = Fault(
    "comments",
    "comments between the events",
    _apply,
    Comments,
    primary="every",
    plain=False,
    where=lambda context: context.asked.sse,
)
