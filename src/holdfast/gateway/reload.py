"""The configuration read anew while the gateway runs: all of it counts from one moment on, or nothing of it does.

::

    read       the file, the environment, the files of keys, as at the start; beside the loop
    check      everything that is wrong, at once: in the file, in what a restart needs, between it and the stored keys
    prepare    prices, which take a while
    adopt      one turn of the loop, in which nothing is waited for and nothing can fail

Requests that began keep what they began with (:class:`~holdfast.live.Live`); those that come after the turn see only the new
one. What they share, such as breakers, rates and budgets, goes on, and is judged by the new limits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import msgspec
import structlog

from holdfast.app import prices_of
from holdfast.config.changes import Change, changes_between, fingerprint_of
from holdfast.config.fixed import fixed_problems
from holdfast.config.sharing import needs_redis, wanting_redis
from holdfast.errors import ConfigError, Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.app import App
    from holdfast.config import Config
    from holdfast.gateway.keyring import Keyring

__all__ = ["RESULTS", "Attempt", "Reloaded", "Reloader", "Result", "Source"]

_log = structlog.get_logger("holdfast.gateway")

Result: TypeAlias = Literal["applied", "unchanged", "refused"]
RESULTS: Final[tuple[Result, ...]] = ("applied", "unchanged", "refused")
_READ_S: Final = 30.0
"""A file on a share that hangs must not keep the next reload waiting for ever."""
_SHOWN: Final = 20
"""Paths in a log line."""


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload did, or would do."""

    changed: bool
    """False: the configuration was this one already, and its generation stays."""
    dry_run: bool
    generation: int
    """The one that counts now."""
    since_ns: int
    file: str | None
    """None: nothing but the environment was read."""
    hash: str
    """Of the configuration that was read; the same on every machine that has the same one."""
    changes: tuple[Change, ...]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """The last reload, for who asked for it by a signal."""

    at_ns: int
    by: str
    result: Result
    problems: tuple[str, ...] = ()


class Parts(Protocol):
    """What else takes another configuration: the gateway."""

    @property
    def ring(self) -> Keyring: ...

    def adopt(self) -> None:
        """The app has another one from this moment on. Must not raise or wait."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where another configuration comes from, and who else has to read it."""

    read: Callable[[], Config] | None = None
    """The configuration, as at the start; called in another thread. Raises ConfigError."""
    ask_others: Callable[[], None] | None = None
    """Has this machine's other processes of the same gateway reload as well. None: there are none."""


