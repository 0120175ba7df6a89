"""HTTP/1.1 out of this process: a small pooled client on httptools, made for long streams and prompt cancellation."""

from holdfast.transport.base import (
    BodyTooLong,
    ConnectionBroken,
    Incoming,
    Origin,
    Outgoing,
    Transport,
    TransportStats,
)
from holdfast.transport.headers import Headers
from holdfast.transport.pool import HttpTransport
from holdfast.transport.proxy import Proxy
from holdfast.transport.tls import check_ca_file, tls_context

__all__ = [
    "BodyTooLong",
    "ConnectionBroken",
    "Headers",
    "HttpTransport",
    "Incoming",
    "Origin",
    "Outgoing",
    "Proxy",
    "Transport",
    "TransportStats",
    "check_ca_file",
    "tls_context",
]
