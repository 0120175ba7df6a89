"""The memory bulkhead: what is promised, to whom not, and that it comes back."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest

from holdfast.resilience.memory_bulkhead import Allocation, MemoryBulkhead, MemoryLimitExceededError

MIB = 1024 * 1024


def allocated(bulkhead: MemoryBulkhead, size: int) -> Allocation:
    """What ``allocate`` returns without yielding to any loop."""
    with pytest.raises(StopIteration) as caught:
        bulkhead.allocate(size).send(None)
    return caught.value.value


def refused(bulkhead: MemoryBulkhead, size: int) -> MemoryLimitExceededError:
    with pytest.raises(MemoryLimitExceededError) as caught:
        bulkhead.allocate(size).send(None)
    return caught.value


def released(bulkhead: MemoryBulkhead, allocation: Allocation) -> None:
    with pytest.raises(StopIteration):
        bulkhead.release(allocation).send(None)


class TestSettings:
    def test_defaults_are_the_documents(self):
        """E4."""
        settings = MemoryBulkhead().settings
        assert (settings.max_memory_usage, settings.max_memory_per_operation) == (512 * MIB, 64 * MIB)

    @pytest.mark.parametrize(
        ("usage", "each", "message"),
        [
            (0, 1, "max_memory_usage must be a whole number from 1 to .*, not 0"),
            (10, -1, "max_memory_per_operation must be a whole number from 1 to .*, not -1"),
            (10.5, 1, "max_memory_usage must be a whole number from 1 to .*, not 10.5"),
            (10, 11, "max_memory_per_operation must be at most max_memory_usage, which is 10, not 11"),
        ],
    )
    def test_impossible_ones_are_refused(self, usage, each, message):
        with pytest.raises(ValueError, match=f"^{message}$"):
            MemoryBulkhead(usage, each)


class TestLimits:
    def test_one_operation(self):
        bulkhead = MemoryBulkhead(100, 50)
        error = refused(bulkhead, 51)
        assert str(error) == "51 bytes of memory asked for: one operation may have 50"
        assert (error.asked, error.available, error.retry_after_s) == (51, 50, None)
        assert (allocated(bulkhead, 50).size, bulkhead.used, bulkhead.refused) == (50, 50, 1)

    def test_all_together(self):
        bulkhead = MemoryBulkhead(100, 50)
        held = [allocated(bulkhead, 40), allocated(bulkhead, 40)]
        error = refused(bulkhead, 21)
        assert str(error) == "21 bytes of memory asked for: 80 of 100 are in use"
        assert (error.asked, error.available, bulkhead.available) == (21, 20, 20)
        allocated(bulkhead, 20)
        assert refused(bulkhead, 1).available == 0
        allocated(bulkhead, 0)
        released(bulkhead, held[0])
        assert bulkhead.available == 40
        allocated(bulkhead, 40)

    @pytest.mark.parametrize("size", [-1, 1.5, True, "1", float("nan")])
    def test_no_size(self, size):
        bulkhead = MemoryBulkhead(100, 50)
        with pytest.raises(ValueError, match="size must be a whole number from 0, not "):
            bulkhead.allocate(size).send(None)
        assert bulkhead.used == 0


class TestRelease:
    def test_only_the_first_time_counts(self):
        bulkhead = MemoryBulkhead(100, 50)
        one, _ = allocated(bulkhead, 30), allocated(bulkhead, 30)
        for _ in range(3):
            released(bulkhead, one)
        assert bulkhead.used == 30

    def test_another_bulkheads_is_a_mistake(self):
        mine, other = MemoryBulkhead(100, 50), MemoryBulkhead(100, 50)
        one = allocated(other, 30)
        with pytest.raises(ValueError, match="this memory was allocated by another bulkhead"):
            mine.release(one).send(None)
        assert (mine.used, other.used) == (0, 30)

    @pytest.mark.parametrize("error", [None, ValueError, asyncio.CancelledError])
    def test_at_the_end_of_a_block_however_it_ends(self, error):
        """BH1."""

        async def main() -> None:
            bulkhead = MemoryBulkhead(100, 50)
            with pytest.raises(error) if error else nullcontext():
                async with bulkhead.allocation(30) as allocation:
                    assert (allocation.size, bulkhead.used) == (30, 30)
                    if error:
                        raise error
            assert bulkhead.used == 0
            with pytest.raises(MemoryLimitExceededError):
                async with bulkhead.allocation(60):
                    pass

        asyncio.run(main())
