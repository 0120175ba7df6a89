"""The one seam of all policies: a gate lets calls in and is told how they went; a policy runs an operation.

A *gate* (breaker, bulkhead, rate limit, adaptive limit) answers with a permit that lives as long as the call's answer does,
stream included, and is handed back exactly once. A *policy* is anything that runs an operation under a rule: every gate is
one, and so are retry, hedge and timeout, which may run the operation more than once or not to its end.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from holdfast.resilience.outcome import Outcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.resilience.outcome import Classify

__all__ = ["FOREVER", "Gate", "Gated", "Permit", "Policy", "Refused", "compose", "verdict_of"]

T = TypeVar("T")

FOREVER = math.inf


class Refused(Exception):
    """A gate's no: the operation was not run.

    Args:
        message: one sentence: who refuses, and why.
        retry_after_s: seconds after which another try may pass; None where nobody knows.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class Permit(Protocol):
    """What a call was let in with. It lives until :meth:`leave`, which must be called on every way out."""

    def progressed(self) -> None:
        """The first sign of an answer is there (a stream's first token). At most a hint, and may come never."""
        ...

    def leave(self, outcome: Outcome) -> None:
        """The call is over. Only the first one counts; never raises, never waits."""
        ...


class Gate(Protocol):
    """Asked before each call."""

    async def enter(self, *, deadline: float = FOREVER, key: str = "") -> Permit:
        """Lets one call in, waiting for a place if there is a queue.

        Cancelling the wait gives back what was taken. Where nothing has to be waited for, it doesn't yield to the loop.

        Args:
            deadline: on the gate's clock, in seconds; nobody waits beyond it.
            key: whose call it is, for gates that share fairly.

        Raises:
            Refused: not now.
        """
        ...


class Policy(Protocol):
    """Runs an operation under a rule."""

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """The operation's result, or its own error, or the policy's."""
        ...


def verdict_of(error: BaseException) -> Outcome:
    """The usual reading of an operation's error. Another gate's no inside of it is none of the other side's doing."""
    return Outcome.NEUTRAL if isinstance(error, Refused) else outcome_of(error)


class Gated:
    """:meth:`call` for gates: in, run, out with the verdict, on every way.

    Its verdicts are :func:`verdict_of`'s unless ``classify`` is set.
    """

    classify: Classify = staticmethod(verdict_of)

    async def enter(self, *, deadline: float = FOREVER, key: str = "") -> Permit:
        raise NotImplementedError

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Runs ``operation`` once if the gate lets it in.

        Raises:
            Refused: it doesn't.
        """
        permit = await self.enter()
        outcome = Outcome.NEUTRAL  # if it can't even be told
        try:
            result = await operation()
            outcome = Outcome.SUCCESS
        except BaseException as error:
            outcome = self.classify(error)
            raise
        finally:
            permit.leave(outcome)
        return result


class _Composed:
    def __init__(self, policies: tuple[Policy, ...]) -> None:
        self._policies = policies

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        run = operation
        for policy in reversed(self._policies):
            run = partial(policy.call, run)
        return await run()


def compose(*policies: Policy) -> Policy:
    """One policy of several, the first one outermost.

    The order that keeps every promise is ``retry, hedge, rate limit, breaker, bulkhead, adaptive, timeout``: each try asks
    every gate again, and a time-out counts as the failure that it is.
    """
    return _Composed(policies)
