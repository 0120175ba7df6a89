"""A limit, an operation and a caller that may leave: what comes out is what came first."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.named_timeouts import OperationTimeoutError, Timeout
from holdfast.testing.virtual_time import run_virtual

quarter = st.integers(1, 40).map(lambda n: n / 4)


class Theirs(TimeoutError):
    """Raised by the operation."""


@given(
    limit_s=quarter,
    takes_s=quarter,
    answer=st.sampled_from(["done", Theirs, ValueError]),
    leaves_s=st.none() | quarter,
)
def test_what_came_first(limit_s, takes_s, answer, leaves_s):
    """DL1, DL2. Where two things happen in the same turn, any of them may win; a cancel is never swallowed by a limit."""

    async def operation():
        await asyncio.sleep(takes_s)
        if answer == "done":
            return answer
        raise answer

    async def main(clock):
        task = asyncio.create_task(Timeout(limit_s).call(operation))
        if leaves_s is not None:
            asyncio.get_running_loop().call_at(leaves_s, task.cancel)
        await asyncio.wait([task])
        if task.cancelled():
            return asyncio.CancelledError, clock.monotonic()
        error = task.exception()
        return (task.result() if error is None else type(error)), clock.monotonic()

    came, at = run_virtual(main)
    first = min(limit_s, takes_s, leaves_s if leaves_s is not None else limit_s)
    assert at == first
    possible = set()
    if takes_s == first:
        possible.add(answer)
    if limit_s == first:
        possible.add(OperationTimeoutError)
    if leaves_s == first:
        possible.add(asyncio.CancelledError)
    assert came in possible
    if leaves_s == first < takes_s:
        assert came is asyncio.CancelledError


@given(limits=st.lists(quarter, min_size=1, max_size=5), takes_s=quarter)
def test_nested_limits(limits, takes_s):
    """The tightest limit ends it, at its own time and in its own name."""

    async def main(clock):
        async def innermost():
            await asyncio.sleep(takes_s)
            return "done"

        run = innermost
        for n, limit_s in enumerate(limits):
            run = _within(Timeout(limit_s, name=f"limit_{n}"), run)
        try:
            came = await run()
        except OperationTimeoutError as error:
            came = error.name
        return came, clock.monotonic(), asyncio.current_task().cancelling()

    came, at, cancelling = run_virtual(main)
    tightest = min(limits)
    assert at == min(tightest, takes_s)
    assert cancelling == 0
    if takes_s < tightest:
        assert came == "done"
    elif takes_s > tightest:
        assert came in {f"limit_{n}" for n, limit_s in enumerate(limits) if limit_s == tightest}


def _within(limit, run):
    return lambda: limit.call(run)
