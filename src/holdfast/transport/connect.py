"""Makes connections: name look-up, IPv6 and IPv4 in a race (RFC 8305), a proxy where the origin has one, TLS.

The race is our own because uvloop has none: it would try one address after the other, and a dead IPv6 route would eat
the whole connect limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import socket
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from holdfast.errors import ConnectFailed
from holdfast.transport.http1 import Connection
from holdfast.transport.tunnel import Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.transport.base import Origin
    from holdfast.transport.proxy import Proxy
    from holdfast.transport.tls import Trust

__all__ = ["Connector", "Hop"]

P = TypeVar("P", Connection, Tunnel)

HEAD_START_S: Final = 0.25
"""RFC 8305's recommended delay before the next address joins the race."""

MAX_ADDRESSES: Final = 8


class Hop(NamedTuple):
    """One TCP connection to make, to an origin or to its proxy; with TLS where there is a context."""

    host: str
    port: int
    tls: ssl.SSLContext | None


class _Leg:
    """How far a connect has come, in the words of its failure."""

    __slots__ = ("failed",)

    def __init__(self, failed: str) -> None:
        self.failed = failed


class Connector:
    """Opens connections. Simultaneous look-ups of one name are one: asyncio has few threads for them."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._lookups: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def connect(self, origin: Origin, factory: Callable[[], Connection], limit_s: float) -> Connection:
        """A connection whose handshakes are done. On failure or cancellation no socket is left.

        Raises:
            ConnectFailed: refused, no such name, an untrusted certificate, ``limit_s`` seconds over, …
        """
        limit = asyncio.timeout(limit_s)
        leg = _Leg(f"no connection to {origin}")
        try:
            async with limit:
                if origin.proxy is None:
                    tls = self._trust.of_origin(origin) if origin.scheme == "https" else None
                    return await self._reach(Hop(origin.host, origin.port, tls), factory)
                return await self._through(origin, origin.proxy, factory, leg)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS can't hold
            if limit.expired():
                raise ConnectFailed(f"{leg.failed} within {limit_s:g} s", timed_out=True) from error
            raise ConnectFailed(
                f"{leg.failed}: {_reason(error)}", timed_out=isinstance(error, TimeoutError)
            ) from error

    async def aclose(self) -> None:
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    async def _through(
        self, origin: Origin, proxy: Proxy, factory: Callable[[], Connection], leg: _Leg
    ) -> Connection:
        leg.failed = f"no connection to the proxy {proxy}, the way to {origin}"
        tls = self._trust.of_proxy(origin) if proxy.scheme == "https" else None
        hop = Hop(proxy.host, proxy.port, tls)
        if origin.scheme == "http":  # nothing to hide from the proxy: it is asked for the whole URL
            return await self._reach(hop, factory)
        context = self._trust.of_origin(origin)
        tunnel = await self._reach(hop, Tunnel)
        try:
            leg.failed = f"no tunnel to {origin}: the proxy {proxy} did not answer"
            await tunnel.connect(origin, proxy)
            leg.failed = f"no connection to {origin} through the proxy {proxy}"
            return await tunnel.secure(origin, context, factory)
        except BaseException:
            tunnel.abort()
            raise

    async def _reach(self, hop: Hop, factory: Callable[[], P]) -> P:
        return await self._race(hop, factory, await self._addresses(hop))

    async def _addresses(self, hop: Hop) -> list[str]:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(hop.host)
            return [hop.host]
        key = (hop.host, hop.port)
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = asyncio.create_task(_look_up(*key))
            lookup.add_done_callback(lambda task: self._looked_up(key, task))
        return await asyncio.shield(lookup)

    def _looked_up(self, key: tuple[str, int], lookup: asyncio.Task[list[str]]) -> None:
        del self._lookups[key]
        if not lookup.cancelled():
            lookup.exception()  # everybody who asked may have been cancelled meanwhile

    async def _race(self, hop: Hop, factory: Callable[[], P], addresses: list[str]) -> P:
        if len(addresses) == 1:
            return await _attempt(hop, factory, addresses[0])
        waiting = list(addresses)
        running: set[asyncio.Task[P]] = set()
        failures: list[BaseException] = []
        try:
            while waiting or running:
                if waiting:
                    running.add(asyncio.create_task(_attempt(hop, factory, waiting.pop(0))))
                done, running = await asyncio.wait(
                    running, timeout=HEAD_START_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                winners = [task for task in done if not task.cancelled() and task.exception() is None]
                if winners:
                    running.update(winners[1:])
                    return winners[0].result()
                failures += [error for task in done if (error := task.exception()) is not None]
        finally:
            _stop(running)
        raise failures[0]


async def _attempt(hop: Hop, factory: Callable[[], P], address: str) -> P:
    _, protocol = await asyncio.get_running_loop().create_connection(
        factory,
        address,
        hop.port,
        ssl=hop.tls,
        server_hostname=hop.host if hop.tls is not None else None,
    )
    return protocol


async def _look_up(host: str, port: int) -> list[str]:
    """Addresses, families alternating, in the order that the system prefers."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    by_family: dict[int, list[str]] = {}
    for family, _, _, _, address in found:
        by_family.setdefault(family, []).append(str(address[0]))
    rounds = itertools.zip_longest(*by_family.values())
    addresses = list(dict.fromkeys(address for one in rounds for address in one if address is not None))
    if not addresses:
        raise OSError(f"{host} has no address")
    return addresses[:MAX_ADDRESSES]


def _stop(attempts: set[asyncio.Task[P]]) -> None:
    """Ends the losers of a race, those included that had just won as well."""
    for attempt in attempts:
        attempt.cancel()
    for attempt in attempts:
        attempt.add_done_callback(_drop)


def _drop(attempt: asyncio.Task[P]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort()


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__
