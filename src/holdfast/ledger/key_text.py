"""The text of a key that we make::

    hf_k3J…Q9aB1f        a caller's      43 letters and digits: 256 bits of chance
    hf_admin_7cD…x0Zp2   an admin's       6 more: CRC-32 of all that stands before them

The prefix lets scanners of repositories and logs find a key that leaked. The checksum lets them pass over what only looks
like one, and lets us tell a key that was mistyped or cut off from one that isn't known.

Only its SHA-256 is kept. A slow hash protects what people think up, which can be guessed: 256 bits of chance can't be, at
any speed, and a hash that is slow by design would let anybody who sends wrong keys keep the processor busy.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import TYPE_CHECKING, Final, Literal

from holdfast.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHANCE_BYTES", "Kind", "digest", "is_damaged", "make_text", "prefix_of"]

Kind = Literal["caller", "admin"]

CHANCE_BYTES: Final = 32
_MARKS: Final[dict[Kind, str]] = {"caller": "hf_", "admin": "hf_admin_"}
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY: Final = 43  # 62**43 > 2**256
_CHECK: Final = 6  # 62**6 > 2**32
_SHOWN: Final = 6
"""Characters of chance that are shown to tell keys apart: 220 bits stay unknown."""
_FORM: Final = re.compile(rb"hf_(?:admin_)?[0-9A-Za-z]{%d}" % (_BODY + _CHECK))


def make_text(kind: Kind, chance: Callable[[int], bytes]) -> Secret:
    """A new key. ``chance`` gives so many bytes that nobody can foresee, such as :func:`secrets.token_bytes`."""
    text = _MARKS[kind] + _in_digits(int.from_bytes(chance(CHANCE_BYTES), "big"), _BODY)
    return Secret(text + _checksum(text.encode()))


def digest(text: bytes) -> bytes:
    """What is kept of a key, and what it is looked up by."""
    return hashlib.sha256(text).digest()


def prefix_of(text: Secret) -> str:
    """What may be shown of a key: enough to tell it from others, far too little to use it."""
    revealed = text.reveal()
    mark = max((mark for mark in _MARKS.values() if revealed.startswith(mark)), key=len)
    return revealed[: len(mark) + _SHOWN]


def is_damaged(text: bytes) -> bool:
    """Whether ``text`` means to be a key of ours and can't be one: mistyped, or a part of it is missing."""
    if not text.startswith(b"hf_"):
        return False
    return not _FORM.fullmatch(text) or text[-_CHECK:] != _checksum(text[:-_CHECK]).encode()


def _checksum(text: bytes) -> str:
    return _in_digits(zlib.crc32(text), _CHECK)


def _in_digits(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits))
