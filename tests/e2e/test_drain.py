"""Stopping: what runs may finish, what doesn't is told so, and everything is in the ledger."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import document_of, run_gateway
from tests.support.http import Answer, Client, chat, request_bytes
from tests.support.joined import numbered

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPTS = {"paced": "tps=100", "endless": "tps=100 tokens=100000", "hung": "hang"}


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


async def _begin(port: int, model: str, *, stream: bool = True) -> Client:
    client = await Client.connect(port)
    body = json.dumps(chat(model, stream=stream, max_tokens=1_000_000)).encode()
    await client.send(request_bytes("POST", "/v1/chat/completions", body, {}))
    if stream:
        await client.head()
    return client


def _stopped_while(chaos: Chaos, path: Path, drain_s: float, *models: tuple[str, bool]) -> list[Answer]:
    """Starts a gateway, begins a request for each model, stops the gateway; what each client saw. The ledger is closed."""
    document = document_of(chaos.base_url, path, models=SCRIPTS, gateway={"drain_s": drain_s})
    with run_gateway(document) as gateway:

        async def stop_in_the_middle() -> list[Answer]:
            clients = [await _begin(gateway.port, f"one/{model}", stream=stream) for model, stream in models]
            idle = await Client.connect(gateway.port)
            await asyncio.to_thread(chaos.wait_for, lambda entries: len(entries) == len(models))
            gateway.call(gateway.stop)
            for client in clients:
                if not client.answer.status:
                    await client.head()
            answers = [await client.rest() for client in clients]
            with pytest.raises(ConnectionError):
                await Client.connect(gateway.port)
            for client in [*clients, idle]:
                await client.close()
            return answers

        answers = asyncio.run(stop_in_the_middle())
    gateway.no_traceback()
    return answers


def test_what_runs_finishes(chaos: Chaos, tmp_path: Path) -> None:
    (answer,) = _stopped_while(chaos, tmp_path / "ledger.db", 10, ("paced", True))
    (entry,) = chaos.journal()
    assert answer.text == entry.text == numbered(entry.nonce, 20)
    assert answer.events[-1].is_end
    with LedgerReader(tmp_path / "ledger.db") as reader:
        assert reader.show(answer.id).state == "ok"


def test_what_does_not_finish_is_told(chaos: Chaos, tmp_path: Path) -> None:
    """After `drain_s`: an error event, or a status where none went out; the provider is let go, all is written down."""
    streamed, plain = _stopped_while(chaos, tmp_path / "ledger.db", 0.3, ("endless", True), ("hung", False))
    data = [event for event in streamed.events if event.data is not None]
    assert [event for event in data if event.is_error or event.is_end] == [data[-1]]
    assert data[-1].json["error"]["code"] == "shutting_down"
    assert streamed.whole
    assert streamed.finish_reasons == []
    assert streamed.text
    assert plain.status == 503
    assert plain.error["code"] == "shutting_down"
    entries = chaos.wait_for(lambda entries: all(entry.end for entry in entries))
    assert [entry.end for entry in entries] == ["client_left"] * 2
    with LedgerReader(tmp_path / "ledger.db") as reader:
        ends = [reader.show(answer.id).end for answer in (streamed, plain)]
        counts = reader.counts()
    assert counts.balanced
    assert counts.in_flight == 0
    for end in ends:
        assert end is not None
        assert end.state == "failed"
        assert end.error_label == "draining"
        assert [(row.billed, row.outcome) for row in end.attempts] == [("bound", "draining")]


def test_new_requests_are_refused(chaos: Chaos, tmp_path: Path) -> None:
    """On a connection that was open already: 503, not ready, and nothing goes upstream."""
    with run_gateway(document_of(chaos.base_url, tmp_path / "ledger.db")) as gateway:

        async def ask_late() -> tuple[Answer, Answer]:
            running = await _begin(gateway.port, "one/paced")
            late, probe = await Client.connect(gateway.port), await Client.connect(gateway.port)
            # Half a request: the connection is busy, so that the stop doesn't close it as an idle one.
            body = json.dumps(chat("one/paced")).encode()
            data = request_bytes("POST", "/v1/chat/completions", body, {})
            ready = request_bytes("GET", "/health/ready", b"", {})
            gateway.call(gateway.gateway.drain)
            await late.send(data)
            await probe.send(ready)
            answers = []
            for client in (late, probe):
                await client.head()
                answers.append(await client.rest())
            await running.rest()
            for client in (late, probe, running):
                await client.close()
            return answers[0], answers[1]

        refused, ready = asyncio.run(ask_late())
    assert (refused.status, refused.error["code"]) == (503, "shutting_down")
    assert refused.headers["connection"] == "close"
    assert refused.headers["retry-after"] == "1"
    assert (ready.status, ready.json["problems"]) == (503, ["draining"])
    assert len(chaos.journal()) == 1
