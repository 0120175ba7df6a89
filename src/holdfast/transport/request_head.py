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

_KEPT: Final = 1024
_BODILESS: Final = frozenset({"GET", "HEAD"})
_OURS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


def request_head(request: Outgoing, host: bytes, shown: bytes | None = None) -> bytes:
    """The bytes up to and with the empty line.

    Args:
        request: what is sent.
        host: the origin's authority.
        shown: None, or the request goes to a proxy that is asked for ``http://host/target`` (RFC 9112 §3.2.2) and shown
            this ``Proxy-Authorization``, if it isn't empty.

    Raises:
        ValueError: a name, value, method or target that would change the message's shape. Values aren't shown: they
            may be secret.
    """
    if shown is None:
        prefix = _prefix(request.method, request.target, host, request.headers)
    else:
        prefix = _proxied_prefix(request.method, request.target, host, request.headers, shown)
    if request.body or request.method not in _BODILESS:
        return b"%b\r\ncontent-length: %d\r\n\r\n" % (prefix, len(request.body))
    return prefix + b"\r\n\r\n"


@functools.lru_cache(
    _KEPT
)  # a provider's headers are the same tuple for every request: checked and joined once
def _prefix(method: str, target: str, host: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    parts = [_request_line(method, target), host]
    for name, value in headers:
        parts.append(_field_name(name))
        parts.append(value)
    head = b"".join(parts)
    # A few passes in C over the whole instead of a check per value: every line break must be one that we wrote.
    breaks = 1 + len(headers)
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ValueError(_blame(headers))
    return head


@functools.lru_cache(_KEPT)
def _proxied_prefix(
    method: str, target: str, host: bytes, headers: tuple[tuple[bytes, bytes], ...], shown: bytes
) -> bytes:
    checked = _prefix(method, target, host, headers)
    at = len(method) + 1
    prefix = b"%bhttp://%b%b" % (checked[:at], host, checked[at:])
    return b"%b\r\nproxy-authorization: %b" % (prefix, shown) if shown else prefix


def _blame(headers: tuple[tuple[bytes, bytes], ...]) -> str:
    for name, value in headers:
        if any(byte in value for byte in b"\r\n\0"):
            return f"the value of the header {name.decode()!r} has a line break or a NUL in it"
    return "the origin's host has a line break or a NUL in it"


def _field_name(name: bytes) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no header name: letters, digits and !#$%&'*+-.^_`|~ only")
    if name.lower() in _OURS:
        raise ValueError(f"the transport writes {name.decode()!r} itself, or not at all")
    return b"\r\n" + name + b": "


def _request_line(method: str, target: str) -> bytes:
    if not (method.isascii() and _TOKEN.fullmatch(method.encode())):
        raise ValueError(f"{method!r} is no HTTP method")
    if not _TARGET.fullmatch(target):
        raise ValueError(f"{target!r} is no request target: it begins with / and is percent-encoded ASCII")
    return f"{method} {target} HTTP/1.1\r\nhost: ".encode()
