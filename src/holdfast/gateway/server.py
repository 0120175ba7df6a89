"""Running the gateway: uvicorn with uvloop and httptools, started, drained and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdfast.app import App
from holdfast.gateway.http import Gateway
from holdfast.gateway.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from holdfast.config import Config

__all__ = ["serve"]

_log = structlog.get_logger("holdfast.gateway")
_BACKLOG = 2048
_ACCEPTS = 16
"""Connections taken in one turn of the loop. libuv takes one for each listening descriptor: with a single one, a burst of
new connections under load waits a turn for each of those before it, which is seconds for the last."""
_GC_ALLOCATIONS = 20_000
"""Container objects made between two looks for young cycles: Python's 700 are a few requests'."""
_CUT_GRACE_S = 5  # after the drain: error events go out, then connections are closed whatever they hold


async def serve(config: Config, *, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains: not ready, running requests finish, the ledger is flushed.

    Args:
        config: checked.
        announce: told the base URL once connections are accepted.

    Raises:
        LedgerUnavailable: the ledger can't be opened.
        OSError: the address can't be bound.
    """
    with ExitStack() as stack:
        # First of all: nothing is opened for a port that is taken.
        listener = stack.enter_context(_bind(config.gateway.host, config.gateway.port))
        doubles = [stack.enter_context(listener.dup()) for _ in range(_ACCEPTS - 1)]
        await _serve_on([listener, *doubles], config, announce)


async def _serve_on(listeners: list[socket.socket], config: Config, announce: Callable[[str], None]) -> None:
    app = await App.start(config)
    # What was made by now lives as long as the process: the collector need not look at it again for each few requests.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_ALLOCATIONS, 20, 50)
    try:
        metrics = Metrics(app.ledger)
        app.engine.observer = metrics
        gateway = Gateway(app, metrics)
        server = _Server(gateway, config, announce)
        await server.run_to_end(listeners)
    finally:
        await app.aclose()
        _log.info("stopped")


class _Connection(HttpToolsProtocol):
    """uvicorn's, which can be cut: closing a connection in order waits for a client that doesn't read, for ever."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"holdfast": {"abort": self.transport.abort}}


class _Server(uvicorn.Server):
    """uvicorn's, with our order of stopping."""

    def __init__(self, gateway: Gateway, config: Config, announce: Callable[[str], None]) -> None:
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
            self._announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gateway.drain()
        _log.info("draining", running=self._gateway.running, drain_s=self._drain_s)
        timer = asyncio.get_running_loop().call_later(self._drain_s, self._gateway.cut)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. uvicorn's own way to one ends the process where the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A signal that was served already."""
