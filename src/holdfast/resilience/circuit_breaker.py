"""The circuit breaker for direct use, with the usual names: ``await CircuitBreaker().call(operation)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from holdfast.resilience.breaker import (
    Breaker,
    BreakerSettings,
    CircuitBreakerOpenError,
    CircuitState,
)
from holdfast.resilience.outcome import Outcome
from holdfast.resilience.seam import verdict_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.clock import Clock, Rng
    from holdfast.resilience.outcome import Classify

__all__ = ["CircuitBreaker", "CircuitBreakerOpenError", "CircuitState"]

T = TypeVar("T")


class CircuitBreaker:
    """Runs operations as long as enough of them succeed. The rule is :mod:`holdfast.resilience.breaker`'s.

    Args:
        failure_threshold: failures in the window that open it.
        success_threshold: successes that close it again, and the most operations at once while it is half-open.
        open_timeout: seconds that it stays open, ``jitter`` apart; twice as long each time that it opens again before it
            has closed, up to ten times this.
        half_open_timeout: seconds that the operations of its half-open state have to decide.
        window: seconds that an operation counts.
        min_requests: operations in the window below which it never opens; None: ``failure_threshold``.
        failure_ratio: the least share of failures that opens it, above 0 and at most 1.
        jitter: of the open time, as a fraction of it.
        classify: reads an operation's error as a verdict; by default every :class:`Exception` is a failure, and cancellation
            is none.
        clock, rng: time and chance, for tests.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        success_threshold: int = 3,
        open_timeout: float = 60.0,
        half_open_timeout: float = 30.0,
        window: float = 300.0,
        min_requests: int | None = None,
        failure_ratio: float = 0.5,
        *,
        jitter: float = 0.1,
        classify: Classify = verdict_of,
        clock: Clock | None = None,
        rng: Rng | None = None,
        name: str = "",
    ) -> None:
        settings = BreakerSettings(
            failure_threshold=failure_threshold,
            success_threshold=success_threshold,
            open_s=open_timeout,
            max_open_s=min(10 * open_timeout, 86_400.0),
            half_open_s=half_open_timeout,
            window_s=window,
            min_requests=min_requests,
            failure_ratio=failure_ratio,
            jitter=jitter,
        )
        self._breaker = Breaker(settings, clock=clock, rng=rng, name=name)
        self._classify = classify
        self._total = self._succeeded = self._failed = 0

    @property
    def state(self) -> CircuitState:
        """As of now."""
        return self._breaker.state

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Runs ``operation`` once. Its own error is raised as it is.

        Raises:
            CircuitBreakerOpenError: it was not run; ``retry_after_s`` says when another try may pass.
        """
        self._total += 1
        permit = self._breaker.admit()
        outcome = Outcome.NEUTRAL  # if it can't even be told
        try:
            result = await operation()
            outcome = Outcome.SUCCESS
        except BaseException as error:
            outcome = self._classify(error)
            raise
        finally:
            self._succeeded += outcome is Outcome.SUCCESS
            self._failed += outcome in (Outcome.FAILURE, Outcome.OVERLOAD)
            permit.leave(outcome)
        return result

    def get_metrics(self) -> dict[str, int | str]:
        """Counts since it was made, and the state in capitals.

        ``total_requests`` are the successful and failed ones, the refused (``circuit_open_requests``), and those that were
        cancelled or still run.
        """
        return {
            "total_requests": self._total,
            "successful_requests": self._succeeded,
            "failed_requests": self._failed,
            "circuit_open_requests": self._breaker.refused,
            "current_state": self.state.name,
        }
