"""RL3 over real sockets: a target that says "too many" gets as many as it bears, and callers hear little of it."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import contextmanager
from statistics import mean
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.load import asked, most_at_once, sent_to, state_of

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.chaos.capacity import Capacity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http import Answer

    from holdfast.resilience.adaptive import AdaptiveState

CAPACITY = 12
CALLERS = 40
LEARNING, ASKED = 120, 250  # requests: to find the capacity out, and then


@contextmanager
def world(folder: Path, chaos: Chaos, **adaptive: Any) -> Iterator[Running]:
    document = document_of(
        chaos.base_url,
        folder / "ledger.db",
        retry={"base_s": 0.02, "max_s": 0.2},
        breaker={"enabled": False},
        timeouts={"answer_s": 0.3},
        routes={"m": {"targets": ["one/m"]}},
    )
    document["providers"]["one"]["adaptive"] = {"enabled": True, "initial_limit": 4, **adaptive}
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


def adaptive(gateway: Running) -> AdaptiveState:
    state = state_of(gateway, "one/m").adaptive
    assert state is not None
    return state


def ask_by(gateway: Running, callers: int, count: int) -> tuple[list[Answer], list[int]]:
    """So many requests by callers who each begin the next one when they have an answer; and the limit now and then."""
    numbers = itertools.count()
    request = sent_to("m")
    answers: list[Answer] = []
    limits: list[int] = []

    async def caller() -> None:
        while next(numbers) < count:
            answers.append(await asked(gateway.port, request))
            if len(answers) % 5 == 0:
                limits.append(adaptive(gateway).limit)

    async def main() -> None:
        await asyncio.gather(*(caller() for _ in range(callers)))

    asyncio.run(main())
    return answers, limits


async def together(gateway: Running, count: int) -> list[Answer]:
    return await asyncio.gather(*(asked(gateway.port, sent_to("m")) for _ in range(count)))


@pytest.mark.parametrize("said", ["overloaded", "429"])
def test_it_finds_the_capacity_and_callers_hear_little_of_it(tmp_path: Path, said: str) -> None:
    capacity = Capacity(concurrent=CAPACITY, beyond=said)
    with (
        run_chaos(ChaosConfig(default="delay=0.03", capacity=capacity)) as chaos,
        world(tmp_path, chaos) as gateway,
    ):
        ask_by(gateway, CALLERS, LEARNING)
        before = len(chaos.journal())
        answers, limits = ask_by(gateway, CALLERS, ASKED)
        entries = chaos.journal()[before:]
        assert adaptive(gateway).decreases > 0
    refused = [entry for entry in entries if entry.status != 200]
    assert mean(limits) == pytest.approx(CAPACITY, rel=0.2)
    assert len(refused) <= 0.1 * len(entries)
    assert sum(answer.status != 200 for answer in answers) <= 0.04 * len(answers)


def test_a_capacity_that_sinks_and_comes_back_is_followed(tmp_path: Path) -> None:
    config = ChaosConfig(default="delay=0.02", capacity=Capacity(concurrent=CAPACITY))
    with run_chaos(config) as chaos, world(tmp_path, chaos) as gateway:
        ask_by(gateway, CALLERS, LEARNING)
        for capacity in (3, CAPACITY):
            chaos.update_config(capacity=Capacity(concurrent=capacity))
            ask_by(gateway, CALLERS, LEARNING)
            _, limits = ask_by(gateway, CALLERS, LEARNING)
            assert mean(limits) == pytest.approx(capacity, rel=0.2)


@pytest.mark.parametrize("fault", ["500", "reset", "hang"])
def test_other_errors_leave_it_alone(tmp_path: Path, fault: str) -> None:
    """Half of all attempts fail; the limit only grows."""
    script = f"50% {fault} | ok"
    with run_chaos(ChaosConfig(default=script)) as chaos:
        with world(tmp_path, chaos, max_limit=16) as gateway:
            ask_by(gateway, CALLERS, LEARNING)
            state = adaptive(gateway)
            assert (state.decreases, state.limit, state.in_flight) == (0, 16, 0)
        assert len(chaos.journal()) >= LEARNING


def test_without_it_callers_hear_much(tmp_path: Path) -> None:
    """The other side: it is the limit that spares them."""
    config = ChaosConfig(default="delay=0.03", capacity=Capacity(concurrent=CAPACITY))
    with run_chaos(config) as chaos, world(tmp_path, chaos, enabled=False) as gateway:
        answers = asyncio.run(together(gateway, 10 * CAPACITY))
    assert sum(answer.status != 200 for answer in answers) > 0.2 * len(answers)


def test_a_crowd_waits_for_what_is_known_to_pass(tmp_path: Path) -> None:
    """Those who come at once have places by turns: nobody is refused, here or there."""
    capacity = Capacity(concurrent=CAPACITY)
    with run_chaos(ChaosConfig(default="delay=0.03", capacity=capacity)) as chaos:
        with world(tmp_path, chaos, max_limit=CAPACITY) as gateway:
            answers = asyncio.run(together(gateway, 10 * CAPACITY))
            state = adaptive(gateway)
        assert {answer.status for answer in answers} == {200}
        assert most_at_once(chaos.journal()) <= CAPACITY + 1, "the provider notes an end a little late"
    assert (state.limit, state.decreases) == (CAPACITY, 0)
