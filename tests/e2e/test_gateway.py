"""What the gateway says of itself: health, metrics, its document; and what it does when its ledger can't be written."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import CANARY, PRICE_IN, PRICE_OUT, Running, document_of, run_gateway
from tests.support.http import Answer, Client, ask, chat, request_bytes
from tests.support.joined import numbered
from tests.support.metrics import samples

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

SCRIPTS = {
    "ok": "ok",
    "down": "500",
    "bad": "400",
    "healed": "503; ok",
    "cut": "tps=200 cut=fin after=3",
    "quiet": "stall=3",
    "echo": f"500 message='key {CANARY} is no good'",
}


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


@pytest.fixture
def gateway(chaos: Chaos, tmp_path: Path) -> Iterator[Running]:
    chaos.reset()
    document = document_of(
        chaos.base_url,
        tmp_path / "ledger.db",
        models=SCRIPTS,
        retry={"base_s": 0.01, "max_s": 0.05, "jitter": 0},
        routes={name: {"targets": [f"one/{name}"]} for name in SCRIPTS},
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


def get(running: Running, path: str) -> Answer:
    return asyncio.run(ask(running.port, method="GET", path=path))


def post(running: Running, model: str, **fields: Any) -> Answer:
    return asyncio.run(ask(running.port, chat(model, **fields)))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the database's write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


class TestHealth:
    def test_alive_and_ready(self, gateway: Running) -> None:
        assert get(gateway, "/health/live").json == {"status": "live"}
        answer = get(gateway, "/health/ready")
        assert answer.status == 200
        assert answer.json["status"] == "ready"
        assert answer.json["ledger"]["ok"] is True

    def test_a_locked_ledger(self, gateway: Running, chaos: Chaos) -> None:
        """Nothing is sent that can't be written down first; when the lock is gone all is well without a restart."""
        with locked(gateway.path):
            for stream in (False, True):
                answer = post(gateway, "ok", stream=stream)
                assert answer.status == 503
                assert answer.error["code"] == "ledger_unavailable"
                assert "locked" in answer.error["message"]
                assert "x-should-retry" not in answer.headers  # nothing was tried: another try is welcome
            ready = get(gateway, "/health/ready")
            assert ready.status == 503
            assert any("ledger" in problem for problem in ready.json["problems"])
            assert get(gateway, "/health/live").status == 200
            assert chaos.journal() == []
        assert post(gateway, "ok").status == 200
        assert get(gateway, "/health/ready").status == 200
        assert gateway.counts().accepted == 1

    def test_an_answer_does_not_wait_for_its_end_to_be_written(self, gateway: Running) -> None:
        """A stream that was accepted goes on while the ledger is locked; its end is kept, and written in time."""
        answer = asyncio.run(_across_a_lock(gateway))
        assert answer.events[-1].is_end
        assert gateway.record(answer.id).state == "ok"


async def _across_a_lock(gateway: Running) -> Answer:
    client = await Client.connect(gateway.port)
    body = json.dumps(chat("ok", stream=True, text="[[chaos: tps=200]]")).encode()
    await client.send(request_bytes("POST", "/v1/chat/completions", body, {}))
    await client.head()
    with locked(gateway.path):
        answer = await client.rest()
        assert gateway.app.ledger.health().queued >= 1
    await client.close()
    return answer


