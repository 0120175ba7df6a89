"""``/metrics`` and ``/admin`` on money, over real sockets: what they tell is what the provider billed, to whoever may know.

An answer of 20 tokens costs 20 × 2 µ$ of output and 1 µ$ for each token of input, as :mod:`tests.support.gateway` prices it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import CANARY, PRICE_IN, PRICE_OUT, Running, document_of, run_gateway
from tests.support.http import Answer, ask, chat, request_bytes
from tests.support.load import held
from tests.support.metrics import samples

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

ADMIN_KEY = "adm-canary-5b0e11"
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
KEYS = {"ann": "key-canary-of-ann", "bob": "key-canary-of-bob"}
SCRIPTS = {
    "held": "tokens=60 tps=20",
    "negative": "tokens=20 wrong_usage=negative",
    "failing": "500",
    "*": "tokens=20",
}
MODELS = ("m", "held", "negative", "dear", "failing")
PATHS = {
    ("GET", "/admin/budgets"),
    ("GET", "/admin/sessions"),
    ("GET", "/admin/sessions/ann/s-1"),
    ("DELETE", "/admin/sessions/ann/s-1"),
    ("GET", "/admin/cost-breaker"),
    ("POST", "/admin/cost-breaker/reset"),
}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


def document(chaos: Chaos, ledger: Path, **sections: Any) -> dict[str, Any]:
    made = document_of(
        chaos.base_url,
        ledger,
        models=MODELS,
        gateway={"admin_key": ADMIN_KEY},
        keys={
            name: {"sha256": hashlib.sha256(key.encode()).hexdigest(), "team": "t"}
            for name, key in KEYS.items()
        },
        retry={"max_retries": 0},
        breaker={"enabled": False},
        routes={"safe": {"targets": ["one/failing", "two/m"]}},
        budgets={
            "everything": {"limit_usd": 1, "window": "forever"},
            "each-key": {"scope": "key", "limit_usd": Decimal("0.5"), "window": "day"},
            "projects": {"scope": "tag:project", "limit_tokens": 1_000_000, "window": "hour"},
        },
        cost_protection={"enabled": True, "circuit_breaker_threshold_usd": 2},
    )
    for name, section in sections.items():
        made[name] = {**made.get(name, {}), **section}
    return made


@pytest.fixture
def gateway(chaos: Chaos, tmp_path: Path) -> Iterator[Running]:
    """A new one for each test: its counters begin at 0."""
    chaos.reset()
    with run_gateway(document(chaos, tmp_path / "ledger.db")) as running:
        yield running
        running.no_traceback()
        secrets = (ADMIN_KEY, *KEYS.values(), CANARY)
        assert not any(secret in text for text in running.logs.text for secret in secrets)


def by(name: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}", **headers}


def say(running: Running, model: str, headers: dict[str, str], tokens: int = 50) -> Answer:
    body = {**chat(model), "max_tokens": tokens}
    return asyncio.run(ask(running.port, body, headers=headers))


def admin(running: Running, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    return asyncio.run(
        ask(running.port, method=method, path=path, headers=ADMIN if headers is None else headers)
    )


def scraped(running: Running) -> Counter[tuple[str, ...]]:
    return samples(asyncio.run(ask(running.port, method="GET", path="/metrics", headers=ADMIN)).body.decode())


def series(seen: Counter[tuple[str, ...]], name: str) -> dict[tuple[str, ...], float]:
    return {key[1:]: value for key, value in seen.items() if key[0] == name}


class TestMetrics:
    def test_cost_and_tokens_are_what_the_provider_billed(self, gateway, chaos):
        for n in range(20):
            session = {"x-holdfast-session": f"s-{n}"} if n % 2 else {}
            assert (
                say(gateway, "one/m" if n % 3 else "safe", by("ann" if n % 2 else "bob", **session)).status
                == 200
            )
        told = [entry.usage for entry in chaos.journal(model="m")]
        given = sum(usage.prompt_tokens for usage in told)
        made = sum(usage.completion_tokens for usage in told)
        nano = given * PRICE_IN + made * PRICE_OUT
        assert made == 20 * 20
        seen = scraped(gateway)
        tokens = series(seen, "holdfast_tokens_total")
        assert sum(count for key, count in tokens.items() if "kind=input" in key) == given
        assert sum(count for key, count in tokens.items() if "kind=output" in key) == made
        for name in ("holdfast_cost_usd_total", "holdfast_model_cost_usd_total"):
            assert round(sum(series(seen, name).values()) * 1e9) == nano
        assert {key[0] for key in series(seen, "holdfast_model_cost_usd_total")} == {"model=m"}
        assert round(seen[("holdfast_cost_breaker_spent_usd",)] * 1e9) == nano
        used = series(seen, "holdfast_budget_used_ratio")
        assert used[("budget=everything",)] == pytest.approx(nano / 10**9)
        assert seen[("holdfast_sessions_started_total",)] == seen[("holdfast_sessions_active",)] == 10
        assert sum(record.end.cost_nano for record in gateway.records().values()) == nano
        accounts = {
            (each["budget"], each["subject"]): each
            for each in admin(gateway, "GET", "/admin/budgets").json["accounts"]
        }
        assert accounts["everything", None]["spent"] == f"{nano / 10**9:.9f}"
        both = [accounts["each-key", name]["spent"] for name in KEYS]
        assert sum(round(float(spent) * 1e9) for spent in both) == nano

    def test_reservations_are_open_while_streams_run(self, gateway):
        async def hold() -> tuple[Any, Any]:
            body = json.dumps({**chat("one/held", stream=True), "max_tokens": 80}).encode()
            requests = [request_bytes("POST", "/v1/chat/completions", body, by("ann")) for _ in range(3)]
            async with held(gateway.port, requests) as clients:
                for client in clients:
                    await client.head()
                seen = await asyncio.to_thread(scraped, gateway)
                told = await asyncio.to_thread(admin, gateway, "GET", "/admin/budgets?budget=everything")
                return seen, told.json

        seen, told = asyncio.run(hold())
        assert seen[("holdfast_reservations_open",)] == told["reservations"] == 3
        (account,) = told["accounts"]
        assert float(account["reserved"]) >= 3 * 80 * PRICE_OUT / 10**9
        assert float(account["spent"]) == 0
        ended = gateway.seen.ends
        gateway.wait_for(lambda: len(ended) == 3)
        assert scraped(gateway)[("holdfast_reservations_open",)] == 0
        (account,) = admin(gateway, "GET", "/admin/budgets?budget=everything").json["accounts"]
        assert float(account["reserved"]) == 0
        spent = sum(end.cost_nano for end in ended.values())
        assert account["spent"] == f"{spent / 10**9:.9f}"

    def test_refusals_by_reason(self, gateway, chaos):
        assert say(gateway, "one/m", by("ann", **{"x-holdfast-session": "s-1"})).status == 200
        assert admin(gateway, "DELETE", "/admin/sessions/ann/s-1").status == 200
        refused = [
            say(gateway, "one/m", by("ann", **{"x-holdfast-session": "s-1"})),
            say(gateway, "one/m", by("ann"), tokens=400_000),
            say(gateway, "one/m", by("bob"), tokens=600_000),
            say(gateway, "one/m", by("bob"), tokens=600_000),
            say(gateway, "one/nobodys", by("bob")),
        ]
        assert [answer.status for answer in refused] == [410, 402, 402, 402, 402]
        assert len(chaos.journal()) == 1, "none of them was sent"
        seen = scraped(gateway)
        assert series(seen, "holdfast_money_refused_total") == {
            ("reason=session_ended",): 1,
            ("reason=budget_exceeded",): 3,
            ("reason=cost_unbounded",): 1,
        }
        assert admin(gateway, "GET", "/admin/budgets").json["refused"] == {
            "session_ended": 1,
            "budget_exceeded": 3,
            "cost_unbounded": 1,
        }

    def test_a_usage_that_cannot_be_is_flagged_and_its_bound_is_charged(self, gateway):
        assert say(gateway, "one/negative", by("ann")).status == 200
        seen = scraped(gateway)
        assert series(seen, "holdfast_usage_flagged_total") == {("flag=negative", "provider=one"): 1}
        assert list(series(seen, "holdfast_cost_usd_total")) == [("provider=one", "source=bound")]
        assert not series(seen, "holdfast_tokens_total")

    def test_five_hundred_names_that_callers_chose_are_no_labels(self, gateway):
        statuses: list[int] = []

        async def one(port: int, n: int) -> None:
            for model in ("one/m", f"one/m-{20_260_000 + n}-chosen", f"two/chosen-{n}"):
                headers = by(
                    "ann",
                    **{
                        "x-holdfast-session": f"chosen-{n}",
                        "x-holdfast-tags": f"project=chosen-{n},chosen-{n}=x",
                        "x-request-id": f"chosen-{n}",
                        "idempotency-key": f"chosen-{n}-{model}",
                    },
                )
                body = {**chat(model), "max_tokens": 20, "user": f"chosen-{n}"}
                statuses.append((await ask(port, body, headers=headers)).status)

        async def all_of_them() -> None:
            await one(gateway.port, 500)
            before = len(await asyncio.to_thread(scraped, gateway))
            for first in range(0, 500, 25):
                await asyncio.gather(*(one(gateway.port, n) for n in range(first, first + 25)))
            text = (await ask(gateway.port, method="GET", path="/metrics", headers=ADMIN)).body.decode()
            assert "chosen" not in text
            assert len(samples(text)) == before, "not one series more"

        asyncio.run(all_of_them())
        assert statuses.count(200) == 501, "each name was in a request that was served"
        told = admin(gateway, "GET", "/admin/sessions").json
        assert (len(told["sessions"]), told["counts"]["active"]) == (501, 501)

    def test_the_cost_breaker(self, chaos, tmp_path):
        made = document(
            chaos,
            tmp_path / "ledger.db",
            cost_protection={"circuit_breaker_threshold_usd": Decimal("0.005"), "cool_down_s": 600},
        )
        with run_gateway(made) as running:
            states = "holdfast_cost_breaker"
            assert series(scraped(running), states)[("state=closed",)] == 1
            answers = []
            while not answers or answers[-1].status == 200:
                answers.append(say(running, "one/m", by("ann")))
            assert answers[-1].error["code"] == "cost_breaker_open"
            (opened,) = [say(running, "one/m", by("bob"), tokens=2_400)]
            assert opened.status == 503
            seen, told = scraped(running), admin(running, "GET", "/admin/cost-breaker").json
            assert series(seen, states)[(f"state={told['state']}",)] == 1
            assert seen[("holdfast_cost_breaker_opened_total",)] == told["opened"]
            assert (
                told["refused"] == series(seen, "holdfast_money_refused_total")[("reason=cost_breaker_open",)]
            )
            assert round(seen[("holdfast_cost_breaker_spent_usd",)], 9) == float(told["spent_usd"])
            assert admin(running, "POST", "/admin/cost-breaker/reset").json["state"] == "closed"
            assert say(running, "one/m", by("bob")).status == 200
        with run_gateway(made) as again:
            told = admin(again, "GET", "/admin/cost-breaker").json
            assert float(told["spent_usd"]) < 0.0005, (
                "what was spent before the reset isn't brought back by a start"
            )


@pytest.fixture(scope="module")
def shared(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_gateway(document(chaos, tmp_path_factory.mktemp("admin") / "ledger.db")) as running:
        assert say(running, "one/m", by("ann", **{"x-holdfast-session": "s-1"})).status == 200
        yield running
        running.no_traceback()


class TestAdmin:
    @pytest.mark.parametrize(("method", "path"), sorted(PATHS))
    @pytest.mark.parametrize(
        "headers",
        [{}, {"authorization": f"Bearer {KEYS['ann']}"}, {"x-api-key": KEYS["ann"]},
         {"authorization": f"Bearer {ADMIN_KEY}x"}],
        ids=["none", "callers", "callers-x-api-key", "wrong"],
    )  # fmt: skip
    def test_nobody_else_is_let_in(self, shared, method, path, headers):
        answer = admin(shared, method, path, headers)
        assert answer.status == 401
        assert "admin key" in answer.error["message"]
        assert admin(shared, "GET", "/admin/sessions/ann/s-1").json["state"] == "active"

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("POST", "/admin/budgets", 405),
            ("DELETE", "/admin/sessions", 405),
            ("POST", "/admin/sessions/ann/s-1", 405),
            ("DELETE", "/admin/cost-breaker", 405),
            ("GET", "/admin/cost-breaker/reset", 405),
            ("GET", "/admin/budgets?budgets=x", 400),
            ("GET", "/admin/sessions?session=x", 400),
            ("DELETE", "/admin/sessions/ann/s-1?really=1", 400),
            ("POST", "/admin/cost-breaker/reset?x=1", 400),
            ("GET", "/admin/budgets?budget=nobodys", 404),
            ("GET", "/admin/sessions/ann", 404),
            ("GET", "/admin/sessions/bob/s-1", 404),
            ("DELETE", "/admin/sessions/bob/s-1", 404),
            ("GET", "/admin/cost-breaker/state", 404),
        ],
    )
    def test_what_is_wrong_is_named_and_nothing_happens(self, shared, method, path, status):
        answer = admin(shared, method, path)
        assert (answer.status, bool(answer.error["message"])) == (status, True)
        assert admin(shared, "GET", "/admin/sessions/ann/s-1").json["state"] == "active"

    def test_what_was_ended_stays_ended_and_what_was_spent_stays_spent(self, chaos, tmp_path):
        made = document(chaos, tmp_path / "ledger.db")
        with run_gateway(made) as running:
            for name in ("s-1", "a/b:c"):
                assert say(running, "one/m", by("ann", **{"x-holdfast-session": name})).status == 200
            assert admin(running, "DELETE", "/admin/sessions/ann/a%2Fb:c").json["state"] == "ended"
            before = admin(running, "GET", "/admin/budgets").json["accounts"]
        with run_gateway(made) as running:
            told = admin(running, "GET", "/admin/sessions").json["sessions"]
            assert [(each["id"], each["state"]) for each in told] == [("s-1", "active")]
            refused = say(running, "one/m", by("ann", **{"x-holdfast-session": "a/b:c"}))
            assert (refused.status, refused.error["code"]) == (410, "session_ended")
            again = {
                (each["budget"], each["subject"]): each["spent"]
                for each in admin(running, "GET", "/admin/budgets").json["accounts"]
            }
            for each in before:
                name = each["budget"], each["subject"]
                if name != ("cost_protection.session", "ann/a/b:c"):
                    assert again[name] == each["spent"]
            ended = admin(running, "DELETE", "/admin/sessions/ann/a/b:c")
            assert ended.json["state"] == "ended"

    def test_an_exhausted_session_stays_so(self, chaos, tmp_path):
        """Its money is spent, and a restart brings none back."""
        made = document(
            chaos,
            tmp_path / "ledger.db",
            prices={"dear": {"input_per_1m": 0, "output_per_1m": 50_000}},
            budgets={"everything": {"limit_usd": 50}, "each-key": {"scope": "key", "limit_usd": 50}},
            cost_protection={"max_session_cost_usd": 1, "circuit_breaker_threshold_usd": 50},
        )
        session = by("ann", **{"x-holdfast-session": "s-1"})
        with run_gateway(made) as running:
            assert say(running, "one/dear", session, tokens=20).status == 200
            assert admin(running, "GET", "/admin/sessions/ann/s-1").json["state"] == "exhausted"
        for _ in range(2):
            with run_gateway(made) as running:
                refused = say(running, "one/dear", session, tokens=1)
                assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
                (told,) = admin(running, "GET", "/admin/sessions").json["sessions"]
                assert (told["state"], told["spent_usd"]) == ("exhausted", "1.000000000")
