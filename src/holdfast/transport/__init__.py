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
from holdfast.transport.connect import tls_context
from holdfast.transport.headers import Headers
from holdfast.transport.pool import HttpTransport

__all__ = [
    "BodyTooLong",
    "ConnectionBroken",
    "Headers",
    "HttpTransport",
    "Incoming",
    "Origin",
    "Outgoing",
    "Transport",
    "TransportStats",
    "tls_context",
]
