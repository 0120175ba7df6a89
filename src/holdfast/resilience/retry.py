"""Retry: the same operation again, after a pause that grows, as long as that can help.

===========================================  =====================================================================
an attempt ends with                         then
===========================================  =====================================================================
a result                                     that is the result
an error that ``retryable`` doesn't know     that error, as it is
what is no :class:`Exception` (a cancel)     that, as it is; in a pause too
a retryable error, and …
… ``max_retries`` retries were made          :class:`MaxRetriesExceededError`, without a pause
… Retry-After is beyond the backoff's cap    :class:`RetryAfterTooLongError`, without a pause
… the pause would reach the deadline         :class:`RetryDeadlineError`, without a pause
… the retry budget is used up                :class:`RetryBudgetExhaustedError`, without a pause
… else                                       a pause: the backoff's, and no shorter than Retry-After. Then once more
===========================================  =====================================================================

The first row that fits counts; so the budget is asked last, and only for retries that nothing else forbids.
"""

from __future__ import annotations

import asyncio
import errno
import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from holdfast.clock import SystemClock, system_rng
from holdfast.resilience.backoff import Backoff, spread
from holdfast.resilience.retry_after import MAX_RETRY_AFTER_S
from holdfast.resilience.seam import FOREVER, Refused
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.clock import Clock, Rng
    from holdfast.resilience.retry_budget import RetryBudget

__all__ = [
    "CRITICAL",
    "INTERACTIVE",
    "RETRYABLE_STATUSES",
    "STANDARD",
    "MaxRetriesExceededError",
    "Retry",
    "RetryAfterTooLongError",
    "RetryBudgetExhaustedError",
    "RetryDeadlineError",
    "RetryEvent",
    "RetrySettings",
    "RetryStoppedError",
    "add_jitter",
    "is_retryable",
    "retry_after_of",
    "retry_with_backoff",
]

T = TypeVar("T")

RETRYABLE_STATUSES: Final = frozenset((408, 429, 500, 502, 503, 504, 529))
"""HTTP's transient failures, and 529, "overloaded", which isn't registered but in use."""

_GRAIN_S: Final = 0.002
"""uvloop's timers count whole milliseconds: they cut one off the time that they begin at, and round the wait by half of
one, so that they ring up to 1.5 ms before their time."""

_UNREACHABLE: Final = frozenset((errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH))


class RetrySettings(Settings, frozen=True, kw_only=True):
    """How often and how soon. The defaults are those for a program that can wait."""

    max_retries: Annotated[int, Meta(ge=0, le=100)] = 3
    """After the first attempt."""
    backoff: Backoff = Backoff(base_s=1.0, multiplier=2.0, max_s=60.0, jitter=0.1)
    """The pauses."""

    def check(self) -> None:
        if (base_s := self.backoff.base_s) > (max_s := self.backoff.max_s):
            raise ValueError(f"base_s must be at most max_s, which is {max_s:g}, not {base_s:g}")


STANDARD: Final = RetrySettings()
"""1, 2, 4 s ± 10 %: what fails is given up after some 7 s."""
CRITICAL: Final = RetrySettings(max_retries=5)
"""1, 2, 4, 8, 16 s ± 10 %: for what must not fail for half a minute's trouble."""
INTERACTIVE: Final = RetrySettings(max_retries=2, backoff=Backoff())
"""At most 0.5 and 1 s, with full jitter: somebody waits, and callers that failed together must not come back together."""


class RetryStoppedError(Exception):
    """The operation failed in a way that passes, and isn't tried again. The last error is the ``__cause__`` as well."""

    why: ClassVar[str] = "it is not tried again"

    def __init__(self, attempts: int, last_error: Exception | None) -> None:
        super().__init__(attempts, last_error)
        self.attempts = attempts
        """How often the operation was run."""
        self.last_error = last_error
        """What the last attempt failed with; None if there was no time for one."""

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which the other side wants to be asked again, if it said so: to be passed on."""
        return None if self.last_error is None else retry_after_of(self.last_error)

    def __str__(self) -> str:
        tries = f"{self.attempts} attempt{'s' if self.attempts != 1 else ''}"
        if self.last_error is None:
            return f"{tries}: {self.why}"
        return f"{tries} failed and {self.why}; the last error: {_named(self.last_error)}"


class MaxRetriesExceededError(RetryStoppedError):
    """Every retry was made, and failed."""

    why = "no retry is left"


class RetryAfterTooLongError(RetryStoppedError):
    """The other side asks for a longer wait than the backoff's cap."""

    why = "the other side asks for a longer wait than the cap"


