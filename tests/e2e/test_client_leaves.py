"""A client that goes away, in every phase of its request: the provider is let go within 250 ms, and the call is settled."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import Client, chat, request_bytes
from tests.support.joined import bill_of
from tests.support.stalls import Stalls

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

WITHIN_S = 0.25


@dataclass(frozen=True)
class Phase:
    """How far the request is when its client leaves."""

    name: str
    script: str
    stream: bool
    attempts: tuple[str, ...] = ("abandoned",)
    read: bytes = b""
    """What the client has seen before it leaves; nothing: it leaves once the last attempt has arrived."""
    second: str | None = None
    on_break: str = "error"

    @property
    def key(self) -> str:
        return self.name.replace(" ", "-")


PHASES = [
    Phase("before the first byte whole", "hang", stream=False),
    Phase("before the first byte streamed", "hang", stream=True),
    Phase("in the body of a whole answer", "stall=3", stream=False),
    Phase("headers without content", "slow=30", stream=True),
    Phase("mid stream and silent", "stall=3", stream=True, read=b":2 "),
    Phase("mid stream and flowing", "tps=50 tokens=1000", stream=True, read=b":5 "),
    Phase("second attempt", "500; hang", stream=False, attempts=("server_failed", "abandoned")),
    Phase("second target", "400", stream=True, attempts=("content_refused", "abandoned"), second="hang"),
    Phase("held back whole", "stall=3", stream=True, on_break="buffer"),
    Phase(
        "while it resumes", "text=abcdefghijklmnopqrstuvwxyz tps=100 cut=fin after=2", stream=True, read=b"ghijkl",
        attempts=("connection_lost", "abandoned"), second="hang", on_break="resume",
    ),
]  # fmt: skip  # a table reads better with a row to a line
SECOND_TARGET = "content_policy"  # a failure that goes on at once, where the route says so


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    scripts = {f"{p.key}.1": SECOND_TARGET if p.script == "400" else p.script for p in PHASES}
    scripts |= {f"{p.key}.2": p.second for p in PHASES if p.second}
    scripts |= {"pause.1": "429 retry_after=0.5; ok", "late.1": "429 retry_after=0.5; ok"}
    with run_chaos(ChaosConfig(scripts=scripts)) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    routes = {
        p.key: {
            "targets": [f"one/{p.key}.1", f"two/{p.key}.2"] if p.second else [f"one/{p.key}.1"],
            "on_break": p.on_break,
            "fallback_on": ["content_policy"],
        }
        for p in PHASES
    }
    routes |= {name: {"targets": [f"one/{name}.1"]} for name in ("pause", "late")}
    document = document_of(
        chaos.base_url,
        tmp_path_factory.mktemp("leaves") / "ledger.db",
        models=[f"{name}.{i}" for name in routes for i in (1, 2)],
        retry={"base_s": 0.01, "max_s": 2, "jitter": 0},
        routes=routes,
    )
    with run_gateway(document) as running:
        yield running
        running.no_traceback()
        assert running.counts().balanced


async def _ask_and_leave(port: int, phase: Phase, chaos: Chaos) -> float:
    """Returns when the client left."""
    client = await Client.connect(port)
    await client.send(request_bytes("POST", "/v1/chat/completions", _body(phase), {}))
    if phase.read:
        await client.head()
        await client.until(phase.read)
    await asyncio.to_thread(
        chaos.wait_for, lambda entries: sum(_is_of(entry, phase) for entry in entries) == len(phase.attempts)
    )
    return client.leave()


def _body(phase: Phase) -> bytes:
    return json.dumps(chat(phase.key, stream=phase.stream)).encode()


def _is_of(entry, phase: Phase) -> bool:
    return (entry.model or "").rpartition(".")[0] == phase.key


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.key)
def test_the_provider_is_let_go(phase: Phase, chaos: Chaos, gateway: Running) -> None:
    with Stalls() as stalls:
        left = asyncio.run(_ask_and_leave(gateway.port, phase, chaos))
        entries = chaos.wait_for(lambda entries: all(e.end for e in entries if _is_of(e, phase)))
        stood_s = stalls.since(left)
    last = [entry for entry in entries if _is_of(entry, phase)][-1]
    assert last.end == "client_left"
    assert last.client_closed_ns is not None
    assert last.client_closed_ns / 1e9 - left - stood_s < WITHIN_S
    end = gateway.record(gateway.end_of(phase.key).id).end
    assert end is not None
    assert end.state == "cancelled"
    assert tuple(row.outcome for row in end.attempts) == phase.attempts
    settled = end.attempts[-1]
    assert settled.billed == "bound"
    assert settled.cost_nano is not None
    assert settled.cost_nano >= bill_of(last)
    assert end.cost_nano == sum(row.cost_nano or 0 for row in end.attempts)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_no_attempt_is_begun_for_nobody(stream: bool, chaos: Chaos, gateway: Running) -> None:
    """The client leaves while we wait to try again: that attempt never comes."""
    name = "late" if stream else "pause"

    async def ask_and_leave() -> None:
        client = await Client.connect(gateway.port)
        body = json.dumps(chat(name, stream=stream)).encode()
        await client.send(request_bytes("POST", "/v1/chat/completions", body, {}))
        await asyncio.to_thread(
            gateway.wait_for, lambda: [r for _, r in gateway.seen.rows if r.model == f"{name}.1"]
        )
        client.leave()

    asyncio.run(ask_and_leave())
    end = gateway.end_of(name, timeout=WITHIN_S + 0.2)  # before the pause would have been over
    assert end.state == "cancelled"
    assert [(row.outcome, row.billed) for row in end.attempts] == [("rate_limited", "none")]
    with pytest.raises(TimeoutError):
        chaos.wait_for(lambda entries: sum(e.model == f"{name}.1" for e in entries) > 1, timeout=0.7)
