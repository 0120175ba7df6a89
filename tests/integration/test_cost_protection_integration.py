"""Cost protection as a whole: what sessions, keys and everyone may spend, and what happens then (D1-D4, D8, D9).

A gateway on its socket, its ledger in a file, and the chaos provider behind it that answers and bills. What takes half an
hour or a day is done with the same parts and the clock in hand.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sqlite3
import time
from collections import Counter
from contextlib import contextmanager
from decimal import Decimal
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Answer, Client, chat, request_bytes
from tests.support.priced_calls import costs_of
from tests.support.spenders import USD, HandClock, Spenders

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.config.cost_protection import CostProtection
from holdfast.errors import SessionEnded
from holdfast.model.usage import Usage
from holdfast.money.budgets import Budgets
from holdfast.money.cost_breaker import CostBreaker, CostState
from holdfast.money.rules import Subject
from holdfast.money.session import SessionSettings
from holdfast.money.sessions import Sessions
from holdfast.providers.prices import PriceBook, parse_overrides

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEYS = ("ann", "bob", "cat")
ADMIN_KEY = "admin-key-of-the-tests"
PRICES = ("0.01", "1", "1.50", "1.99", "2", "5")
"""Dollars that a request costs, by the name of its model: no more and no less."""


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig()) as server:
        yield server


@contextmanager
def protected(
    chaos: Chaos, folder: Path, *, ids_from: Sequence[str] = (), **settings: Any
) -> Iterator[Running]:
    """A gateway with cost protection on; ``settings`` go over its numbers."""
    document = document_of(
        chaos.base_url,
        folder / "ledger.db",
        gateway={"admin_key": ADMIN_KEY},
        cost_protection={"enabled": True, **settings},
        sessions={"ids_from": list(ids_from)},
        default_route="all",
        routes={"all": {"targets": ["one/{model}"], "models": ["*"]}},
        keys={name: {"sha256": hashlib.sha256(name.encode()).hexdigest()} for name in KEYS},
    )
    document["prices"] = {
        f"usd-{price}": {"input_per_1m": 0, "output_per_1m": 0, "per_request_usd": Decimal(price)}
        for price in PRICES
    }
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For tests that spend little of what all share."""
    with protected(chaos, tmp_path_factory.mktemp("sessions")) as running:
        yield running


async def ask(
    gateway: Running, price: str, session: str | None = None, key: str = "ann", **fields: str
) -> Answer:
    """One request that costs ``price`` dollars."""
    client = await Client.connect(gateway.port)
    headers = {"authorization": f"Bearer {key}", **{n.replace("_", "-"): v for n, v in fields.items()}}
    if session is not None:
        headers["x-holdfast-session"] = session
    await client.send(
        request_bytes("POST", "/v1/chat/completions", json.dumps(chat(f"usd-{price}")).encode(), headers)
    )
    await client.head()
    try:
        return await client.rest()
    finally:
        client.leave()


def spend(
    gateway: Running, prices: Sequence[str], session: str | None = None, key: str = "ann"
) -> list[Answer]:
    """One after the other."""

    async def main() -> list[Answer]:
        return [await ask(gateway, price, session, key) for price in prices]

    return asyncio.run(main())


def statuses(answers: Sequence[Answer]) -> list[int]:
    return [answer.status for answer in answers]


def admin(gateway: Running, path: str, method: str = "GET") -> Any:
    async def main() -> Answer:
        client = await Client.connect(gateway.port)
        await client.send(request_bytes(method, path, b"", {"authorization": f"Bearer {ADMIN_KEY}"}))
        await client.head()
        try:
            return await client.rest()
        finally:
            client.leave()

    answer = asyncio.run(main())
    assert answer.status == 200, answer.body
    return answer.json


