"""``make bench``: Holdfast beside going direct, nginx, and the same stack without policies, in one run.

The system under test has core 0 for itself; load and mock provider share the others. Rounds are interleaved, figures are
medians over the rounds, and ratios are taken within a round: these survive a machine whose speed drifts.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import datetime as dt
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.load import load
from benchmarks.mock import PIECES

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
CHUNKS = len(PIECES)

TOML = """
[gateway]
port = {port}
[gateway.log]
level = "warning"
[ledger]
url = "sqlite:///{ledger}"
[providers.wall]
dialect = "openai_chat"
base_url = "http://127.0.0.1:{upstream}/v1"
api_key = "bench-key"
[routes.chat]
targets = ["wall/gpt-4o"]
[prices."wall/gpt-4o"]
input_per_1m = 2.5
output_per_1m = 10
"""

OFF, EVERY = "holdfast, policies off", "holdfast, every policy on"
BUDGETS = """
[budgets.everyone]
limit_usd = 1000000
window = "day"
[budgets.each]
scope = "key"
limit_usd = 1000000
window = "hour"
[budgets.tokens]
scope = "model"
limit_tokens = 1000000000000
[cost_protection]
enabled = true
circuit_breaker_threshold_usd = 1000000
hourly_limit_usd = 1000000
"""
VARIANTS = {  # what each adds to the file; the first has what is on by default
    "holdfast": "",
    OFF: """
[breaker]
enabled = false
[bulkhead]
enabled = false
""",
    "holdfast, budgets": BUDGETS,
    EVERY: BUDGETS
    + """
[adaptive]
enabled = true
initial_limit = 1000
[rate]
requests = 1000000
tokens = 10000000000
[gateway.rate]
requests = 1000000
tokens = 10000000000
[hedge]
percentile = 99
[overall]
max_concurrent = 10000
[timeouts]
min_tokens_per_s = 0.1
""",
}

NGINX = """
worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log; worker_cpu_affinity 01;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 512; }}
  server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }} }}
}}
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


TRANSLATED = "holdfast, Anthropic's callers"
"""Their requests and answers are translated: the mock speaks Chat Completions."""


class System:
    """A process to measure."""

    def __init__(self, name: str, port: int, command: list[str] | None, core: int | None) -> None:
        self.name, self.port = name, port
        self.dialect = "openai_chat"
        self.process = None
        if command is not None:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
            if core is not None:
                os.sched_setaffinity(self.process.pid, {core})
        self.wait()

    def asked_as(self, name: str, dialect: str) -> System:
        """The same process, asked by callers of another dialect."""
        other = copy.copy(self)
        other.name, other.dialect = name, dialect
        return other

    def wait(self) -> None:
        for _ in range(2000):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self.process is not None and self.process.poll() is not None:
                raise SystemExit(f"{self.name} did not start")
            time.sleep(0.01)
        raise SystemExit(f"{self.name} did not listen on {self.port}")

    def cpu_seconds(self) -> float:
        return 0.0 if self.process is None else cpu_seconds(self.process.pid)

    def rss_mb(self) -> float:
        if self.process is None:
            return 0.0
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        return 0.0

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=60)


def cpu_seconds(pid: int) -> float:
    """What a process and its children have taken so far."""
    ticks = 0
    for each in _family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(each for child in children for each in _family(int(child)))]
    return [pid]


def systems(directory: Path, mock_port: int, core: int | None) -> list[System]:
    found = [System("direct", mock_port, None, None)]
    if nginx := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"):
        port = free_port()
        conf = directory / "nginx.conf"
        conf.write_text(NGINX.format(directory=directory, upstream=mock_port, port=port))
        found.append(System("nginx", port, [nginx, "-c", str(conf), "-p", str(directory)], core))
    else:
        print("nginx is not installed: left out", file=sys.stderr)
    port = free_port()
    found.append(
        System("bare stack", port, [sys.executable, "-m", "benchmarks.bare", str(port), str(mock_port)], core)
    )
    ours = [_gateway(name, more, directory, mock_port, core) for name, more in VARIANTS.items()]
    return [*found, *ours, ours[0].asked_as(TRANSLATED, "anthropic")]


def _gateway(name: str, more: str, directory: Path, mock_port: int, core: int | None) -> System:
    port, stem = free_port(), name.replace(", ", "-").replace(" ", "-")
    config = directory / f"{stem}.toml"
    config.write_text((TOML + more).format(port=port, ledger=directory / f"{stem}.db", upstream=mock_port))
    binary = Path(sys.executable).parent / "holdfast"
    return System(name, port, [str(binary), "serve", "--config", str(config)], core)


def measure(system: System, *, connections: int, seconds: float, stream: bool, pace_ms: float = 0.0) -> dict:
    before = system.cpu_seconds()
    result = load(
        system.port,
        connections=connections,
        seconds=seconds,
        stream=stream,
        pace_ms=pace_ms,
        dialect=system.dialect,
    )
    cpu = system.cpu_seconds() - before
    if result.failures or not result.requests:
        raise SystemExit(
            f"{system.name}: {result.failures} failed requests of {result.requests + result.failures}"
        )
    return {
        "requests_per_s": result.requests / result.seconds,
        "cpu_us": cpu / result.requests * 1e6,
        "p50_ms": result.quantile_ms(0.5),
        "p99_ms": result.quantile_ms(0.99),
        "first_p50_ms": result.quantile_ms(0.5, first=True),
    }


