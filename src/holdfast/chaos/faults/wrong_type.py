"""A page where an answer should be: 200, and HTML."""

from holdfast.chaos.faults.base import Fault, FaultSettings
from holdfast.chaos.limits import HeaderText
from holdfast.chaos.plan import Context, Reply, whole


class WrongType(FaultSettings, frozen=True):
    content_type: HeaderText = "text/html; charset=utf-8"
    body: str = "<!doctype html><html><head><title>Welcome</title></head><body>It works!</body></html>\n"


def _apply(_reply: Reply, settings: WrongType, _context: Context) -> Reply:
    return whole(200, settings.body.encode(), settings.content_type)


FAULT = Fault("wrong_type", "200 with an HTML page", _apply, WrongType, primary="content_type")
