"""Where keys are made, changed and ended: what is asked is checked, written down, and then counts.

The gateway's ``/admin/keys`` and the command line without a gateway both stand behind this desk.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import structlog

from holdfast.clock import new_id
from holdfast.config import CHAT
from holdfast.engine.route import fold
from holdfast.errors import Conflict, InvalidRequest, LedgerUnavailable, NotFound
from holdfast.gateway.key_forms import Changes, NewKey, Rotation, changed, limits_of, read_form
from holdfast.ledger.key_text import digest, make_text, prefix_of
from holdfast.ledger.keys import KeyText, StoredKey
from holdfast.providers.catalog import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from holdfast.clock import Clock, Rng
    from holdfast.config import Config
    from holdfast.gateway.keyring import Keyring
    from holdfast.ledger.key_text import Kind
    from holdfast.ledger.keys import KeyLimits, KeyStore
    from holdfast.secret import Secret

__all__ = ["Audit", "KeyDesk"]

_log = structlog.get_logger("holdfast.gateway")
_QUOTED: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOTHING: Final = Changes()
_TRIES: Final = 10
"""To change a key that others change in the same moment."""
_T = TypeVar("_T")


class Audit(Protocol):
    """As far as it is needed, a structlog logger."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...


class KeyDesk:
    """Changes keys, one at a time.

    Args:
        config: the routes that there are, and where the file's keys stand.
        ring: what counts.
        store: what lasts.
        clock, rng: for dates and ids.
        chance: for keys: bytes that nobody can foresee.
        log: where each change is noted: who, what, never a key.
        locks_out: whether a first caller's key closes this desk to who stands before it; then an admin key must be there.
    """

    def __init__(
        self,
        config: Config,
        ring: Keyring,
        store: KeyStore,
        *,
        clock: Clock,
        rng: Rng,
        chance: Callable[[int], bytes] = secrets.token_bytes,
        locks_out: bool = True,
        log: Audit = _log,
    ) -> None:
        self._config = config
        self._ring = ring
        self._store = store
        self._clock = clock
        self._rng = rng
        self._chance = chance
        self._locks_out = locks_out
        self._log = log
        self._one_at_a_time = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()

    def apply(self, config: Config) -> None:
        """Other routes, and other keys in the file, from now on."""
        self._config = config

    async def create(self, body: bytes, *, by: str) -> dict[str, Any]:
        """A new key, with its text: the only time that it is told.

        Raises:
            InvalidRequest: names the field and says why.
            Conflict: the name is taken.
            LedgerUnavailable: it couldn't be written, and there is no key.
        """
        form = read_form(body, NewKey)
        return await self._whole(self._create(form, by))

    async def change(self, name: str, body: bytes, *, by: str) -> dict[str, Any]:
        """A key with other limits; what the form doesn't name stays.

        Raises:
            InvalidRequest, LedgerUnavailable: as :meth:`create`.
            NotFound, Conflict: there is no such key, or it can't be changed.
        """
        form = read_form(body, Changes)
        return await self._whole(self._change(name, form, by))

    async def rotate(self, name: str, body: bytes, *, by: str) -> dict[str, Any]:
        """A key with a new text, which is told this once. The older ones go on for ``grace_s``.

        Raises:
            InvalidRequest, NotFound, Conflict, LedgerUnavailable: as :meth:`change`.
        """
        form = read_form(body, Rotation)
        return await self._whole(self._rotate(name, form, by))

    async def revoke(self, name: str, *, by: str) -> dict[str, Any]:
        """Ends a key for good, at once. One that is revoked already stays as it is.

        Raises:
            NotFound, Conflict: as :meth:`change`.
            LedgerUnavailable: it counts from now on, but isn't written down yet.
        """
        return await self._whole(self._revoke(name, by))

    def show(self, name: str) -> dict[str, Any]:
        """
        Raises:
            NotFound: there is no such key.
        """
        key = self._ring.stored(name)
        if key is not None:
            return self._ring.tell(key)
        found = [each for each in self._ring.tell_all(over=False) if fold(each["name"]) == fold(name)]
        if not found:
            raise self._unknown(name)
        return found[0]

    async def _create(self, form: NewKey, by: str) -> dict[str, Any]:
        self._check_name(form.name)
        kind: Kind = "admin" if form.admin else "caller"
        now_ns = self._clock.wall_ns()
        limits = limits_of(form, now_ns)
        self._check_limits(limits, kind)
        if self._locks_out and kind == "caller" and not self._ring.admin_needs_key:
            raise Conflict(
                "once callers need keys, /admin needs one as well, and there is none: make an admin's first "
                "(holdfast keys create NAME --admin), or set gateway.admin_key",
                param="admin",
            )
        text = make_text(kind, self._chance)
        key = StoredKey(
            id=new_id(self._clock, self._rng),
            name=form.name,
            kind=kind,
            limits=limits,
            texts=(_known(text, now_ns),),
            created_ns=now_ns,
        )
        if not await self._store.create(key):
            raise Conflict(f"there is a key of the name {form.name} already", param="name")
        self._ring.put(key)
        self._log.info("key created", key=key.name, key_kind=kind, by=by)
        return {**self._ring.tell(key), "key": text.reveal()}

    async def _change(self, name: str, form: Changes, by: str) -> dict[str, Any]:
        key = self._changeable(name)
        fields = [
            field for field in form.__struct_fields__ if getattr(form, field) != getattr(_NOTHING, field)
        ]
        for _ in range(_TRIES):
            limits = changed(key.limits, form, self._clock.wall_ns())
            self._check_limits(limits, key.kind)
            if not fields:
                return self._ring.tell(key)
            seen = key.limits
            key = self._written(await self._store.change(key.name, limits, instead_of=seen), name)
            self._ring.put(key)
            if key.limits == limits:
                self._log.info("key changed", key=key.name, fields=fields, by=by)
                return self._ring.tell(key)
            # Another gateway was faster: this one's change goes on top of it.
        raise Conflict(f"others change the key {key.name} all the time: try again", param="name")

    async def _rotate(self, name: str, form: Rotation, by: str) -> dict[str, Any]:
        key = self._changeable(name)
        now_ns = self._clock.wall_ns()
        text = make_text(key.kind, self._chance)
        until_ns = now_ns + int(form.grace_s * 10**9)
        rotated = await self._store.rotate(key.name, _known(text, now_ns), until_ns=until_ns)
        key = self._written(rotated, name)
        self._ring.put(key)
        self._log.info("key rotated", key=key.name, grace_s=form.grace_s, by=by)
        return {**self._ring.tell(key), "key": text.reveal()}

    async def _revoke(self, name: str, by: str) -> dict[str, Any]:
        self._refuse_file(name)
        # Before it is written down: a full disk must not keep a key that leaked alive.
        key = self._ring.end(name)
        if key is None:
            raise self._unknown(name)
        now_ns = self._clock.wall_ns()
        try:
            key = self._written(await self._store.revoke(key.name, now_ns=key.revoked_ns or now_ns), name)
        except LedgerUnavailable as error:
            self._log.warning("key revoked, and not written down yet", key=name, by=by, reason=error.message)
            raise LedgerUnavailable(
                f"{key.name} is refused from now on, but that isn't written down yet: {error.message}. "
                "It will be as soon as it can be; if the gateway ends before, revoke it again"
            ) from None
        self._ring.put(key)
        self._log.info("key revoked", key=key.name, by=by)
        return self._ring.tell(key)

    async def _whole(self, change: Coroutine[Any, Any, _T]) -> _T:
        """Carries a change through, whether its asker stays or not: else it could be stored and not count here."""
        task = asyncio.ensure_future(self._in_turn(change))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, change: Coroutine[Any, Any, _T]) -> _T:
        async with self._one_at_a_time:
            return await change

    def _changeable(self, name: str) -> StoredKey:
        self._refuse_file(name)
        key = self._ring.stored(name)
        if key is None:
            raise self._unknown(name)
        if key.revoked_ns is not None:
            raise Conflict(
                f"the key {key.name} was revoked, which is for good: make another one", param="name"
            )
        return key

    def _refuse_file(self, name: str) -> None:
        key = self._ring.in_file(name)
        if key is not None:
            raise Conflict(f"the key {key.name} stands in {self._place}: change it there", param="name")

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                "name: must be 1 to 64 letters, digits and . _ -, the first one no sign", param="name"
            )
        key = self._ring.in_file(name)
        if key is not None:
            raise Conflict(f"a key of the name {key.name} stands in {self._place}", param="name")
        stored = self._ring.stored(name)
        if stored is not None and stored.revoked_ns is not None:
            raise Conflict(
                f"a key of the name {stored.name} was revoked, and the ledger tells callers apart by name: take another",
                param="name",
            )

    def _check_limits(self, limits: KeyLimits, kind: Kind) -> None:
        if kind == "admin":
            for field in ("routes", "models", "rate", "budgets"):
                if getattr(limits, field):
                    raise InvalidRequest(f"{field}: an admin key asks no models", param=field)
            return
        routes = self._config.routes
        for place, name in enumerate(limits.routes or ()):
            if fold(name) not in routes and fold(name) != CHAT:
                near = nearest(name, [route.name for route in routes.values()])
                hint = f"; did you mean {near[0]}?" if near else ""
                path = f"routes[{place}]"
                raise InvalidRequest(f"{path}: there is no route {name[:_QUOTED]!r}{hint}", param=path)
        if limits.routes is not None and not limits.routes and not limits.models:
            raise InvalidRequest("routes: is empty, so this key may do nothing", param="routes")
        if limits.models is not None and not limits.models and not limits.routes:
            raise InvalidRequest("models: is empty, so this key may do nothing", param="models")

    def _written(self, key: StoredKey | None, name: str) -> StoredKey:
        if key is None:  # somebody else's hand in the file
            raise self._unknown(name)
        return key

    def _unknown(self, name: str) -> NotFound:
        known = [each["name"] for each in self._ring.tell_all(over=True)]
        near = nearest(name, known)
        hint = f"; did you mean {near[0]}?" if near else ""
        return NotFound(f"there is no key {name[:_QUOTED]!r}{hint}", param="name")

    @property
    def _place(self) -> str:
        return self._config.file or "the configuration"


def _known(text: Secret, now_ns: int) -> KeyText:
    sha256 = digest(text.reveal().encode())
    return KeyText(sha256=sha256, prefix=prefix_of(text), created_ns=now_ns)
