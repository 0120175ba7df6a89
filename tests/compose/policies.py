"""The policies to be composed, in the seam's order, small enough that each of them has something to say in a test."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, Final

from holdfast.resilience.adaptive import AdaptiveLimit, AdaptiveSettings
from holdfast.resilience.backoff import Backoff
from holdfast.resilience.breaker import Breaker, BreakerSettings
from holdfast.resilience.bulkhead import Bulkhead, BulkheadSettings
from holdfast.resilience.hedge import Hedge, HedgeSettings
from holdfast.resilience.named_timeouts import Timeout
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.rate_limit import RateLimit
from holdfast.resilience.rate_meter import RateLimitSettings
from holdfast.resilience.retry import Retry, RetrySettings
from holdfast.resilience.seam import verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from holdfast.clock import Clock
    from holdfast.resilience.seam import Policy

__all__ = [
    "ORDER",
    "Operation",
    "OverloadedError",
    "Step",
    "at_rest",
    "make",
    "make_adaptive",
    "make_breaker",
    "make_bulkhead",
    "make_hedge",
    "make_rate",
    "make_retry",
    "make_timeout",
]

ORDER: Final = ("retry", "hedge", "rate", "breaker", "bulkhead", "adaptive", "timeout")
"""Outermost first."""

Step = float | Exception | tuple[float, Exception]
"""One run of an operation: the seconds until its result, an error at once, or an error after so many seconds."""


class OverloadedError(ConnectionError):
    """What the other side says when it has too much to do."""


class Operation:
    """Runs by a script, whose last step holds for all further runs."""

    def __init__(self, *script: Step) -> None:
        self._script = script
        self.begun: list[float] = []
        """When each run began."""
        self.running = 0
        self.most = 0
        """Runs at once."""
        self.cancelled = 0

    @property
    def runs(self) -> int:
        return len(self.begun)

    async def __call__(self) -> str:
        step = self._script[min(self.runs, len(self._script) - 1)]
        seconds, error = (
            step if isinstance(step, tuple) else (0.0, step) if isinstance(step, Exception) else (step, None)
        )
        self.begun.append(asyncio.get_running_loop().time())
        number = self.runs
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if error is not None:
            raise error
        return f"result {number}"


def verdict(error: BaseException) -> Outcome:
    """What an operation's caller knows of its errors; a gate's no is none of the other side's doing."""
    return Outcome.OVERLOAD if isinstance(error, OverloadedError) else verdict_of(error)


def make_retry(clock: Clock, *, retries: int = 2, max_s: float = 8.0) -> Retry:
    """Pauses of 1, 2, 4, … s."""
    backoff = Backoff(base_s=1.0, multiplier=2.0, max_s=max_s, jitter=0)
    return Retry(RetrySettings(max_retries=retries, backoff=backoff), clock=clock)


def make_hedge(clock: Clock, **settings: Any) -> Hedge:
    """After 1 s, for each request."""
    return Hedge(HedgeSettings(**{"delay_s": 1.0, "ratio": 1.0, **settings}), clock=clock)


def make_rate(clock: Clock, **settings: Any) -> RateLimit:
    return RateLimit(RateLimitSettings(**{"requests": 4, "window_s": 10.0, **settings}), clock=clock)


def make_breaker(clock: Clock, **settings: Any) -> Breaker:
    chosen = {"failure_threshold": 2, "success_threshold": 1, "open_s": 5.0, "jitter": 0.0, **settings}
    return Breaker(BreakerSettings(**chosen), clock=clock, rng=random.Random(0))


def make_bulkhead(clock: Clock, **settings: Any) -> Bulkhead:
    return Bulkhead(BulkheadSettings(**{"max_concurrent": 2, "max_queue": 2, **settings}), clock=clock)


def make_adaptive(
    clock: Clock,  # it counts time in calls
    *,
    on_change: Callable[[int], None] | None = None,
    **settings: Any,
) -> AdaptiveLimit:
    return AdaptiveLimit(
        AdaptiveSettings(**{"initial_limit": 10, **settings}), on_change=on_change, classify=verdict
    )


def make_timeout(clock: Clock, *, limit_s: float = 3.0) -> Timeout:  # it has the loop's own
    return Timeout(limit_s)


make: Final[Mapping[str, Callable[..., Policy]]] = {
    "retry": make_retry,
    "hedge": make_hedge,
    "rate": make_rate,
    "breaker": make_breaker,
    "bulkhead": make_bulkhead,
    "adaptive": make_adaptive,
    "timeout": make_timeout,
}


def at_rest(*policies: Policy) -> bool:
    """Nobody is in, nobody waits, nothing was kept that a call was lent; no task but this one is left."""
    return len(asyncio.all_tasks()) == 1 and all(_rests(policy) for policy in policies)


def _rests(policy: Policy) -> bool:
    if isinstance(policy, Bulkhead):
        return policy.in_use == policy.waiting == 0
    if isinstance(policy, AdaptiveLimit):
        return policy.in_flight == 0
    if isinstance(policy, Breaker):
        return policy.snapshot().probes == 0
    return not isinstance(policy, RateLimit) or policy.waiting == 0
