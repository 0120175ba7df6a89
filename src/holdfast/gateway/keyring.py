"""Whose key it is, as of now: those of the configuration's file, and those that are kept in the ledger.

The stored ones stand here as well, so that a request's key costs one hash and one look. What this process changes counts
from the next request on; what others change, where several write one database, as soon as it is heard of
(:mod:`holdfast.gateway.key_watch`).

What somebody is told who isn't let in: whoever holds a text that was a key once, held a key. So they hear that it expired,
was revoked or was replaced, and needn't guess; who made a text up hears that nobody knows it.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from holdfast.config import is_loopback
from holdfast.engine.rates import RateAdmission
from holdfast.engine.route import fold
from holdfast.errors import ConfigError, Forbidden, Unauthenticated
from holdfast.gateway.key_forms import as_key, told, told_of_file
from holdfast.ledger.key_text import digest, is_damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from holdfast.app import App
    from holdfast.clock import Clock
    from holdfast.config import Config, Key
    from holdfast.ledger.keys import KeyStore, StoredKey
    from holdfast.money.rules import BudgetRule
    from holdfast.resilience.rate_meter import RateLimitSettings
    from holdfast.secret import Secret

__all__ = ["Keyring", "limit_budgets", "limit_rates"]

_log = structlog.get_logger("holdfast.gateway")
_USED_EVERY_NS: Final = 60 * 10**9
_FILE_ADMIN: Final = "gateway.admin_key"


class _Held(Struct, frozen=True):
    """One text of a stored key."""

    stored: StoredKey
    key: Key
    until_ns: int | None
    """The text was replaced, and counts no longer."""


class Keyring:
    """All keys, by name and by hash.

    Args:
        config: with the file's keys.
        stored: those of the ledger, at the start.
        store: told which text was used.
        clock: its wall time says what has expired.

    Raises:
        ConfigError: a name stands in both places, or a stored key is damaged.
    """

    def __init__(self, config: Config, stored: Iterable[StoredKey], store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._stored: dict[str, StoredKey] = {}
        self._known: dict[str, Key] = {}
        self._texts: dict[bytes, _Held] = {}
        self._uses: dict[bytes, int] = {}
        self._watchers: list[Callable[[], None]] = []
        self._clashing: frozenset[str] = frozenset()
        self.version = 0
        """Grows with each change that was made here."""
        self.apply(config)
        for key in stored:
            _check_clash(key, config)
            try:
                self.put(key)
            except ValueError as error:  # another hand, or another version, wrote what no key can have
                raise ConfigError(
                    f"the key {key.name} in {config.ledger.path} can't be used: {error}"
                ) from error

    def apply(self, config: Config) -> None:
        """Other keys in the file from now on; the stored ones stay. :meth:`check` first."""
        self._config = config
        self._file = {key.sha256: key for key in config.keys.values()}
        self._file_admin = _digest_of(config.gateway.admin_key)
        self._file_metrics = _digest_of(config.gateway.metrics_key)
        self._local_only = config.open  # asked for each request, and an address takes a while to read
        kinds = {key.kind for key in self._stored.values()}
        self._any_caller = bool(config.keys) or "caller" in kinds
        self._any_admin = self._file_admin is not None or "admin" in kinds
        self._tell()

    def check(self, config: Config) -> None:
        """
        Raises:
            ConfigError: ``config``'s keys don't go together with the stored ones, or with its address.
        """
        for key in self._stored.values():
            _check_clash(key, config)
        self.check_exposure(config)

    def check_exposure(self, config: Config | None = None) -> None:
        """
        Raises:
            ConfigError: other machines can reach the gateway, and no key was made.
        """
        config = self._config if config is None else config
        callers = config.keys or any(key.kind == "caller" for key in self._stored.values())
        if not is_loopback(config.gateway.host) and not callers:
            raise ConfigError(
                "gateway.host: other machines can reach this address, so callers need keys: make one with "
                "'holdfast keys create NAME', add [keys.NAME] with the sha256 of one, or use \"127.0.0.1\""
            )

    # who may come in

    @property
    def open(self) -> bool:
        """Callers need no key: nobody but this machine can reach the gateway, and no key was ever made for it.

        One that is over was made: what was closed doesn't open because its last key ran out.
        """
        return self._local_only and not self._any_caller

    @property
    def admin_needs_key(self) -> bool:
        return self._any_admin

    @property
    def metrics_needs_key(self) -> bool:
        return self._any_admin or self._file_metrics is not None

    def caller(self, token: bytes) -> Key:
        """
        Raises:
            Unauthenticated: nobody's key, or one that is over.
            Forbidden: an admin's, which asks no models: so nobody is exempt from budgets.
        """
        sha256 = digest(token)
        # Looked up by hash: how long that takes tells nothing about the keys.
        key = self._file.get(sha256)
        if key is not None:
            return key
        held = self._living(sha256, token)
        if held.stored.kind != "caller":
            raise Forbidden(
                "this is an admin key: it opens /admin, and asks no models. Ask with a caller's key"
            )
        return held.key

    def admin(self, token: bytes) -> str:
        """The name of the admin whose key it is.

        Raises:
            Unauthenticated: nobody's key, one that is over, or a caller's.
        """
        return self._admins(token, "this is not the admin key; callers' keys don't open /admin")

    def _admins(self, token: bytes, no: str) -> str:
        sha256 = digest(token)
        if self._file_admin is not None and hmac.compare_digest(sha256, self._file_admin):
            return _FILE_ADMIN
        held = None if sha256 in self._file else self._texts.get(sha256)
        if held is None or held.stored.kind != "admin":
            raise Unauthenticated(no)
        return self._living(sha256, token).stored.name

    def metrics(self, token: bytes) -> None:
        """Returns for a key that opens ``/metrics``: the metrics key, or an admin's.

        Raises:
            Unauthenticated: nobody's key, one that is over, or a caller's.
        """
        if self._file_metrics is not None and hmac.compare_digest(digest(token), self._file_metrics):
            return
        no = "this is neither the metrics key nor an admin's; callers' keys don't open /metrics"
        self._admins(token, no)

    # what there is

    def __iter__(self) -> Iterator[StoredKey]:
        """The stored ones, in the order of making."""
        return iter(self._stored.values())

    def stored(self, name: str) -> StoredKey | None:
        return self._stored.get(fold(name))

    def in_file(self, name: str) -> Key | None:
        return self._config.keys.get(fold(name))

    def callers(self) -> list[Key]:
        """Those that may ask now, as the door knows them."""
        now_ns = self._clock.wall_ns()
        living = [
            self._known[name]
            for name, key in self._stored.items()
            if key.kind == "caller" and key.state(now_ns) == "active"
        ]
        return [*self._config.keys.values(), *living]

    def tell(self, key: StoredKey) -> dict[str, Any]:
        return told(key, self._clock.wall_ns(), self._uses)

    def tell_all(self, *, over: bool) -> list[dict[str, Any]]:
        """The file's first. ``over``: with those that expired or were revoked."""
        stored = [self.tell(key) for key in self]
        return [
            *map(told_of_file, self._config.keys.values()),
            *(each for each in stored if over or each["state"] == "active"),
        ]

    def rates(self) -> dict[str, RateLimitSettings]:
        """Of keys that have limits of their own, by name."""
        return {
            **self._config.rates.keys,
            **{key.name: rate for key in self.callers() if (rate := key.rate) is not None},
        }

    def budgets(self) -> list[BudgetRule]:
        """The keys' own, beside the configuration's. Those of keys that are over stay: their requests may still run."""
        return [rule for key in self._known.values() for rule in key.budgets]

    # what changes

    def watch(self, changed: Callable[[], None]) -> None:
        """``changed`` is called now, and after every change: rates and budgets may be others. Must not raise."""
        self._watchers.append(changed)
        changed()

    def put(self, key: StoredKey) -> None:
        """A key that was made or changed: counts at once."""
        self._hold(key)
        self.version += 1
        self._tell()

    def refresh(self, stored: Iterable[StoredKey]) -> None:
        """What the database has now, whoever wrote it: counts from the next request on.

        A revocation that isn't written down yet stays. A key that can't be used here is left as it was known, or out.
        """
        news = False
        clashing = set()
        there = {fold(key.name): key for key in stored}
        for name, key in there.items():
            before = self._stored.get(name)
            if before == key or (
                before is not None and before.revoked_ns is not None and key.revoked_ns is None
            ):
                continue
            if name in self._config.keys and before is None:
                clashing.add(key.name)
                continue
            try:
                self._hold(key)
            except ValueError as error:  # another version's
                _log.warning("a stored key can't be used here", key=key.name, reason=str(error))
            else:
                news = news or before is None or _limits_of(before) != _limits_of(key)
        for name in [name for name in self._stored if name not in there]:
            self._let_go(name)
            news = True
        if clashing - self._clashing:
            _log.warning(
                "keys of these names stand in the file as well, which goes before them", keys=sorted(clashing)
            )
        self._clashing = frozenset(clashing)
        if news:
            self._tell()

    def _hold(self, key: StoredKey) -> None:
        name = fold(key.name)
        known = as_key(key)  # before anything is changed: it may be one that can't be
        before = self._stored.get(name)
        for text in () if before is None else before.texts:
            del self._texts[text.sha256]
        self._stored[name] = key
        self._known[name] = known
        for text in key.texts:
            self._texts[text.sha256] = _Held(key, known, text.until_ns)
        for sha256 in [sha256 for sha256 in self._uses if sha256 not in self._texts]:
            del self._uses[sha256]
        self._any_caller = self._any_caller or key.kind == "caller"
        self._any_admin = self._any_admin or key.kind == "admin"

    def _let_go(self, name: str) -> None:
        """Its making was taken back. Whether callers need keys stays as it is: what was closed doesn't open."""
        key = self._stored.pop(name)
        del self._known[name]
        for text in key.texts:
            self._texts.pop(text.sha256, None)
            self._uses.pop(text.sha256, None)

    def end(self, name: str) -> StoredKey | None:
        """Revoked: from now on, whether that could be written down or not. None: there is no such key."""
        key = self.stored(name)
        if key is not None and key.revoked_ns is None:
            key = replace(key, revoked_ns=self._clock.wall_ns())
            self.put(key)
        return key

    def _living(self, sha256: bytes, token: bytes) -> _Held:
        held = self._texts.get(sha256)
        if held is None:
            raise Unauthenticated(
                "this API key is mistyped, or a part of it is missing: its checksum is wrong"
                if is_damaged(token)
                else "this API key is not known here"
            )
        now_ns = self._clock.wall_ns()
        state = held.stored.state(now_ns)
        if state != "active":
            raise Unauthenticated(f"this API key {_OVER[state]}")
        if held.until_ns is not None and held.until_ns <= now_ns:
            raise Unauthenticated("this API key was replaced by a newer one, and its time is over")
        if now_ns - self._uses.get(sha256, 0) >= _USED_EVERY_NS:
            self._uses[sha256] = now_ns
            self._store.touch(sha256, now_ns)
        return held

    def _tell(self) -> None:
        for changed in self._watchers:
            changed()


