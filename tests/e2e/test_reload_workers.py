"""Reload where several processes serve one address: who asks one of them reaches all."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cli_process import WAIT_S, holdfast, serving
from tests.support.postgres import PostgresServer
from tests.support.redis_server import running_redis
from tests.support.shared_gateway import configuration, of_each_worker

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.e2e.cli_process import Serving
    from tests.support.redis_server import RedisServer
    from tests.support.shared_gateway import Caller

    from holdfast.chaos import Chaos

_LOOKS = 5_000


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def wall() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts={"fb-*": "tokens=3"})) as chaos:
        yield chaos


@contextmanager
def two_workers(folder: Path, postgres: PostgresServer, redis: RedisServer, wall: Chaos) -> Iterator[Serving]:
    url = postgres.database()
    configuration(folder, database=url, redis=redis.url, provider=wall.base_url)
    try:
        with serving(folder, "--workers", "2") as gateway:
            yield gateway
    finally:
        postgres.give_back(url)


def config_of(caller: Caller) -> dict[str, Any]:
    status, body = caller.get("/admin/config")
    assert status == 200
    found: dict[str, Any] = json.loads(body)
    return found


def until(callers: dict[int, Caller], happened: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Looks at each worker until it is as wanted."""
    found = []
    for caller in callers.values():
        for _ in range(_LOOKS):
            config = config_of(caller)
            if happened(config):
                found.append(config)
                break
        else:
            raise AssertionError(f"a worker stays at {config}")
    return found


def test_one_that_is_asked_has_all_reload_and_a_signal_does_too(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer, wall: Chaos
) -> None:
    with two_workers(tmp_path, postgres, redis, wall) as gateway, of_each_worker(gateway.url, 2) as callers:
        file = tmp_path / "holdfast.toml"
        first = file.read_text()
        file.write_text(first.replace("fb-ok", "fb-second"))
        done = holdfast(tmp_path, "reload", "--url", gateway.url, "--json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["changed"], said["workers"]) == (True, "asked")
        found = until(callers, lambda config: config["generation"] == 2)
        assert {config["hash"] for config in found} == {said["hash"]}
        assert all(caller.ask() == 200 for caller in callers.values())
        assert wall.journal()[-1].model == wall.journal()[-2].model == "fb-second"

        file.write_text(first.replace("fb-ok", "fb-third"))
        gateway.process.send_signal(signal.SIGHUP)
        until(callers, lambda config: config["generation"] == 3)

        file.write_text(first.replace("drain_s = 10", "drain_s = 10\nworkers = 3"))
        for_all = until(callers, lambda config: config["generation"] == 3)
        refused = holdfast(tmp_path, "reload", "--url", gateway.url)
        assert refused.returncode == 0, refused.stderr  # --workers goes over it, as at the start
        until(callers, lambda config: config["generation"] == 4)
        file.write_text(first.replace("fb-ok", "fb-fourth").replace("[routes.chat]", "[routes.chat]\nx = 1"))
        gateway.process.send_signal(signal.SIGHUP)
        broken = until(callers, lambda config: config["reloads"]["refused"] == 1)
        assert {config["generation"] for config in broken} == {4}
        assert len(for_all) == 2
        assert gateway.stop() == 0
        assert gateway.process.wait(WAIT_S) == 0
        assert "Traceback" not in gateway.stderr


def test_a_limit_that_needs_redis_is_refused_where_there_are_others(
    tmp_path: Path, postgres: PostgresServer, wall: Chaos
) -> None:
    """As at the start, where several processes share a database and no Redis."""
    url = postgres.database()
    plain = "[breaker]\nenabled = false\n"
    configuration(tmp_path, database=url, redis=None, provider=wall.base_url, more=plain)
    try:
        with serving(tmp_path, "--workers", "2") as gateway:
            file = tmp_path / "holdfast.toml"
            file.write_text(file.read_text().replace("drain_s = 10", "drain_s = 10\nrate = { requests = 5 }"))
            done = holdfast(tmp_path, "reload", "--url", gateway.url)
            assert done.returncode == 1
            assert "rate limits of callers" in done.stderr
            assert 'set redis.url = "redis://HOST:6379/0"' in done.stderr
    finally:
        postgres.give_back(url)
