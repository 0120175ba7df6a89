"""Where the command line changes tenants' own keys to providers: at the running gateway, or in the ledger's file.

As :mod:`holdfast.cli.keys_desk` does it: the file's lock decides which.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from holdfast.cli.environment import config_file, environment
from holdfast.cli.gateway_admin import GatewayAdmin, NoGateway, RemoteError
from holdfast.cli.keys_desk import readable, url_of
from holdfast.clock import SystemClock, system_rng
from holdfast.cluster import open_ledger
from holdfast.config import load
from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.gateway.keyring import Keyring
from holdfast.gateway.log import configure_logging
from holdfast.gateway.provider_key_desk import ProviderKeyDesk
from holdfast.ledger.memory_keys import MemoryKeys
from holdfast.ledger.memory_provider_keys import MemoryProviderKeys
from holdfast.ledger.reader import LedgerReader
from holdfast.ledger.sql_keys import SqlKeys
from holdfast.ledger.sql_provider_keys import SqlProviderKeys
from holdfast.provider_keys import ProviderKeys
from holdfast.tenants import Tenants

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from holdfast.config import Config
    from holdfast.ledger.keys import StoredKey
    from holdfast.ledger.provider_keys import SealedKey

__all__ = ["OwnKeys"]

_BY = "the command line"


class OwnKeys:
    """All that commands ask of them. Every method raises RemoteError, or an error of Holdfast's, with what to do.

    Args:
        url: a gateway's; None: the configuration says where the keys are.
        admin_key: for the gateway; None: the configuration's.
        config: its file; None: the one that is here, if there is one.
    """

    def __init__(self, url: str | None, admin_key: str | None, config: Path | None) -> None:
        self._url = url
        self._admin_key = admin_key
        self._file = config
        self._loaded: Config | None = None

    def set(self, name: str, provider: str, form: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode(form)
        what = f"{_of(name)}/{quote(provider, safe='')}"
        return self._change("PUT", what, body, lambda desk: desk.set(name, provider, body, by=_BY))

    def remove(self, name: str, provider: str) -> dict[str, Any]:
        what = f"{_of(name)}/{quote(provider, safe='')}"
        return self._change("DELETE", what, None, lambda desk: desk.remove(name, provider, by=_BY))

    def reseal(self) -> dict[str, Any]:
        return self._change(
            "POST", "provider-keys/reseal", None, lambda desk: desk.reseal(by=_BY), opening=True
        )

    def listed(self, name: str | None) -> list[dict[str, Any]]:
        """Those of one tenant, or of all: the file's first."""
        if self._url is not None:
            said = self._gateway(self._url).read(_of(name) if name is not None else "provider-keys")
            told: list[dict[str, Any]] = _read(said)["provider_keys"]
            return told
        config, where = self._config, readable(self._config)
        rows: Sequence[SealedKey] = ()
        stored: Sequence[StoredKey] = ()
        if where is not None:
            with LedgerReader(where) as reader:
                rows, stored = reader.provider_keys(), reader.keys()
        keys = _keys(config, MemoryProviderKeys())
        keys.look_at(rows)
        desk = ProviderKeyDesk(Keyring(config, stored, MemoryKeys(), SystemClock()), keys)
        found: list[dict[str, Any]] = msgspec.to_builtins(desk.listed() if name is None else desk.of(name))
        return found

    @property
    def _config(self) -> Config:
        if self._loaded is None:
            self._loaded = load(config_file(self._file), environment())
        return self._loaded

    def _change(
        self,
        method: str,
        what: str,
        body: bytes | None,
        here: Callable[[ProviderKeyDesk], Awaitable[dict[str, Any]]],
        *,
        opening: bool = False,
    ) -> dict[str, Any]:
        """``opening``: what is kept must be opened for it."""
        if self._url is not None:
            return _read(self._gateway(self._url).change(method, what, body))
        if readable(self._config) is None and method != "PUT":
            path = self._config.ledger.path
            raise ConfigError(f"no ledger at {path}, so no key is kept: say where the gateway is with --url")
        configure_logging("error", "text")  # who calls a command is told what it did by its output
        try:
            done: dict[str, Any] = msgspec.to_builtins(asyncio.run(self._in_ledger(here, opening=opening)))
        except LedgerUnavailable as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            return self._where_it_runs(method, what, body, str(error))
        return done

    async def _in_ledger(
        self, here: Callable[[ProviderKeyDesk], Awaitable[dict[str, Any]]], *, opening: bool
    ) -> dict[str, Any]:
        config, clock = self._config, SystemClock()
        ledger = await open_ledger(config, clock, system_rng())
        try:
            callers = SqlKeys(ledger)
            keys = _keys(config, SqlProviderKeys(ledger))
            if opening:
                await keys.load()
            ring = Keyring(config, await callers.all(), callers, clock)
            return await here(ProviderKeyDesk(ring, keys))
        finally:
            await ledger.aclose()

    def _where_it_runs(self, method: str, what: str, body: bytes | None, held: str) -> dict[str, Any]:
        gateway = self._gateway(url_of(self._config))
        try:
            return _read(gateway.change(method, what, body))
        except NoGateway as error:
            raise RemoteError(f"{held}\nTo change its keys it must be asked, and {error}") from None

    def _gateway(self, url: str) -> GatewayAdmin:
        key = self._admin_key
        if key is None and self._url is None and self._config.gateway.admin_key is not None:
            key = self._config.gateway.admin_key.reveal()
        return GatewayAdmin(url, key)


def _keys(config: Config, store: SqlProviderKeys | MemoryProviderKeys) -> ProviderKeys:
    return ProviderKeys(store, Tenants(config, endpoints=lambda _: ()), config, SystemClock())


def _of(name: str) -> str:
    return f"keys/{quote(name, safe='')}/providers"


def _read(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RemoteError("what serves there is no gateway") from None
