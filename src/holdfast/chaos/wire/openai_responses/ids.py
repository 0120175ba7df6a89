"""Ids that this provider knows again, though it stores nothing: they carry a mark that only it can make."""

from __future__ import annotations

import hmac
from hashlib import blake2b

__all__ = ["known", "made"]

_KEY = b"holdfast chaos ids"
_MARK = 16  # hexadecimal digits
_MOST = 128  # characters; ours are shorter


def made(issuer: str, kind: str, digits: str, *, stored: bool = True) -> str:
    """``kind_digits`` and the mark of ``issuer``; what isn't stored has a mark that nobody knows again."""
    return f"{kind}_{digits}{_mark(issuer, kind, digits, stored=stored)}"


def known(issuer: str, given: str) -> bool:
    """Whether ``issuer`` made this id for something that it stored."""
    kind, gap, rest = given.partition("_")
    if not gap or not _MARK < len(rest) <= _MOST:
        return False
    expected = _mark(issuer, kind, rest[:-_MARK], stored=True)
    return hmac.compare_digest(rest[-_MARK:].encode("utf-8", "surrogatepass"), expected.encode())


def _mark(issuer: str, kind: str, digits: str, *, stored: bool) -> str:
    said = f"{issuer}\0{kind}\0{digits}\0{stored}".encode("utf-8", "surrogatepass")
    return blake2b(said, key=_KEY, digest_size=_MARK // 2).hexdigest()