class RetryDeadlineError(RetryStoppedError):
    """The deadline comes before another attempt could begin."""

    why = "the deadline comes first"


class RetryBudgetExhaustedError(RetryStoppedError):
    """All callers of this target together retry too much already."""

    why = "the retry budget is used up"


class RetryEvent(msgspec.Struct, frozen=True):
    """A retry that is about to be made."""

    attempt: int
    """How many have failed: the retry's number, from 1."""
    delay_s: float
    """The pause before it."""
    error: Exception
    """What the last attempt failed with."""


def is_retryable(error: Exception) -> bool:
    """Whether a failure may pass by itself, as far as one can tell without knowing who raised it.

    An error that carries an HTTP status (``status``, ``status_code`` or ``upstream_status``, the first that is a number) is
    judged by :data:`RETRYABLE_STATUSES` alone. A gate's refusal passes if the gate knows when. Of the others
    :class:`TimeoutError`, :class:`ConnectionError`, and an unreachable host or network pass. A
    :class:`RetryStoppedError` never does: retries of retries make an outage worse.
    """
    if isinstance(error, RetryStoppedError):
        return False
    if isinstance(error, Refused):
        return error.retry_after_s is not None
    for name in ("status", "status_code", "upstream_status"):
        status = getattr(error, name, None)
        if isinstance(status, int) and not isinstance(status, bool):
            return status in RETRYABLE_STATUSES
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    return isinstance(error, OSError) and error.errno in _UNREACHABLE


def retry_after_of(error: Exception) -> float | None:
    """The error's ``retry_after_s``: seconds from 0 to a day. What is no such number is ignored."""
    asked = getattr(error, "retry_after_s", None)
    if isinstance(asked, bool) or not isinstance(asked, (int, float)):
        return None
    return float(asked) if 0 <= asked <= MAX_RETRY_AFTER_S else None


class Retry:
    """A policy: runs an operation again when it fails in a way that passes.

    It keeps nothing between calls, so one may serve any number of callers at once; what they share is the budget.

    Args:
        settings: how often and how soon; :data:`STANDARD` if none are given.
        retryable: which errors to retry on. ``lambda error: is_retryable(error) or …`` adds to the usual ones.
        budget: shared by all callers of the same target.
        on_retry: told of each retry before its pause. What it raises ends the call.
        clock: what a deadline is compared with.
        rng: what jitter is drawn from.
    """

    def __init__(
        self,
        settings: RetrySettings = STANDARD,
        *,
        retryable: Callable[[Exception], bool] = is_retryable,
        budget: RetryBudget | None = None,
        on_retry: Callable[[RetryEvent], None] | None = None,
        clock: Clock | None = None,
        rng: Rng | None = None,
    ) -> None:
        self.settings = settings
        self._retryable = retryable
        self._budget = budget
        self._on_retry = on_retry
        self._clock = clock if clock is not None else SystemClock()
        self._rng = rng

    async def call(self, operation: Callable[[], Awaitable[T]], *, deadline: float = FOREVER) -> T:
        """The operation's result. It is run at most ``1 + max_retries`` times, never two at once.

        Args:
            operation: makes a new awaitable each time it is called.
            deadline: on the clock's monotonic scale, in seconds; no attempt begins then or later. One that has begun isn't
                ended: a :class:`~holdfast.resilience.named_timeouts.Timeout` does that.

        Raises:
            RetryStoppedError: it failed in a way that passes, and isn't tried again; its class says why.
        """
        if self._clock.monotonic() >= deadline:
            raise RetryDeadlineError(0, None)
        if self._budget is not None:
            self._budget.request()
        attempt = 1
        while True:
            try:
                return await operation()
            except Exception as error:
                if not self._retryable(error):
                    raise
                delay = self._pause(attempt, error, deadline)
                if self._on_retry is not None:
                    self._on_retry(RetryEvent(attempt, delay, error))
            # Outside of the handler: a pause of a minute would hold on to the failed attempt's frames and what is in them.
            await self._sleep(delay)
            attempt += 1

    def _pause(self, attempt: int, error: Exception, deadline: float) -> float:
        """Seconds to the next attempt, for which the budget has been charged; or why there is none."""
        backoff = self.settings.backoff
        if attempt > self.settings.max_retries:
            raise MaxRetriesExceededError(attempt, error) from error
        asked = retry_after_of(error)
        if asked is not None and asked > backoff.max_s:
            raise RetryAfterTooLongError(attempt, error) from error
        delay = backoff.delay(attempt, self._random)
        if asked is not None:
            delay = max(delay, asked)
        if self._clock.monotonic() + delay >= deadline:
            raise RetryDeadlineError(attempt, error) from error
        if self._budget is not None and not self._budget.allow():
            raise RetryBudgetExhaustedError(attempt, error) from error
        return delay

    async def _sleep(self, delay: float) -> None:
        until = self._clock.monotonic() + delay
        await asyncio.sleep(delay)
        # Too soon for a gate that knows its own time. A clock that is further off is on another scale than the loop's.
        if 1e-6 < (early := until - self._clock.monotonic()) < _GRAIN_S:
            await asyncio.sleep(early + _GRAIN_S)

    def _random(self) -> float:
        if (
            self._rng is None
        ):  # made for the first pause: most calls have none, and seeding costs more than they do
            self._rng = system_rng()
        return self._rng.random()


