"""Images and files of a prompt, as they are named in an echo."""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256

from holdfast.chaos.wire.base import Media

__all__ = ["data_url", "inline"]

_SHOWN = 200  # characters of an address


def inline(kind: str, media_type: str, data: str) -> Media:
    """A part that brings its bytes, in base64 of either alphabet. Raises ValueError where it isn't that."""
    text = data.replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"no base64: {error}") from None
    return Media(kind, media_type, len(raw), sha256(raw).hexdigest()[:16])


def data_url(kind: str, url: str) -> Media:
    """A part behind an address, or inside a ``data:`` address. Raises ValueError where that holds no base64."""
    head, comma, data = url.partition(",")
    if head.startswith("data:") and comma and head.endswith(";base64"):
        return inline(kind, head[5:-7], data)
    return Media(kind, url[:_SHOWN])
