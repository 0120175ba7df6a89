"""RT4, RT5: retries are a share of the requests, whoever makes them and however many callers there are."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.load import asked, sent_to, state_of

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http import Answer

RATIO, FLOOR = 0.1, 3  # 0.3 a second in a window of 10 s
REQUESTS = 60


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    scripts = {"down": "503", "up": "ok", "flaky": "503; ok"}
    with run_chaos(ChaosConfig(scripts=scripts)) as server:
        yield server


@contextmanager
def world(folder: Path, chaos: Chaos, **sections: Any) -> Iterator[Running]:
    """Without breakers: what is left is the budget."""
    routes = {
        "down": {"targets": ["one/down"]},
        "elsewhere": {"targets": ["two/down"]},
        "also-down": {"targets": ["one/down"]},
        "backed": {"targets": ["one/down", "two/up"]},
    }
    settings = {"retry": {"base_s": 0.001, "max_s": 0.01}, "breaker": {"enabled": False}, **sections}
    with run_gateway(document_of(chaos.base_url, folder / "ledger.db", routes=routes, **settings)) as running:
        yield running
        running.no_traceback()


def ask_often(gateway: Running, model: str, count: int, *, retry_count: str | None = None) -> list[Answer]:
    """One after the other."""
    headers = {} if retry_count is None else {"x-stainless-retry-count": retry_count}
    request = sent_to(model, headers=headers)

    async def main() -> list[Answer]:
        return [await asked(gateway.port, request) for _ in range(count)]

    return asyncio.run(main())


def test_ours_are_the_stated_share(tmp_path: Path, chaos: Chaos) -> None:
    with world(tmp_path, chaos) as gateway:
        answers = ask_often(gateway, "down", REQUESTS)
        assert {(answer.status, answer.headers["x-should-retry"]) for answer in answers} == {(502, "false")}
        assert len(chaos.journal()) == sum(answer.attempts for answer in answers)
        assert answers[0].attempts == 3, "a lonely caller has its retries"
        budget = state_of(gateway, "one/down").budget
    retries = len(chaos.journal()) - REQUESTS
    assert RATIO * REQUESTS <= retries <= RATIO * REQUESTS + FLOOR
    assert (budget.requests, budget.retries) == (REQUESTS, retries)


def test_a_crowd_has_no_more_than_one_caller(tmp_path: Path, chaos: Chaos) -> None:
    with world(tmp_path, chaos) as gateway:

        async def main() -> list[Answer]:
            return await asyncio.gather(*(asked(gateway.port, sent_to("down")) for _ in range(REQUESTS)))

        asyncio.run(main())
    assert RATIO * REQUESTS <= len(chaos.journal()) - REQUESTS <= RATIO * REQUESTS + FLOOR


@pytest.mark.parametrize("count", ["1", "5"])
def test_a_clients_own_retries_use_it_up(tmp_path: Path, chaos: Chaos, count: str) -> None:
    with world(tmp_path, chaos) as gateway:
        again = ask_often(gateway, "down", 20, retry_count=count)
        ours = sum(answer.attempts for answer in again) - 20
        assert ours <= FLOOR, "and nobody's first request has paid for any"
        afterwards = ask_often(gateway, "down", 40)
        assert {answer.attempts for answer in afterwards} == {1}
        state = state_of(gateway, "one/down")
    assert state.client_retries == 20
    assert state.budget.retries == 20 + ours
    assert state.budget.requests == 40


@pytest.mark.parametrize("count", ["0", "", "many", "-1", "1e9"])
def test_what_is_no_retry_counts_as_none(tmp_path: Path, chaos: Chaos, count: str) -> None:
    with world(tmp_path, chaos) as gateway:
        ask_often(gateway, "down", 10, retry_count=count)
        state = state_of(gateway, "one/down")
    assert (state.client_retries, state.budget.requests) == (0, 10)


def test_it_is_the_targets_and_not_the_routes(tmp_path: Path, chaos: Chaos) -> None:
    with world(tmp_path, chaos) as gateway:
        for _ in range(REQUESTS // 2):
            ask_often(gateway, "down", 1)
            ask_often(gateway, "also-down", 1)
        assert len(chaos.journal()) - REQUESTS <= RATIO * REQUESTS + FLOOR
        (other,) = ask_often(gateway, "elsewhere", 1)
        assert other.attempts == 3, "another target has its own"


def test_a_route_may_have_its_own(tmp_path: Path, chaos: Chaos) -> None:
    routes = {
        "down": {"targets": ["one/down"]},
        "own": {"targets": ["one/down"], "retry": {"budget_ratio": 0, "budget_floor_per_s": 0}},
    }
    document = document_of(
        chaos.base_url,
        tmp_path / "ledger.db",
        retry={"base_s": 0.001, "max_s": 0.01},
        breaker={"enabled": False},
        routes=routes,
    )
    with run_gateway(document) as gateway:
        assert {answer.attempts for answer in ask_often(gateway, "own", 10)} == {1}
        assert ask_often(gateway, "down", 1)[0].attempts == 3


def test_the_next_target_is_no_retry(tmp_path: Path, chaos: Chaos) -> None:
    """Falling back costs the first target nothing, so it isn't refused when that one's budget is spent."""
    with world(tmp_path, chaos) as gateway:
        answers = ask_often(gateway, "backed", REQUESTS)
        assert {answer.status for answer in answers} == {200}
        assert state_of(gateway, "two/up").budget.retries == 0
    assert len(chaos.journal(model="up")) == REQUESTS
    assert len(chaos.journal(model="down")) <= REQUESTS * (1 + RATIO) + FLOOR
