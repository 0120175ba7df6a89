"""How often callers may ask: limits by key and by model, asked before anything is written or sent.

A request takes its place in both limits or in neither. Its tokens are reserved at the upper bound of what it can use, and
settled to what the provider told once it is over. Where limits hold over several processes
(:mod:`~holdfast.engine.shared_rates`), both are asked for in one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.engine.route import fold, matcher
from holdfast.engine.shared_limit import SharedLimit
from holdfast.errors import RateExceeded
from holdfast.providers.models import max_output
from holdfast.resilience.rate_limits import RateLimits
from holdfast.resilience.rate_meter import RateLimitExceededError, RateLimitSettings
from holdfast.stores.base import StoreLost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from holdfast.clock import Clock
    from holdfast.engine.call import Call
    from holdfast.engine.shared_rates import SharedRates
    from holdfast.ledger.entry import End
    from holdfast.resilience.rate_limit import RateLimit, RatePermit
    from holdfast.resilience.rate_meter import LimitStatus, RateStatus

__all__ = ["RateAdmission", "RateRules", "RateStanding", "enter_rate", "tokens_bound"]

_UNLIMITED: Final = RateLimitSettings()


class RateRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is limited. Empty: nothing."""

    caller: RateLimitSettings | None = None
    """Of each key that has none of its own."""
    keys: Mapping[str, RateLimitSettings] = {}
    """Of keys, by name."""
    models: Mapping[str, RateLimitSettings] = {}
    """Of models as they are asked for, by pattern; the first that matches counts, for all callers together."""

    @property
    def empty(self) -> bool:
        return self.caller is None and not self.keys and not self.models


def tokens_bound(call: Call) -> int:
    """The most tokens that a request can use: a token of input is at least one byte."""
    if call.dialect.free:
        return 0
    envelope = call.envelope
    output = envelope.max_output_tokens
    if output is None:
        output = max((max_output(target.model) or 0 for target in call.resolved.targets), default=0)
    return envelope.size + max(0, output) * envelope.choices


class RateStanding(msgspec.Struct, frozen=True, kw_only=True):
    """How one limit of callers stands."""

    requests: LimitStatus | None
    tokens: LimitStatus | None
    window_s: float
    waiting: int
    """Requests in its queue."""
    refused: int
    """Requests that this process told no since it began."""
    alone: bool = False
    """Counted in this process alone: what processes share is lost."""


