"""Signatures that only this provider makes, and knows again: of a thought, or of a call that came after one.

Made up, but checkable: a conversation that comes back with a signature lost, changed or moved to another text is found
out. They hold at every server that has the same issuer, as a provider's do.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import blake2b

__all__ = ["holds", "made"]

_KEY = b"holdfast chaos"
_SALT = 12
_MAC = 48
_MOST = 512  # characters; ours are shorter


def made(issuer: str, over: str, salt: str) -> str:
    """A signature of ``over`` by ``issuer``; ``salt`` (hexadecimal) makes two of the same text differ."""
    salted = bytes.fromhex(salt)[:_SALT].ljust(_SALT, b"\0")
    return base64.b64encode(salted + _mac(issuer, over, salted)).decode()


def holds(issuer: str, over: str, signature: str) -> bool:
    """Whether ``issuer`` made ``signature`` (in base64 of either alphabet) for ``over``."""
    if len(signature) > _MOST:
        return False
    try:
        raw = base64.b64decode(signature.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(raw[_SALT:], _mac(issuer, over, raw[:_SALT]))


def _mac(issuer: str, over: str, salt: bytes) -> bytes:
    said = f"{issuer}\0{over}".encode("utf-8", "surrogatepass")
    return blake2b(salt + said, key=_KEY, digest_size=_MAC).digest()
