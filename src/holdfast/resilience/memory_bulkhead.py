"""A memory bulkhead: operations say how much they are going to need, and whoever would need too much is refused first.

========================================  =========================================================================
more than one operation may ever have     refused, for good: no other try will pass
more than is left                         refused; it may pass when others have released
else                                      counted until it is released
========================================  =========================================================================

It counts what it is told and measures nothing: a Python process can't say whose its memory is. It never waits, since an
operation that holds memory while it waits for more is how programs lock up.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from holdfast.resilience.seam import Refused
from holdfast.resilience.settings import Range, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Allocation", "MemoryBulkhead", "MemoryBulkheadSettings", "MemoryLimitExceededError"]

_MIB: Final = 1024 * 1024
_SIZE: Final = Range(integer=True, least=0)


class MemoryBulkheadSettings(Settings, frozen=True, kw_only=True):
    """How much, in bytes."""

    max_memory_usage: Annotated[int, Meta(ge=1, le=1 << 50)] = 512 * _MIB
    """All operations together."""
    max_memory_per_operation: Annotated[int, Meta(ge=1, le=1 << 50)] = 64 * _MIB
    """One operation."""

    def check(self) -> None:
        if self.max_memory_per_operation > self.max_memory_usage:
            raise ValueError(
                f"max_memory_per_operation must be at most max_memory_usage, which is {self.max_memory_usage}, "
                f"not {self.max_memory_per_operation}"
            )


class MemoryLimitExceededError(Refused):
    """So much isn't to be had: now, or, if it is more than ``max_memory_per_operation``, ever.

    Args:
        message: what was asked for, and what there is.
        asked: bytes.
        available: bytes that one operation could have now.
    """

    def __init__(self, message: str, *, asked: int = 0, available: int = 0) -> None:
        super().__init__(message)
        self.asked = asked
        self.available = available


class Allocation:
    """What one operation was promised, until it is released. Made by :meth:`MemoryBulkhead.allocate`."""

    __slots__ = ("_bulkhead", "size")

    def __init__(self, bulkhead: MemoryBulkhead, size: int) -> None:
        self._bulkhead: MemoryBulkhead | None = bulkhead  # None: released
        self.size = size
        """Bytes."""


class MemoryBulkhead:
    """Memory that many operations share, by what they say they need.

    Not thread-safe: it belongs to one event loop's thread.

    Args:
        max_memory_usage: bytes for all operations together.
        max_memory_per_operation: bytes for one of them.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, max_memory_usage: int = 512 * _MIB, max_memory_per_operation: int = 64 * _MIB) -> None:
        self.settings = MemoryBulkheadSettings(
            max_memory_usage=max_memory_usage, max_memory_per_operation=max_memory_per_operation
        )
        self._used = 0
        self.refused = 0
        """Operations told no since the beginning."""

    @property
    def used(self) -> int:
        """Bytes that are promised now."""
        return self._used

    @property
    def available(self) -> int:
        """Bytes that one operation could have now."""
        settings = self.settings
        return min(settings.max_memory_per_operation, settings.max_memory_usage - self._used)

    async def allocate(self, size: int) -> Allocation:
        """Promises ``size`` bytes to one operation, at once or not at all: it never waits, nor yields to the loop.

        Raises:
            MemoryLimitExceededError: it is more than one operation may have, or than is left.
            ValueError: ``size`` is no whole number from 0.
        """
        if not _SIZE.permits(size):
            raise ValueError(f"size must be {_SIZE}, not {size!r}")
        available = self.available
        if size > available:
            self.refused += 1
            most = self.settings.max_memory_per_operation
            if size > most:
                why = f"one operation may have {most}"
            else:
                why = f"{self._used} of {self.settings.max_memory_usage} are in use"
            raise MemoryLimitExceededError(
                f"{size} bytes of memory asked for: {why}", asked=size, available=available
            )
        self._used += size
        return Allocation(self, size)

    async def release(self, allocation: Allocation) -> None:
        """Takes the promise back. Only the first time counts; doesn't yield to the loop.

        Raises:
            ValueError: another bulkhead made the promise.
        """
        if allocation._bulkhead is None:  # noqa: SLF001  # the two are one
            return
        if allocation._bulkhead is not self:  # noqa: SLF001  # the two are one
            raise ValueError("this memory was allocated by another bulkhead")
        allocation._bulkhead = None  # noqa: SLF001  # the two are one
        self._used -= allocation.size

    @asynccontextmanager
    async def allocation(self, size: int) -> AsyncIterator[Allocation]:
        """``async with bulkhead.allocation(size):`` holds ``size`` bytes for the block, however it ends.

        Raises:
            MemoryLimitExceededError, ValueError: as :meth:`allocate`.
        """
        allocated = await self.allocate(size)
        try:
            yield allocated
        finally:
            await self.release(allocated)