class RateAdmission:
    """The engine's admission by rate.

    Args:
        rules: what is limited.
        clock: the loop's.
        shared: where limits hold over several processes; None: over this one.
    """

    def __init__(self, rules: RateRules, *, clock: Clock, shared: SharedRates | None = None) -> None:
        make = None if shared is None else shared.limit
        self._shared = shared
        self._keys = RateLimits(_UNLIMITED, clock=clock, name="key", make=make)
        self._models = RateLimits(_UNLIMITED, clock=clock, name="model", make=make)
        self.refused: dict[tuple[str, str], int] = {}
        """Requests told no since the beginning: by ``"key"`` and its name, or ``"model"`` and its pattern."""
        self.apply(rules)

    def apply(self, rules: RateRules) -> None:
        """Other rules from now on; what was admitted stays, and is judged by them."""
        self._rules = rules
        self._keys.apply(rules.caller or _UNLIMITED, each=rules.keys)
        self._models.apply(_UNLIMITED, each=rules.models)
        self._patterns = tuple(
            (matches, pattern) for pattern in rules.models if (matches := matcher((pattern,))) is not None
        )

    async def admit(self, call: Call) -> RateTicket:
        """Takes a request's place, at once or not at all.

        Raises:
            RateExceeded: a limit is used up.
        """
        limits = self._limits(call)
        needs_tokens = any(limit.settings.tokens is not None for limit in limits)
        tokens = tokens_bound(call) if needs_tokens else 0
        permits: list[RatePermit] = []
        if self._shared is not None:
            permits = await self._take_together(self._shared, limits, tokens, call)
            if permits:
                return RateTicket(permits, limits[0].status())
        try:
            for limit in limits:
                permits.append(await enter_rate(limit, call, tokens))
        except BaseException as error:  # refused, or cancelled in the queue: in both limits or in neither
            for permit in permits:
                permit.give_back()
            if isinstance(error, RateLimitExceededError):
                raise self._refusal(error, limits[len(permits)]) from None
            raise
        return RateTicket(permits, limits[0].status() if limits else None)

    async def _take_together(
        self, rates: SharedRates, limits: Sequence[RateLimit], tokens: int, call: Call
    ) -> list[RatePermit]:
        """All limits in one call to the store; none: they are to be asked one by one, since somebody waits or may wait.

        Raises:
            RateExceeded: a limit is used up.
        """
        shared = [limit for limit in limits if isinstance(limit, SharedLimit)]
        if not shared or any(limit.waiting or limit.never(tokens) for limit in shared):
            return []
        try:
            said = await rates.take(shared, tokens, call.spell)
        except StoreLost:
            return []
        if isinstance(said, list):
            return [*said]
        refusals = [
            (error.retry_after_s or 0.0, place, error)
            for place, limit in enumerate(shared)
            if (error := limit.refusal(said, place, tokens)).retry_after_s
        ]
        if not refusals or any(shared[place].settings.max_queue for _, place, _ in refusals):
            return []
        _, place, error = max(refusals)  # whoever comes when that one passes, passes all
        shared[place].refused += 1
        raise self._refusal(error, shared[place])

    async def look(self, keys: Iterable[str]) -> None:
        """Asks how the limits of ``keys`` and of all models stand, where they are shared: before they are shown."""
        if self._shared is None:
            return
        limits = [self._keys.of(key) for key in keys if self._is_limited(key)]
        limits += [self._models.of(pattern) for pattern in self._rules.models]
        await self._shared.look([limit for limit in limits if isinstance(limit, SharedLimit)])

    def standing(self, key: str) -> RateStanding | None:
        """How a caller's own limit stands: what is allowed now. None: it has none."""
        if not self._is_limited(key):
            return None
        return self._stands("key", key, self._keys.of(key))

    def model_standings(self) -> dict[str, RateStanding]:
        """How the limits of models stand, by pattern."""
        return {
            pattern: self._stands("model", pattern, self._models.of(pattern))
            for pattern in self._rules.models
        }

    def _stands(self, kind: str, name: str, limit: RateLimit) -> RateStanding:
        status = limit.status()
        return RateStanding(
            requests=status.requests,
            tokens=status.tokens,
            window_s=limit.settings.window_s,
            waiting=limit.waiting,
            refused=self.refused.get((kind, name), 0),
            alone=status.alone,
        )

    def _is_limited(self, key: str) -> bool:
        return self._rules.caller is not None or key in self._rules.keys

    def _refusal(self, error: RateLimitExceededError, limit: RateLimit) -> RateExceeded:
        kind, _, name = limit.name.partition(" ")  # as RateLimits names them
        self.refused[kind, name] = self.refused.get((kind, name), 0) + 1
        return RateExceeded(error.message, retry_after_s=error.retry_after_s, rate=limit.status())

    def _limits(self, call: Call) -> list[RateLimit]:
        limits = []
        if self._is_limited(call.key):
            limits.append(self._keys.of(call.key))
        if self._patterns:
            name = fold(call.envelope.model)
            pattern = next((pattern for matches, pattern in self._patterns if matches(name)), None)
            if pattern is not None:
                limits.append(self._models.of(pattern))
        return limits


async def enter_rate(
    limit: RateLimit, call: Call, tokens: int, *, deadline: float | None = None
) -> RatePermit:
    """Lets a call into one limit, shared or not, waiting if it has a queue.

    Args:
        deadline: monotonic seconds; None: the call's.

    Raises:
        RateLimitExceededError: not now, or not in time, or never.
    """
    until = call.deadline if deadline is None else deadline
    if isinstance(limit, SharedLimit):
        return await limit.enter(deadline=until, key=call.key, tokens=tokens, spell=call.spell)
    return limit.try_take(tokens) or await limit.enter(deadline=until, key=call.key, tokens=tokens)


class RateTicket:
    """What a request was admitted with."""

    __slots__ = ("_permits", "rate")

    def __init__(self, permits: list[RatePermit], rate: RateStatus | None) -> None:
        self._permits = permits
        self.rate = rate

    def settle(self, end: End | None) -> None:
        """Gives back what was reserved and not used. What nobody told stays at its bound."""
        if end is None:
            for permit in self._permits:
                permit.give_back()
            return
        used = _used(end)
        if used is not None:
            for permit in self._permits:
                permit.settle(used)


def _used(end: End) -> int | None:
    """Tokens of all attempts; None where one may have used some and nobody told how many."""
    total = 0
    for row in end.attempts:
        if row.billed in ("bound", "delivered"):  # also where what was told isn't believed
            return None
        if row.usage is not None:
            total += max(0, row.usage.input_tokens or 0) + max(0, row.usage.output_tokens or 0)
    return total
