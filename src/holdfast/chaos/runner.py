"""Running the server: in a thread of its own beside a synchronous test, or as a process's only work."""

from __future__ import annotations

import asyncio
import signal
import threading
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.config import ChaosConfig
from holdfast.chaos.options import values
from holdfast.chaos.server import ChaosServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from holdfast.chaos.journal import Entry

__all__ = ["Chaos", "run_chaos", "serve"]

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Chaos:
    """A running server, for callers on another thread."""

    def __init__(self, server: ChaosServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self.url = server.url
        self.base_url = server.base_url
        """With ``/v1``, as an OpenAI client takes it."""
        self.port = server.port
        self.admin_url = f"{server.url}/admin"

    @property
    def config(self) -> ChaosConfig:
        """What it goes by now."""
        return self._server.config

    def journal(self, *, model: str | None = None, key: str | None = None, since: int = 0) -> list[Entry]:
        """The attempts so far, in order of arrival; copies. An answer that the caller has whole is written down as ended."""
        if not self._loop.is_closed():
            self._call(lambda: None)  # the loop's turn in which the last bytes went is over
        return self._server.journal.entries(model=model, key=key, since=since)

    def wait_for(self, predicate: Callable[[list[Entry]], Any], timeout: float = 5.0) -> list[Entry]:
        """Block until ``predicate`` holds for the journal, and return it. Raises TimeoutError."""
        return self._server.journal.wait_for(predicate, timeout)

    def wait_for_requests(self, count: int, timeout: float = 5.0, *, ended: bool = False) -> list[Entry]:
        """Block until ``count`` attempts have arrived (``ended``: are over), and return all. Raises TimeoutError."""

        def there(entries: list[Entry]) -> bool:
            return sum(not ended or entry.end is not None for entry in entries) >= count

        return self.wait_for(there, timeout)

    def get_stats(self) -> dict[str, Any]:
        """What ``GET /admin/stats`` says."""
        request = urllib.request.Request(f"{self.admin_url}/stats")  # noqa: S310  # http, to this process
        if (token := self.config.admin_token) is not None:
            request.add_header("authorization", f"Bearer {token}")
        with _direct.open(request, timeout=10) as answer:
            stats: dict[str, Any] = msgspec.json.decode(answer.read())
        return stats

    def update_config(self, **options: Any) -> None:
        """Change settings from the next attempt on; see :mod:`holdfast.chaos.options`. Raises :class:`ChaosError`."""
        changes = values(options)
        self._call(lambda: self._server.reconfigure(self._server.config.merged(changes)))

    def advance(self, seconds: float) -> None:
        """Let that time pass, where ``clock="hand"``. Raises :class:`ChaosError` elsewhere."""
        asyncio.run_coroutine_threadsafe(self._server.advance(seconds), self._loop).result(60)

    def script(self, pattern: str, source: Any) -> None:
        """Set the script of a model (pattern); its attempts count from 1 again. Raises :class:`ChaosError`."""
        self._call(lambda: self._server.script(pattern, source))

    def reset(self) -> None:
        """Forget the journal and the count of attempts."""
        self._call(self._server.reset)

    def _call(self, work: Callable[[], None]) -> None:
        async def there() -> None:
            work()

        asyncio.run_coroutine_threadsafe(there(), self._loop).result(10)


@contextmanager
def run_chaos(
    config: ChaosConfig | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> Iterator[Chaos]:
    """A server in a thread with its own event loop. Raises what :meth:`ChaosServer.start` raises."""
    server = ChaosServer(config)
    started = threading.Event()
    failure: list[BaseException] = []
    handles: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        stop = asyncio.Event()
        await server.start(host, port)
        handles.append((asyncio.get_running_loop(), stop))
        started.set()
        await stop.wait()
        await server.stop()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits
            failure.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="chaos", daemon=True)
    thread.start()
    started.wait()
    if not handles:
        raise failure[0]
    loop, stop = handles[0]
    try:
        yield Chaos(server, loop)
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join(10)
    if failure:
        raise failure[0]


async def _serve(host: str, port: int, config: ChaosConfig, say: Callable[[str], None]) -> None:
    server = ChaosServer(config)
    await server.start(host, port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    say(f"chaos provider on {server.url} (OpenAI base URL {server.base_url})")
    try:
        await stop.wait()
    finally:
        await server.stop()


def serve(
    host: str = "127.0.0.1",
    port: int = 8401,
    config: ChaosConfig | None = None,
    *,
    say: Callable[[str], None] = print,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. ``say`` gets one line with the address once it listens.

    ``loop_factory`` may bring a faster event loop. Raises OSError where the address can't be had.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(host, port, config or ChaosConfig(), say))
