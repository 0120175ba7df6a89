"""How far offline counts are off, learnt from what providers bill: a request now and then is counted once it is over.

Only what is shown gets better by it (:meth:`holdfast.providers.tokens.learned.Learned.applied`): bounds hold without.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from holdfast.errors import HoldfastError
from holdfast.providers.tokens import count_request_async
from holdfast.providers.tokens.learned import Learned

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.engine.policy import Target
    from holdfast.model import Request
    from holdfast.model.usage import Usage

__all__ = ["EVERY", "LARGEST", "Learner"]

EVERY: Final = 100
"""Of so many bills one is looked at: a count takes as long as a tenth of a request, so a thousandth is added."""
LARGEST: Final = 64 * 2**10
"""Bytes of a request that is counted for this."""


class Learner:
    """One for an engine; belongs to its loop's thread.

    Args:
        learned: what was learnt before.
        every: bills to one that is looked at.
    """

    def __init__(self, learned: Learned | None = None, *, every: int = EVERY) -> None:
        self.learned = learned if learned is not None else Learned()
        self.awake = False
        """Somebody asked for a count: until then tokenizers needn't be loaded, which takes a second and 60 MB."""
        self._every = every
        self._left = 1  # the first bill teaches most
        self._counting: asyncio.Task[None] | None = None

    def billed(self, target: Target, usage: Usage, size: int, request: Callable[[], Request | None]) -> None:
        """An attempt at ``target`` was billed ``usage``; ``request`` reads what it was asked. Must not raise."""
        if not self.awake:
            return
        self._left -= 1
        if self._left > 0 or self._counting is not None or size > LARGEST or usage.input_tokens is None:
            return
        self._left = self._every
        self._counting = asyncio.get_running_loop().create_task(
            self._learn(target, usage.input_tokens, request)
        )

    async def aclose(self) -> None:
        """Returns when nothing is counted any more."""
        if self._counting is not None:
            await asyncio.wait([self._counting])

    async def _learn(self, target: Target, billed: int, request: Callable[[], Request | None]) -> None:
        try:
            neutral = request()
            if neutral is None:
                return
            counted = await count_request_async(neutral, target.model, target.provider)
            if not counted.unseen:
                self.learned.observe(target.model, target.provider, counted.tokens, billed)
        except HoldfastError:
            pass  # its dialect was read loosely on the way, and a closer look shows a fault: nothing to learn from it
        finally:
            self._counting = None
