"""A process that runs operations under idempotency keys until it is killed, and says on stdout what it was told.

Its effects are lines in a file, written before anything else can happen: what the provider would have seen.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from holdfast.idempotency import SqliteIdempotency, idempotent_operation

CALLERS = 8


class Effects:
    """Lines that are in the file, whole, when :meth:`note` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, line: str) -> None:
        os.write(self.fd, f"{line}\n".encode())

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # unbuffered: what was said is said when the kill comes


async def hang(url: str, effects: Effects) -> None:
    """A hundred callers of one key, whose run never ends."""

    async def operation() -> None:
        effects.note("k")
        say("RUNNING")
        await asyncio.Event().wait()

    async with await SqliteIdempotency.open(url) as store:
        await asyncio.gather(*(idempotent_operation(operation, "k", store=store) for _ in range(100)))


async def work(url: str, effects: Effects) -> None:
    """Key after key, each asked for by two callers at once. The first caller's first run never ends."""

    async def ask(store: SqliteIdempotency, key: str) -> None:
        async def operation() -> dict[str, str]:
            effects.note(key)
            await (asyncio.Event().wait() if key.endswith("-0-0") else asyncio.sleep(0))
            return {"for": key}

        result = await idempotent_operation(operation, key, store=store, payload=key)
        say(f"DONE {result['for']}")

    async def caller(store: SqliteIdempotency, name: int) -> None:
        for n in count():
            key = f"{os.getpid()}-{name}-{n}"
            await asyncio.gather(ask(store, key), ask(store, key))

    async with await SqliteIdempotency.open(url) as store:
        await asyncio.gather(*(caller(store, name) for name in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run({"hang": hang, "work": work}[sys.argv[1]](sys.argv[2], Effects(Path(sys.argv[3]))))
