"""RL1, RL2 over real sockets: a target's own rate limit, ours or the one that its provider tells of."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.load import asked, held, jain, most_in_window, ms_of, reasons_of, sent_to, state_of

from holdfast.chaos import Chaos, ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.http import Answer

KEYS = ("ann", "bob")
LIMIT, WINDOW_S = 12, 0.5


@pytest.fixture
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig()) as server:
        yield server


@contextmanager
def world(folder: Path, chaos: Chaos, rate: dict[str, Any], **sections: Any) -> Iterator[Running]:
    """Routes ``m``: one target with that limit; ``pair``: it, and then another."""
    routes = {"m": {"targets": ["one/m"]}, "pair": {"targets": ["one/m", "two/spare"]}}
    keys = {name: {"sha256": hashlib.sha256(name.encode()).hexdigest()} for name in KEYS}
    document = document_of(chaos.base_url, folder / "ledger.db", routes=routes, keys=keys, **sections)
    document["providers"]["one"]["rate"] = rate
    with run_gateway(document) as running:
        yield running
        running.no_traceback()


def of(key: str, model: str = "m") -> bytes:
    return sent_to(model, text=key, headers={"authorization": f"Bearer {key}"})


def burst(gateway: Running, requests: list[bytes]) -> list[Answer]:
    async def main() -> list[Answer]:
        return await asyncio.gather(*(asked(gateway.port, request) for request in requests))

    return asyncio.run(main())


def test_no_window_has_more_than_the_limit_and_who_waits_is_served(tmp_path: Path, chaos: Chaos) -> None:
    """What leaves the gateway within the limit may arrive closer together: by as much as the ways differ in length.

    So the provider's windows are taken shorter by the longest way that was seen, from an attempt's start to its arrival.
    """
    with world(tmp_path, chaos, {"requests": LIMIT, "window_s": WINDOW_S, "max_queue": 100}) as gateway:
        answers = burst(gateway, [of("ann")] * (4 * LIMIT))
        started = sorted(row.started_ns for _, row in gateway.seen.rows)
        assert state_of(gateway, "one/m").refused == {}
    assert {(answer.status, answer.attempts) for answer in answers} == {(200, 1)}
    entries = chaos.journal()
    assert len(entries) == len(started) == 4 * LIMIT
    together = [started[number - number % LIMIT] for number in range(len(entries))]
    way_s = max(entry.arrived_wall_ns - began for entry, began in zip(entries, together, strict=True)) / 1e9
    assert way_s < WINDOW_S / 2
    assert most_in_window((entry.arrived_ns for entry in entries), WINDOW_S - way_s) <= LIMIT
    span_s = (entries[-1].arrived_ns - entries[0].arrived_ns) / 1e9
    assert 3 * WINDOW_S - way_s <= span_s < 4 * WINDOW_S, "as fast as the limit lets them"


def test_two_backlogged_keys_share_it(tmp_path: Path, chaos: Chaos) -> None:
    """Ann is there first, with three times as many."""
    rate = {"requests": LIMIT, "window_s": 2 * WINDOW_S, "max_queue": 200}  # so that Bob is there in time
    with world(tmp_path, chaos, rate) as gateway:

        async def main() -> None:
            crowd = [of("ann")] * (LIMIT + 3 * LIMIT)
            async with held(gateway.port, crowd) as anns:
                await asyncio.to_thread(chaos.wait_for_requests, LIMIT)
                answers = await asyncio.gather(*(asked(gateway.port, of("bob")) for _ in range(LIMIT)))
                assert {answer.status for answer in answers} == {200}
                for ann in anns:
                    await ann.head()
                    assert (await ann.rest()).status == 200

        asyncio.run(main())
    turns = [next(key for key in KEYS if key in str(entry.body)) for entry in chaos.journal()[LIMIT:]]
    both = turns[: 2 * LIMIT]  # as long as both had somebody waiting
    assert jain([both.count(key) for key in KEYS]) >= 0.95
    assert len(turns) == 4 * LIMIT, "and nobody starves"


def test_beyond_the_queue_it_is_refused_with_the_time_to_come_back(tmp_path: Path, chaos: Chaos) -> None:
    with world(tmp_path, chaos, {"requests": 3, "window_s": 30}) as gateway:
        answers = burst(gateway, [of("ann")] * 10)
        refused = [answer for answer in answers if answer.status != 200]
        assert len(refused) == 7
        for answer in refused:
            assert reasons_of(answer) == ["rate_exceeded"]
            assert 28 <= int(answer.headers["retry-after"]) <= 30
            assert answer.attempts == 0
        state = state_of(gateway, "one/m")
        assert state.bulkhead is not None
        assert (state.refused, state.bulkhead.in_use) == ({"rate": 7}, 0)
    assert len(chaos.journal()) == 3


def test_where_the_limit_is_used_up_the_next_target_serves(tmp_path: Path, chaos: Chaos) -> None:
    with world(tmp_path, chaos, {"requests": 3, "window_s": 30}) as gateway:
        answers = burst(gateway, [of("ann", "pair")] * 10)
        assert {answer.status for answer in answers} == {200}
        assert (len(chaos.journal(model="m")), len(chaos.journal(model="spare"))) == (3, 7)


def test_a_retry_takes_from_it_again(tmp_path: Path, chaos: Chaos) -> None:
    chaos.script("m", "503")
    with world(tmp_path, chaos, {"requests": 2, "window_s": 30}, retry={"base_s": 0.001}) as gateway:
        (answer,) = burst(gateway, [of("ann")])
        assert reasons_of(answer) == ["overloaded", "overloaded", "rate_exceeded"]
    assert len(chaos.journal()) == 2


def test_tokens_are_settled_at_what_was_used(tmp_path: Path, chaos: Chaos) -> None:
    """A request reserves its 64 tokens of output and a token for each byte of input; an answer uses a few dozen."""
    with world(tmp_path, chaos, {"tokens": 1000, "window_s": 30}) as gateway:

        async def main() -> list[Answer]:
            return [await asked(gateway.port, of("ann")) for _ in range(12)]

        answers = asyncio.run(main())
        assert {answer.status for answer in answers} == {200}
        rate = state_of(gateway, "one/m").rate
        assert rate is not None
        assert rate.tokens is not None
        used = sum(entry.usage.prompt_tokens + entry.usage.completion_tokens for entry in chaos.journal())
        assert rate.tokens.remaining == 1000 - used


def told_by(remaining: int, reset: str) -> str:
    """A 429 whose headers tell how OpenAI's limit of requests stands."""
    words = {"limit": 1, "remaining": remaining, "reset": reset}
    return "429 retry-after-ms=1 " + " ".join(
        f"header.x-ratelimit-{name}-requests={value}" for name, value in words.items()
    )