class TestSessionBudgetEnforcement:
    def test_session_terminates_at_exact_budget_limit(self, gateway: Running, chaos: Chaos) -> None:
        """$2.00 and $2.00 pass, $1.50 would make it $5.50; a dollar makes it exactly $5.00, and a cent more is refused."""
        before = len(chaos.journal())
        answers = spend(gateway, ["2", "2", "1.50", "1", "0.01"], "exact")
        assert statuses(answers) == [200, 200, 402, 200, 402]
        assert len(chaos.journal()) == before + 3, "what is refused is never sent"
        error = answers[2].error
        assert error["code"] == "budget_exceeded"
        assert answers[2].headers["x-should-retry"] == "false"
        session = admin(gateway, "/admin/sessions/ann/exact")
        assert (session["state"], session["spent_usd"]) == ("exhausted", "5.000000000")

    def test_budget_warning_at_80_percent(self, gateway: Running) -> None:
        """Once, by the request that makes it four dollars."""
        answers = spend(gateway, ["1.99", "2", "0.01", "0.01", "0.01"], "warned")
        told = [answer.headers.get("x-holdfast-budget-warning") for answer in answers]
        assert [text is not None for text in told] == [False, False, True, False, False]
        assert "spent-usd=4.000000000; limit-usd=5.000000000" in (told[2] or "")

    def test_concurrent_requests_do_not_pass_it(self, gateway: Running) -> None:
        async def main() -> list[Answer]:
            return await asyncio.gather(*(ask(gateway, "2", "together") for _ in range(20)))

        assert Counter(statuses(asyncio.run(main()))) == {200: 2, 402: 18}

    def test_without_a_session_there_is_no_session_budget(self, gateway: Running) -> None:
        assert statuses(spend(gateway, ["2", "2", "2"], key="bob")) == [200] * 3

    def test_two_keys_may_use_one_id_for_two_sessions(self, gateway: Running) -> None:
        assert statuses(spend(gateway, ["5", "0.01"], "same", key="bob")) == [200, 402]
        assert statuses(spend(gateway, ["5", "0.01"], "same", key="cat")) == [200, 402]

    def test_an_id_that_is_none_is_refused(self, gateway: Running) -> None:
        (answer,) = spend(gateway, ["1"], "no id")
        assert answer.status == 400
        assert answer.error["param"] == "x-holdfast-session"

    def test_spend_and_the_warning_survive_a_restart(self, chaos: Chaos, tmp_path: Path) -> None:
        with protected(chaos, tmp_path) as gateway:
            assert statuses(spend(gateway, ["2", "2"], "kept")) == [200, 200]
        with protected(chaos, tmp_path) as gateway:
            answers = spend(gateway, ["2", "0.01"], "kept")
            assert statuses(answers) == [402, 200]
            assert "x-holdfast-budget-warning" not in answers[1].headers
            assert admin(gateway, "/admin/sessions/ann/kept")["spent_usd"] == "4.010000000"


class TestCircuitBreakerActivation:
    def test_circuit_breaker_activates_at_100_dollars(self, chaos: Chaos, tmp_path: Path) -> None:
        """Twenty sessions of three keys spend five dollars each. Those that were ended count: they spent it."""
        with protected(chaos, tmp_path) as gateway:
            for number in range(20):
                key, session = KEYS[number % 3], f"s{number}"
                assert statuses(spend(gateway, ["5"], session, key)) == [200]
                if number % 2:
                    ended = admin(gateway, f"/admin/sessions/{key}/{session}", "DELETE")
                    assert ended["state"] in ("ended", "exhausted")
            for session in ("s0", "new", None):
                (refused,) = spend(gateway, ["0.01"], session)
                assert refused.status == 503
                assert refused.error["code"] == "cost_breaker_open"
                assert refused.headers["x-should-retry"] == "false"
                assert int(refused.headers["retry-after"]) > 300
            breaker = admin(gateway, "/admin/cost-breaker")
            assert (breaker["state"], breaker["spent_usd"]) == ("open", "100.000000000")
        with protected(chaos, tmp_path) as gateway:
            assert statuses(spend(gateway, ["0.01"])) == [503], "a restart forgets nothing"
            assert admin(gateway, "/admin/cost-breaker/reset", "POST")["state"] == "closed"
            assert statuses(spend(gateway, ["0.01"])) == [200]
        with protected(chaos, tmp_path) as gateway:
            assert admin(gateway, "/admin/cost-breaker")["spent_usd"] == "0.010000000"

    def test_spend_never_passes_the_threshold(self, chaos: Chaos, tmp_path: Path) -> None:
        async def main(gateway: Running) -> list[Answer]:
            return await asyncio.gather(*(ask(gateway, "2", key=KEYS[n % 3]) for n in range(30)))

        with protected(chaos, tmp_path, circuit_breaker_threshold_usd=11) as gateway:
            answers = asyncio.run(main(gateway))
            assert Counter(statuses(answers)) == {200: 5, 503: 25}
            assert admin(gateway, "/admin/cost-breaker")["spent_usd"] == "10.000000000"

    def test_circuit_breaker_recovery_after_cooldown(self) -> None:
        """A day later the money has left the window: one request finds out, and closes it."""
        clock = HandClock()
        breaker = CostBreaker(clock=clock)
        spenders = Spenders(breaker, clock)
        for number in range(20):
            spenders.spend(5 * USD, key=KEYS[number % 3], session=f"s{number}")
            clock.passes(60)
        wait_s = spenders.refusal().retry_after_s
        assert wait_s is not None
        clock.passes(wait_s - 1)
        spenders.refusal()
        clock.passes(1)
        assert breaker.state is CostState.HALF_OPEN
        first = spenders.begin(USD)
        spenders.refusal(USD)
        first.settle(USD)
        assert breaker.state is CostState.CLOSED
        spenders.spend(USD)


