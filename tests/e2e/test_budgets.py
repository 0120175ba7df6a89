"""BU1, BU2, A12, D1: budgets over real sockets: what they let through, what they refuse, and what every way out charges.

An answer's token costs five cents and its input nothing, so an answer of 60 tokens costs $3.00.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest
from google import genai
from tests.e2e.cli_process import serving
from tests.support.gateway import FREE_RETRIES, Running, document_of, run_gateway
from tests.support.http import Answer, Client, chat, request_bytes
from tests.support.load import asked, held

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.money.cost import NANO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHAT = "/v1/chat/completions"
PRICE = {"input_per_1m": 0, "output_per_1m": 50_000}
THREE, TWO = 60, 40
"""Tokens that cost so many dollars."""
KEYS = ("ann", "bob", "cat", "dan")
ADMIN = "the-administrators-own"
MODELS = (
    *(
        "m",
        "plain",
        "streamed",
        "soft",
        "lowered",
        "absent",
        "gpt-4o",
        "first",
        "second",
        "cut-a",
        "gone-a",
        "gone-b",
    ),
    *("hang-a", "busy-a", "busy-b", "slow-a", "late-a", "quick-a", "endless-a", "other"),
    *(f"usage-{how}" for how in ("negative", "huge", "null", "fraction", "text", "zero", "none")),
)
"""Those that have the price."""
SCRIPTS = {
    "cut-*": "tokens=200 cut=reset after=5",
    "gone-*": "reset",
    "hang-*": "hang",
    "busy-*": "503",
    "late-*": "503 delay=1",
    "slow-*": "tokens=100 ttft=1.5",
    "endless-*": "tokens=2000 tps=20",
    **{
        f"usage-{how}": f"tokens=20 wrong_usage={how}"
        for how in ("negative", "huge", "null", "fraction", "text", "zero")
    },
    "usage-none": "tokens=20 no_usage",
    "*": "tokens=2000",
}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


def document(chaos: Chaos, folder: Path, budgets: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Every model has the price, but those that begin with ``free``."""
    made = document_of(
        chaos.base_url,
        folder / "ledger.db",
        budgets=budgets,
        default_route="any",
        retry={"max_retries": 0, **FREE_RETRIES},
        breaker={"enabled": False},
        keys={name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "team": "t"} for name in KEYS},
    )
    made["providers"]["openai"] = {"base_url": chaos.base_url, "api_key": "sk-o"}
    made["routes"] = {"any": {"targets": ["one/{model}"], "models": ["*"]}}
    made["prices"] = dict.fromkeys(MODELS, PRICE)
    for name, section in sections.items():
        made[name] = {**made.get(name, {}), **section}
    return made


def ask(
    gateway: Running, model: str, tokens: int | None, *, key: str = "ann", path: str = CHAT, **more: Any
) -> Answer:
    return asyncio.run(asked(gateway.port, request_of(model, tokens, key=key, path=path, **more)))