class TestMetrics:
    def test_exact_deltas(self, gateway: Running) -> None:
        before = self._scrape(gateway)
        ok = [post(gateway, "ok"), post(gateway, "ok", stream=True)]
        post(gateway, "healed")
        post(gateway, "down")
        post(gateway, "bad")
        post(gateway, "cut", stream=True)
        post(gateway, "nothing-of-that-name")
        records = gateway.records()
        after = self._scrape(gateway)
        after.subtract(before)
        counted = {key: value for key, value in after.items() if value and key[0].endswith("_total")}
        usage = records[ok[0].id].end.usage
        cost = {
            source: sum(
                row.cost_nano
                for record in records.values()
                for row in record.end.attempts
                if row.billed == source
            )
            for source in ("provider", "bound")
        }
        assert cost["provider"] == 3 * (usage.input_tokens * PRICE_IN + usage.output_tokens * PRICE_OUT)
        by_model = {
            key[1]: counted.pop(key) for key in list(counted) if key[0] == "holdfast_model_cost_usd_total"
        }
        each = cost["provider"] / 3 / 1e9
        told = {"model=ok": 2 * each, "model=healed": each, "model=cut": cost["bound"] / 1e9}
        assert by_model == pytest.approx(told)
        costs = {key[2]: counted.pop(key) for key in list(counted) if key[0] == "holdfast_cost_usd_total"}
        assert costs == pytest.approx({f"source={source}": nano / 1e9 for source, nano in cost.items()})
        assert counted == {
            ("holdfast_requests_total", "route=ok", "state=ok"): 2,
            ("holdfast_requests_total", "route=healed", "state=ok"): 1,
            ("holdfast_requests_total", "route=down", "state=failed"): 1,
            ("holdfast_requests_total", "route=bad", "state=failed"): 1,
            ("holdfast_requests_total", "route=cut", "state=failed"): 1,
            ("holdfast_refused_total", "reason=unknown_model"): 1,
            ("holdfast_attempts_total", "outcome=ok", "provider=one"): 3,
            ("holdfast_attempts_total", "outcome=overloaded", "provider=one"): 1,
            ("holdfast_attempts_total", "outcome=server_failed", "provider=one"): 3,
            ("holdfast_attempts_total", "outcome=request_refused", "provider=one"): 1,
            ("holdfast_attempts_total", "outcome=connection_lost", "provider=one"): 1,
            ("holdfast_retries_total", "provider=one"): 3,
            ("holdfast_tokens_total", "kind=input", "provider=one"): 3 * usage.input_tokens,
            ("holdfast_tokens_total", "kind=output", "provider=one"): 3 * usage.output_tokens,
        }
        assert after[("holdfast_request_seconds_count", "route=ok")] == 2
        assert after[("holdfast_first_token_seconds_count", "route=ok")] == 2
        assert after[("holdfast_first_token_seconds_count", "route=down")] == 0

    def test_in_flight(self, gateway: Running, chaos: Chaos) -> None:
        async def look_while_running() -> float:
            client = await Client.connect(gateway.port)
            body = json.dumps(chat("quiet", stream=True)).encode()
            await client.send(request_bytes("POST", "/v1/chat/completions", body, {}))
            await client.head()
            during = await asyncio.to_thread(self._scrape, gateway)
            client.leave()
            return during[("holdfast_in_flight",)]

        assert asyncio.run(look_while_running()) == 1
        gateway.end_of("quiet")
        assert self._scrape(gateway)[("holdfast_in_flight",)] == 0
        assert gateway.counts().cancelled == 1

    @staticmethod
    def _scrape(gateway: Running) -> Counter[tuple[str, ...]]:
        answer = get(gateway, "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        return samples(answer.body.decode())


class TestDocument:
    def test_structure(self, gateway: Running) -> None:
        document = get(gateway, "/openapi.json").json
        assert document["openapi"].startswith("3.1")
        assert {"title", "version"} <= document["info"].keys()
        operations = [op for path in document["paths"].values() for op in path.values()]
        ids = [operation["operationId"] for operation in operations]
        assert len(set(ids)) == len(ids)
        assert all(operation["responses"] for operation in operations)
        for reference in _references(document):
            target: Any = document
            for step in reference.removeprefix("#/").split("/"):
                target = target[step]

    def test_it_tells_the_truth(self, gateway: Running) -> None:
        """Each operation is served, with a status that it names; every other method isn't."""
        for path, operations in get(gateway, "/openapi.json").json["paths"].items():
            for method in ("get", "post", "put", "delete"):
                chats = path.endswith("completions") and method == "post"
                filled = path.replace("{model}", "ok")
                body = chat("ok") if chats else b""
                answer = asyncio.run(ask(gateway.port, body, method=method.upper(), path=filled))
                if method in operations:
                    if chats or (method == "get" and "{" not in filled):
                        wanted = {200}
                    elif filled.startswith("/admin/"):
                        wanted = {400, 404, 409}  # nothing is there that could be shown, changed or reset
                    else:
                        wanted = {400}  # an empty body is no request of any dialect
                    assert answer.status in wanted, (method, path)
                    assert str(answer.status) in operations[method]["responses"]
                else:
                    assert answer.status == 405, (method, path)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


class TestSecrets:
    def test_what_a_provider_quotes_is_scrubbed(self, gateway: Running, chaos: Chaos) -> None:
        """OP3: the provider's key shows up in no answer, log line, metric or ledger row, even if the provider says it."""
        for stream in (False, True):
            answer = post(gateway, "echo", stream=stream)
            assert "is no good" in answer.error["message"]
            assert CANARY not in answer.body.decode()
            assert CANARY not in str(gateway.record(answer.id))
        assert CANARY not in get(gateway, "/metrics").body.decode()
        assert all(entry.key_sha256 for entry in chaos.journal()), "it does reach the provider"


class TestMetadata:
    def test_session_tags_and_key_are_recorded(self, gateway: Running) -> None:
        headers = {"x-holdfast-session": "run-7", "x-holdfast-tags": "team=search, env=prod"}
        answer = asyncio.run(ask(gateway.port, chat("ok"), headers=headers))
        intent = gateway.record(answer.id).intent
        assert (intent.session, intent.tags, intent.key) == (
            "run-7",
            {"team": "search", "env": "prod"},
            "local",
        )

    def test_cost_goes_out_where_it_is_known(self, gateway: Running) -> None:
        plain, streamed = post(gateway, "ok"), post(gateway, "ok", stream=True)
        cost = gateway.record(plain.id).cost_usd
        assert plain.headers["x-holdfast-cost-usd"] == f"{cost:f}"
        comment = streamed.events[-2].comment or ""
        assert f"cost-usd={gateway.record(streamed.id).cost_usd:f}" in comment
        assert f"request-id={streamed.id}" in comment


class TestConnections:
    def test_many_requests_over_one(self, gateway: Running, chaos: Chaos) -> None:
        """Keep-alive: answers of every kind leave the connection in order for the next request."""

        async def all_over_one() -> list[Answer]:
            client = await Client.connect(gateway.port)
            answers = []
            for model, stream in [
                ("ok", False),
                ("ok", True),
                ("bad", False),
                ("cut", True),
                ("down", True),
                ("ok", True),
            ]:
                body = json.dumps(chat(model, stream=stream)).encode()
                client.answer = Answer()
                await client.send(request_bytes("POST", "/v1/chat/completions", body, {}))
                await client.head()
                answers.append(await client.rest())
            await client.close()
            return answers

        answers = asyncio.run(all_over_one())
        assert [answer.status for answer in answers] == [200, 200, 400, 200, 502, 200]
        assert all(answer.whole for answer in answers)
        last = chaos.journal(model="ok")[-1]
        assert answers[-1].text == numbered(last.nonce, 20)