class Reloader:
    """One for a gateway; reloads one after the other.

    Args:
        app: whose configuration it is.
        parts: told when there is another one.
        source: where the configuration is read from; None: there is nothing to read.
    """

    def __init__(self, app: App, parts: Parts, source: Source | None = None) -> None:
        self._app = app
        self._parts = parts
        self._source = source if source is not None else Source()
        self._one_at_a_time = asyncio.Lock()
        self._asked: asyncio.Task[None] | None = None
        self._again = False
        self._hash: tuple[Config, str] | None = None
        self.counts: dict[Result, int] = dict.fromkeys(RESULTS, 0)
        """Reloads since the start; dry runs aren't counted."""
        self.last: Attempt | None = None
        """None: there was none since the start."""

    @property
    def generation(self) -> int:
        """Of the configuration that counts."""
        return self._app.live.generation

    @property
    def hash(self) -> str:
        """Of the configuration that counts."""
        config = self._app.config
        if self._hash is None or self._hash[0] is not config:
            self._hash = config, fingerprint_of(config)
        return self._hash[1]

    async def reload(self, *, by: str, dry_run: bool = False) -> Reloaded:
        """Reads the configuration, and applies it if it can be.

        Args:
            by: who asks, for the log.
            dry_run: only says what would change.

        Raises:
            ConfigError: it can't be applied, and nothing has changed; ``problems`` has every reason, each with its path.
            Conflict: there is nothing to read.
        """
        async with self._one_at_a_time:
            try:
                done = await self._reload(dry_run=dry_run)
            except ConfigError as error:
                if not dry_run:
                    self._note("refused", by, _problems(error))
                    _log.warning(
                        "configuration not reloaded: it stays as it was", by=by, problems=_problems(error)
                    )
                raise
            if not dry_run:
                self._note("applied" if done.changed else "unchanged", by)
                _log.info(
                    "configuration reloaded" if done.changed else "configuration reloaded, and is the same",
                    by=by,
                    generation=done.generation,
                    changed=[change.path for change in done.changes[:_SHOWN]],
                    more=max(0, len(done.changes) - _SHOWN),
                )
            return done

    def ask(self, by: str) -> None:
        """Reloads soon; what comes of it is logged. Asked again meanwhile, once more after that: the file may be newer."""
        if self._asked is None:
            self._asked = asyncio.ensure_future(self._answer(by))
        else:
            self._again = True

    def ask_others(self) -> bool:
        """Has the other processes of this gateway reload; False: there are none."""
        if self._source.ask_others is None:
            return False
        self._source.ask_others()
        return True

    async def aclose(self) -> None:
        """Gives up what was asked for and isn't applied yet."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.wait([self._asked])

    async def _answer(self, by: str) -> None:
        try:
            while True:
                self._again = False
                try:
                    await self.reload(by=by)
                except ConfigError:
                    pass  # said in the log
                except Conflict as error:
                    _log.warning("configuration not reloaded", by=by, reason=error.message)
                except Exception:  # noqa: BLE001  # a fault of ours must not end the gateway, or keep it from the next one
                    _log.exception("configuration not reloaded: a fault of our own", by=by)
                if not self._again:
                    return
        finally:
            self._asked = None

    async def _reload(self, *, dry_run: bool) -> Reloaded:
        app = self._app
        if self._source.read is None:
            raise Conflict("this gateway has no configuration that could be read again")
        config = await _in_time(self._source.read)
        changes = changes_between(app.config, config)
        book = app.engine.book if app.config.prices == config.prices else await prices_of(config)
        # From here on nothing is waited for: what was checked is what is applied.
        self._check(config)
        if changes and not dry_run:
            app.adopt(config, book)
            self._parts.adopt()
        live = app.live
        return Reloaded(
            changed=bool(changes),
            dry_run=dry_run,
            generation=live.generation,
            since_ns=live.since_ns,
            file=config.file,
            hash=fingerprint_of(config),
            changes=changes,
        )

    def _check(self, config: Config) -> None:
        """Raises ConfigError with everything that stands against ``config``, though it is sound in itself."""
        problems = list(fixed_problems(self._app.config, config))
        if not config.has_providers:
            problems.append("providers: none has a key, so nothing could be answered")
        problems += self._sharing_problems(config)
        for check in (self._parts.ring.check, self._app.provider_keys.prepare):
            try:
                check(config)
            except ConfigError as error:
                problems += _problems(error)
        if problems:
            raise ConfigError("\n".join(problems), problems=problems)

    def _sharing_problems(self, config: Config) -> list[str]:
        """As at the start: what several processes limit, they must be able to count together."""
        app = self._app
        others = getattr(app.ledger, "living", 1) > 1  # a ledger that several write knows how many do
        if not others or app.shared.store is not None:
            return []
        limited = any(key.rate is not None for key in self._parts.ring.callers())
        needs = needs_redis(config, stored=limited)
        return [f"redis.url: {wanting_redis(needs)}"] if needs else []

    def _note(self, result: Result, by: str, problems: tuple[str, ...] = ()) -> None:
        self.counts[result] += 1
        self.last = Attempt(at_ns=self._app.clock.wall_ns(), by=by, result=result, problems=problems)


async def _in_time(read: Callable[[], Config]) -> Config:
    try:
        async with asyncio.timeout(_READ_S):
            return await asyncio.to_thread(read)
    except TimeoutError:
        raise ConfigError(f"the configuration couldn't be read within {_READ_S:g} s") from None


def _problems(error: ConfigError) -> tuple[str, ...]:
    return error.problems or (error.message,)
