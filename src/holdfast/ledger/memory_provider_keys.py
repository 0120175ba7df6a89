"""Tenants' sealed keys in memory: beside a ledger in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.ledger.provider_keys import SealedKey

__all__ = ["MemoryProviderKeys"]


class MemoryProviderKeys:
    """They survive nothing. Who sets keys bounds their number: callers can't."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], SealedKey] = {}

    async def put(self, row: SealedKey) -> bool:
        await asyncio.sleep(0)
        place = (row.tenant, row.provider)
        replaced = place in self._rows
        self._rows[place] = row
        return replaced

    async def remove(self, tenant: str, provider: str) -> bool:
        await asyncio.sleep(0)
        return self._rows.pop((tenant, provider), None) is not None

    async def reseal(self, old: SealedKey, new: SealedKey) -> bool:
        await asyncio.sleep(0)
        place = (old.tenant, old.provider)
        there = self._rows.get(place)
        if there is None or there.sealed != old.sealed:
            return False
        self._rows[place] = replace(there, master=new.master, sealed=new.sealed)
        return True

    async def all(self) -> Sequence[SealedKey]:
        await asyncio.sleep(0)
        return tuple(self._rows[place] for place in sorted(self._rows))
