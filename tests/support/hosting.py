"""An asynchronous server for tests that aren't: it lives on a loop of its own, in a thread."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

__all__ = ["hosted"]

T = TypeVar("T")
_START_S = 10.0


@contextmanager
def hosted(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What ``server`` gives, while it runs. Its failures are raised here, at the start or at the end."""
    up = threading.Event()
    given: list[T] = []
    stops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    failure: list[BaseException] = []

    async def live() -> None:
        stop = asyncio.Event()
        async with server as value:
            stops.append((asyncio.get_running_loop(), stop))
            given.append(value)
            up.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits
            failure.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=run, name="hosted", daemon=True)
    thread.start()
    assert up.wait(_START_S), "the server did not start"
    try:
        if given:
            yield given[0]
    finally:
        for loop, stop in stops:
            loop.call_soon_threadsafe(stop.set)
        thread.join(_START_S)
        assert not thread.is_alive(), "the server did not stop"
        if failure:
            raise failure[0]
