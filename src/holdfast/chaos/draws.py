"""Chance that replays: every draw is a hash of (seed, script key, attempt number) and of what it is for.

Nothing here has state, so the order in which requests arrive can't change what any of them gets.
"""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["Draw"]


class Draw:
    """All chance of one attempt. The same arguments give the same draws, in any process, on any machine."""

    __slots__ = ("_hash",)

    def __init__(self, seed: int, key: str, attempt: int) -> None:
        # The key comes last: it is the caller's text, and could otherwise imitate another seed or attempt.
        identity = f"{seed}:{attempt}:{key}".encode("utf-8", "surrogatepass")
        self._hash = blake2b(identity, digest_size=32)

    def hex(self, purpose: str, digits: int) -> str:
        """``digits`` (at most 64) hexadecimal digits."""
        fork = self._hash.copy()
        fork.update(b"\0" + purpose.encode())
        return fork.hexdigest()[:digits]

    def unit(self, purpose: str) -> float:
        """A number in [0, 1), uniform over multiples of 2⁻⁵²."""
        return int(self.hex(purpose, 13), 16) / (1 << 52)
