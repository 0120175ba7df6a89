"""A connection pool: so many connections in all, and so many to each route, opened when needed and used again.

==============================  ===================================================================================
no place on the route, or none  refused at once, or after ``timeout`` seconds in line: first come first served within
in the pool                     a route, and routes in turns
an idle one on the route        used again, the latest first: the others may grow old, and are the first to go
else                            a new one is opened. Idle connections count as open: where the pool is full of them,
                                the one that has idled longest is closed before
released after an error         closed: nobody knows what is left on the wire
==============================  ===================================================================================

A route is a name, mostly a host. ``""`` is no route: such connections share the pool's limit only, since a limit for each
of many unnamed ones says nothing.

Never more connections are open than there are places, those that are being opened and closed included: whoever opens or
closes one holds its place. A ``connect`` or ``close`` that hangs holds it too, so they need time limits of their own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar, cast, overload

from msgspec import Meta

from holdfast.clock import SystemClock
from holdfast.resilience.bulkhead import Bulkhead, BulkheadFullError, BulkheadSettings
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.seam import Refused
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from holdfast.clock import Clock
    from holdfast.resilience.bulkhead import BulkheadPermit

__all__ = [
    "ConnectionPool",
    "ConnectionPoolClosedError",
    "ConnectionPoolExhaustedError",
    "ConnectionPoolSettings",
    "Lease",
]

C = TypeVar("C")

_LONGEST_WAIT_S: Final = 3600.0


class ConnectionPoolSettings(Settings, frozen=True, kw_only=True):
    """How many connections, and how many that wait for one."""

    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 20
    """Open at a time, idle ones included."""
    max_connections_per_route: Annotated[int, Meta(ge=1, le=100_000)] = 5
    """Open at a time to one route. More than ``max_connections`` limits nothing."""
    max_waiting: Annotated[int, Meta(ge=1, le=100_000)] = 100
    """Callers that may wait for a connection."""


class ConnectionPoolExhaustedError(Refused):
    """No connection is free, on this route or in the pool, and none came free in time.

    Args:
        message: what is exhausted.
        route: whose connection was asked for.
        retry_after_s: an estimate, from 0.1 to 60 seconds.
    """

    def __init__(self, message: str, *, route: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.route = route


class ConnectionPoolClosedError(Refused):
    """The pool was closed."""


class Lease(Generic[C]):
    """A connection, and the right to use it until it is released. Made by :meth:`ConnectionPool.acquire`."""

    __slots__ = ("_permits", "_pool", "connection", "route")

    def __init__(
        self, pool: ConnectionPool[C], route: str, connection: C, permits: tuple[BulkheadPermit, ...]
    ) -> None:
        self._pool = pool
        self._permits = permits  # none: released
        self.route = route
        self.connection = connection
        """What ``connect`` gave; None in a pool without."""


class _Idle(Generic[C]):
    __slots__ = ("connection", "route")

    def __init__(self, route: str, connection: C) -> None:
        self.route = route
        self.connection = connection


class _Route(Generic[C]):
    """One route's places and its idle connections. Kept as long as it has either in use."""

    __slots__ = ("closing", "idle", "places")

    def __init__(self, places: Bulkhead | None) -> None:
        self.places = places  # None: only the pool's limit holds
        self.idle: deque[_Idle[C]] = deque()  # the latest last
        self.closing: set[asyncio.Future[None]] = set()  # one for each that makes room for another route

    @property
    def full(self) -> bool:
        """One more connection would be too many, though there was a place for it: others are still being closed."""
        places = self.places
        return places is not None and places.in_use + len(self.idle) + len(self.closing) > places.limit

    @property
    def unused(self) -> bool:
        places = self.places
        return not (self.idle or self.closing or (places is not None and (places.in_use or places.waiting)))


