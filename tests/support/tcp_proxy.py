"""A TCP proxy between a client and a real server: it cuts, stalls one direction or both, and heals.

In a thread of its own, so that clients that block can be tested too. It shares no code with the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

__all__ = ["TcpProxy"]

Way = Literal["to_server", "to_client"]


class TcpProxy:
    """Forwards a free port of 127.0.0.1 to a port.

    Args:
        target: the server's port.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp proxy", daemon=True)
        self._open = {"to_server": asyncio.Event(), "to_client": asyncio.Event()}
        self._cut = False
        self._trap: re.Pattern[bytes] | None = None
        self._watched: Way = "to_server"
        self._shut: Way = "to_client"
        self.passed = threading.Event()
        """What a trap was set for was passed on."""
        self.held = threading.Event()
        """Something was held back since a trap was set."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start)
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Resets all connections, and each new one as soon as it is there, until :meth:`heal`."""

        async def now() -> None:
            self._cut = True
            await self._drop()

        self._run(now)

    def refuse(self) -> None:
        """As :meth:`cut`, and nobody listens: new connections are refused, until :meth:`heal`."""

        async def now() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            await self._drop()

        self._run(now)

    def reset(self) -> None:
        """Resets all connections. What was held back is lost with them; new ones are forwarded."""

        async def now() -> None:
            self._trap = None
            await self._drop()
            for event in self._open.values():
                event.set()

        self._run(now)

    def stall(self, *ways: Way) -> None:
        """Nothing passes any more in that direction (none named: in both), as behind a firewall that drops packets."""

        async def now() -> None:
            for way in ways or ("to_server", "to_client"):
                self._open[way].clear()

        self._run(now)

    def stall_behind(self, pattern: bytes) -> None:
        """Nothing passes to the client any more from the moment in which something that fits goes to the server."""
        self._set(pattern, "to_server", "to_client")

    def stall_before(self, pattern: bytes, way: Way = "to_server") -> None:
        """What fits doesn't pass in that direction, nor does what comes behind it."""
        self._set(pattern, way, way)

    def _set(self, pattern: bytes, watched: Way, shut: Way) -> None:
        async def now() -> None:
            self._trap, self._watched, self._shut = re.compile(pattern), watched, shut
            self.passed.clear()
            self.held.clear()

        self._run(now)

    def heal(self) -> None:
        """What was stalled passes, and new connections are forwarded."""

        async def now() -> None:
            self._cut, self._trap = False, None
            await self._start()

        self._run(now)

    @contextlib.contextmanager
    def partitioned(self) -> Iterator[None]:
        """Stalled both ways for the block."""
        self.stall()
        try:
            yield
        finally:
            self.heal()

    def _run(self, work: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(timeout=30)

    async def _start(self) -> None:
        for event in self._open.values():
            event.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._drop()

    async def _drop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(2):  # the loop closes what was aborted in its next turn
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._cut:
                await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # either side has left, or it was cut
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        try:
            pumps = [
                asyncio.ensure_future(self._pump(reader, back, "to_server")),
                asyncio.ensure_future(self._pump(there, writer, "to_client")),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        while data := await reader.read(65_536):
            fits = way == self._watched and self._trap is not None and self._trap.search(data) is not None
            if fits:
                self._open[self._shut].clear()
            if not self._open[way].is_set():
                self.held.set()
            await self._open[way].wait()
            writer.write(data)
            if fits:
                self.passed.set()
            await writer.drain()
