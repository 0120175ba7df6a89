"""A worker that serves nothing, and does what its configuration says: quick to start, for tests of who watches workers.

What the configuration says is JSON: for each worker's number what it does, and a folder to write to.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

from holdfast.gateway.workers_link import Ask, Counted, Failed, Link, Scraped, Serving, Sums, read_begin
from holdfast.gateway.workers_sums import Family, Sample


def counted(number: int) -> list[Family]:
    """What a worker says it counted."""
    return [
        Family("asked", "counter", "Asked.", [Sample("asked_total", (), float(number))]),
        Family("holdfast_in_flight", "gauge", "Open.", [Sample("holdfast_in_flight", (), 1.0)]),
    ]


async def main() -> int:
    end = socket.socket(fileno=int(sys.argv[1]))
    begin = read_begin(end)
    assert begin is not None
    assert begin.text is not None
    said = json.loads(begin.text)
    does, folder = said[str(begin.number)], Path(said["folder"])
    link = await Link.over(end)
    note = folder / f"{begin.number}.log"

    def wrote(what: str) -> None:
        with note.open("a") as file:
            file.write(f"{what}\n")

    wrote(f"began {os.getpid()}")
    if does == "fails second":
        first = folder / "1.log"
        while not (first.exists() and first.read_text().endswith("\n")):
            await asyncio.sleep(0.01)  # another process writes it: nothing here could be awaited
    if does in ("fails", "fails second"):
        link.send(Failed("there is no database"))
        return 1
    if does == "dies":
        return 3
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, (lambda: wrote("deaf")) if does == "deaf" else stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(
        signal.SIGHUP, lambda: link.send(Scraped(1)) if does == "scrapes" else wrote("reload")
    )
    link.send(Serving("http://here", keyed=False))
    link.send(Counted(counted(begin.number)))

    async def listen() -> None:
        while (heard := await link.next_to_worker()) is not None:
            if isinstance(heard, Ask) and does != "mute":
                link.send(Counted(counted(begin.number * 10), heard.id))
            elif isinstance(heard, Sums):
                wrote(
                    f"sums {sum(s.value for f in heard.families for s in f.samples if s.name == 'asked_total'):g}"
                )
        stop.set()

    listening = asyncio.create_task(listen())
    await stop.wait()
    listening.cancel()
    wrote("ended")
    return 5 if does == "ends badly" else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
