"""What a start that comes to nothing leaves open: nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.config.reading import WALL, read

from holdfast.app import App

if TYPE_CHECKING:
    from pathlib import Path


def test_a_start_that_is_cancelled_gives_the_ledger_back(tmp_path: Path) -> None:
    """Redis takes the connection and says nothing: the start is waiting for it."""
    ledger = f'[ledger]\nurl = "sqlite:///{tmp_path / "ledger.db"}"\n'

    async def main() -> None:
        asked = asyncio.Event()
        left = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            asked.set()
            await reader.read()  # until it hangs up
            writer.close()
            left.set()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            config = read(f'{ledger}[redis]\nurl = "redis://127.0.0.1:{port}"\n{WALL}')
            starting = asyncio.create_task(App.start(config))
            await asked.wait()
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            await left.wait()
        again = await App.start(read(ledger + WALL))
        await again.aclose()

    asyncio.run(main())
