"""Where tenants' own keys to providers are set and removed: what is asked is checked, written down sealed, and then counts.

The gateway's ``/admin`` and the command line without a gateway both stand behind this desk. No key's text leaves it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import structlog
from msgspec import Struct
from pydantic_core import PydanticCustomError

from holdfast.config import fields
from holdfast.engine.route import fold
from holdfast.errors import InvalidRequest, NotFound
from holdfast.gateway.key_forms import read_form
from holdfast.providers.catalog import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from holdfast.gateway.keyring import Keyring
    from holdfast.provider_keys import KeptKey, ProviderKeys

__all__ = ["ProviderKeyDesk"]

_log = structlog.get_logger("holdfast.gateway")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL: Final = "local"
_QUOTED: Final = 100
_T = TypeVar("_T")


class Form(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    api_key: str
    base_url: str | None = None
    """An address that belongs to the key."""


class ProviderKeyDesk:
    """Changes them, one at a time.

    Args:
        ring: whose tenants they may be. keys: what there is.
    """

    def __init__(self, ring: Keyring, keys: ProviderKeys) -> None:
        self._ring = ring
        self._keys = keys
        self._one_at_a_time = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    async def set(self, tenant: str, provider: str, body: bytes, *, by: str) -> dict[str, Any]:
        """Keeps a key, sealed. It counts from the next request on.

        Raises:
            InvalidRequest: names the field and says why; never with the key in it.
            NotFound: there is no such tenant or provider.
            Conflict: there is no master key, or none of a tenant's is used there.
            LedgerUnavailable: it couldn't be written.
        """
        form = read_form(body, Form)
        key = _checked("api_key", fields.secret, form.api_key)
        if key.reveal().lower() in fields.NO_KEY:
            raise InvalidRequest('api_key: is empty or "none"', param="api_key")
        base_url = None if form.base_url is None else _checked("base_url", fields.base_url, form.base_url)
        name = self._tenant(tenant)
        replaced = await self._whole(self._keys.set(name, provider, key, base_url))
        _log.info("provider key set", key=name, provider=provider, replaced=replaced, by=by)
        (told,) = [
            each
            for each in self.listed(name)
            if each["provider"] == fold(provider) and each["source"] == "ledger"
        ]
        return {**told, "replaced": replaced}

    async def remove(self, tenant: str, provider: str, *, by: str) -> dict[str, Any]:
        """Nothing is served with it from the next request on. A tenant that is gone may still have some.

        Raises:
            NotFound: none is kept.
            LedgerUnavailable: it isn't used any more, but may still be there.
        """
        await self._whole(self._keys.remove(tenant, provider))
        _log.info("provider key removed", key=tenant, provider=provider, by=by)
        return {"key": fold(tenant), "provider": fold(provider), "removed": True}

    async def reseal(self, *, by: str) -> dict[str, Any]:
        """Seals all under the newest master key.

        Raises:
            Conflict: there is none.
            LedgerUnavailable: not all of them were.
        """
        sealed, left = await self._whole(self._keys.reseal())
        _log.info("provider keys sealed anew", sealed=sealed, left=left, by=by)
        return {"sealed": sealed, "left": left}

    def listed(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """What may be told of those of one tenant, or of all."""
        return [_told(each) for each in self._keys.listed(tenant)]

    def of(self, tenant: str) -> list[dict[str, Any]]:
        """Those of one tenant. Raises NotFound where there is no such tenant, and nothing of its."""
        return self.listed(tenant) or self.listed(self._tenant(tenant))

    def _tenant(self, name: str) -> str:
        """A caller that may ask. Raises NotFound."""
        names = [key.name for key in self._ring.callers()] or ([_LOCAL] if self._ring.open else [])
        for known in names:
            if fold(known) == fold(name):
                return known
        near = nearest(name, names)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise NotFound(f"there is no caller's key {name[:_QUOTED]!r} that is in use{hint}", param="name")

    async def _whole(self, change: Coroutine[Any, Any, _T]) -> _T:
        """Carries a change through, whether its asker stays or not: else it could be stored and not count here."""
        task = asyncio.ensure_future(self._in_turn(change))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, change: Coroutine[Any, Any, _T]) -> _T:
        async with self._one_at_a_time:
            return await change


def _checked(path: str, check: Callable[[Any], _T], value: Any) -> _T:
    try:
        return check(value)
    except PydanticCustomError as error:
        raise InvalidRequest(f"{path}: {error.message()}", param=path) from None


def _told(kept: KeptKey) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(kept)
    at = (
        None
        if kept.set_ns is None
        else f"{_EPOCH + timedelta(seconds=kept.set_ns // 10**9):%Y-%m-%dT%H:%M:%SZ}"
    )
    return {**told, "set_at": at}
