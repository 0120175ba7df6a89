"""How a master key is written: 32 bytes of chance, as base64 or as hexadecimal digits."""

from __future__ import annotations

import base64
import re
from typing import Final

from holdfast.secret import Secret

__all__ = ["HOW", "bytes_of", "master_keys"]

HOW: Final = "32 bytes as base64 (openssl rand -base64 32)"
_LENGTH: Final = 32
_BETWEEN: Final = re.compile(r"[\s,]+")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")


def master_keys(text: str) -> tuple[Secret, ...]:
    """The keys in ``text``, with commas or white space between them: the first one seals, all of them open.

    Raises:
        ValueError: there is none, or one of them is none. The message holds nothing of ``text``.
    """
    keys = tuple(Secret(each) for each in _BETWEEN.split(text.strip()) if each)
    if not keys:
        raise ValueError(f"is empty: a master key is {HOW}")
    for place, key in enumerate(keys):
        try:
            bytes_of(key)
        except ValueError as error:
            which = f" (number {place + 1})" if len(keys) > 1 else ""
            raise ValueError(f"is no master key{which}: {error}") from None
    return keys


def bytes_of(key: Secret) -> bytes:
    """The bytes that ``key`` writes down. Raises ValueError where it isn't one."""
    text = key.reveal()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        made = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        made = b""
    if len(made) != _LENGTH:
        raise ValueError(f"it must be {HOW}")
    return made
