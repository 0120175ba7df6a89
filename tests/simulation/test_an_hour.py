"""An hour of a failing provider, lived through in under a second of real time, with everything accounted for."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from time import process_time
from typing import TYPE_CHECKING

import pytest
from tests.simulation.chat_wire import hear, refuses, request, speaks, stream, whole
from tests.simulation.world import PRICES, World, converse

from holdfast.engine.policy import Policy, Retry, Timeouts
from holdfast.errors import HoldfastError, TargetsFailed
from holdfast.ledger.entry import Counts, Record
from holdfast.testing.memory_transport import Reply
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from holdfast.transport.base import Outgoing

HOUR_S = 3600.0
EVERY_S = 7.5  # 480 requests, and about a thousand attempts
MOODS = ("well", "down", "limited", "slow", "silent", "cuts", "resets", "garbage", "unreachable")
TOTAL_S = 40.0
SEED = 7


@dataclass
class Served:
    """What the provider knows of one request: its own journal, apart from ours."""

    prompt: str
    provider: str
    text: str
    usage: tuple[int, int]
    mood: str


@dataclass
class Hour:
    """What was served, what was heard, what was written down."""

    served: list[Served] = field(default_factory=list)
    heard: dict[str, tuple[HoldfastError | None, bytes, bool, str, float]] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    real_s: float = 0.0


class Providers:
    """A primary whose mood changes every minute, and a secondary that stumbles now and then."""

    def __init__(self, clock: VirtualClock, seed: int, journal: list[Served]) -> None:
        self._clock = clock
        self._dice = random.Random(seed)
        self._moods = [self._dice.choice(MOODS) for _ in range(int(HOUR_S / 60) + 2)]
        self._journal = journal

    def primary(self, outgoing: Outgoing) -> Reply:
        return self._answer("a", outgoing, self._moods[int(self._clock.monotonic() // 60)])

    def secondary(self, outgoing: Outgoing) -> Reply:
        return self._answer("b", outgoing, "resets" if self._dice.random() < 0.02 else "well")

    def _answer(self, provider: str, outgoing: Outgoing, mood: str) -> Reply:
        asked = json.loads(outgoing.body)
        prompt, streamed = asked["messages"][0]["content"], asked.get("stream", False)
        words = [f"{provider}{len(self._journal)}:{n} " for n in range(self._dice.randint(1, 6))]
        usage = (self._dice.randint(1, 500), self._dice.randint(1, 100))
        if mood == "unreachable":  # it never hears of it
            return Reply(None, refused=True)
        self._journal.append(Served(prompt, provider, "".join(words), usage, mood))
        speed = 0.05 + self._dice.random() * 0.3
        if not streamed:
            return self._plain(mood, "".join(words), usage, speed)
        events = stream(*words, usage=usage)
        kept = events[: 1 + self._dice.randint(0, len(words))]
        match mood:
            case "well":
                return speaks(*events, head_s=speed, gap_s=speed / 10)
            case "cuts":
                return speaks(*kept, head_s=speed, gap_s=0.05, ending="cut")
            case "resets":
                return speaks(*kept, head_s=speed, gap_s=0.05, ending="reset")
            case "slow":
                return speaks(*events, head_s=speed, first_s=self._dice.uniform(1, 6), gap_s=0.02)
            case "garbage":
                return speaks(*kept, b"data: {no\n\n", head_s=speed, gap_s=0.05)
            case _:
                return self._refusing(mood)

    def _plain(self, mood: str, text: str, usage: tuple[int, int], speed: float) -> Reply:
        match mood:
            case "well":
                return whole(text, usage=usage, head_s=speed)
            case "cuts" | "resets":
                return Reply(None, ending="reset", head_s=speed)
            case "slow":
                return whole(text, usage=usage, head_s=self._dice.uniform(1, 6))
            case "garbage":
                return Reply(200, {"content-type": "application/json"}, ((0.1, b"<html>"),))
            case _:
                return self._refusing(mood)

    def _refusing(self, mood: str) -> Reply:
        if mood == "limited":
            return refuses(429, headers={"retry-after": str(self._dice.choice([0.2, 1, 30]))})
        return Reply(None, ending="hang") if mood == "silent" else refuses(503, head_s=0.05)


def live_through(seed: int, *, on_break: str = "error") -> Hour:
    hour = Hour()

    async def main(clock: VirtualClock) -> None:
        providers = Providers(clock, seed, hour.served)
        world = World(
            clock,
            {"a": providers.primary, "b": providers.secondary},
            seed=seed,
            policy=Policy(total_s=TOTAL_S, on_break=on_break),
            timeouts=Timeouts(first_token_s=3.0, answer_s=3.0, idle_s=5.0),
            retry=Retry(max_retries=1, base_s=0.2, max_s=2.0),
        )

        async def ask(number: int) -> None:
            prompt, streamed = f"question {number}", number % 3 != 0
            exchange = world.exchange(request(prompt=prompt, stream=streamed))
            began = clock.monotonic()
            error, data = await converse(exchange)
            exchange.close()
            hour.heard[prompt] = error, data, streamed, exchange.call.id, clock.monotonic() - began

        asking = set()
        for number in range(int(HOUR_S / EVERY_S)):
            asking.add(asyncio.ensure_future(ask(number)))
            await asyncio.sleep(EVERY_S)
        await asyncio.gather(*asking)
        assert clock.monotonic() >= HOUR_S
        world.assert_quiet()
        hour.records = list(world.ledger.records())
        hour.counts = await world.ledger.counts()

    began = process_time()
    run_virtual(main)
    hour.real_s = process_time() - began
    return hour


@pytest.fixture(scope="module")
def hour() -> Hour:
    return live_through(SEED)


def test_it_takes_less_than_a_second(hour: Hour):
    """0.3 s on an idle core. Measured as this process's CPU time: nothing in the hour waits for anything else,
    and what other processes take of the machine is not ours. The best of a few, for the same reason."""
    assert hour.real_s < 1.0 or any(live_through(SEED).real_s < 1.0 for _ in range(3))


def test_the_hour_was_a_bad_one(hour: Hour):
    """Or the rest proves little: every mood was met, and hundreds of attempts failed."""
    outcomes = Counter(row.outcome for record in hour.records for row in record.end.attempts)
    assert {served.mood for served in hour.served} | {"unreachable"} == set(MOODS)
    assert sum(outcomes.values()) - outcomes["ok"] > 250
    assert len(outcomes) >= 7


def test_every_caller_got_a_true_answer_or_a_typed_error(hour: Hour):
    assert len(hour.heard) == HOUR_S / EVERY_S
    texts: dict[str, list[str]] = {}
    for served in hour.served:
        texts.setdefault(served.prompt, []).append(served.text)
    ended = Counter()
    for prompt, (error, data, streamed, _, took_s) in hour.heard.items():
        assert took_s <= TOTAL_S + 0.05
        if error is not None:
            assert isinstance(error, TargetsFailed)
            assert error.status in (429, 502, 503, 504)
            ended["refused"] += 1
        elif not streamed:
            assert json.loads(data)["choices"][0]["message"]["content"] in texts[prompt]
            ended["whole"] += 1
        else:
            heard = hear(data)
            assert heard.endings == 1
            assert heard.after_end == 0
            if heard.dones:
                assert heard.text in texts[prompt]
                assert heard.finishes == {0: ["stop"]}
                ended["whole"] += 1
            else:
                assert heard.finishes == {}
                assert any(text.startswith(heard.text) and heard.text for text in texts[prompt])
                ended["broken"] += 1
    assert ended["whole"] > 0.8 * len(hour.heard)
    assert ended["broken"] > 0


def test_the_ledger_says_what_the_providers_say(hour: Hour):
    assert hour.counts.balanced
    assert hour.counts.in_flight == hour.counts.unknown == hour.counts.cancelled == 0
    assert hour.counts.accepted == len(hour.heard) == len(hour.records)
    by_id = {record.intent.id: record for record in hour.records}
    served: dict[str, list[Served]] = {}
    for each in hour.served:
        served.setdefault(each.prompt, []).append(each)
    billed_by_them = billed_by_us = 0
    for prompt, (error, data, _, request_id, _) in hour.heard.items():
        end = by_id[request_id].end
        reached = [row for row in end.attempts if row.outcome != "connect_failed"]
        assert [row.provider for row in reached] == [each.provider for each in served.get(prompt, [])]
        assert [row.number for row in end.attempts] == list(range(1, len(end.attempts) + 1))
        assert end.cost_nano == sum(row.cost_nano for row in end.attempts)
        for row, each in zip(reached, served.get(prompt, []), strict=True):
            given, made = (int(float(price) * 1000) for price in PRICES[row.provider])
            if row.billed == "provider":
                assert (row.usage.input_tokens, row.usage.output_tokens) == each.usage
                assert row.cost_nano == each.usage[0] * given + each.usage[1] * made
                billed_by_them += row.cost_nano
            billed_by_us += row.cost_nano
        whole_answer = error is None and b'"error"' not in data
        assert (end.state == "ok") == whole_answer
        if whole_answer:
            assert end.attempts[-1].outcome == "ok"
            assert end.attempts[-1].billed == "provider"
    assert billed_by_us >= billed_by_them > 0


def test_attempts_stay_within_their_caps(hour: Hour):
    for record in hour.records:
        tried = Counter(row.provider for row in record.end.attempts)
        assert max(tried.values()) <= 2
        order = [row.provider for row in record.end.attempts]
        assert order[0] == "a"
        timed_out = [n for n, row in enumerate(record.end.attempts) if row.outcome == "timed_out"]
        for n in timed_out[:1]:
            assert order[n + 1 : n + 2] in ([], ["b"]), "a target that timed out waits for the others"


def test_the_same_seed_is_the_same_hour(hour: Hour):
    again = live_through(SEED)
    assert again.records == hour.records
    assert again.heard.keys() == hour.heard.keys()
    assert [heard[1:] for heard in again.heard.values()] == [heard[1:] for heard in hour.heard.values()]


def test_with_resumption_too():
    """Its streams go on in tasks of their own: no order of tasks may depend on anything but the seed."""
    one, two = live_through(3, on_break="resume"), live_through(3, on_break="resume")
    assert one.records == two.records
    finished = [record for record in one.records if record.state == "ok" and record.end.provider == "b"]
    assert any(
        row.status == 200 and row.outcome != "ok" for record in finished for row in record.end.attempts
    )


def test_another_seed_is_another_hour(hour: Hour):
    assert live_through(8).records != hour.records
