"""RT4, RT5: a provider that is down gets little more than what callers ask, then next to nothing; no SDK adds to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from openai import APIStatusError, AsyncOpenAI
from tests.support.gateway import document_of, run_gateway
from tests.support.load import open_loop, reasons_of, sent_to, state_of

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.http import Answer

    from holdfast.chaos import Entry
    from holdfast.engine.gates import TargetState

RATE, REQUESTS = 20, 130  # 6.5 s
RATIO, FLOOR = 0.1, 3  # the budget's own: 10 %, and 0.3 a second in a window of 10 s
RETRY = {"base_s": 0.02, "max_s": 0.1}

BROKEN = {"refusing": "503", "resetting": "reset", "slow": "500 delay=0.1"}
UNBROKEN = {"off": "503", "limiting": "429 retry_after_ms=20"}
"""A limit is no outage, so its breaker stays closed: there the budget is all there is. So it is without a breaker."""


@dataclass
class Lane:
    """One outage."""

    answers: list[Answer]
    entries: list[Entry]
    state: TargetState


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lane]:
    """All outages at once, each at a target of its own.

    Open times are 1, 2 and 4 s for those who answer at once, so that several are seen; the usual one is a minute.
    """
    scripts = BROKEN | UNBROKEN
    routes: dict[str, Any] = {name: {"targets": [f"one/{name}"]} for name in scripts}
    routes["off"]["breaker"] = {"enabled": False}
    routes["slow"]["breaker"] = {"open_s": 3}  # at 20 requests a second three probes come at once
    with run_chaos(ChaosConfig(scripts=scripts)) as chaos:
        document = document_of(
            chaos.base_url,
            tmp_path_factory.mktemp("outage") / "ledger.db",
            breaker={"open_s": 1, "jitter": 0},
            retry=RETRY,
            routes=routes,
        )

        async def every() -> list[list[Answer]]:
            loops = (open_loop(gateway.port, RATE, REQUESTS, sent_to(name)) for name in scripts)
            return await asyncio.gather(*loops)

        with run_gateway(document) as gateway:
            answers = asyncio.run(every())
            lanes = {
                name: Lane(answered, chaos.journal(model=name), state_of(gateway, f"one/{name}"))
                for name, answered in zip(scripts, answers, strict=True)
            }
            gateway.no_traceback()
    return lanes


@pytest.mark.parametrize("name", BROKEN)
def test_a_breaker_leaves_it_little_more_than_probes(lanes: dict[str, Lane], name: str) -> None:
    answers, arrived = lanes[name].answers, [entry.arrived_ns / 1e9 for entry in lanes[name].entries]
    turned_away = [answer for answer in answers if answer.attempts == 0]
    opened = min(answer.started for answer in turned_away)
    before = sum(answer.started < opened for answer in answers)
    sent_before = sum(at < opened for at in arrived)
    after, sent_after = len(answers) - before, len(arrived) - sent_before
    assert 1 <= sent_before <= (1 + RATIO) * before + FLOOR
    assert 1 <= sent_after <= 0.05 * after, "probes, and nothing but probes"

    assert len(turned_away) >= 0.9 * len(answers)
    for answer in turned_away:
        assert answer.status == 503
        assert reasons_of(answer) == ["breaker_open"]
        assert 1 <= int(answer.headers["retry-after"]) <= 6


@pytest.mark.parametrize("name", UNBROKEN)
def test_without_a_breaker_the_budget_holds(lanes: dict[str, Lane], name: str) -> None:
    attempts = len(lanes[name].entries)
    assert REQUESTS * (1 + RATIO / 2) < attempts <= REQUESTS * (1 + RATIO) + FLOOR


@pytest.mark.parametrize("name", BROKEN | UNBROKEN)
def test_every_caller_is_told_not_to_come_back_and_nothing_is_kept(lanes: dict[str, Lane], name: str) -> None:
    lane = lanes[name]
    assert {answer.headers["x-should-retry"] for answer in lane.answers} == {"false"}
    assert {answer.status for answer in lane.answers} <= ({429, 503} if name == "limiting" else {502, 503})
    assert lane.state.bulkhead is not None
    assert (lane.state.bulkhead.in_use, lane.state.bulkhead.waiting) == (0, 0)


def test_an_sdk_with_retries_of_its_own_adds_none(tmp_path: Path) -> None:
    with run_chaos(ChaosConfig(default="503")) as chaos:
        document = document_of(
            chaos.base_url, tmp_path / "ledger.db", retry=RETRY, routes={"m": {"targets": ["one/m"]}}
        )

        async def ask(client: AsyncOpenAI) -> APIStatusError:
            with pytest.raises(APIStatusError) as caught:
                await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
            return caught.value

        async def every() -> list[APIStatusError]:
            url = gateway.base_url
            async with asyncio.timeout(8), AsyncOpenAI(base_url=url, api_key="x", max_retries=5) as client:
                return [await ask(client) for _ in range(20)]

        with run_gateway(document) as gateway:
            errors = asyncio.run(every())
            assert len(gateway.seen.ends) == 20, "the SDK came back"
            assert state_of(gateway, "one/m").client_retries == 0
        assert {error.status_code for error in errors} == {502, 503}
        assert len(chaos.journal()) == 10, "the breaker opens at its tenth call"