async def retry_with_backoff(
    operation: Callable[[], Awaitable[T]],
    max_retries: int = 3,
    *,
    base: float = 1.0,
    multiplier: float = 2.0,
    cap: float = 60.0,
    jitter: Literal["full"] | float = 0.1,
    retryable: Callable[[Exception], bool] = is_retryable,
    budget: RetryBudget | None = None,
    deadline: float = FOREVER,
    on_retry: Callable[[RetryEvent], None] | None = None,
    clock: Clock | None = None,
    rng: Rng | None = None,
) -> T:
    """Runs ``operation`` up to ``1 + max_retries`` times: :class:`Retry` in one line.

    Args:
        operation: makes a new awaitable each time it is called.
        max_retries: after the first attempt; 0 to 100.
        base: seconds before the first retry.
        multiplier: what each further pause is longer by; 1 to 100.
        cap: no pause is longer, jitter included; a longer Retry-After ends the call. Seconds.
        jitter: a fraction *f* from 0 to 1: each pause is drawn between (1 - f) and (1 + f) of its length; or ``"full"``:
            between 0 and its length.
        retryable: which errors to retry on; all others are raised as they are.
        budget: shared by all callers of the same target.
        deadline: on the clock's monotonic scale, in seconds; no attempt begins then or later.
        on_retry: told of each retry before its pause.
        clock: what a deadline is compared with.
        rng: what jitter is drawn from.

    Raises:
        RetryStoppedError: it failed in a way that passes, and isn't tried again; its class says why.
        ValueError: a number is out of its range.
    """
    settings = RetrySettings(
        max_retries=max_retries,
        backoff=Backoff(base_s=base, multiplier=multiplier, max_s=cap, jitter=jitter),
    )
    retry = Retry(settings, retryable=retryable, budget=budget, on_retry=on_retry, clock=clock, rng=rng)
    return await retry.call(operation, deadline=deadline)


def add_jitter(delay: float, factor: float = 0.1, *, cap: float = 60.0, rng: Rng | None = None) -> float:
    """A draw between (1 - factor) and (1 + factor) of ``delay``, in seconds, and never above ``cap``.

    Raises:
        ValueError: ``delay`` or ``cap`` isn't a number from 0 on, or ``factor`` isn't one from 0 to 1.
    """
    for name, value in (("delay", delay), ("cap", cap)):
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be a number from 0 on, not {value!r}")
    if not 0 <= factor <= 1:
        raise ValueError(f"factor must be a number from 0 to 1, not {factor!r}")
    return spread(delay, factor, cap, (rng if rng is not None else system_rng()).random)


def _named(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