def request_of(
    model: str,
    tokens: int | None,
    *,
    key: str = "ann",
    path: str = CHAT,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> bytes:
    body = chat(model, **fields)
    body.pop("max_tokens")
    if tokens is not None:
        body["max_tokens"] = tokens
    said = {"authorization": f"Bearer {key}", "connection": "close", **(headers or {})}
    return request_bytes("POST", path, json.dumps(body).encode(), said)


def accounts(gateway: Running) -> dict[str, tuple[int, int]]:
    """What is spent and reserved, in cents, or tokens."""

    def look() -> dict[str, tuple[int, int]]:
        budgets = gateway.app.engine.treasury.budgets
        unit = {account.key: NANO // 100 if account.rule.measure == "usd" else 1 for account in budgets}
        return {
            account.key: (
                account.spent(budgets.now_ns()) // unit[account.key],
                account.reserved // unit[account.key],
            )
            for account in budgets
        }

    return gateway.call(look)


def database(gateway: Running) -> dict[str, int]:
    gateway.run(gateway.app.ledger.flush())
    with closing(sqlite3.connect(gateway.path)) as connection:
        return dict(connection.execute("SELECT account, sum(amount) FROM spend GROUP BY account"))


SUBJECTS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "all": ({"scope": "all", "window": "forever"}, {}),
    "key": ({"scope": "key", "match": ["ann"]}, {}),
    "session": ({"scope": "session"}, {"x-holdfast-session": "s1"}),
    "tag": ({"scope": "tag:project", "window": "day"}, {"x-holdfast-tags": "project=north"}),
    "team": ({"scope": "team", "window": "hour"}, {}),
    "model": ({"scope": "model"}, {}),
}


@pytest.mark.parametrize("scope", SUBJECTS)
def test_of_a_hundred_at_once_five_dollars_pay_one_of_three(chaos, tmp_path, scope):
    budget, headers = SUBJECTS[scope]
    keys = KEYS if scope in ("all", "team", "model") else ("ann",)
    model = f"hundred-{scope}"
    made = document(chaos, tmp_path, {"five": {"limit_usd": 5, **budget}}, prices={model: PRICE})
    requests = [
        request_of(model, THREE, key=keys[place % len(keys)], headers=headers) for place in range(100)
    ]

    async def together(port: int) -> list[Answer]:
        async with held(port, requests) as clients:
            for client in clients:
                await client.head()
            return [await client.rest() for client in clients]

    with run_gateway(made) as gateway:
        answers = asyncio.run(together(gateway.port))
        assert Counter(answer.status for answer in answers) == {200: 1, 402: 99}
        assert len(chaos.journal(model=model)) == 1
        assert set(accounts(gateway).values()) == {(300, 0)}
        last = asyncio.run(asked(gateway.port, request_of(model, TWO, headers=headers)))
        assert last.status == 200, "two dollars were left"
        assert set(accounts(gateway).values()) == {(500, 0)}
        assert set(database(gateway).values()) == {5 * NANO}
        gateway.no_traceback()


def test_a_sessions_five_dollars(chaos, tmp_path):
    made = document(chaos, tmp_path, {"session": {"scope": "session", "limit_usd": 5}})
    session = {"x-holdfast-session": "s1"}
    with run_gateway(made) as gateway:
        before = len(chaos.journal(model="plain"))
        answers = [ask(gateway, "plain", tokens, headers=session) for tokens in (TWO, TWO, 30, 20)]
        assert [answer.status for answer in answers] == [200, 200, 402, 200]
        assert len(chaos.journal(model="plain")) - before == 3, "the third was never sent"
        warned = [answer.headers.get("x-holdfast-budget-warning") for answer in answers]
        said = "session; window=session; spent-usd=4.000000000; limit-usd=5.000000000"
        assert warned == [None, said, None, None], "once, at four dollars"
        error = answers[2].error
        assert (error["code"], error["type"]) == ("budget_exceeded", "insufficient_quota")
        assert answers[2].headers["x-should-retry"] == "false"
        for words in ("'session'", "$1.000000000 left", "may cost $1.500000000"):
            assert words in error["message"]
        other = ask(gateway, "plain", THREE, headers={"x-holdfast-session": "s2"})
        assert other.status == 200, "another session has five of its own"
        assert ask(gateway, "plain", 10_000).status == 200, "no session, no session's budget"
        gateway.no_traceback()


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Each model has five dollars of its own; what isn't limited in dollars comes with the key ``dan``."""
    cheap = {"scope": "key", "match": ["cat"], "limit_tokens": 10**6}
    hedge = {"delay_s": 0.1, "ratio": 1}
    made = document(
        chaos,
        tmp_path_factory.mktemp("budgets"),
        {
            "each": {
                "scope": "model",
                "match": [*MODELS, "hedged*", "fallen", "nobodys", "broken"],
                "limit_usd": 5,
            },
            "whole": {"scope": "model", "match": ["absent", "gpt-4o", "windowed"], "limit_usd": 1_000_000},
            "soft": {"scope": "key", "match": ["bob"], "limit_usd": 1, "hard": False},
            "cheap": cheap,
        },
        gateway={"admin_key": ADMIN},
        timeouts={"first_token_s": 0.3, "answer_s": 5},
        routes={
            "fallen": {"targets": ["one/gone-a", "two/second"]},
            "broken": {"targets": ["one/busy-a", "two/second"]},
            "hedged": {
                "targets": ["one/slow-a", "two/quick-a"],
                "hedge": hedge,
                "timeouts": {"first_token_s": 9},
            },
            "hedged-2": {
                "targets": ["one/slow-a", "two/quick-a"],
                "hedge": hedge,
                "timeouts": {"first_token_s": 9},
            },
            "hedged-3": {"targets": ["one/late-a", "two/quick-a", "two/second"], "hedge": hedge},
            "lowered": {"targets": ["one/lowered"], "lower_max_tokens": True},
            "windowed": {"targets": ["one/gpt-4o"], "unbounded": "window"},
        },
    )
    made["budgets"]["each"]["match"] = [
        name for name in made["budgets"]["each"]["match"] if name not in ("absent", "gpt-4o")
    ]
    with run_gateway(made) as running:
        yield running
        assert all(reserved == 0 for _, reserved in accounts(running).values()), "all of it was given back"
        in_memory = gateway_nano(running)
        assert database(running) == {key: spent for key, spent in in_memory.items() if spent}, "BU2"
        running.no_traceback()


def gateway_nano(gateway: Running) -> dict[str, int]:
    def look() -> dict[str, int]:
        budgets = gateway.app.engine.treasury.budgets
        return {account.key: account.spent(budgets.now_ns()) for account in budgets}

    return gateway.call(look)


def spent(gateway: Running, model: str) -> int:
    """Cents, of what ``model`` may spend."""
    cents, reserved = accounts(gateway)[f"each:usd:month:{model}"]
    assert reserved == 0
    return cents


class TestRefusal:
    """Of a call that may cost $10: more than the whole budget."""

    def test_openais_sdk(self, gateway, chaos):
        with openai.OpenAI(base_url=gateway.base_url, api_key="ann", max_retries=3) as client:
            for ask_for in (
                lambda: client.chat.completions.create(
                    model="m", max_tokens=200, messages=[{"role": "user", "content": "hi"}]
                ),
                lambda: client.responses.create(model="m", max_output_tokens=200, input="hi"),
            ):
                before = self.refused(gateway)
                with pytest.raises(openai.APIStatusError) as refused:
                    ask_for()
                assert refused.value.status_code == 402
                assert refused.value.code == "budget_exceeded"
                assert "5.000000000" in str(refused.value)
                assert refused.value.response.headers["x-should-retry"] == "false"
                assert self.refused(gateway) == before + 1, "it didn't come back"
        assert chaos.journal(model="m") == []

    def test_anthropics_sdk(self, gateway, chaos):
        before = self.refused(gateway)
        url = gateway.base_url.removesuffix("/v1")
        with (
            anthropic.Anthropic(base_url=url, api_key="ann", max_retries=3) as client,
            pytest.raises(anthropic.APIStatusError) as refused,
        ):
            client.messages.create(model="m", max_tokens=200, messages=[{"role": "user", "content": "hi"}])
        assert refused.value.status_code == 402
        assert refused.value.body["type"] == "error"
        assert "may cost $10.000000000" in refused.value.body["error"]["message"]
        assert self.refused(gateway) == before + 1
        assert chaos.journal(model="m") == []

    def test_googles_sdk(self, gateway, chaos):
        before = self.refused(gateway)
        url = gateway.base_url.removesuffix("/v1")
        with (
            genai.Client(api_key="ann", http_options={"base_url": url}) as client,
            pytest.raises(genai.errors.APIError) as refused,
        ):
            client.models.generate_content(model="m", contents="hi", config={"max_output_tokens": 200})
        assert refused.value.code == 402
        assert "may cost $10.000000000" in refused.value.message
        assert self.refused(gateway) == before + 1
        assert chaos.journal(model="m") == []

    def test_a_streams_is_no_stream(self, gateway, chaos):
        answer = ask(gateway, "m", 200, stream=True)
        assert (answer.status, answer.error["code"]) == (402, "budget_exceeded")
        assert answer.headers["content-type"] == "application/json"
        assert "retry-after" not in answer.headers, "it never fits"
        assert chaos.journal(model="m") == []

    def test_an_administrators_key_buys_nothing(self, gateway, chaos):
        answer = ask(gateway, "other", 1, key=ADMIN)
        assert answer.status in (401, 403)
        assert chaos.journal(model="other") == []

    def test_a_refused_run_leaves_its_key_free(self, gateway):
        key = {"idempotency-key": "one"}
        assert ask(gateway, "other", 200, headers=key).status == 402
        assert ask(gateway, "other", 200, headers=key).error["code"] == "budget_exceeded"
        assert ask(gateway, "other", 1, headers=key).status == 200

    def refused(self, gateway: Running) -> int:
        return gateway.call(lambda: gateway.app.engine.treasury.refused.get("budget_exceeded", 0))


def test_soft_budgets_only_warn(gateway):
    """A dollar, of which 80 cents are spent with the second, and all with the third."""
    answers = [ask(gateway, "nolimit", 10, key="bob") for _ in range(3)]
    assert {answer.status for answer in answers} == {200}, "it has no price, and nothing hard counts it"
    answers = [ask(gateway, "soft", tokens, key="bob") for tokens in (10, 10, 10, 10)]
    assert [answer.status for answer in answers] == [200] * 4
    warned = ["x-holdfast-budget-warning" in answer.headers for answer in answers]
    assert warned == [False, True, False, False]
    assert accounts(gateway)["soft:usd:month:bob"] == (200, 0)


class TestOutput:
    def test_is_lowered_where_the_route_says_so(self, gateway, chaos):
        answer = ask(gateway, "lowered", 200)
        assert answer.status == 200
        assert answer.headers["x-holdfast-max-output-tokens"] == "100"
        assert answer.headers["x-holdfast-lowered"] == "max_tokens"
        (sent,) = chaos.journal(model="lowered")
        assert json.loads(sent.body)["max_tokens"] == 100
        assert spent(gateway, "lowered") == 500
        assert ask(gateway, "lowered", 200).status == 402, "nothing is left that would be of use"

    def test_that_nobody_limits_is_limited_under_a_hard_budget_in_dollars(self, gateway, chaos):
        answer = ask(gateway, "absent", None)
        assert answer.status == 200
        assert answer.headers["x-holdfast-max-output-tokens"] == "4096"
        (sent,) = chaos.journal(model="absent")
        assert json.loads(sent.body)["max_tokens"] == 4_096

    def test_that_nobody_limits_is_left_alone_elsewhere(self, gateway, chaos):
        answer = ask(gateway, "elsewhere", None, key="bob")
        assert answer.status == 200
        assert "x-holdfast-max-output-tokens" not in answer.headers
        (sent,) = chaos.journal(model="elsewhere")
        assert "max_tokens" not in json.loads(sent.body)


class TestUnseen:
    IMAGE = ({"type": "image_url", "image_url": {"url": "https://a.b/c.png"}},)

    def messages(self) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": list(self.IMAGE)}]}

    def test_is_refused_under_a_hard_budget(self, gateway, chaos):
        answer = ask(gateway, "gpt-4o", 1, **self.messages())
        assert (answer.status, answer.error["code"]) == (402, "cost_unbounded")
        assert answer.error["param"] == "messages"
        assert answer.headers["x-should-retry"] == "false"
        assert chaos.journal(model="gpt-4o") == []

    def test_reserves_a_window_where_the_route_says_so(self, gateway, chaos):
        answer = ask(gateway, "windowed", 1, **self.messages())
        assert answer.status == 200
        bound = gateway.record(answer.id).intent.bound_tokens
        assert bound > 128_000

    def test_is_nothing_to_a_soft_budget(self, gateway):
        assert ask(gateway, "elsewhere", 1, key="bob", **self.messages()).status == 200


def test_an_unknown_price_is_refused_by_hard_budgets_in_dollars_alone(gateway, chaos):
    assert ask(gateway, "nobodys", 10).error["code"] == "cost_unbounded"
    assert chaos.journal(model="nobodys") == []
    assert ask(gateway, "unlisted", 10, key="cat").status == 200
    tokens, reserved = accounts(gateway)["cheap:tokens:month:cat"]
    assert tokens > 10
    assert reserved == 0


@pytest.fixture(scope="module")
def limitless(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = document(
        chaos,
        tmp_path_factory.mktemp("limitless"),
        {"five": {"scope": "key", "match": ["ann"], "limit_usd": 5}},
    )
    made["providers"]["open"] = {
        **made["providers"]["one"],
        "unsupported": ["max_tokens", "max_output_tokens"],
    }
    made["providers"]["own"] = {
        "dialect": "openai_chat",
        "base_url": chaos.base_url,
        "unsupported": ["max_tokens"],
    }
    made["keys"]["ann"]["providers"] = {"own": {"api_key": "sk-anns"}}
    made["routes"] |= {
        "open": {"targets": ["open/m"], "drop": ["max_tokens", "max_output_tokens"]},
        "known": {"targets": ["open/gpt-4o"], "drop": ["max_tokens", "max_output_tokens"]},
        "set": {"targets": ["open/m"], "set": {"max_tokens": 30}},
        "kept": {"targets": ["open/m"]},
        "defaulted": {"targets": ["open/m"], "max_output_tokens": 30},
        "own": {"targets": ["own/m"], "drop": ["max_tokens"]},
    }
    with run_gateway(made) as running:
        yield running
        running.no_traceback()


class TestNoLimitIsTaken:
    """Where a provider takes no output limit, and the route permits to leave it out, the model alone ends its answers."""

    @pytest.mark.parametrize("tokens", [1, None])
    @pytest.mark.parametrize(
        ("route", "code", "said"),
        [
            ("open", "cost_unbounded", "how long an answer of open/m may get"),
            ("own", "cost_unbounded", "how long an answer of own"),
            ("known", "budget_exceeded", "$819.2"),
        ],
    )
    def test_a_hard_budget_counts_on_none(self, limitless, chaos, route, code, said, tokens):
        before = len(chaos.journal())
        answer = ask(limitless, route, tokens)
        assert (answer.status, answer.error["code"]) == (402, code)
        assert said in answer.error["message"]
        assert len(chaos.journal()) == before, "nothing was sent"

    @pytest.mark.parametrize(
        ("path", "fields"),
        [
            (CHAT, {}),
            ("/v1/responses", {"messages": None, "input": "hi", "max_tokens": None, "max_output_tokens": 7}),
            ("/v1/messages", {}),
        ],
    )
    def test_what_is_told_to_be_left_out_is(self, limitless, chaos, path, fields):
        body = {"model": "open", "max_tokens": 7, "messages": [{"role": "user", "content": "hi"}], **fields}
        said = {"authorization": "Bearer dan", "connection": "close"}
        data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
        answer = asyncio.run(asked(limitless.port, request_bytes("POST", path, data, said)))
        assert answer.status == 200, answer.body
        assert answer.headers["x-holdfast-dropped"] in ("max_tokens", "max_output_tokens")
        sent = json.loads(chaos.journal()[-1].body)
        assert not {"max_tokens", "max_completion_tokens", "max_output_tokens"} & set(sent)

    def test_what_the_operator_sets_is_sent_and_bounds_it(self, limitless, chaos):
        assert ask(limitless, "set", None).status == 200
        assert json.loads(chaos.journal()[-1].body)["max_tokens"] == 30
        assert accounts(limitless)["five:usd:month:ann"] == (150, 0)

    def test_the_routes_own_is_not_sent_either(self, limitless, chaos):
        """It is nothing that a caller said, so there is nothing to permit."""
        answer = ask(limitless, "defaulted", None, key="dan")
        assert (answer.status, answer.headers.get("x-holdfast-max-output-tokens")) == (200, None)
        assert "max_tokens" not in json.loads(chaos.journal()[-1].body)

    def test_without_permission_it_is_refused(self, limitless):
        assert ask(limitless, "kept", 7, key="dan").error["code"] == "unsupported_by_target"


class TestFurtherAttempts:
    def test_a_fallback_that_can_not_be_paid_ends_with_402(self, gateway, chaos):
        """Nobody knows what the reset one did, so its three dollars are gone."""
        answer = ask(gateway, "fallen", THREE)
        assert (answer.status, answer.error["code"]) == (402, "budget_exceeded")
        assert answer.attempts == 1
        assert chaos.journal(model="second") == []
        assert spent(gateway, "fallen") == 300

    def test_one_that_costs_nothing_pays_for_the_next(self, gateway, chaos):
        answer = ask(gateway, "broken", THREE)
        assert answer.status == 200, "a refusal bills nothing"
        assert answer.attempts == 2
        assert spent(gateway, "broken") == 300

    def test_a_hedge_that_can_not_be_paid_is_not_sent(self, gateway, chaos):
        before = len(chaos.journal(model="quick-a"))
        answer = ask(gateway, "hedged", THREE, stream=True)
        assert answer.status == 200
        assert len(chaos.journal(model="quick-a")) == before
        assert [row.model for row in gateway.record(answer.id).end.attempts] == ["slow-a"]
        gateway.wait_for(lambda: accounts(gateway)["each:usd:month:hedged"][1] == 0)
        assert spent(gateway, "hedged") == 300

    def test_a_hedge_that_can_not_be_paid_does_not_end_the_request(self, gateway):
        """The slow one then fails, and costs nothing: the third can be paid."""
        answer = ask(gateway, "hedged-3", THREE)
        assert answer.status == 200
        attempts = gateway.record(answer.id).end.attempts
        assert [(row.model, row.cost_nano) for row in attempts] == [("late-a", 0), ("second", 3 * NANO)]
        assert spent(gateway, "hedged-3") == 300

    def test_a_hedge_that_can_be_paid_is_durable_first_and_charged(self, gateway):
        answer = ask(gateway, "hedged-2", TWO, stream=True)
        assert answer.headers["x-holdfast-model"] == "quick-a"
        record = gateway.record(answer.id)
        assert record.intent.bound_nano == 4 * NANO
        assert {row.model: row.billed for row in record.end.attempts} == {
            "slow-a": "bound",
            "quick-a": "provider",
        }
        assert spent(gateway, "hedged-2") == 400


class TestEveryWayOut:
    @pytest.mark.parametrize(
        ("model", "stream", "outcome", "cents"),
        [
            ("cut-a", True, "connection_lost", 300),
            ("gone-b", True, "connection_lost", 300),
            ("hang-a", True, "timed_out", 300),
            ("busy-b", False, "overloaded", 0),
        ],
    )
    def test_of_a_provider_that_fails(self, gateway, model, stream, outcome, cents):
        answer = ask(gateway, model, THREE, stream=stream)
        end = gateway.end_of(model)
        assert [row.outcome for row in end.attempts] == [outcome], answer.body
        assert spent(gateway, model) == cents
        assert end.cost_nano == cents * NANO // 100

    def test_of_a_caller_that_leaves(self, gateway):
        async def main() -> None:
            client = await Client.connect(gateway.port)
            await client.send(request_of("endless-a", THREE, stream=True))
            await client.head()
            await client.until(b":2 ")
            assert accounts_now() == (0, 300)
            client.leave()

        def accounts_now() -> tuple[int, int]:
            return accounts(gateway)["each:usd:month:endless-a"]

        asyncio.run(main())
        assert gateway.end_of("endless-a").state == "cancelled"
        assert spent(gateway, "endless-a") == 300


class TestUsageThatIsNotTrue:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("how", "flag"), [("negative", "negative"), ("huge", "absurd"), ("null", "missing"), ("none", None)]
    )
    def test_settles_at_the_bound(self, gateway, how, flag, stream):
        model = f"usage-{how}"
        before = accounts(gateway).get(f"each:usd:month:{model}", (0, 0))[0]
        answer = ask(gateway, model, 20, stream=stream)
        assert answer.status == 200
        assert spent(gateway, model) == before + 100, "neither a refund nor a block"
        (row,) = gateway.record(answer.id).end.attempts
        assert row.billed == "bound"
        assert row.usage_flag in (flag, flag if how != "null" else None)

    @pytest.mark.parametrize("how", ["fraction", "text"])
    def test_that_is_no_number_is_no_answer_and_is_charged(self, gateway, how):
        model = f"usage-{how}"
        ask(gateway, model, 20)
        (row,) = gateway.end_of(model).attempts
        assert row.billed == "bound"
        assert spent(gateway, model) == 100

    def test_of_nothing_is_no_refund(self, gateway):
        answer = ask(gateway, "usage-zero", 20)
        assert answer.status == 200
        (row,) = gateway.record(answer.id).end.attempts
        assert (row.billed, row.usage_flag) == ("bound", "missing")
        assert spent(gateway, "usage-zero") == 100


CONFIG = """
[gateway]
host = "127.0.0.1"

[ledger]
url = "sqlite:///ledger.db"

[providers.one]
dialect = "openai_chat"
base_url = "{url}"
auth = "none"

[routes.any]
targets = ["one/{{model}}"]
models = ["*"]

[prices]
"endless-a" = {{ input_per_1m = 0, output_per_1m = 50000 }}
"m" = {{ input_per_1m = 0, output_per_1m = 50000 }}

[budgets.five]
limit_usd = 5
window = "forever"
"""


def test_a_kill_forgets_nothing_and_charges_what_was_in_flight(chaos, tmp_path):
    (tmp_path / "holdfast.toml").write_text(CONFIG.format(url=chaos.base_url))

    def port_of(gateway: Any) -> int:
        port = urlsplit(gateway.url).port
        assert port is not None
        return port

    async def until_it_dies(gateway: Any) -> None:
        async with held(port_of(gateway), [request_of("endless-a", 50, stream=True)]) as (client,):
            await client.head()
            await client.until(b":2 ")
            assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL

    with serving(tmp_path) as gateway:
        assert asyncio.run(asked(port_of(gateway), request_of("m", 20))).status == 200
        asyncio.run(until_it_dies(gateway))
    with serving(tmp_path) as gateway:
        refused = asyncio.run(asked(port_of(gateway), request_of("m", 31)))
        assert refused.status == 402
        assert "$1.500000000 left" in refused.error["message"], "1.00 was spent, 2.50 was in flight"
        assert asyncio.run(asked(port_of(gateway), request_of("m", 30))).status == 200
        assert gateway.stop() == 0
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        assert connection.execute("SELECT amount FROM spend").fetchall() == [(5 * NANO,)]
