"""The memory bulkhead: never more is promised than there is, and all of it comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.memory_bulkhead import Allocation, MemoryBulkhead, MemoryLimitExceededError


def run(coroutine):
    """What it returns without yielding to any loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


@given(
    usage=st.integers(1, 100),
    share=st.floats(0, 1),
    events=st.lists(st.tuples(st.booleans(), st.integers(0, 120)), max_size=60),
)
def test_it_promises_what_fits_and_nothing_else(usage, share, events):
    """BH1: against the sum of what is held, added up anew for each event."""
    each = max(1, round(usage * share))
    bulkhead = MemoryBulkhead(usage, each)
    held: list[Allocation] = []
    refused = 0
    for takes, number in events:
        if takes:
            fits = number <= each and sum(one.size for one in held) + number <= usage
            try:
                held.append(run(bulkhead.allocate(number)))
            except MemoryLimitExceededError:
                assert not fits
                refused += 1
            else:
                assert fits
        elif held:
            one = held.pop(number % len(held))
            run(bulkhead.release(one))
            run(bulkhead.release(one))
        assert (bulkhead.used, bulkhead.refused) == (sum(one.size for one in held), refused)
        run(
            bulkhead.release(run(bulkhead.allocate(bulkhead.available)))
        )  # what it says is there is to be had
    for one in held:
        run(bulkhead.release(one))
    assert bulkhead.used == 0