class TestHourlyLimit:
    def test_hourly_limit_is_each_keys_own(self, chaos: Chaos, tmp_path: Path) -> None:
        with protected(chaos, tmp_path, hourly_limit_usd=6) as gateway:
            answers = spend(gateway, ["2", "2", "2", "0.01"])
            assert statuses(answers) == [200, 200, 200, 402]
            assert 3500 < int(answers[3].headers["retry-after"]) <= 3601
            assert statuses(spend(gateway, ["2"], key="bob")) == [200]

    def test_hourly_limit_resets(self) -> None:
        """It slides: in no hour is more spent, wherever it begins."""
        clock = HandClock()
        budgets = Budgets([CostProtection().hourly], now_ns=clock.wall_ns)
        spenders = Spenders(CostBreaker(clock=clock), clock, budgets)
        (account,) = budgets.accounts(Subject(key="ann", model="m"))
        spenders.spend(30 * USD, key="ann")
        clock.passes(1800)
        spenders.spend(20 * USD, key="ann")
        assert account.room(clock.wall) == 0
        clock.passes(1799)
        assert account.room(clock.wall) == 0
        clock.passes(2)
        assert account.room(clock.wall) == 30 * USD
        clock.passes(1800)
        assert account.room(clock.wall) == 50 * USD


class TestSessionDurationLimits:
    def test_session_ends_after_30_minutes(self) -> None:
        clock = HandClock()
        sessions = Sessions(clock=clock, rng=random.Random(1))
        session = sessions.start("ann")
        clock.passes(1799)
        assert sessions.touch("ann", session.id).active
        clock.passes(1)
        with pytest.raises(SessionEnded):
            sessions.touch("ann", session.id)

    def test_use_after_the_time_is_over_is_refused(self, chaos: Chaos, tmp_path: Path) -> None:
        """A session that began half an hour ago, before a restart."""
        with protected(chaos, tmp_path) as gateway:
            assert statuses(spend(gateway, ["1"], "old")) == [200]
            path = gateway.path
        with sqlite3.connect(path) as rows:
            past = 1800 * 10**9
            rows.execute(
                "UPDATE sessions SET started_ns = started_ns - ?, ends_ns = ends_ns - ?", (past, past)
            )
        rows.close()
        with protected(chaos, tmp_path) as gateway:
            (refused,) = spend(gateway, ["1"], "old")
            assert refused.status == 410
            assert refused.error["code"] == "session_ended"
            assert refused.headers["x-should-retry"] == "false"
            assert statuses(spend(gateway, ["1"], "other")) == [200]

    def test_use_after_the_end_is_refused(self, chaos: Chaos, tmp_path: Path) -> None:
        with protected(chaos, tmp_path) as gateway:
            assert statuses(spend(gateway, ["1"], "done")) == [200]
            assert admin(gateway, "/admin/sessions/ann/done", "DELETE")["state"] == "ended"
            assert statuses(spend(gateway, ["1"], "done")) == [410]
        with protected(chaos, tmp_path) as gateway:
            assert statuses(spend(gateway, ["1"], "done")) == [410]


class TestSessionNames:
    def test_claude_codes_own_session(self, chaos: Chaos, tmp_path: Path) -> None:
        """As configured, and only then: its requests spend one session's money."""

        async def main(gateway: Running) -> list[Answer]:
            session = "0b8f1d7e-2a1c-4f0e-9c51-6f2f3c6f2a11"
            return [await ask(gateway, "2", x_claude_code_session_id=session) for _ in range(3)]

        with protected(chaos, tmp_path) as gateway:
            assert statuses(asyncio.run(main(gateway))) == [200] * 3
        with protected(chaos, tmp_path, ids_from=["claude-code"]) as gateway:
            assert statuses(asyncio.run(main(gateway))) == [200, 200, 402]


