"""A process that streams begins and ends into a ledger until it is killed, and says on stdout what it was promised.

``B id``: begin returned, so the intent is durable. ``F id``: a flush after its end returned, so the end is.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from tests.unit.ledger.helpers import attempt, end, intent, ledger_at

CALLERS = 16


async def main(path: Path, run: str) -> None:
    ledger = ledger_at(path)
    say(f"R {ledger.recovered}")

    async def call(name: int) -> None:
        for n in count():
            request_id = f"{run}-{name}-{n}"
            await ledger.begin(intent(request_id))
            say(f"B {request_id}")
            ledger.end(end(request_id, attempts=(attempt(1), attempt(2))))
            if n % 3 == 0:
                await ledger.flush()
                say(f"F {request_id}")

    await asyncio.gather(*(call(name) for name in range(CALLERS)))


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # unbuffered: what was said is said when the kill comes


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
