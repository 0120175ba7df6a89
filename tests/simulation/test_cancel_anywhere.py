"""A caller may leave at any instant: whatever was under way is cut, settled once and written down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytest
from tests.simulation.chat_wire import chunk, refuses, request, speaks, stream, whole
from tests.simulation.world import World, converse

from holdfast.engine.policy import Policy
from holdfast.testing.memory_transport import Reply
from holdfast.testing.virtual_time import VirtualClock, run_virtual

Scripts = Mapping[str, Sequence[Reply]]


def retried_then_streamed() -> Scripts:
    return {
        "a": [refuses(503, head_s=0.2), refuses(429, headers={"retry-after": "1"}), refuses(500, head_s=0.1)],
        "b": [speaks(*stream("one", " two", " three"), head_s=0.3, first_s=0.2, gap_s=0.4, connect_s=0.3)],
    }


def plain() -> Scripts:
    return {"a": [Reply(None, ending="reset", head_s=0.4)] * 3, "b": [whole(head_s=0.7)]}


def broken_and_resumed() -> Scripts:
    said = stream("one", " two", " three", " four")
    return {
        "a": [speaks(*said[:3], gap_s=0.3, ending="reset", end_s=0.2)],
        "b": [
            speaks(chunk("one"), gap_s=0.3, ending="reset", end_s=0.3),
            speaks(*said, gap_s=0.5, head_s=0.2, first_s=0.3),
        ],
    }


def buffered() -> Scripts:
    said = stream("one", " two", " three")
    return {
        "a": [speaks(*said[:2], gap_s=0.3, ending="reset", end_s=0.3)] * 3,
        "b": [speaks(*said, gap_s=0.3, head_s=0.2)],
    }


def silent() -> Scripts:
    return {"a": [Reply(None, ending="hang")], "b": [speaks(*stream("hi"), head_s=1.0)]}


CASES = {
    "fallback": (retried_then_streamed, Policy(), True),
    "plain": (plain, Policy(), False),
    "resume": (broken_and_resumed, Policy(on_break="resume"), True),
    "buffer": (buffered, Policy(on_break="buffer"), True),
    "silent": (silent, Policy(total_s=3.0), True),
}


async def live(
    clock: VirtualClock, make: Callable[[], Scripts], policy: Policy, streamed: bool, leave_at: float
) -> bool:
    """One request whose caller leaves at ``leave_at`` seconds; False where it had ended by then."""
    trouble: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    world = World(clock, make(), policy=policy, begin_s=0.2)
    exchange = world.exchange(request(stream=streamed))
    task = asyncio.ensure_future(converse(exchange))
    done, _ = await asyncio.wait({task}, timeout=leave_at)
    if not done:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
    exchange.close()
    exchange.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    world.assert_quiet()
    health = world.ledger.health()
    counts = await world.ledger.counts()
    assert counts.balanced
    assert counts.in_flight == 0
    assert health.ends == health.intents == counts.accepted
    assert len(world.told.intents) == len(world.told.ends) == 1
    end = world.told.ends[0]
    assert [row.number for row in end.attempts] == list(range(1, exchange.attempts + 1)), "each attempt once"
    assert list(end.attempts) == world.told.rows
    assert all(row.total_ms >= 0 for row in end.attempts)
    assert len(world.transport.exchanges) <= exchange.attempts
    if not done:
        assert end.state == "cancelled"
        assert end.error_label == "abandoned"
        expected = 200 if exchange.target is not None else 499
        assert end.status == expected
        for row in end.attempts[:-1]:
            assert row.outcome != "abandoned", "only what was under way was abandoned"
    assert trouble == []
    return not done


@pytest.mark.parametrize("name", CASES)
def test_leaving_at_every_instant(name: str):
    make, policy, streamed = CASES[name]
    instants = [n * 0.05 + 0.013 for n in range(160)]
    cut = [run_virtual(lambda clock, at=at: live(clock, make, policy, streamed, at)) for at in instants]
    assert cut[0] is True
    assert cut[-1] is False, "the sweep reaches beyond the end"
    assert cut == sorted(cut, reverse=True)
    assert sum(cut) >= 15


@pytest.mark.parametrize("name", CASES)
def test_leaving_at_every_await(name: str):
    """Not by time, but by the number of steps the loop took: every await of the path is hit, also those of no length."""
    make, policy, streamed = CASES[name]
    steps = 0
    while run_virtual(lambda clock, n=steps: _live_steps(clock, make, policy, streamed, n)):
        steps += 1
    assert steps >= 3


async def _live_steps(
    clock: VirtualClock, make: Callable[[], Scripts], policy: Policy, streamed: bool, steps: int
) -> bool:
    world = World(clock, make(), policy=policy)
    exchange = world.exchange(request(stream=streamed))
    stepper = _Stepper(converse(exchange), steps)
    task = asyncio.ensure_future(stepper.run())
    await task
    exchange.close()
    for _ in range(10):
        await asyncio.sleep(0)
    world.assert_quiet()
    counts = await world.ledger.counts()
    assert counts.balanced
    assert counts.in_flight == 0
    assert len(world.told.ends) == len(world.told.intents) <= 1
    for end in world.told.ends:
        assert [row.number for row in end.attempts] == list(range(1, exchange.attempts + 1))
    return stepper.cut


class _Stepper:
    """Drives a coroutine by hand and throws a cancellation into its n-th await."""

    def __init__(self, coroutine, steps: int) -> None:
        self._coroutine = coroutine
        self._left = steps
        self.cut = False

    async def run(self) -> None:
        try:
            await self
        except asyncio.CancelledError:
            assert self.cut

    def __await__(self):
        inner = self._coroutine.__await__()
        resume = partial(inner.send, None)
        try:
            while True:
                future = resume()
                if self._left == 0:
                    self.cut = True
                    if future is not None:
                        future._asyncio_future_blocking = False  # this task waits for it no more
                        future.cancel()
                    inner.throw(asyncio.CancelledError())
                    raise AssertionError("it went on after its cancellation")
                self._left -= 1
                try:
                    yield future
                    resume = partial(inner.send, None)
                except asyncio.CancelledError as cancelled:  # a time limit's
                    resume = partial(inner.throw, cancelled)
        except StopIteration:
            return


HIDDEN = 2_000
"""Input tokens above a body's bytes in a bound, at most: what we add to a body, and what a provider may."""


