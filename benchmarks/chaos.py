"""``make bench-chaos``: how fast the chaos provider answers, so that it isn't what a benchmark measures.

The server, one process as ``holdfast chaos serve`` starts it, has core 0 for itself; the load has the others. Figures are
medians over the rounds. Of the paced streams every chunk's arrival is compared with the pace that was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.load import load, request_bytes
from benchmarks.run import RESULTS, System, free_port, machine

TOKENS = 100  # of a stream
PLAIN_TOKENS = 20  # of a plain answer: what the server gives where nobody says otherwise
PACE = 20  # tokens per second
LATE_MS = 50
_CHUNK = b' "},"logprobs"'  # the end of each numbered token
AIMS = {"plain": 5_000, "chunks": 50_000}


def server(core: int | None, **settings: object) -> System:
    """``holdfast chaos serve`` with these settings, on that core."""
    port = free_port()
    binary = Path(sys.executable).parent / "holdfast"
    command = [str(binary), "chaos", "serve", "--port", str(port)]
    for name, value in settings.items():
        command += ["--set", f"{name.replace('__', '.')}={value}"]
    return System("chaos", port, command, core)


def closed_loop(
    core: int | None, *, connections: int, seconds: float, rounds: int, stream: bool, **settings: object
) -> dict:
    """So many callers, each asking again as soon as its answer is whole."""
    system = server(core, tokens=TOKENS if stream else PLAIN_TOKENS, **settings)
    try:
        load(system.port, connections=connections, seconds=0.5, stream=stream)  # warms up
        rows = []
        for _ in range(rounds):
            before = system.cpu_seconds()
            result = load(system.port, connections=connections, seconds=seconds, stream=stream)
            cpu = system.cpu_seconds() - before
            if result.failures:
                raise SystemExit(f"{result.failures} requests failed")
            rows.append(
                (result.requests / result.seconds, cpu / result.requests * 1e6, result.quantile_ms(0.99))
            )
        per_s, cpu_us, p99_ms = (statistics.median(column) for column in zip(*rows, strict=True))
        return {"answers_per_s": per_s, "cpu_us": cpu_us, "p99_ms": p99_ms, "rss_mb": system.rss_mb()}
    finally:
        system.stop()


@dataclass
class Arrivals:
    """When each chunk of a stream came."""

    times: list[float] = field(default_factory=list)

    def lateness_s(self) -> list[float]:
        """How much later each came than its pace asks, by the luckiest chunk of the stream."""
        offsets = [at - i / PACE for i, at in enumerate(self.times)]
        return [offset - min(offsets) for offset in offsets]


class Listener(asyncio.Protocol):
    """One paced stream, looked at no closer than it takes to see a chunk come."""

    def __init__(self, request: bytes, done: asyncio.Future[None]) -> None:
        self._request, self._done = request, done
        self.arrivals = Arrivals()
        self.failed = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self.arrivals.times += [now] * data.count(_CHUNK)
        if data.endswith(b"0\r\n\r\n"):
            self.failed = len(self.arrivals.times) != TOKENS
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def _paced(port: int, streams: int) -> list[Listener]:
    loop = asyncio.get_running_loop()
    request = request_bytes(port, stream=True)
    listeners, ends = [], []
    for number in range(streams):
        done = loop.create_future()
        listener = Listener(request, done)
        await loop.create_connection(lambda listener=listener: listener, "127.0.0.1", port)
        listeners.append(listener)
        ends.append(done)
        if number % 20 == 0:
            await asyncio.sleep(20 / streams)  # spread over a second, as callers are
    await asyncio.wait_for(asyncio.gather(*ends), 120)
    return listeners


def paced(core: int | None, streams: int) -> dict:
    """So many open streams at a steady pace."""
    system = server(core, tokens=TOKENS, pace__tps=PACE)
    try:
        empty_mb = system.rss_mb()
        before = system.cpu_seconds()
        start = time.perf_counter()
        listeners = uvloop.run(_paced(system.port, streams))
        seconds = time.perf_counter() - start
        cpu = system.cpu_seconds() - before
        if failed := sum(listener.failed for listener in listeners):
            raise SystemExit(f"{failed} of {streams} streams were not whole")
        late = sorted(late for listener in listeners for late in listener.arrivals.lateness_s())
        return {
            "streams": streams,
            "chunks": len(late),
            "chunks_per_s": len(late) / seconds,
            "late_share": sum(one * 1e3 > LATE_MS for one in late) / len(late),
            "late_p50_ms": late[len(late) // 2] * 1e3,
            "late_p99_ms": late[int(0.99 * len(late))] * 1e3,
            "late_max_ms": late[-1] * 1e3,
            "cpu_share": cpu / seconds,
            "rss_mb": system.rss_mb(),
            "empty_mb": empty_mb,
        }
    finally:
        system.stop()


def markdown(report: dict) -> str:
    known, row = report["machine"], report["paced"]
    lines = [
        "# How fast the chaos provider is",
        "",
        f"`{report['command']}` on {known['cores']} cores of {known['cpu']}, Python {known['python']}, {report['date']}. "
        f"One process on one core, {report['connections']} callers that ask again at once; medians of {report['rounds']} "
        f"rounds of {report['seconds']:g} s. CPU is the server's own. A plain answer has {PLAIN_TOKENS} tokens, a stream "
        f"{TOKENS}, one event for each.",
        "",
        "| | answers/s | tokens/s | CPU an answer, µs | p99 ms | peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in report["closed"].items():
        tokens = one["answers_per_s"] * (TOKENS if name.startswith("stream") else PLAIN_TOKENS)
        lines.append(
            f"| {name} | {one['answers_per_s']:,.0f} | {tokens:,.0f} | {one['cpu_us']:.0f} | {one['p99_ms']:.1f} "
            f"| {one['rss_mb']:.0f} |"
        )
    lines += [
        "",
        f"## {row['streams']:,} open streams at {PACE} tokens a second",
        "",
        f"{row['chunks_per_s']:,.0f} chunks a second on average, each a write of its own; {row['late_share']:.3%} of "
        f"{row['chunks']:,} came more than {LATE_MS} ms late (half within {row['late_p50_ms']:.1f} ms, 99 % within "
        f"{row['late_p99_ms']:.1f} ms, the last after {row['late_max_ms']:.0f} ms, the load's own delays included). The "
        f"server took {row['cpu_share']:.0%} of a core and {row['rss_mb']:.0f} MB ({row['empty_mb']:.0f} MB when idle).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind (default 3)")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--streams", type=int, default=2_000)
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    core = 0 if cores > 1 else None
    if core is not None:
        os.sched_setaffinity(0, set(range(1, cores)))
    given = {"connections": options.connections, "seconds": options.seconds, "rounds": options.rounds}
    closed = {
        "plain answers": closed_loop(core, stream=False, **given),
        "streams, a write for each token": closed_loop(core, stream=True, **given),
        "streams, a write for 16 tokens": closed_loop(core, stream=True, pace__batch=16, **given),
    }
    report = {
        "command": f"make bench-chaos ARGS='{' '.join(sys.argv[1:])}'"
        if sys.argv[1:]
        else "make bench-chaos",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine(),
        **given,
        "aims": AIMS,
        "closed": closed,
        "paced": paced(core, options.streams),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "chaos.json").write_text(json.dumps(report, indent=2) + "\n")
    text = markdown(report)
    (RESULTS / "chaos.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
