"""Where tenants' own keys to providers are kept: sealed, so that who has the store has no key.

A store knows no cryptography: it keeps what :mod:`holdfast.sealing` made, by tenant and provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ProviderKeyStore", "SealedKey"]


class SealedKey(Struct, frozen=True, kw_only=True):
    """One tenant's key to one provider. Names are case folded."""

    tenant: str
    provider: str
    base_url: str | None = None
    """An address that belongs to the key; None: the provider's."""
    master: bytes
    """Which master key it is sealed under."""
    sealed: bytes
    set_ns: int
    """When it was set, in nanoseconds since 1970 UTC."""


class ProviderKeyStore(Protocol):
    """What every store does. An answer means that it is durable, as far as the store is."""

    async def put(self, row: SealedKey) -> bool:
        """Keeps ``row`` instead of what was there; whether something was.

        Raises:
            LedgerUnavailable: it wasn't kept, or nobody can say. So for the others.
        """
        ...

    async def remove(self, tenant: str, provider: str) -> bool:
        """Whether there was one to remove."""
        ...

    async def reseal(self, old: SealedKey, new: SealedKey) -> bool:
        """Puts ``new`` where exactly ``old`` still is; False: it was set anew or removed meanwhile, and stays so."""
        ...

    async def all(self) -> Sequence[SealedKey]:
        """In the order of tenants, then of providers."""
        ...
