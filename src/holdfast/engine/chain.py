"""Which target is tried next, and when: a pure machine, fed with failures and the time.

The rules are `docs/policies.md`'s: retries on one target before the next, Retry-After obeyed, a silent target last, no
attempt that can't finish. Waiting is the engine's; this file only says until when.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.errors import (
    AuthRefused,
    BadAnswer,
    CantExpress,
    ConnectFailed,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
    HoldfastError,
    ModelMissing,
    NoTimeLeft,
    Overloaded,
    OwnKeyRefused,
    ProviderError,
    QuotaExhausted,
    RateExceeded,
    RateLimited,
    Rejected,
    RequestRefused,
    ServerFailed,
    TargetsFailed,
    TimedOut,
    Truncated,
)
from holdfast.resilience.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.engine.policy import Policy, Target

__all__ = ["VERDICTS", "Chain", "Step", "Verdict", "all_failed"]


class Verdict(Enum):
    """What a failure means for the chain."""

    RETRY = "retry"
    """The same target again, after a pause."""
    DEFER = "defer"
    """This target again only when no other is left."""
    NEXT = "next"
    """Not this target again; the next one."""
    LARGER = "larger"
    """Only a target with a larger known context window."""
    STOP = "stop"
    """The caller's own fault, or beyond mending: the failure is the answer."""


VERDICTS: Final[Mapping[type[HoldfastError], Verdict]] = {
    RequestRefused: Verdict.STOP,
    ContentRefused: Verdict.STOP,
    ContextTooLong: Verdict.LARGER,
    ModelMissing: Verdict.STOP,
    AuthRefused: Verdict.STOP,
    OwnKeyRefused: Verdict.STOP,
    QuotaExhausted: Verdict.NEXT,
    RateLimited: Verdict.RETRY,
    Overloaded: Verdict.RETRY,
    ServerFailed: Verdict.RETRY,
    ConnectFailed: Verdict.RETRY,
    ConnectionLost: Verdict.RETRY,
    BadAnswer: Verdict.RETRY,
    Truncated: Verdict.RETRY,
    TimedOut: Verdict.DEFER,
    CantExpress: Verdict.NEXT,
    NoTimeLeft: Verdict.STOP,
    Rejected: Verdict.NEXT,  # a gate's refusal
    HoldfastError: Verdict.STOP,
}


class _Place(msgspec.Struct, eq=False):
    """One target's place in the queue."""

    target: Target
    tries_left: int
    not_before: float = 0.0
    tries: int = 0
    timed_out: bool = False


class Step(msgspec.Struct, frozen=True, eq=False):
    """The next attempt: which target of the chain, and not before when (monotonic seconds).

    Its target has left the queue. Whoever got the step says what became of it: :meth:`Chain.failed`,
    :meth:`Chain.turned_away`, or nothing where it succeeded.
    """

    at: float
    place: _Place

    @property
    def target(self) -> Target:
        return self.place.target

    @property
    def first(self) -> bool:
        """The target wasn't tried before."""
        return self.place.tries == 1


