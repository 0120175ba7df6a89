"""What a provider said went wrong, as a value."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["WireError"]


class WireError(msgspec.Struct, frozen=True, kw_only=True):
    """An error answer or an error event, in the words of its dialect. What it means is judged elsewhere."""

    message: str
    type: str | None = None
    code: str | int | None = None
    param: str | None = None
    """The field at fault, as the caller wrote it."""
    status: int | None = None
    """HTTP status; None for an error inside a stream that names none."""
    retry_after_s: float | None = None
    """Seconds after which another try may help, where the answer said so."""
    should_retry: bool | None = None
    dialect: str | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    """Leftover fields of the error itself."""
    outer: dict[str, Any] = msgspec.field(default_factory=dict)
    """Leftover fields beside it."""
