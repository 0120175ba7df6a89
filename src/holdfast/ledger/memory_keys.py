"""Keys in memory: beside a ledger in memory, and for tests. They survive nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.ledger.keys import MOST_TEXTS

if TYPE_CHECKING:
    from holdfast.ledger.keys import KeyLimits, KeyText, StoredKey

__all__ = ["MemoryKeys"]


class MemoryKeys:
    """Keeps every key that was made."""

    def __init__(self) -> None:
        self._keys: dict[str, StoredKey] = {}

    async def create(self, key: StoredKey) -> bool:
        if key.name.lower() in self._keys:
            return False
        self._keys[key.name.lower()] = key
        return True

    async def change(self, name: str, limits: KeyLimits, *, instead_of: KeyLimits) -> StoredKey | None:
        key = self._living(name)
        if key is None or key.limits != instead_of:
            return key
        return self._put(replace(key, limits=limits))

    async def rotate(self, name: str, text: KeyText, *, until_ns: int) -> StoredKey | None:
        key = self._living(name)
        if key is None:
            return None
        older = [replace(old, until_ns=_sooner(old.until_ns, until_ns)) for old in key.texts]
        return self._put(replace(key, texts=(text, *older[: MOST_TEXTS - 1])))

    async def revoke(self, name: str, *, now_ns: int) -> StoredKey | None:
        key = self._keys.get(name.lower())
        if key is None or key.revoked_ns is not None:
            return key
        return self._put(replace(key, revoked_ns=now_ns))

    async def all(self) -> list[StoredKey]:
        return list(self._keys.values())

    def touch(self, sha256: bytes, now_ns: int) -> None:
        for key in self._keys.values():
            if any(text.sha256 == sha256 for text in key.texts):
                self._put(replace(key, texts=tuple(_touched(text, sha256, now_ns) for text in key.texts)))
                return

    def flush(self) -> None:
        """Nothing waits here."""

    def _living(self, name: str) -> StoredKey | None:
        key = self._keys.get(name.lower())
        return None if key is None or key.revoked_ns is not None else key

    def _put(self, key: StoredKey) -> StoredKey:
        self._keys[key.name.lower()] = key
        return key


def _sooner(until_ns: int | None, other_ns: int) -> int:
    return other_ns if until_ns is None else min(until_ns, other_ns)


def _touched(text: KeyText, sha256: bytes, now_ns: int) -> KeyText:
    if text.sha256 != sha256:
        return text
    return replace(text, last_used_ns=max(text.last_used_ns or 0, now_ns))
