"""``holdfast serve --workers 2`` on a real PostgreSQL and a real Redis."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.e2e.cli_process import WAIT_S, Serving, holdfast, serving
from tests.support.postgres import PostgresServer
from tests.support.redis_server import running_redis
from tests.support.shared_gateway import (
    Caller,
    ask_many,
    configuration,
    of_each_worker,
    pids,
    scraped,
)

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer

    from holdfast.chaos import Chaos


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
    with run_chaos(ChaosConfig(scripts={"fb-slow": "tokens=10 tps=10", "fb-*": "tokens=3"})) as chaos:
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


def total(callers: dict[int, Caller], name: str) -> list[float]:
    """A counter, as each worker shows it."""
    return [scraped(caller).get(name, 0.0) for caller in callers.values()]


def test_two_serve_as_one_and_what_one_counted_outlives_it(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer, wall: Chaos
) -> None:
    ok = "holdfast_requests_total chat ok"
    with (
        two_workers(tmp_path, postgres, redis, wall) as gateway,
        of_each_worker(gateway.url, 2) as callers,
    ):
        # Each has served some, and each shows what both have.
        assert set(ask_many(gateway.url, 200)) == {200}
        assert total(callers, ok) == [200.0, 200.0]
        assert total(callers, "holdfast_request_seconds_count chat") == [200.0, 200.0]
        own = pids(gateway.stderr)
        assert set(own) == {1, 2}

        # Both hang on the same.
        ready = callers[1].ready()
        assert [(each["name"], each["ok"]) for each in ready["dependencies"]] == [
            ("ledger", True),
            ("redis", True),
        ]

        # One is killed: the other goes on, another one comes, and no counter has gone back.
        told_by = time.monotonic() + WAIT_S
        (victim,) = own[1]
        os.kill(victim, signal.SIGKILL)
        assert callers[2].ask() == 200
        while pids(gateway.stderr)[1] == {victim} or "a worker serves again" not in gateway.stderr:
            assert time.monotonic() < told_by
            assert callers[2].ask() == 200
        before = scraped(callers[2])[ok]
        assert before >= 200
        assert ask_many(gateway.url, 10) == [200] * 10
        with of_each_worker(gateway.url, 2) as again:
            assert total(again, ok) == [before + 10] * 2

            # Both finish what runs before they end.
            with ThreadPoolExecutor(2) as pool:
                running = [pool.submit(caller.ask, "wall/fb-slow") for caller in again.values()]
                while sum(entry.model == "fb-slow" for entry in wall.journal()) < 2:
                    assert not any(each.done() for each in running)
                assert gateway.stop() == 0
                assert [each.result() for each in running] == [200, 200]
        with pytest.raises(ConnectionRefusedError):
            Caller(gateway.url).ready()

    said = [json.loads(line) for line in gateway.stderr.splitlines()]
    died = [line for line in said if line["event"] == "a worker died"]
    assert [(line["dead"], line["reason"]) for line in died] == [(1, "worker 1 was ended by SIGKILL")]
    drained = [(line["worker"], line["running"]) for line in said if line["event"] == "draining"]
    assert sorted(drained) == [(1, 1), (2, 1)]


def test_without_keys_several_workers_play_the_same_providers(
    tmp_path: Path, postgres: PostgresServer, redis: RedisServer
) -> None:
    url = postgres.database()
    try:
        (tmp_path / "holdfast.toml").write_text('[ledger]\nurl = "${DATABASE_URL}"\n')
        env = {"DATABASE_URL": url, "REDIS_URL": redis.url}
        with serving(tmp_path, "--workers", "2", env=env) as gateway:
            assert "SIMULATED" in gateway.stderr
            with of_each_worker(gateway.url, 2) as callers:
                assert [caller.ask() for caller in callers.values()] == [200, 200]
            said = "".join(gateway.said)
            assert "workers    2" in said
            assert "***@127.0.0.1" in said
            assert gateway.stop() == 0
    finally:
        postgres.give_back(url)


def test_a_second_gateway_that_could_not_share_is_refused(
    tmp_path: Path, postgres: PostgresServer, wall: Chaos
) -> None:
    url = postgres.database()
    try:
        configuration(tmp_path, database=url, redis=None, provider=wall.base_url)
        with serving(tmp_path):
            done = holdfast(tmp_path, "serve", "--port", "0")
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: ledger.url: process ")
        assert "circuit breakers (breaker) through Redis alone: set redis.url" in last
        assert "canary" not in done.stderr
    finally:
        postgres.give_back(url)


def test_workers_that_cannot_start_are_told_in_one_sentence(tmp_path: Path) -> None:
    configuration(
        tmp_path,
        database="postgresql://u:canary@127.0.0.1:1/d",
        redis="redis://127.0.0.1:1",
        provider="http://x",
    )
    done = holdfast(tmp_path, "serve", "--port", "0", "--workers", "2")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    assert "canary" not in done.stderr
