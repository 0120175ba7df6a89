"""Tenants' own keys to providers that are kept in the ledger's database: set, removed, sealed anew, opened at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.config.own_keys import MASTER_KEY, OwnKey
from holdfast.engine.route import fold
from holdfast.errors import ConfigError, Conflict, NotFound
from holdfast.ledger.provider_keys import SealedKey
from holdfast.master_key import HOW
from holdfast.providers.catalog import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.clock import Clock
    from holdfast.config import Config, Provider
    from holdfast.ledger.provider_keys import ProviderKeyStore
    from holdfast.sealing import Sealer
    from holdfast.secret import Secret
    from holdfast.tenants import Tenants

__all__ = ["KeptKey", "ProviderKeys"]

_FROM: Final = "the ledger's database"
_NAMED: Final = 5


class KeptKey(msgspec.Struct, frozen=True, kw_only=True):
    """What may be told of a tenant's own key to a provider."""

    key: str
    """The tenant's name."""
    provider: str
    source: str
    """``file`` or ``ledger``."""
    base_url: str | None
    set_ns: int | None
    """None: the file doesn't say."""
    sealed_under: str | None
    """``newest``: the first master key; ``older``: another one, until keys are sealed anew. None: it isn't kept."""
    unused: str | None
    """Why it isn't used; None: it is."""


class ProviderKeys:
    """The keys that are kept, and those who use them. Names match without regard to case.

    Args:
        store: where they are kept, sealed.
        tenants: told of each; nobody else is.
        config: which providers there are, and the master keys.
        clock: its wall time dates them.

    Raises:
        ConfigError: there is a master key, and nothing here that could use it.
    """

    def __init__(self, store: ProviderKeyStore, tenants: Tenants, config: Config, clock: Clock) -> None:
        self._store = store
        self._tenants = tenants
        self._config = config
        self._clock = clock
        self._sealer = _sealer_of(config)
        self._rows: dict[tuple[str, str], SealedKey] = {}
        self._unused: dict[tuple[str, str], str] = {}
        self.version = 0
        """Grows with each change that was made here."""

    async def load(self) -> None:
        """Opens what is kept.

        Raises:
            ConfigError: there is something, and no master key that opens it.
            LedgerUnavailable: it can't be read.
        """
        rows = await self._store.all()
        _check_openable(rows, self._sealer)
        for row in rows:
            self._take(row)

    def prepare(self, config: Config) -> Sealer | None:
        """What opens the keys under ``config``, for :meth:`apply`. Changes nothing.

        Raises:
            ConfigError: not all of them can be opened with its master keys.
        """
        sealer = _sealer_of(config)
        _check_openable(list(self._rows.values()), sealer)
        return sealer

    def apply(self, config: Config, sealer: Sealer | None) -> None:
        """Another configuration from now on: other providers, other master keys. Must not raise."""
        self._config = config
        self._sealer = sealer
        for row in list(self._rows.values()):
            self._take(row)

    def refresh(self, rows: Sequence[SealedKey]) -> None:
        """What the database has now, whoever wrote it: counts from the next request on.

        One that can't be opened isn't used; what was removed here isn't used again.
        """
        there = {(row.tenant, row.provider): row for row in rows}
        for place in [place for place in self._rows if place not in there]:
            del self._rows[place]
            self._unused.pop(place, None)
            self._tenants.drop(*place)
        for place, row in there.items():
            if self._rows.get(place) == row:  # also one that was removed here, which couldn't be written down
                continue
            if not self._take(row):
                self._rows[place] = row
                self._unused[place] = f"it is sealed under a master key that isn't known here ({MASTER_KEY})"
                self._tenants.drop(*place)

    def look_at(self, rows: Sequence[SealedKey]) -> None:
        """Knows them from now on without opening them: for who only tells what there is."""
        for row in rows:
            self._rows[row.tenant, row.provider] = row
            if (reason := self._why_not(row)) is not None:
                self._unused[row.tenant, row.provider] = reason

    @property
    def problems(self) -> list[str]:
        """Why some of them aren't used."""
        return [f"{tenant}'s key to {name}: {why}" for (tenant, name), why in self._unused.items()]

    async def set(self, tenant: str, provider: str, key: Secret, base_url: str | None = None) -> bool:
        """Keeps ``key`` instead of what was there; whether something was. It counts from the next request on.

        Raises:
            NotFound: there is no such provider.
            Conflict: no key of a tenant's is used there, it has no address, or there is no master key.
            LedgerUnavailable: it wasn't kept.
        """
        known = self._provider(provider)
        if (reason := _not_for_tenants(known, base_url)) is not None:
            raise Conflict(reason)
        if self._sealer is None:
            raise Conflict(
                f"no master key is set, and keys are kept sealed alone: set {MASTER_KEY} to {HOW}, and start anew"
            )
        about = (fold(tenant), fold(known.name), base_url)
        sealed = self._sealer.seal(key, *about)
        row = SealedKey(
            tenant=about[0],
            provider=about[1],
            base_url=base_url,
            master=sealed.master,
            sealed=sealed.data,
            set_ns=self._clock.wall_ns(),
        )
        replaced = await self._store.put(row)
        self._take(row)
        self.version += 1
        return replaced

    async def remove(self, tenant: str, provider: str) -> None:
        """Nothing is served with it from the next request on, whether that could be written down or not.

        Raises:
            NotFound: none is kept for that tenant and provider.
            LedgerUnavailable: it may still be there, and be used after the next start.
        """
        place = (fold(tenant), fold(provider))
        self._tenants.drop(*place)
        if place in self._rows:
            self._unused[place] = "it is being removed: remove it again"
        there = await self._store.remove(*place)
        self._rows.pop(place, None)
        self._unused.pop(place, None)
        self.version += 1
        if not there:
            raise NotFound(f"no key of {tenant}'s to {provider} is kept in the ledger")

    async def reseal(self) -> tuple[int, int]:
        """Seals all under the newest master key. One that is set meanwhile is sealed so anyway.

        Returns:
            How many weren't and are now, and how many can't be opened and so stay as they are.

        Raises:
            Conflict: there is no master key.
            LedgerUnavailable: not all of them were. What was stays so; call again.
        """
        sealer = self._sealer
        if sealer is None:
            raise Conflict(f"no master key is set: set {MASTER_KEY} to NEW,OLD, and start anew")
        from holdfast.sealing import Unsealable  # there is a sealer, so it is there

        done = stuck = 0
        for place, row in list(self._rows.items()):
            if row.master == sealer.newest:
                continue
            try:
                key = _open(sealer, row)
            except Unsealable:
                stuck += 1
                continue
            sealed = sealer.seal(key, row.tenant, row.provider, row.base_url)
            new = msgspec.structs.replace(row, master=sealed.master, sealed=sealed.data)
            if await self._store.reseal(row, new):
                self._rows[place] = new
                self.version += 1
                done += 1
        return done, stuck

    def listed(self, tenant: str | None = None) -> list[KeptKey]:
        """Those of one tenant, or of all: the file's first."""
        wanted = None if tenant is None else fold(tenant)
        written = [
            KeptKey(
                key=name,
                provider=provider,
                source="file",
                base_url=key.base_url,
                set_ns=None,
                sealed_under=None,
                unused=None,
            )
            for name, keys in self._config.own_keys.items()
            for provider, key in keys.items()
        ]
        newest = None if self._sealer is None else self._sealer.newest
        kept = [
            KeptKey(
                key=row.tenant,
                provider=row.provider,
                source="ledger",
                base_url=row.base_url,
                set_ns=row.set_ns,
                sealed_under="newest" if row.master == newest else "older",
                unused=self._unused.get(place) or self._shadow(place),
            )
            for place, row in sorted(self._rows.items())
        ]
        return [each for each in (*written, *kept) if wanted is None or each.key == wanted]

    def _shadow(self, place: tuple[str, str]) -> str | None:
        tenant, provider = place
        written = provider in self._config.own_keys.get(tenant, {})
        return "the configuration's file has another one, which goes before it" if written else None

    def _take(self, row: SealedKey) -> bool:
        """Puts a row in force where that can be; False: no master key of ours opens it."""
        from holdfast.sealing import Unsealable  # as above

        if self._sealer is None or not self._sealer.knows(row.master):
            return False
        place = (row.tenant, row.provider)
        self._rows[place] = row
        self._unused.pop(place, None)
        reason = self._why_not(row)
        if reason is None:
            try:
                key = _open(self._sealer, row)
            except Unsealable as error:
                reason = f"it can't be opened: {error}"
            else:
                self._tenants.put(*place, OwnKey(key=key, base_url=row.base_url, told=_FROM))
        if reason is not None:
            self._unused[place] = reason
            self._tenants.drop(*place)
        return True

    def _why_not(self, row: SealedKey) -> str | None:
        known = self._config.providers.get(row.provider)
        return "there is no such provider here" if known is None else _not_for_tenants(known, row.base_url)

    def _provider(self, name: str) -> Provider:
        known = self._config.providers.get(fold(name))
        if known is None:
            near = nearest(name, [provider.name for provider in self._config.providers.values()])
            raise NotFound(
                f"there is no provider {name!r} here" + (f": did you mean {near[0]}?" if near else "")
            )
        return known


