"""Redis or Valkey as the store: asked while it answers in time, skipped while it doesn't, healed beside the requests.

======================  ==============================================================================================
a command               20 ms (``timeout_s``), then the connection is given up and the store is lost
a request               50 ms (``budget_s``) for all it asks together; what it asks beyond is not sent
lost                    nobody asks any more. A task of the store's tries again after 0.5 s, 1 s, 2 s, and then every 5 s
healing                 connected, signed in, able to write; then each part writes back what it knows, and only then is
                        the store up for all
the server forgets      an epoch stands under a key of its own, and scripts compare it: after FLUSHALL the next of them
                        finds none. It is then as after a loss
read-only, loading,     as lost: it says so in an error, and can't do what we ask
full, no rights, busy
======================  ==============================================================================================

The client is our own, on hiredis: commands of all requests share a connection (:mod:`~holdfast.stores.redis_wire`). One
costs a tenth of what redis-py takes for it. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import hiredis
import msgspec
import structlog
from msgspec import Meta

from holdfast.stores.base import Reply, Script, Spell, StoreLost, StoreState
from holdfast.stores.redis_wire import RedisWire
from holdfast.stores.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Self

    from holdfast.clock import Clock, Rng
    from holdfast.stores.base import Argument, Ask
    from holdfast.stores.redis_url import RedisAddress
    from holdfast.stores.redis_wire import Heard
    from holdfast.stores.waits import Outcome

__all__ = ["BEAT_S", "MARKER_TTL_S", "RedisSettings", "RedisStore"]

_log = structlog.get_logger("holdfast.stores")

BEAT_S: Final = 5.0
"""How often Redis is looked at while nobody asks it, and its marker kept alive."""
MARKER_TTL_S: Final = 172_800
"""Two days: longer than the longest window, so that it outlives what it speaks for."""
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 5.0
_PATIENCE_S: Final = 1.0
"""For connecting and for each command of healing: beside the requests, so Redis may be slow."""

_FORGOTTEN: Final = "it has forgotten what it knew"

_UNABLE: Final = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM|READONLY|UNKILLABLE|WRONGPASS)\b"
)
"""Errors by which a server says that it can't do what we ask now. Inside scripts they stand in the middle of the text."""