def test_a_caller_that_leaves_is_billed_at_most_the_bound():
    async def main(clock: VirtualClock) -> None:
        world = World(clock, {"a": [speaks(*stream("one", " two"), gap_s=1.0)]})
        body = request(max_tokens=50)
        exchange = world.exchange(body)
        task = asyncio.ensure_future(converse(exchange))
        await asyncio.wait({task}, timeout=2.5)
        task.cancel()
        await asyncio.wait({task})
        exchange.close()
        (row,) = world.told.rows
        assert row.billed == "bound"
        input_tokens, rest = divmod(row.cost_nano - 50 * 8_000, 2_000)
        assert rest == 0
        assert len(body) <= input_tokens <= len(body) + HIDDEN
        assert world.transport.exchanges[0].ended == "closed"
        assert world.transport.exchanges[0].ended_at == pytest.approx(2.5)

    run_virtual(main)


def test_the_deadline_of_a_hanging_ledger_is_the_callers_patience():
    """Cancelled while the intent is on its way: it may be written, so its end is; nothing is sent."""

    async def main(clock: VirtualClock) -> None:
        world = World(clock, {"a": []}, begin_s=5.0)
        exchange = world.exchange()
        task = asyncio.ensure_future(converse(exchange))
        await asyncio.wait({task}, timeout=1.0)
        task.cancel()
        await asyncio.wait({task})
        exchange.close()
        assert [end.state for end in world.told.ends] == ["cancelled"]
        assert world.told.ends[0].attempts == ()
        assert world.transport.exchanges == []

    run_virtual(main)