class Chain:
    """One request's way through its targets.

    Args:
        targets: in the order to try them.
        policy: the route's.
        deadline: monotonic seconds after which nothing may start.
        random: floats in [0, 1), for jitter.
        window: a target's context window in tokens, where it is known.
        may_retry: asked before a target is tried again; what it gives isn't given back. The retry budget's place.
    """

    __slots__ = (
        "_deadline",
        "_left",
        "_may_retry",
        "_policy",
        "_queue",
        "_random",
        "_window",
        "failures",
        "fatal",
    )

    def __init__(
        self,
        targets: Sequence[Target],
        policy: Policy,
        *,
        deadline: float,
        random: Callable[[], float],
        window: Callable[[Target], int | None] = lambda _: None,
        may_retry: Callable[[Target], bool] | None = None,
    ) -> None:
        self._queue = deque(_Place(target, 1 + target.retry.max_retries) for target in targets)
        self._policy = policy
        self._deadline = deadline
        self._random = random
        self._window = window
        self._may_retry = may_retry
        self._left = policy.max_attempts
        self.failures: list[tuple[Target, HoldfastError]] = []
        self.fatal: HoldfastError | None = None
        """The failure that ends the request whatever targets are left."""

    def next(self, now: float) -> Step | None:
        """The next attempt, or None where there is none: then :meth:`verdict` is the answer."""
        if self.fatal is not None or self._left <= 0:
            return None
        while self._queue:
            place = self._queue.popleft()
            at = max(now, place.not_before)
            if at < self._deadline and self._may_try(place):
                return self._step(place, at)
        return None

    def may_hedge(self, now: float) -> bool:
        """Whether one more attempt may begin beside those that run."""
        return self._untried(now) is not None

    def hedge(self, now: float) -> Step | None:
        """One more attempt beside those that run: at the first target that wasn't tried, if there is one."""
        place = self._untried(now)
        if place is None:
            return None
        self._queue.remove(place)
        return self._step(place, now)

    def _untried(self, now: float) -> _Place | None:
        if self.fatal is not None or self._left <= 0 or now >= self._deadline:
            return None
        return next((place for place in self._queue if not place.tries and place.not_before <= now), None)

    def _may_try(self, place: _Place) -> bool:
        """The budget is asked last: what it gives is spent."""
        if place.tries_left <= 0:
            return False
        return place.tries == 0 or self._may_retry is None or self._may_retry(place.target)

    def _step(self, place: _Place, at: float) -> Step:
        self._left -= 1
        place.tries_left -= 1
        place.tries += 1
        return Step(at, place)

    def failed(self, step: Step, error: HoldfastError, now: float, *, elsewhere: bool = False) -> None:
        """The attempt failed. ``elsewhere``: it had served for a while, so others go first."""
        place = step.place
        self.failures.append((place.target, error))
        verdict = self._judge(error)
        if verdict is Verdict.STOP and isinstance(error, AuthRefused):
            self._keep_other_keys(place, error)
        elif verdict is Verdict.STOP:
            self.fatal = error
        elif verdict is Verdict.NEXT:
            return
        elif verdict is Verdict.LARGER:
            self._keep_larger(place, error)
        elif verdict is Verdict.DEFER or elsewhere:
            place.timed_out |= verdict is Verdict.DEFER
            self._defer(place, now + self._pause(place, error))
        else:
            self._retry(place, error, now)

    def turned_away(self, step: Step, error: HoldfastError | None = None) -> None:
        """Nothing was sent, so it was no attempt: a gate refused (``error``), or the target can't be asked this at all.

        The target is out for this request.
        """
        self._left += 1
        if error is not None:
            self.failures.append((step.target, error))

    def verdict(self) -> HoldfastError:
        """The answer when no attempt is left."""
        return self.fatal if self.fatal is not None else all_failed(self.failures)

    def _judge(self, error: HoldfastError) -> Verdict:
        # The nearest kind that has a verdict: a transport's own kinds of a lost connection are lost connections.
        verdict = next(VERDICTS[kind] for kind in type(error).__mro__ if kind in VERDICTS)
        if isinstance(error, ConnectFailed) and error.timed_out:
            return Verdict.DEFER
        if verdict is Verdict.STOP and isinstance(error, ProviderError):
            wider = self._policy.fallback_on
            if error.upstream_status in wider or (
                isinstance(error, ContentRefused) and "content_policy" in wider
            ):
                return Verdict.NEXT
        return verdict

    def _retry(self, place: _Place, error: HoldfastError, now: float) -> None:
        if place.tries_left <= 0:
            return
        too_long = error.retry_after_s is not None and error.retry_after_s > place.target.retry.max_s
        untried = sum(other.tries == 0 for other in self._queue)
        if too_long or self._left <= untried:  # no retry takes the attempt that an untried target needs
            self._defer(place, now + self._pause(place, error))
            return
        place.not_before = now + self._pause(place, error)
        self._queue.appendleft(place)

    def _defer(self, place: _Place, not_before: float) -> None:
        """Behind every target that wasn't tried; then whoever may be asked soonest; those that timed out last."""
        if place.tries_left > 0:
            place.not_before = not_before
            self._queue.append(place)
            self._queue = deque(sorted(self._queue, key=lambda each: (each.timed_out, each.not_before)))

    def _pause(self, place: _Place, error: HoldfastError) -> float:
        """What the provider asked for, else a drawn delay: never less than what was asked for."""
        if error.retry_after_s is not None:
            return error.retry_after_s
        retry = place.target.retry
        backoff = Backoff(
            base_s=retry.base_s, multiplier=retry.multiplier, max_s=retry.max_s, jitter=retry.jitter
        )
        return backoff.delay(place.tries, self._random)

    def _keep_other_keys(self, place: _Place, error: HoldfastError) -> None:
        """A refused key says nothing of its equals: whoever configured several keys for a provider wants them tried.

        Nobody else is: a key that doesn't work is the operator's to mend, and another provider would only hide it.
        """
        mine = place.target
        others = [
            other
            for other in self._queue
            if other.target.provider == mine.provider
            and other.target.tier == mine.tier
            and other.target.deployment != mine.deployment
        ]
        self._queue = deque(others)
        if not others:
            self.fatal = error

    def _keep_larger(self, place: _Place, error: HoldfastError) -> None:
        mine = self._window(place.target) or 0
        larger = [other for other in self._queue if mine and (self._window(other.target) or 0) > mine]
        self._queue = deque(larger)
        if not larger:
            self.fatal = error


def all_failed(failures: Sequence[tuple[Target, HoldfastError]]) -> TargetsFailed:
    """The one error for a chain that is used up: its status says what all of them have in common."""
    errors = [error for _, error in failures]
    limited = [error for error in errors if isinstance(error, RateLimited | QuotaExhausted | RateExceeded)]
    if errors and len(limited) == len(errors):
        status = 429
    elif not errors or any(_is_timeout(error) for error in errors):
        status = 504
    elif all(isinstance(error, Rejected) and not isinstance(error, ConnectFailed) for error in errors):
        status = 503
    else:
        status = 502
    return TargetsFailed(
        _tell(failures),
        failures=[(str(target), error) for target, error in failures],
        status=status,
        retry_after_s=_soonest(failures, all_limited=status == 429),
    )


def _soonest(failures: Sequence[tuple[Target, HoldfastError]], *, all_limited: bool) -> float | None:
    """The soonest wait that a target asked for at last; None where one that isn't limited named none: ask it now."""
    last = {str(target): error.retry_after_s for target, error in failures}
    waits = [wait for wait in last.values() if wait is not None]
    return min(waits) if waits and (all_limited or len(waits) == len(last)) else None


def _is_timeout(error: HoldfastError) -> bool:
    return isinstance(error, TimedOut | NoTimeLeft) or (isinstance(error, ConnectFailed) and error.timed_out)


def _tell(failures: Sequence[tuple[Target, HoldfastError]]) -> str:
    if not failures:
        return "the time limit ran out before any target could be tried"
    if len(failures) == 1:
        target, error = failures[0]
        return f"{target} failed: {error.message}"
    said = "; ".join(f"{target}: {error.message}" for target, error in failures[-4:])
    return f"all {len(failures)} attempts failed; the last: {said}"
