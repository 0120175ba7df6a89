"""Makes connections: name look-up, IPv6 and IPv4 in a race (RFC 8305), TLS.

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
from typing import TYPE_CHECKING, Final

from holdfast.errors import ConnectFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.transport.base import Origin
    from holdfast.transport.http1 import Connection

__all__ = ["Connector", "tls_context"]

HEAD_START_S: Final = 0.25
"""RFC 8305's recommended delay before the next address joins the race."""

MAX_ADDRESSES: Final = 8


def tls_context(*, ca_file: Path | str | None = None, verify: bool = True) -> ssl.SSLContext:
    """Certificates of the system, and those of ``ca_file`` (PEM) beside them; ALPN says HTTP/1.1.

    Args:
        ca_file: more roots to trust, for a gateway or proxy with a CA of its own.
        verify: False accepts any certificate: for tests on one's own machine.

    Raises:
        OSError: ``ca_file`` can't be read (``ssl.SSLError``: is no PEM).
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connector:
    """Opens connections. Simultaneous look-ups of one name are one: asyncio has few threads for them."""

    def __init__(self, tls: Callable[[], ssl.SSLContext]) -> None:
        self._tls = tls
        self._lookups: dict[tuple[str, int], asyncio.Task[list[str]]] = {}

    async def connect(self, origin: Origin, factory: Callable[[], Connection], limit_s: float) -> Connection:
        """A connection whose handshakes are done. On failure or cancellation no socket is left.

        Raises:
            ConnectFailed: refused, no such name, an untrusted certificate, ``limit_s`` seconds over, …
        """
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                return await self._race(origin, factory, await self._addresses(origin))
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS can't hold
            if limit.expired():
                raise ConnectFailed(
                    f"no connection to {origin} within {limit_s:g} s", timed_out=True
                ) from error
            raise ConnectFailed(
                f"no connection to {origin}: {_reason(error)}", timed_out=isinstance(error, TimeoutError)
            ) from error

    async def aclose(self) -> None:
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)

    async def _addresses(self, origin: Origin) -> list[str]:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(origin.host)
            return [origin.host]
        key = (origin.host, origin.port)
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = asyncio.create_task(_look_up(*key))
            lookup.add_done_callback(lambda task: self._looked_up(key, task))
        return await asyncio.shield(lookup)

    def _looked_up(self, key: tuple[str, int], lookup: asyncio.Task[list[str]]) -> None:
        del self._lookups[key]
        if not lookup.cancelled():
            lookup.exception()  # everybody who asked may have been cancelled meanwhile

    async def _race(
        self, origin: Origin, factory: Callable[[], Connection], addresses: list[str]
    ) -> Connection:
        if len(addresses) == 1:
            return await self._attempt(origin, factory, addresses[0])
        waiting = list(addresses)
        running: set[asyncio.Task[Connection]] = set()
        failures: list[BaseException] = []
        try:
            while waiting or running:
                if waiting:
                    running.add(asyncio.create_task(self._attempt(origin, factory, waiting.pop(0))))
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

    async def _attempt(self, origin: Origin, factory: Callable[[], Connection], address: str) -> Connection:
        secure = origin.scheme == "https"
        _, connection = await asyncio.get_running_loop().create_connection(
            factory,
            address,
            origin.port,
            ssl=self._tls() if secure else None,
            server_hostname=origin.host if secure else None,
        )
        return connection


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


def _stop(attempts: set[asyncio.Task[Connection]]) -> None:
    """Ends the losers of a race, those included that had just won as well."""
    for attempt in attempts:
        attempt.cancel()
    for attempt in attempts:
        attempt.add_done_callback(_drop)


def _drop(attempt: asyncio.Task[Connection]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort()


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__