class ConnectionPool(Generic[C]):
    """Places for connections, and the connections themselves if it is told how to open them.

    Not thread-safe: it belongs to one event loop's thread.

    Args:
        max_connections: open at a time, idle ones included.
        max_connections_per_route: open at a time to one route.
        max_waiting: callers that may wait at a time.
        connect: opens a connection to a route. Without it the pool gives out places only.
        close: closes one. An error of it goes to the loop's exception handler; the connection counts as closed.
        clock: whose monotonic seconds count; the running loop's own scale.

    Raises:
        ValueError: a number is out of its range.
    """

    @overload
    def __init__(
        self: ConnectionPool[None],
        max_connections: int = 20,
        max_connections_per_route: int = 5,
        *,
        max_waiting: int = 100,
        clock: Clock | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        max_connections: int = 20,
        max_connections_per_route: int = 5,
        *,
        max_waiting: int = 100,
        connect: Callable[[str], Awaitable[C]],
        close: Callable[[C], Awaitable[object]] | None = None,
        clock: Clock | None = None,
    ) -> None: ...

    def __init__(
        self,
        max_connections: int = 20,
        max_connections_per_route: int = 5,
        *,
        max_waiting: int = 100,
        connect: Callable[[str], Awaitable[Any]] | None = None,
        close: Callable[[C], Awaitable[object]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.settings = ConnectionPoolSettings(
            max_connections=max_connections,
            max_connections_per_route=max_connections_per_route,
            max_waiting=max_waiting,
        )
        self._clock = clock or SystemClock()
        self._connect = connect
        self._close = close
        self._places = self._bulkhead(max_connections)
        self._routes: dict[str, _Route[C]] = {}
        self._idle: OrderedDict[_Idle[C], None] = OrderedDict()  # the one that has idled longest first
        self._waiting = 0
        self._closed = False
        self.refused = 0
        """Callers told that the pool is exhausted, since the beginning."""

    @property
    def in_use(self) -> int:
        """Places taken: connections that are leased, being opened or being closed."""
        return self._places.in_use

    @property
    def idle(self) -> int:
        """Connections that are open and not leased."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Callers that wait."""
        return self._waiting

    async def acquire(self, route: str = "", *, timeout: float = 0.0) -> Lease[C]:
        """A connection to ``route``, to be given back to :meth:`release`.

        Args:
            route: mostly a host; ``""``: none, and only the pool's limit holds.
            timeout: seconds to wait for a place, up to 3600; 0: exhausted is exhausted. It doesn't limit ``connect``.

        Raises:
            ConnectionPoolExhaustedError: no place, or none in time.
            ConnectionPoolClosedError: the pool is closed.
            ValueError: ``timeout`` is out of its range.

        An error of ``connect`` is passed on; its place is free again.
        """
        if not 0 <= timeout <= _LONGEST_WAIT_S:
            raise ValueError(f"timeout must be a number from 0 to {_LONGEST_WAIT_S:g}, not {timeout!r}")
        self._check_open()
        permits: list[BulkheadPermit] = []
        try:
            await self._enter(route, timeout, permits)
            return Lease(self, route, await self._open(route), tuple(permits))
        except BaseException:
            self._leave(route, permits)
            raise

    async def release(self, lease: Lease[C], *, reuse: bool = True) -> None:
        """Gives a connection back: to be used again, or, with ``reuse=False``, to be closed. Only the first time counts.

        Raises:
            ValueError: another pool leased it.
        """
        if lease._pool is not self:  # noqa: SLF001  # the two are one
            raise ValueError("this connection was leased by another pool")
        permits, lease._permits = lease._permits, ()  # noqa: SLF001  # the two are one
        if not permits:
            return
        try:
            if reuse and self._connect is not None and not self._closed:
                idle = _Idle(lease.route, lease.connection)
                self._idle[idle] = None
                self._route(lease.route).idle.append(idle)
            else:
                await self._shut(lease.connection)
        finally:
            self._leave(lease.route, permits)

    @asynccontextmanager
    async def connection(self, route: str = "", *, timeout: float = 0.0) -> AsyncIterator[C]:
        """``async with pool.connection(route) as connection:`` leases one for the block.

        If the block ends with an error, a cancel included, the connection is closed and not used again.

        Raises:
            ConnectionPoolExhaustedError, ConnectionPoolClosedError, ValueError: as :meth:`acquire`.
        """
        lease = await self.acquire(route, timeout=timeout)
        try:
            yield lease.connection
        except BaseException:
            await self.release(lease, reuse=False)
            raise
        await self.release(lease)

    async def aclose(self) -> None:
        """Closes what is idle, and turns away who waits; what is leased is closed when it is released."""
        self._closed = True
        error = ConnectionPoolClosedError("the connection pool was closed")
        self._places.turn_away(error)
        for route in self._routes.values():
            if route.places is not None:
                route.places.turn_away(error)
        while self._idle:
            await self._evict()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionPoolClosedError("the connection pool is closed")

    def _bulkhead(self, places: int) -> Bulkhead:
        # Who waits is counted here, once for all routes: the bulkheads' own bounds are never reached.
        settings = BulkheadSettings(max_concurrent=places, max_queue=100_000, max_wait_s=_LONGEST_WAIT_S)
        return Bulkhead(settings, clock=self._clock)

    def _route(self, name: str) -> _Route[C]:
        route = self._routes.get(name)
        if route is None:
            places = self._bulkhead(self.settings.max_connections_per_route) if name else None
            route = self._routes[name] = _Route(places)
        return route

    async def _enter(self, name: str, timeout: float, permits: list[BulkheadPermit]) -> None:
        """Takes the route's place and then the pool's: always in this order, so that nobody waits in a circle."""
        deadline = self._clock.monotonic() + timeout
        for places in (self._route(name).places, self._places):
            if places is None:
                continue
            permit = places.try_enter()
            permits.append(permit or await self._wait(places, name, timeout, deadline))

    async def _wait(self, places: Bulkhead, name: str, timeout: float, deadline: float) -> BulkheadPermit:
        if not timeout or self._waiting >= self.settings.max_waiting:
            raise self._exhausted(places, name, "")
        self._waiting += 1
        try:
            return await places.enter(deadline=deadline, key=name)
        except BulkheadFullError:
            raise self._exhausted(places, name, f", and none came free in {timeout:g} s") from None
        finally:
            self._waiting -= 1

    def _exhausted(self, places: Bulkhead, name: str, more: str) -> ConnectionPoolExhaustedError:
        self.refused += 1
        whose = "the pool" if places is self._places else f"route {name!r}"
        message = f"all {places.limit} connections of {whose} are in use{more}"
        return ConnectionPoolExhaustedError(message, route=name, retry_after_s=places.retry_after_s)

    async def _open(self, name: str) -> C:
        """A connection for whoever has a place. After each wait all is looked at anew."""
        while True:
            self._check_open()
            route = self._route(name)
            if route.idle:
                return self._take_idle(route.idle[-1])
            if self._connect is None:
                return cast(C, None)
            if self._idle and self._places.in_use + len(self._idle) > self.settings.max_connections:
                await self._evict()
            elif route.closing and route.full:
                await asyncio.wait(route.closing, return_when=asyncio.FIRST_COMPLETED)
            else:
                break
        connection: C = await self._connect(name)
        if self._closed:
            await self._shut(connection)
            self._check_open()
        return connection

    def _take_idle(self, idle: _Idle[C]) -> C:
        """It is its route's latest, or of all the one that has idled longest."""
        del self._idle[idle]
        route = self._routes[idle.route]
        if route.idle[-1] is idle:
            route.idle.pop()
        else:
            route.idle.popleft()
        return idle.connection

    async def _evict(self) -> None:
        """Closes the one that has idled longest. Until it is closed it counts on its route, though it has no place there."""
        idle = next(iter(self._idle))
        connection, route = self._take_idle(idle), self._routes[idle.route]
        closed = asyncio.get_running_loop().create_future()
        route.closing.add(closed)
        try:
            await self._shut(connection)
        finally:
            route.closing.remove(closed)
            closed.set_result(None)
            self._forget(idle.route)

    async def _shut(self, connection: C) -> None:
        if self._close is None:
            return
        try:
            await self._close(connection)
        except Exception as error:  # noqa: BLE001  # broken connections fail to close, and whoever is here didn't break it
            context = {"message": "a pooled connection failed to close", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    def _leave(self, name: str, permits: Iterable[BulkheadPermit]) -> None:
        for permit in permits:
            permit.leave(Outcome.NEUTRAL)
        self._forget(name)

    def _forget(self, name: str) -> None:
        """Routes are whatever callers say: one that nobody uses takes no memory."""
        route = self._routes.get(name)
        if route is not None and route.unused:
            del self._routes[name]
