"""Running the gateway: uvicorn with uvloop and httptools, started, drained and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdfast.app import App
from holdfast.gateway.http import Gateway
from holdfast.gateway.log import set_level
from holdfast.gateway.metrics import Metrics
from holdfast.gateway.reload import Source
from holdfast.gateway.terminal import Terminal
from holdfast.gateway.workers_crew import Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from holdfast.config import Config
    from holdfast.gateway.workers_crew import Seat

__all__ = ["serve"]

_log = structlog.get_logger("holdfast.gateway")
_BACKLOG = 2048
_ACCEPTS = 16
"""Connections taken in one turn of the loop. libuv takes one for each listening descriptor: with a single one, a burst of
new connections under load waits a turn for each of those before it, which is seconds for the last."""
_GC_ALLOCATIONS = 20_000
"""Container objects made between two looks for young cycles: Python's 700 are a few requests'."""
_CUT_GRACE_S = 5  # after the drain: error events go out, then connections are closed whatever they hold


async def serve(
    config: Config,
    *,
    announce: Callable[[str, bool], None],
    listener: socket.socket | None = None,
    seat: Seat | None = None,
    read: Callable[[], Config] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains: not ready, running requests finish, the ledger is flushed.

    With SIGHUP it reads its configuration again; but where it was the terminal's, which is gone, it drains.

    Args:
        config: checked.
        announce: told the base URL and whether callers need keys, once connections are accepted.
        listener: bound by who started several of these; it needn't listen yet. None: it is bound here.
        seat: this one's among them; None: it is alone.
        read: the configuration, again. None: it stays as it is.

    Raises:
        LedgerUnavailable: the ledger can't be opened.
        OSError: the address can't be bound.
    """
    with ExitStack() as stack:
        # First of all: nothing is opened for a port that is taken.
        own = stack.enter_context(listener if listener is not None else _bind(config))
        doubles = [stack.enter_context(own.dup()) for _ in range(_ACCEPTS - 1)]
        await _serve_on([own, *doubles], config, announce, seat, read)


async def _serve_on(
    listeners: list[socket.socket],
    config: Config,
    announce: Callable[[str, bool], None],
    seat: Seat | None,
    read: Callable[[], Config] | None,
) -> None:
    crew: Crew | None = None
    app = await App.start(config)
    for problem in app.provider_keys.problems:
        _log.warning("a provider key isn't used", reason=problem)
    # What was made by now lives as long as the process: the collector need not look at it again for each few requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 50)
    try:
        metrics = Metrics(app.ledger)
        metrics.watch(app)
        if seat is not None:
            crew = metrics.crew = Crew(await seat.link(), seat.number, metrics.families)
        gateway = Gateway(app, metrics, Source(read=read, ask_others=None if crew is None else crew.reload))
        gateway.on_adopt.append(lambda adopted: set_level(adopted.gateway.log.level))

        def announced(url: str, keyed: bool) -> None:
            announce(url, keyed)
            if crew is not None:
                _log.info("serving")
                crew.serving(url, keyed)

        server = _Server(gateway, config, announced)
        gateway.on_adopt.append(server.adopt)
        # The supervisor tells a worker to end; what becomes of its terminal is no worker's business.
        with _on_hang_up(gateway, server, Terminal() if seat is None else None):
            gateway.dependencies.watch(asyncio.get_running_loop())
            try:
                await server.run_to_end(listeners)
            finally:
                gateway.dependencies.close()
                await gateway.reloader.aclose()
    finally:
        await app.aclose()
        if crew is not None:
            await crew.leave()
        _log.info("stopped")


@contextmanager
def _on_hang_up(gateway: Gateway, server: _Server, terminal: Terminal | None) -> Iterator[None]:
    """SIGHUP reloads, or ends what the terminal left behind."""

    def hung_up() -> None:
        if terminal is not None and terminal.gone:
            server.should_exit = True
        else:
            gateway.reloader.ask("SIGHUP")

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hung_up)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


class _Connection(HttpToolsProtocol):
    """uvicorn's, which can be cut: closing a connection in order waits for a client that doesn't read, for ever."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"holdfast": {"abort": self.transport.abort}}


class _Server(uvicorn.Server):
    """uvicorn's, with our order of stopping."""

    def __init__(self, gateway: Gateway, config: Config, announce: Callable[[str, bool], None]) -> None:
        settings = config.gateway
        super().__init__(
            uvicorn.Config(
                gateway,
                loop="none",  # it runs on the loop that is there
                http=_Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=max(1, round(settings.keepalive_s)),
                timeout_graceful_shutdown=int(settings.drain_s) + _CUT_GRACE_S,
            )
        )
        self._gateway = gateway
        self._drain_s = settings.drain_s
        self._announce = announce

    def adopt(self, config: Config) -> None:
        """Other times from now on; a connection that is there keeps to the one it began with."""
        settings = config.gateway
        self._drain_s = settings.drain_s
        self.config.timeout_keep_alive = max(1, round(settings.keepalive_s))
        self.config.timeout_graceful_shutdown = int(settings.drain_s) + _CUT_GRACE_S

    async def run_to_end(self, listeners: list[socket.socket]) -> None:
        # uvicorn raises the captured signal again once it has stopped, for the handlers that were there before:
        # with these in place it is over, instead of killing us before the ledger is closed.
        before = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            await self.serve(sockets=listeners)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in (sockets or ())[:1]:
            host, port = listener.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            self._announce(url, not self._gateway.ring.open)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.drain()
        _log.info("draining", running=self._gateway.running, drain_s=self._drain_s)
        timer = asyncio.get_running_loop().call_later(self._drain_s, self._gateway.cut)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def _bind(config: Config) -> socket.socket:
    """A listening socket at the gateway's address. uvicorn's own way to one ends the process where the address is taken."""
    host = config.gateway.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, config.gateway.port), family=family, backlog=_BACKLOG)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A signal that was served already."""
