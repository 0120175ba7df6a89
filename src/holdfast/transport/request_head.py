"""Writes a request's head, and nothing that a header's value could smuggle into it."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from holdfast.transport.base import Outgoing

__all__ = ["request_head"]

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_TARGET: Final = re.compile(r"/[!-~]*")

_OURS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


def request_head(request: Outgoing, host: bytes) -> bytes:
    """The bytes up to and with the empty line. ``host`` is the origin's authority.

    Raises:
        ValueError: a name, value, method or target that would change the message's shape. Values aren't shown: they
            may be secret.
    """
    lines = [_request_line(request.method, request.target) + host]
    lines += [_field_name(name) + value for name, value in request.headers]
    if request.body or request.method not in ("GET", "HEAD"):
        lines.append(b"content-length: %d" % len(request.body))
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    # One pass in C over the whole instead of one check per value: every line break must be one that we wrote.
    if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1 or b"\0" in head:
        _blame(request)
    return head


def _blame(request: Outgoing) -> None:
    for name, value in request.headers:
        if any(byte in value for byte in b"\r\n\0"):
            raise ValueError(f"the value of the header {name.decode()!r} has a line break or a NUL in it")
    raise ValueError("the origin's host has a line break or a NUL in it")


@functools.lru_cache(
    maxsize=1024
)  # names and targets come from few places; validating them anew costs 0.3 µs each
def _field_name(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~ only")
    if name.lower() in _OURS:
        raise ValueError(f"the transport writes {name.decode()!r} itself, or not at all")
    return name + b": "


@functools.lru_cache(maxsize=1024)
def _request_line(method: str, target: str) -> bytes:
    if not (method.isascii() and _TOKEN.fullmatch(method.encode())):
        raise ValueError(f"{method!r} is no HTTP method")
    if not _TARGET.fullmatch(target):
        raise ValueError(f"{target!r} is no request target: it begins with / and is percent-encoded ASCII")
    return f"{method} {target} HTTP/1.1\r\nhost: ".encode()