class TestConcurrentSessions:
    def test_100_concurrent_sessions(self, chaos: Chaos, tmp_path: Path) -> None:
        """Each has its own five dollars, whatever the others do: three requests of two dollars, and two pass."""

        async def one(gateway: Running, number: int) -> list[int]:
            key, session = KEYS[number % 3], f"s{number}"
            answers = await asyncio.gather(*(ask(gateway, "2", session, key) for _ in range(3)))
            return sorted(statuses(answers))

        async def all_of_them(gateway: Running) -> list[list[int]]:
            return await asyncio.gather(*(one(gateway, number) for number in range(100)))

        limits = {"hourly_limit_usd": 1000, "circuit_breaker_threshold_usd": 1000}
        with protected(chaos, tmp_path, **limits) as gateway:
            assert asyncio.run(all_of_them(gateway)) == [[200, 200, 402]] * 100
            sessions = admin(gateway, "/admin/sessions")
            assert sessions["counts"]["active"] == 100
            assert {session["spent_usd"] for session in sessions["sessions"]} == {"4.000000000"}


class TestPerformanceOverhead:
    """The time that the parts take of a request. The whole gateway's is the benchmark's to measure."""

    ROUNDS = 1000
    LIMIT_S = 0.001

    def test_check_budget_performance(self) -> None:
        """A request's session, its budgets and the breaker: looked at, reserved, settled and given back."""
        clock = HandClock()
        settings = SessionSettings(limit_nano=10**15)
        sessions = Sessions(settings, clock=clock, rng=random.Random(1))
        breaker = CostBreaker(clock=clock)
        spenders = Spenders(breaker, clock, Budgets([settings.budget], now_ns=clock.wall_ns))

        def one() -> None:
            sessions.touch("ann", "x")
            spenders.spend(1000, key="ann", session="x")
            sessions.spent("ann", "x", 1000)

        assert self.median_s(one) < self.LIMIT_S

    def test_track_usage_performance(self) -> None:
        """What was spent in a window, when a day of it is full."""
        clock = HandClock()
        spenders = Spenders(CostBreaker(clock=clock), clock)

        def one() -> None:
            clock.passes(30)
            spenders.spend(1)

        assert self.median_s(one) < self.LIMIT_S

    def median_s(self, work: Any) -> float:
        """Of a thousand: on a machine with others on it the mean is theirs."""
        times = []
        for _ in range(self.ROUNDS):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
        return median(times)


class TestCostCalculationAccuracy:
    """What calls cost by the ledger, at the documents' prices. They ask for one per cent; here it is exact."""

    PRICES: ClassVar = {"gpt-5": (10, 30), "gpt-5-mini": (3, 15), "gpt-realtime": (100, 200)}
    """Dollars for a million tokens of input and of output."""

    @pytest.mark.parametrize(
        ("model", "given", "made", "dollars"),
        [
            ("gpt-5", 100_000, 200_000, "7.00"),
            ("gpt-5-mini", 500_000, 1_000_000, "16.50"),
            ("gpt-realtime", 25_000, 50_000, "12.50"),
        ],
    )
    def test_cost_calculation_accuracy(self, model: str, given: int, made: int, dollars: str) -> None:
        assert costs_of(self.PRICES, model, [(given, made)]) == [int(Decimal(dollars) * USD)]

    def test_twice_the_tokens_cost_twice_as_much(self) -> None:
        once, twice = costs_of(self.PRICES, "gpt-5-mini", [(1_000, 500), (2_000, 1_000)])
        assert (once, twice) == (10_500_000, 21_000_000)

    def test_no_tokens_cost_nothing(self) -> None:
        given, made = self.PRICES["gpt-5"]
        stated, _ = parse_overrides({"gpt-5": {"input_per_1m": given, "output_per_1m": made}})
        price = PriceBook(stated).price("chaos", "gpt-5", 0)
        assert price is not None
        assert price.cost(Usage(input_tokens=0, output_tokens=0)).nano == 0
        assert costs_of(self.PRICES, "gpt-5", [(0, 1)]) == [30_000]

    def test_who_says_that_a_request_had_no_tokens_is_not_believed(self) -> None:
        (cost,) = costs_of(self.PRICES, "gpt-5", [(0, 0)])
        assert cost >= 1_000_000 * 30_000, "the most that the call may have cost"

    def test_one_token_costs_its_price_and_no_less(self) -> None:
        assert costs_of(self.PRICES, "gpt-5", [(1, 0), (0, 1)]) == [10_000, 30_000]

    def test_an_unknown_model_costs_an_unknown_sum(self) -> None:
        assert costs_of(self.PRICES, "gpt-5-like-no-other", [(1_000, 500)]) == [None]

    def test_negative_usage_refunds_nothing(self) -> None:
        cost, after = costs_of(self.PRICES, "gpt-5", [(-100_000, 200_000), (1, 0)])
        assert cost is not None
        assert cost >= 1_000_000 * 30_000, "the most that the call may have cost"
        assert after == 10_000
