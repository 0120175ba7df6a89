"""Where keys are looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.chaos.http import Request

__all__ = ["bearer"]


def bearer(request: Request) -> bytes | None:
    """The key in the Authorization header."""
    value = request.header(b"authorization")
    if value is None:
        return None
    scheme, _, key = value.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else value
