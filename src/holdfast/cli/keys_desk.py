"""Where the command line changes keys: at the running gateway, or in the ledger where none is needed.

A file's lock decides which. Who holds it is the only process that may write; so where it is free no gateway runs, and the
file is changed under it; where it isn't, the gateway that holds it is asked. PostgreSQL takes anybody's changes, and tells
all gateways of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from holdfast.cli.environment import config_file, environment
from holdfast.cli.gateway_admin import GatewayAdmin, NoGateway, RemoteError
from holdfast.clock import SystemClock, system_rng
from holdfast.cluster import open_ledger
from holdfast.config import ServerUrl, load
from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.gateway.key_desk import KeyDesk
from holdfast.gateway.keyring import Keyring
from holdfast.ledger.memory_keys import MemoryKeys
from holdfast.ledger.reader import LedgerReader
from holdfast.ledger.sql_keys import SqlKeys
from holdfast.ledger.sqlite import path_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from holdfast.config import Config

__all__ = ["Keys", "readable", "url_of"]

_BY = "the command line"


class Keys:
    """All that commands ask of keys. Every method raises RemoteError, or an error of Holdfast's, with what to do.

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

    def create(self, form: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode(form)
        return self._change("POST", "keys", body, lambda desk: desk.create(body, by=_BY), new=True)

    def change(self, name: str, form: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode(form)
        return self._change("PATCH", _path(name), body, lambda desk: desk.change(name, body, by=_BY))

    def rotate(self, name: str, form: dict[str, Any]) -> dict[str, Any]:
        body = msgspec.json.encode(form)
        return self._change(
            "POST", f"{_path(name)}/rotate", body, lambda desk: desk.rotate(name, body, by=_BY)
        )

    def revoke(self, name: str) -> dict[str, Any]:
        return self._change("DELETE", _path(name), None, lambda desk: desk.revoke(name, by=_BY))

    def show(self, name: str) -> dict[str, Any]:
        if self._url is not None:
            return _read(self._gateway(self._url).read(_path(name)))
        ring = self._ring()
        desk = KeyDesk(self._config, ring, MemoryKeys(), clock=SystemClock(), rng=system_rng())
        return _plain(desk.show(name))

    def all(self, *, over: bool) -> list[dict[str, Any]]:
        """The file's first. ``over``: with those that expired or were revoked."""
        if self._url is not None:
            found: list[dict[str, Any]] = _read(
                self._gateway(self._url).read("keys", all="true" if over else None)
            )["keys"]
            return found
        told: list[dict[str, Any]] = msgspec.to_builtins(self._ring().tell_all(over=over))
        return told

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
        here: Callable[[KeyDesk], Awaitable[dict[str, Any]]],
        *,
        new: bool = False,
    ) -> dict[str, Any]:
        if self._url is not None:
            return _read(self._gateway(self._url).change(method, what, body))
        if not new and readable(self._config) is None:
            raise ConfigError(
                f"no ledger at {self._config.ledger.path}, so no key is stored: say where the gateway is with --url"
            )
        try:
            return _plain(asyncio.run(self._in_ledger(here)))
        except LedgerUnavailable as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            return self._where_it_runs(method, what, body, str(error))

    async def _in_ledger(self, here: Callable[[KeyDesk], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        config, clock, rng = self._config, SystemClock(), system_rng()
        ledger = await open_ledger(config, clock, rng)
        try:
            store = SqlKeys(ledger)
            ring = Keyring(config, await store.all(), store, clock)
            desk = KeyDesk(config, ring, store, clock=clock, rng=rng, locks_out=False, log=_Quiet())
            return await here(desk)
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

    def _ring(self) -> Keyring:
        """As the ledger has them now; it is only read, beside whoever writes."""
        where = readable(self._config)
        stored = []
        if where is not None:
            with LedgerReader(where) as reader:
                stored = reader.keys()
        return Keyring(self._config, stored, MemoryKeys(), SystemClock())


class _Quiet:
    """Who calls a command is told by its output what it did."""

    def info(self, event: str, **fields: Any) -> None:
        """Not noted."""

    warning = info


def _path(name: str) -> str:
    return f"keys/{quote(name, safe='')}"


def _read(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RemoteError("what serves there is no gateway") from None


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return plain


def readable(config: Config) -> Path | str | None:
    """The ledger, for who reads it; None: its file isn't there yet."""
    url = config.ledger.url
    if isinstance(url, ServerUrl):
        return url.reveal()
    path = path_of(url)
    return path if path.is_file() else None


def url_of(config: Config) -> str:
    """Where a gateway with this configuration is reached from this machine."""
    host = config.gateway.host
    with contextlib.suppress(ValueError):  # a name
        address = ip_address(host)
        if address.is_unspecified:  # where one listens, not where one goes
            host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{config.gateway.port}"
