"""``python -m benchmarks.processes``: what a ledger on PostgreSQL, Redis and a second worker cost beside the embedded mode.

Budgets, cost protection and a rate limit for callers are on in each, since these are what processes share. Rounds are
interleaved, figures are medians over them, and ratios are taken within a round. Everything runs on the same cores: load,
mock provider, gateways and servers.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.support.postgres import PostgresServer
from tests.support.redis_server import running_redis

from benchmarks.run import BUDGETS, RESULTS, TOML, System, cpu_seconds, free_port, machine, measure

EMBEDDED = "one process, SQLite"
RATE = """
[gateway.rate]
requests = 1000000
tokens = 10000000000
"""
CONNECTIONS = (1, 16, 64)


def gateways(directory: Path, mock_port: int, urls: dict[str, str]) -> list[System]:
    """In the order of what they add."""
    variants = {
        EMBEDDED: ("", 1),
        "one process, PostgreSQL": (f'[ledger]\nurl = "{urls["one"]}"\n', 1),
        "one process, PostgreSQL and Redis": (
            f'[ledger]\nurl = "{urls["both"]}"\n[redis]\nurl = "{urls["redis"]}"\nprefix = "one"\n',
            1,
        ),
        "two workers, PostgreSQL and Redis": (
            f'[ledger]\nurl = "{urls["two"]}"\n[redis]\nurl = "{urls["redis"]}"\nprefix = "two"\n',
            2,
        ),
    }
    found = []
    for number, (name, (where, workers)) in enumerate(variants.items()):
        port = free_port()
        text = (TOML + BUDGETS + RATE).format(port=port, ledger=directory / "one.db", upstream=mock_port)
        if where:
            embedded = f'[ledger]\nurl = "sqlite:///{directory / "one.db"}"\n'
            assert embedded in text
            text = text.replace(embedded, where)
        file = directory / f"{number}.toml"
        file.write_text(text)
        binary = Path(sys.executable).parent / "holdfast"
        command = [str(binary), "serve", "--config", str(file), "--workers", str(workers)]
        found.append(System(name, port, command, None))
    return found


def scenario(
    found: list[System], servers: list[int], *, rounds: int, connections: int, seconds: float
) -> dict:
    taken: dict[str, list[dict]] = {system.name: [] for system in found}
    for number in range(rounds + 1):
        for system in found:
            length_s = seconds if number else 1.0  # round 0 warms up
            before = sum(map(cpu_seconds, servers))
            row = measure(system, connections=connections, seconds=length_s, stream=False)
            aside = sum(map(cpu_seconds, servers)) - before
            row["servers_us"] = aside / (row["requests_per_s"] * length_s) * 1e6
            if number:
                taken[system.name].append(row)
    table = {}
    for system in found:
        rows = taken[system.name]
        table[system.name] = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        for name, of in (("cpu_ratio", "cpu_us"), ("added_p50_ms", "p50_ms"), ("added_p99_ms", "p99_ms")):
            pairs = [(mine[of], base[of]) for mine, base in zip(rows, taken[EMBEDDED], strict=True)]
            table[system.name][name] = statistics.median(
                mine / base if name == "cpu_ratio" else mine - base for mine, base in pairs
            )
    return {"connections": connections, "systems": table}


def markdown(report: dict) -> str:
    on = report["machine"]
    lines = [
        "# Several processes, beside one",
        "",
        f"`{report['command']}` on {on['cores']} cores of {on['cpu']}, Python {on['python']}, {report['date']}. Plain "
        f"answers of 1 KB with three budgets, cost protection and a rate limit; medians of {report['rounds']} interleaved "
        f"rounds of {report['seconds']:g} s, differences and ratios within a round. CPU is the gateways', all processes and "
        "threads; the servers' is PostgreSQL's and Redis' together. Load, provider, gateways and servers share the cores.",
        "",
    ]
    for result in report["scenarios"]:
        lines += [
            f"## {result['connections']} connections",
            "",
            "| | requests/s | CPU a request, µs | ÷ embedded | servers' CPU, µs | p50 ms | p99 ms "
            "| added p50 ms | added p99 ms |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name, row in result["systems"].items():
            cells = [
                name,
                f"{row['requests_per_s']:,.0f}",
                f"{row['cpu_us']:.0f}",
                f"{row['cpu_ratio']:.2f}",
                f"{row['servers_us']:.0f}",
                f"{row['p50_ms']:.2f}",
                f"{row['p99_ms']:.2f}",
                f"{row['added_p50_ms']:.2f}",
                f"{row['added_p99_ms']:.2f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(PostgresServer())
        redis = stack.enter_context(running_redis())
        mock_port = free_port()
        mock = System("mock", mock_port, [sys.executable, "-m", "benchmarks.mock", str(mock_port)], None)
        stack.callback(mock.stop)
        urls = {name: postgres.database() for name in ("one", "both", "two")} | {"redis": redis.url}
        found = gateways(directory, mock_port, urls)
        for system in found:
            stack.callback(system.stop)
        servers = [postgres.pid, redis.pid]
        report = {
            "command": " ".join(["python -m benchmarks.processes", *sys.argv[1:]]),
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "machine": machine(),
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "scenarios": [
                scenario(
                    found,
                    servers,
                    rounds=arguments.rounds,
                    connections=connections,
                    seconds=arguments.seconds,
                )
                for connections in CONNECTIONS
            ],
        }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "processes.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "processes.md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
