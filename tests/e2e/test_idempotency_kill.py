"""ID1: a hundred callers and a kill -9 of the gateway's process on one idempotency key: one run at the provider, ever."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tests.e2e.cli_process import holdfast_json, serving
from tests.support.http import Answer, Client, chat, request_bytes
from tests.support.load import PATH, held

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.cli_process import Serving

CALLERS = 100
SCRIPTS = {"endless": "tokens=2000 tps=40", "silent": "hang", "ok": "tokens=8", "refused": "400"}
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
"""


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts=SCRIPTS)) as server:
        yield server


def folder_for(chaos: Chaos, folder: Path) -> Path:
    """With a configuration in it."""
    (folder / "holdfast.toml").write_text(CONFIG.format(url=chaos.base_url))
    return folder


def keyed(model: str, key: str, *, stream: bool = False, text: str = "") -> bytes:
    body = json.dumps(chat(model, stream=stream, text=text or f"<{key}>")).encode()
    return request_bytes("POST", PATH, body, {"idempotency-key": key})


def port_of(gateway: Serving) -> int:
    port = urlsplit(gateway.url).port
    assert port is not None
    return port


def ask(gateway: Serving, request: bytes) -> Answer:
    async def main() -> Answer:
        client = await Client.connect(port_of(gateway))
        try:
            await client.send(request)
            await client.head()
            return await client.rest()
        finally:
            client.leave()

    return asyncio.run(main())


def kill(gateway: Serving) -> None:
    assert gateway.stop(signal.SIGKILL) == -signal.SIGKILL


def wait_until_kept(folder: Path, count: int) -> None:
    """Until the database has so many answers: a run's end is written after its caller has it."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with closing(sqlite3.connect(f"file:{folder / 'ledger.db'}?mode=ro", uri=True)) as database:
            if (
                database.execute("SELECT count(*) FROM idempotency WHERE state = 'done'").fetchone()[0]
                == count
            ):
                return
    raise TimeoutError("they were not kept")


def runs_of(chaos: Chaos, key: str) -> int:
    """How often the provider was asked what was asked under that key."""
    return sum(f"<{key}>" in str(entry.body) for entry in chaos.journal())


KEPT = {
    "ok-plain": ("ok", False),
    "ok-stream": ("ok", True),
    "refused-plain": ("refused", False),
    "refused-stream": ("refused", True),
}
"""Keys whose runs were over, one with the definite refusal of its caller's own fault."""
CUT = {"endless": True, "silent": False}
"""Keys whose hundred callers had read some of the answer (a stream), or still waited for it, when the process died."""


@dataclass
class AfterKill:
    """One life of the gateway, ended by a kill, and the next one."""

    gateway: Serving
    folder: Path
    kept: dict[str, Answer]
    cut: dict[str, list[Answer]]


@pytest.fixture(scope="module")
def after(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AfterKill]:
    folder = folder_for(chaos, tmp_path_factory.mktemp("killed"))

    async def until_it_dies() -> dict[str, list[Answer]]:
        requests = [keyed(key, key, stream=stream) for key, stream in CUT.items() for _ in range(CALLERS)]
        async with held(port_of(gateway), requests) as clients:
            streams, waiting = clients[:CALLERS], clients[CALLERS:]
            for client in streams:
                await client.head()
                await client.until(b":2 ")
            await asyncio.to_thread(chaos.wait_for, lambda entries: any(e.model == "silent" for e in entries))
            await asyncio.to_thread(kill, gateway)
            return {
                "endless": [await client.rest() for client in streams],
                "silent": [c.answer for c in waiting],
            }

    with serving(folder) as gateway:
        kept = {key: ask(gateway, keyed(model, key, stream=stream)) for key, (model, stream) in KEPT.items()}
        wait_until_kept(folder, len(KEPT))
        cut = asyncio.run(until_it_dies())
    chaos.wait_for(lambda entries: all(entry.end for entry in entries))
    with serving(folder) as gateway:
        yield AfterKill(gateway, folder, kept, cut)


@pytest.mark.parametrize("key", CUT)
def test_a_hundred_callers_and_a_kill_are_one_run(after: AfterKill, chaos: Chaos, key: str) -> None:
    for answer in after.cut[key]:
        assert not answer.whole
        assert b"[DONE]" not in answer.body
    for _ in range(3):
        again = ask(after.gateway, keyed(key, key, stream=CUT[key]))
        assert again.status == 409
        assert again.error["code"] == "idempotency_outcome_unknown"
        assert again.headers["x-should-retry"] == "false"
        assert "retry-after" not in again.headers
    assert runs_of(chaos, key) == 1


def test_of_the_dead_the_ledger_says_that_nobody_knows(after: AfterKill) -> None:
    rows = holdfast_json(after.folder, "ledger", "list")
    assert sorted(row["state"] for row in rows if row["model"] in CUT) == ["unknown", "unknown"]


@pytest.mark.parametrize("key", KEPT)
def test_an_answer_that_was_kept_is_told_again(after: AfterKill, chaos: Chaos, key: str) -> None:
    model, stream = KEPT[key]
    first = after.kept[key]
    assert first.status == (200 if model == "ok" else 400)
    for _ in range(3):
        again = ask(after.gateway, keyed(model, key, stream=stream))
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["content-type"] == first.headers["content-type"]
        assert again.headers["idempotency-replayed"] == "true"
    assert runs_of(chaos, key) == 1


@pytest.mark.parametrize("key", [*CUT, *KEPT])
def test_another_request_under_a_key_of_before_is_a_conflict(after: AfterKill, key: str) -> None:
    answer = ask(after.gateway, keyed("ok", key, text="something else"))
    assert (answer.status, answer.error["code"]) == (422, "idempotency_conflict")


def test_another_key_works(after: AfterKill, chaos: Chaos) -> None:
    answers = [ask(after.gateway, keyed("ok", "of-afterwards")) for _ in range(2)]
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert runs_of(chaos, "of-afterwards") == 1


def test_a_kill_right_after_the_answer_is_a_replay_or_unknown_but_no_second_run(
    chaos: Chaos, tmp_path: Path
) -> None:
    """Nobody waits for the answers to be kept: some may be, and some not."""
    keys = [f"soon-{number}" for number in range(20)]
    folder = folder_for(chaos, tmp_path)

    async def many() -> list[Answer]:
        async with held(port_of(gateway), [keyed("ok", key) for key in keys]) as clients:
            for client in clients:
                await client.head()
                await client.rest()
            gateway.process.send_signal(signal.SIGKILL)
            return [client.answer for client in clients]

    with serving(folder) as gateway:
        firsts = asyncio.run(many())
    with serving(folder) as gateway:
        agains = [ask(gateway, keyed("ok", key)) for key in keys]
    assert {first.status for first in firsts} == {200}
    for first, again in zip(firsts, agains, strict=True):
        if again.status == 200:
            assert again.body == first.body
        else:
            assert (again.status, again.error["code"]) == (409, "idempotency_outcome_unknown")
    assert {runs_of(chaos, key) for key in keys} == {1}
