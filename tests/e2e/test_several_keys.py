"""Several keys and addresses of one provider over real sockets: who is asked first, who steps in, what is recorded."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import ExitStack
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import CANARY, Running, document_of, run_gateway
from tests.support.http import ask, chat

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from pathlib import Path

GOOD, BAD, WORSE = CANARY, f"{CANARY}-bad", f"{CANARY}-worse"
NAMES = {
    sha256(key.encode()).hexdigest(): name for key, name in ((GOOD, "good"), (BAD, "bad"), (WORSE, "worse"))
}


def document(folder: Path, chaos: Chaos, provider: dict[str, Any], targets: list[Any]) -> dict[str, Any]:
    made = document_of(
        chaos.base_url,
        folder / "ledger.db",
        models=("ok",),
        retry={"base_s": 0.01, "max_s": 0.05, "jitter": 0},
        routes={"spread": {"targets": targets}},
    )
    del made["providers"]["one"]["api_key"]
    made["providers"]["one"] |= provider
    return made


def served(running: Running, times: int) -> list[Any]:
    async def every() -> list[Any]:
        return [await ask(running.port, chat("spread")) for _ in range(times)]

    return asyncio.run(every())


@pytest.fixture
def chaos():
    with run_chaos(ChaosConfig(tokens=2, api_keys=(GOOD,))) as server:
        yield server


def asked(chaos: Chaos) -> list[str]:
    return [NAMES[entry.key_sha256 or ""] for entry in chaos.journal()]


def test_a_refused_key_gives_way_to_the_providers_others(chaos: Chaos, tmp_path: Path) -> None:
    provider = {"api_keys": [BAD, GOOD, WORSE]}
    with run_gateway(document(tmp_path, chaos, provider, ["one/ok", "two/ok"])) as running:
        answers = served(running, 30)
        assert {answer.status for answer in answers} == {200}
        assert {answer.headers["x-holdfast-provider"] for answer in answers} == {"one"}
        began = Counter[str]()
        for answer in answers:
            rows = running.record(answer.id).end.attempts
            *refused, last = [(row.deployment, row.outcome) for row in rows]
            assert last == ("2", "ok")
            assert set(refused) <= {("1", "auth_refused"), ("3", "auth_refused")}
            assert len(set(refused)) == len(refused)
            began[rows[0].deployment] += 1
        assert set(began) == {"1", "2", "3"}  # one of them never first: less than 2 in 10**5
        assert Counter(asked(chaos))["good"] == 30
        running.no_traceback()
        assert not any(key in text for text in running.logs.text for key in (GOOD, BAD))


def test_where_every_key_is_refused_nobody_else_is_asked(chaos: Chaos, tmp_path: Path) -> None:
    with run_gateway(document(tmp_path, chaos, {"api_keys": [BAD, WORSE]}, ["one/ok", "two/ok"])) as running:
        (answer,) = served(running, 1)
        assert (answer.status, answer.json["error"]["code"]) == (502, "provider_auth_failed")
        assert sorted(asked(chaos)) == ["bad", "worse"]


def test_deployments_are_asked_first_by_their_weights_and_step_in_for_each_other(tmp_path: Path) -> None:
    """Hoeffding: a frequency over 200 requests is off by more than 0.24 less than once in 10**9."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(run_chaos(ChaosConfig(tokens=2))) for name in ("big", "small")}
        down = stack.enter_context(run_chaos(ChaosConfig(default="503")))
        deployments = [
            {"name": "big", "base_url": servers["big"].base_url, "api_key": GOOD, "weight": 3},
            {"name": "small", "base_url": servers["small"].base_url, "api_key": GOOD},
        ]
        made = document(tmp_path, down, {"deployments": deployments}, ["one/ok"])
        running = stack.enter_context(run_gateway(made))
        assert {answer.status for answer in served(running, 200)} == {200}
        share = len(servers["big"].journal()) / 200
        assert abs(share - 0.75) <= math.sqrt(math.log(2e9) / 400)
        assert len(servers["big"].journal()) + len(servers["small"].journal()) == 200

        for server in servers.values():
            server.reset()
        made["ledger"]["url"] = f"sqlite:///{tmp_path / 'other.db'}"
        made["providers"]["one"]["deployments"][0]["base_url"] = down.base_url
        running = stack.enter_context(run_gateway(made))
        for answer in served(running, 12):
            assert answer.status == 200
            assert running.record(answer.id).end.attempts[-1].deployment == "small"
        assert len(servers["small"].journal()) == 12


def test_azures_deployments_form_reaches_its_paths(tmp_path: Path) -> None:
    with run_chaos(ChaosConfig(tokens=2)) as chaos:
        made = document_of(
            chaos.base_url, tmp_path / "ledger.db", routes={"spread": {"targets": ["azure/gpt 5"]}}
        )
        made["providers"]["azure"] = {"base_url": chaos.url, "api_key": GOOD, "api_version": "2024-10-21"}
        with run_gateway(made) as running:
            (answer,) = served(running, 1)
            assert answer.status == 200
        (entry,) = chaos.journal()
        assert entry.path.replace("%20", " ") == "/openai/deployments/gpt 5/chat/completions"
        assert (entry.query, NAMES[entry.key_sha256 or ""]) == ("api-version=2024-10-21", "good")
        assert "api-key" in entry.headers
        assert "authorization" not in entry.headers