def _check_openable(rows: Sequence[SealedKey], sealer: Sealer | None) -> None:
    if rows and sealer is None:
        raise ConfigError(
            f"the ledger keeps {_told(rows)}, and no master key is there that opens them: set {MASTER_KEY} (or "
            "gateway.master_key) as it was when they were set, or give them up with 'holdfast keys provider remove'"
        )
    strange = [row for row in rows if sealer is not None and not sealer.knows(row.master)]
    if strange:
        raise ConfigError(
            f"the ledger keeps {_told(strange)}, sealed under another master key: give that one as well, behind the "
            f"new one ({MASTER_KEY}=NEW,OLD), or give them up with 'holdfast keys provider remove'"
        )


def _not_for_tenants(provider: Provider, base_url: str | None) -> str | None:
    if provider.from_callers:
        return (
            f'each caller brings its own key to {provider.name} (auth = "caller"): none that is kept is used'
        )
    if not (base_url or provider.home):
        return f"{provider.name} has no address but everybody's own: give the key's base_url as well"
    return None


def _open(sealer: Sealer, row: SealedKey) -> Secret:
    from holdfast.sealing import Sealed, Unsealable  # as above

    try:
        return sealer.open(Sealed(row.master, row.sealed), row.tenant, row.provider, row.base_url)
    except TypeError:  # a damaged file may hold any type anywhere
        raise Unsealable("it was changed", unknown=False) from None


def _sealer_of(config: Config) -> Sealer | None:
    if not config.master_keys:
        return None
    try:
        from holdfast.sealing import (
            Sealer,
        )  # needs the cryptography package, which a library's user may not have
    except ImportError:
        raise ConfigError(
            "gateway.master_key: sealing needs the cryptography package: pip install 'holdfast[gateway]'"
        ) from None
    return Sealer(config.master_keys)


def _told(rows: Sequence[SealedKey]) -> str:
    shown = ", ".join(f"{row.tenant}'s to {row.provider}" for row in rows[:_NAMED])
    more = ", …" if len(rows) > _NAMED else ""
    kept = "a tenant's own provider key" if len(rows) == 1 else f"{len(rows)} provider keys of tenants' own"
    return f"{kept} ({shown}{more})"
