"""Gateways of several processes for tests: PostgreSQL, Redis and a provider, and a configuration that has them."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 30


def configuration(folder: Path, *, database: str, redis: str | None, provider: str, more: str = "") -> Path:
    """A file for ``holdfast serve``. Logs are JSON."""
    file = folder / "holdfast.toml"
    shared = f'[redis]\nurl = "{redis}"\ntimeout_ms = 500\nbudget_ms = 1000\n' if redis is not None else ""
    file.write_text(
        f'[gateway]\ndrain_s = 10\n[gateway.log]\nformat = "json"\n'
        f'[ledger]\nurl = "{database}"\n{shared}'
        f'[providers.wall]\ndialect = "openai_chat"\nbase_url = "{provider}"\napi_key = "x"\n'
        f'[routes.chat]\ntargets = ["wall/fb-ok"]\n{more}'
    )
    return file


class Caller:
    """One connection to a gateway: all of its requests reach the same worker."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=WAIT_S)

    def get(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def ask(self, model: str = "chat") -> int:
        said = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"content-type": "application/json"}
        self._connection.request("POST", "/v1/chat/completions", json.dumps(said), headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/health/ready")[1])
        return found

    def close(self) -> None:
        self._connection.close()


@contextmanager
def of_each_worker(url: str, workers: int) -> Iterator[dict[int, Caller]]:
    """A caller for each worker, by the worker's number."""
    callers: dict[int, Caller] = {}
    with ExitStack() as stack:
        for _ in range(1000):
            caller = Caller(url)
            stack.callback(caller.close)
            callers.setdefault(caller.ready()["worker"], caller)
            if len(callers) == workers:
                break
        else:
            raise AssertionError(f"of {workers} workers only {sorted(callers)} ever answered")
        yield callers


def ask_many(url: str, count: int, *, at_once: int = 8) -> list[int]:
    """The statuses of ``count`` requests, each on a connection of its own."""

    def one(_: int) -> int:
        caller = Caller(url)
        try:
            return caller.ask()
        finally:
            caller.close()

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, range(count)))


def scraped(caller: Caller) -> dict[str, float]:
    """Each series of ``/metrics`` by its name and labels' values."""
    status, text = caller.get("/metrics")
    assert status == 200, text
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def pids(log: str) -> dict[int, set[int]]:
    """The process ids that each worker's lines carry, from a log in JSON."""
    found: dict[int, set[int]] = {}
    for line in log.splitlines():
        if re.search(r'"worker": \d', line):
            said = json.loads(line)
            found.setdefault(said["worker"], set()).add(said["pid"])
    return found