def median(rounds: list[dict], name: str) -> float:
    return statistics.median(r[name] for r in rounds)


def scenario(
    found: list[System],
    title: str,
    *,
    rounds: int,
    connections: int,
    seconds: float,
    stream: bool,
    pace_ms: float = 0.0,
) -> dict:
    """Every system in turn, for each round; the first round's direct run warms the mock."""
    taken: dict[str, list[dict]] = {system.name: [] for system in found}
    for number in range(rounds + 1):
        for system in found:
            row = measure(
                system,
                connections=connections,
                seconds=seconds if number else 0.5,
                stream=stream,
                pace_ms=pace_ms,
            )
            if number:  # round 0 warms up
                taken[system.name].append(row)
    table = {}
    for system in found:
        rows = taken[system.name]
        table[system.name] = {name: median(rows, name) for name in rows[0]}
        for name, base in (("added_p50_ms", "p50_ms"), ("added_p99_ms", "p99_ms")):
            table[system.name][name] = statistics.median(
                mine[base] - direct[base] for mine, direct in zip(rows, taken["direct"], strict=True)
            )
        for name, base in (("cpu_ratio_to_bare", "bare stack"), ("cpu_ratio_to_off", OFF)):
            table[system.name][name] = statistics.median(
                mine["cpu_us"] / other["cpu_us"] if other["cpu_us"] else float("nan")
                for mine, other in zip(rows, taken[base], strict=True)
            )
    return {
        "title": title,
        "connections": connections,
        "stream": stream,
        "pace_ms": pace_ms,
        "systems": table,
    }


def machine() -> dict:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def markdown(report: dict) -> str:
    lines = [
        "# Speed, side by side",
        "",
        f"`{report['command']}` on {report['machine']['cores']} cores of {report['machine']['cpu']}, "
        f"Python {report['machine']['python']}, {report['date']}. Medians of {report['rounds']} interleaved rounds of "
        f"{report['seconds']:g} s; ratios within a round. CPU is the measured process's own, all threads. "
        f"A stream has {CHUNKS} chunks.",
        "",
    ]
    for result in report["scenarios"]:
        lines += [f"## {result['title']}", ""]
        per_chunk = result["stream"]
        head = "| | requests/s | CPU a request, µs | CPU ÷ bare stack | CPU ÷ policies off | p50 ms | p99 ms "
        head += "| added p50 ms | added p99 ms |"
        rule = "|---|---|---|---|---|---|---|---|---|"
        if per_chunk:
            head += " CPU a chunk, µs |"
            rule += "---|"
        lines += [head, rule]
        for name, row in result["systems"].items():
            cells = [
                name,
                f"{row['requests_per_s']:,.0f}",
                f"{row['cpu_us']:.0f}" if name != "direct" else "",
                f"{row['cpu_ratio_to_bare']:.2f}" if name != "direct" else "",
                f"{row['cpu_ratio_to_off']:.2f}" if name.startswith("holdfast") else "",
                f"{row['p50_ms']:.2f}",
                f"{row['p99_ms']:.2f}",
                f"{row['added_p50_ms']:.2f}" if name != "direct" else "",
                f"{row['added_p99_ms']:.2f}" if name != "direct" else "",
            ]
            if per_chunk:
                cells.append(f"{row['cpu_us'] / CHUNKS:.2f}" if name != "direct" else "")
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    lines.append(
        f"Peak memory of the gateway's process over the whole run: {report['holdfast_rss_mb']:.0f} MB."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each system (default 3)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--quick", action="store_true", help="one round of one second, 64 connections")
    parser.add_argument("--name", default="speed", help="of the files in benchmarks/results/")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.connections = 1.0, 1, [64]
    cores = os.cpu_count() or 1
    core = 0 if cores > 1 else None
    if core is not None:
        os.sched_setaffinity(0, set(range(1, cores)))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        mock_port = free_port()
        mock = System("mock", mock_port, [sys.executable, "-m", "benchmarks.mock", str(mock_port)], None)
        found = systems(directory, mock_port, core)
        try:
            scenarios = []
            for connections in options.connections:
                title = f"Plain answers of 1 KB, {connections} connections"
                print(title, file=sys.stderr)
                scenarios.append(
                    scenario(
                        found,
                        title,
                        rounds=options.rounds,
                        connections=connections,
                        seconds=options.seconds,
                        stream=False,
                    )
                )
            title = f"Streams whose {CHUNKS} chunks arrive together, 64 connections"
            print(title, file=sys.stderr)
            scenarios.append(
                scenario(
                    found, title, rounds=options.rounds, connections=64, seconds=options.seconds, stream=True
                )
            )
            title = f"Streams of {CHUNKS} chunks paced at 20/s, 200 connections"
            print(title, file=sys.stderr)
            scenarios.append(
                scenario(
                    [
                        system for system in found if system.name != TRANSLATED
                    ],  # its pace is set in OpenAI's words
                    title,
                    rounds=1,
                    connections=200,
                    seconds=options.seconds,
                    stream=True,
                    pace_ms=50.0,
                )
            )
            rss = found[-1].rss_mb()
        finally:
            for system in reversed(found):
                system.stop()
            mock.stop()
    report = {
        "command": f"make bench ARGS='{' '.join(sys.argv[1:])}'" if sys.argv[1:] else "make bench",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "scenarios": scenarios,
        "holdfast_rss_mb": rss,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{options.name}.json").write_text(json.dumps(report, indent=2) + "\n")
    text = markdown(report)
    (RESULTS / f"{options.name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
