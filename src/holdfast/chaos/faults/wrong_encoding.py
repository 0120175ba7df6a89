"""The headers say gzip; the body isn't."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import HeaderText
from holdfast.chaos.plan import Context, Reply


class WrongEncoding(FaultSettings, frozen=True):
    encoding: HeaderText = "gzip"
    """What the content-encoding header says."""


def _apply(reply: Reply, settings: WrongEncoding, _context: Context) -> Reply:
    reply.headers["content-encoding"] = settings.encoding
    return reply


FAULT = Fault(
    "wrong_encoding", "content-encoding says what isn't so", _apply, WrongEncoding, primary="encoding"
)