_HELLO: Final = Script(
    "hello",
    """\
local kept = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2])
if kept then return {ARGV[1], 1} end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {redis.call('GET', KEYS[1]), 0}
""",
)
"""The epoch, made if there is none. It writes, so that a server which can't is found out."""


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How Redis is used."""

    timeout_s: Annotated[float, Meta(ge=0.001, le=1.0)] = 0.020
    """The longest that a command may take, in seconds; then Redis counts as lost."""
    budget_s: Annotated[float, Meta(ge=0.001, le=1.0)] = 0.050
    """The longest that one request waits for Redis in all, in seconds."""
    prefix: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^{}\s]+$")] = "holdfast"
    """Begins the name of every key. Gateways with the same one share their limits."""


class RedisStore:
    """The state that processes share, in Redis."""

    def __init__(
        self,
        address: RedisAddress,
        settings: RedisSettings | None = None,
        *,
        clock: Clock,
        rng: Rng,
        name: str = "",
    ) -> None:
        self._address = address
        self._settings = settings or RedisSettings()
        self._clock = clock
        self._rng = rng
        self._name = name or "holdfast"
        self._wire: RedisWire | None = None
        self._restore: list[Callable[[Ask], Awaitable[None]]] = []
        self._changed: list[Callable[[], None]] = []
        self._down = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._wait_s = _FIRST_WAIT_S
        self._since = clock.monotonic()
        self._reason = ""
        self._losses = 0
        self._skipped = 0
        self._odd = False
        self._known: set[str] = set()
        self.waits = Waits()
        self.epoch = b""
        self.marker = self.key("epoch")

    @classmethod
    async def open(
        cls,
        address: RedisAddress,
        settings: RedisSettings | None = None,
        *,
        clock: Clock,
        rng: Rng,
        name: str = "",
    ) -> Self:
        """Connects, within a second or so. A Redis that isn't there is lost from the start, and heals when it comes.

        Args:
            address: where it is.
            settings: time limits and prefix.
            clock, rng: the loop's time; chance for epochs.
            name: this process', as Redis' operators see it (``CLIENT LIST``); no blanks.
        """
        store = cls(address, settings, clock=clock, rng=rng, name=name)
        await store.start()
        return store

    async def start(self) -> None:
        """Connects, as :meth:`open`; for those who have :meth:`on_healing` called the first time already."""
        await self._heal()
        if not self.up:
            self._losses = 1
            _log.warning("redis_lost", address=str(self._address), reason=self._reason)
        self._task = asyncio.create_task(self._tend(), name="redis")

    @property
    def up(self) -> bool:
        """It may be asked."""
        return self._wire is not None

    def key(self, *parts: str) -> str:
        """A key's full name: ``{prefix}:part:part``. The prefix is the hash tag of all of them."""
        return ":".join((f"{{{self._settings.prefix}}}", *parts))

    async def call(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument],
        spell: Spell,
        *,
        orphan: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Runs a script on the request's time: see :class:`~holdfast.stores.base.Store`.

        Raises:
            StoreLost: it can't be asked, or not within the request's time, or doesn't understand us.
        """
        wire, left_s = self._wire, self._settings.budget_s - spell.spent_s
        if wire is None or left_s <= 0:
            self._skipped += 1
            raise StoreLost(self._reason if wire is None else "the request has waited for it long enough")
        left = None if orphan is None else partial(_unless_refused, orphan)
        reply = await self._ask(wire, self._command(script, keys, args), spell, left_s, left)
        if isinstance(reply, hiredis.ReplyError):
            if _is_unknown(reply):  # SCRIPT FLUSH
                self._known.discard(script.sha)
                left_s = self._settings.budget_s - spell.spent_s
                reply = await self._ask(wire, self._command(script, keys, args), spell, left_s, left)
            if isinstance(reply, hiredis.ReplyError):
                raise self._refused(wire, script, reply)
        return reply

    def tell(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> None:
        """Runs a script on nobody's time."""
        wire = self._wire
        if wire is None:
            return

        def heard(reply: Heard) -> None:
            if not isinstance(reply, hiredis.ReplyError):
                return
            if not _is_unknown(reply):
                self._refused(wire, script, reply)
            elif self._wire is wire:
                self._known.discard(script.sha)
                _abandoned(wire, *self._command(script, keys, args))

        _abandoned(wire, *self._command(script, keys, args), orphan=heard)

    def forgotten(self) -> None:
        """A script found another epoch."""
        if self._wire is not None:
            self._wire.close(_FORGOTTEN)

    def on_healing(self, restore: Callable[[Ask], Awaitable[None]]) -> None:
        """Registers who writes back what its part knows."""
        self._restore.append(restore)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Registers who is told when it is up or lost."""
        self._changed.append(changed)

    def state(self) -> StoreState:
        """How it stands now."""
        return StoreState(
            up=self.up,
            address=str(self._address),
            reason=self._reason,
            since_s=max(0.0, self._clock.monotonic() - self._since),
            losses=self._losses,
            skipped=self._skipped,
        )

    async def aclose(self) -> None:
        """Closes the connection. What was told before is sent first, if Redis reads."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        wire, self._wire = self._wire, None
        if wire is not None:
            self._reason = "closed"
            with contextlib.suppress(StoreLost):
                await self._patient(wire, "PING")
            wire.close("closed")

    def _command(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> tuple[Argument, ...]:
        """By its hash, but the first time on each connection: then nothing that is sent later comes before it."""
        if script.sha in self._known:
            return ("EVALSHA", script.sha, len(keys), *keys, *args)
        self._known.add(script.sha)
        return ("EVAL", script.text, len(keys), *keys, *args)

    async def _ask(
        self,
        wire: RedisWire,
        command: tuple[Argument, ...],
        spell: Spell,
        left_s: float,
        orphan: Callable[[Heard], None] | None,
    ) -> Heard:
        """Sends and waits, and books the wait."""
        if left_s <= 0:
            raise StoreLost("the request has waited for it long enough")
        began = self._clock.monotonic()
        future = wire.send(*command, orphan=orphan)
        alarm = None
        if left_s < wire.timeout_s:  # nearly never: the wire's own limit comes first
            alarm = asyncio.get_running_loop().call_later(left_s, _give_up, future)
        outcome: Outcome = "answered"
        try:
            return await future
        except StoreLost:
            outcome = "lost"
            raise
        except asyncio.CancelledError:
            # Answered and cancelled within the same turn of the loop.
            if orphan is not None and future.done() and not future.cancelled() and future.exception() is None:
                orphan(future.result())
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
            wait_s = self._clock.monotonic() - began
            spell.spent_s += wait_s
            self.waits.note(outcome, wait_s, spell.spent_s)

    def _refused(self, wire: RedisWire, script: Script, error: hiredis.ReplyError) -> StoreLost:
        """What an error means: the server can't serve us now, or this one call is at fault."""
        said = _UNABLE.search(str(error))
        if said is not None:
            wire.close(said[0])
            return StoreLost(said[0])
        if not self._odd:  # once: whatever it is, it comes again with the next request
            self._odd = True
            _log.error(
                "redis_refused", address=str(self._address), script=script.name, error=str(error)[:200]
            )
        return StoreLost(f"the script {script.name} failed")

    def _lost(self, wire: RedisWire, reason: str) -> None:
        """The wire is gone. One that never was in use is its maker's affair."""
        if wire is not self._wire:
            return
        now = self._clock.monotonic()
        was_up_s, self._since = now - self._since, now
        if was_up_s > _LONGEST_WAIT_S:  # else it comes and goes, and is asked less and less often
            self._wait_s = 0.0 if reason == _FORGOTTEN else _FIRST_WAIT_S
        self._wire = None
        self._reason = reason
        self._losses += 1
        _log.warning("redis_lost", address=str(self._address), reason=reason)
        self._down.set()
        for changed in self._changed:
            changed()

    async def _tend(self) -> None:
        """Heals what is lost, and looks after what isn't. Never ends by itself."""
        while True:
            if self._wire is None:
                await asyncio.sleep(self._wait_s)
                self._wait_s = min(max(2 * self._wait_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
                await self._heal()
                continue
            self._down.clear()
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._down.wait()
            except TimeoutError:
                await self._beat()

    async def _beat(self) -> None:
        """Looks whether it still answers, can write, and knows what it knew."""
        wire = self._wire
        if wire is None:
            return
        try:
            epoch = await self._greeted(wire)
        except StoreLost:  # the wire has told
            return
        if epoch != self.epoch and wire is self._wire:
            self.forgotten()

    async def _heal(self) -> None:
        """One try to bring it back: connected, signed in, what all parts know written back."""
        made: list[RedisWire] = []
        try:
            wire = await self._connect(made)
            epoch = await self._greeted(wire)

            async def ask(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Reply:
                return await self._patient(wire, "EVAL", script.text, len(keys), *keys, *args)

            self.epoch = epoch
            for restore in self._restore:
                await restore(ask)
        except (OSError, TimeoutError, StoreLost) as error:
            self._reason = _told(error)
            _close_all(made)
            return
        except asyncio.CancelledError:
            _close_all(made)
            raise
        except Exception:  # noqa: BLE001  # a part's own fault must not end the healing for good
            _log.exception("redis_restore_failed", address=str(self._address))
            self._reason = "writing back failed"
            _close_all(made)
            return
        self._publish(wire)

    def _publish(self, wire: RedisWire) -> None:
        """From here on requests ask it. What the parts tell it now comes before all that."""
        if wire.over:
            self._reason = wire.over
            return
        now = self._clock.monotonic()
        lost_s, self._since = now - self._since, now
        wire.limit(self._settings.timeout_s)
        self._wire = wire
        self._known.clear()
        if self._losses:
            _log.info(
                "redis_healed", address=str(self._address), lost_s=round(lost_s, 3), reason=self._reason
            )
        for changed in self._changed:
            changed()

    async def _connect(self, made: list[RedisWire]) -> RedisWire:
        """A connection, signed in. What was made stands in ``made``, whatever happens."""

        def make() -> RedisWire:
            made.append(RedisWire(clock=self._clock, timeout_s=_PATIENCE_S, on_lost=self._lost))
            return made[-1]

        address, loop = self._address, asyncio.get_running_loop()
        async with asyncio.timeout(_PATIENCE_S):
            if address.path:
                await loop.create_unix_connection(make, address.path)
            else:
                tls = address.context()
                await loop.create_connection(make, address.host, address.port, ssl=tls)
        wire = made[-1]
        if address.password is not None:
            await self._patient(wire, "AUTH", *filter(None, (address.user, address.password.reveal())))
        if address.db:
            await self._patient(wire, "SELECT", address.db)
        _abandoned(wire, "CLIENT", "SETNAME", self._name)
        return wire

    async def _greeted(self, wire: RedisWire) -> bytes:
        """The epoch; it can be written to."""
        proposed = f"{self._rng.getrandbits(64):016x}"
        reply = await self._patient(wire, "EVAL", _HELLO.text, 1, self.marker, proposed, MARKER_TTL_S)
        if not isinstance(reply, list) or not isinstance(reply[0], bytes):
            raise StoreLost("it answers oddly")
        return reply[0]

    async def _patient(self, wire: RedisWire, *command: Argument) -> Reply:
        """Asks on nobody's time.

        Raises:
            StoreLost: it is gone, or answers with an error; the wire is closed then.
        """
        reply = await wire.send(*command)
        if isinstance(reply, hiredis.ReplyError):
            said = _UNABLE.search(str(reply))
            reason = said[0] if said is not None else f"{command[0]!s} was refused"
            wire.close(reason)
            raise StoreLost(reason)
        return reply


def _abandoned(wire: RedisWire, *command: Argument, orphan: Callable[[Heard], None] | None = None) -> None:
    """Sends what nobody waits for."""
    with contextlib.suppress(StoreLost):
        wire.send(*command, orphan=orphan).cancel()


def _give_up(future: asyncio.Future[Heard]) -> None:
    if not future.done():
        future.set_exception(StoreLost("the request has waited for it long enough"))


def _unless_refused(orphan: Callable[[Reply], None], reply: Heard) -> None:
    if not isinstance(reply, hiredis.ReplyError):
        orphan(reply)


def _close_all(wires: list[RedisWire]) -> None:
    for wire in wires:
        wire.close("given up")


def _is_unknown(error: hiredis.ReplyError) -> bool:
    return str(error).startswith("NOSCRIPT")


def _told(error: Exception) -> str:
    """In a few words, without what a server said: it might quote a password."""
    if isinstance(error, StoreLost):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no connection within a second"
    return f"no connection ({type(error).__name__})"