def test_a_providers_own_limit_is_obeyed_until_its_reset(tmp_path: Path, chaos: Chaos) -> None:
    chaos.script("m", f"{told_by(0, '1s')}; ok")
    with world(tmp_path, chaos, {}, retry={"max_retries": 0}) as gateway:

        async def main() -> tuple[list[Answer], Answer, Answer]:
            assert (await asked(gateway.port, of("ann"))).status == 429
            elsewhere = [await asked(gateway.port, of("bob", "pair")) for _ in range(10)]
            refused = await asked(gateway.port, of("bob"))
            await asyncio.sleep(state_of(gateway, "one/m").blocked_s + 0.001)
            return elsewhere, refused, await asked(gateway.port, of("bob"))

        elsewhere, refused, served = asyncio.run(main())
        assert {(answer.status, answer.headers["x-holdfast-provider"]) for answer in elsewhere} == {
            (200, "two")
        }
        assert {answer.attempts for answer in elsewhere} == {1}
        assert ms_of(elsewhere) < 50
        assert refused.status in (429, 503)
        assert 1 <= int(refused.headers["retry-after-ms"]) <= 1000
        assert served.status == 200
    first, second = chaos.journal(model="m")
    assert (second.arrived_ns - first.arrived_ns) / 1e9 >= 1


@pytest.mark.parametrize(
    "nonsense", [told_by(0, "soon"), told_by(7, "60s"), told_by(0, "900d")], ids=["word", "more", "far"]
)
def test_a_limit_that_makes_no_sense_holds_nobody_back(tmp_path: Path, chaos: Chaos, nonsense: str) -> None:
    chaos.script("m", f"{nonsense}; ok")
    with world(tmp_path, chaos, {}, retry={"max_retries": 0}) as gateway:
        answers = [burst(gateway, [of("ann")])[0] for _ in range(3)]
        assert [answer.status for answer in answers] == [429, 200, 200]


def test_a_used_up_limit_is_no_outage(tmp_path: Path, chaos: Chaos) -> None:
    chaos.script("m", "429 retry-after-ms=1")
    with world(
        tmp_path, chaos, {}, retry={"max_retries": 0}, breaker={"min_requests": 4, "failure_threshold": 4}
    ) as gateway:
        burst(gateway, [of("ann")] * 20)
        state = state_of(gateway, "one/m").breaker
        assert state is not None
        assert (state.state.value, state.failures) == ("closed", 0)
    assert len(chaos.journal()) > 4