def _digest_of(key: Secret | None) -> bytes | None:
    return None if key is None else digest(key.reveal().encode())


def _limits_of(key: StoredKey) -> tuple[object, ...]:
    """What rates and budgets hang on."""
    return key.kind, key.limits, key.revoked_ns


def _check_clash(key: StoredKey, config: Config) -> None:
    here = config.keys.get(fold(key.name))
    if here is not None:
        raise ConfigError(
            f"keys.{here.name}: a key of that name is stored in {config.ledger.path}: give the one in "
            f"{config.file or 'the configuration'} another name"
        )


_OVER: Final = {"expired": "has expired", "revoked": "was revoked"}


def limit_budgets(app: App, ring: Keyring) -> None:
    """Puts the keys' own budgets in force, beside the configuration's."""
    treasury, config = app.engine.treasury, app.config
    if treasury is not None:
        treasury.budgets.apply((*config.budgets, *config.cost_protection.rules, *ring.budgets()))


def limit_rates(app: App, ring: Keyring) -> None:
    """Puts the keys' own rate limits in force, beside the configuration's."""
    engine, rates = app.engine, ring.rates()
    rules = replace(app.config.rates, keys=rates)
    if isinstance(engine.admission, RateAdmission):
        engine.admission.apply(rules)
    elif not rules.empty:
        engine.admission = RateAdmission(rules, clock=app.clock, shared=app.shared.rates)
