"""What a route may set: its targets, and the limits of a request and of each attempt at it.

Values only. The defaults here are the built-in ones; a configuration lays its own over them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.dialects.fields import HARMLESS
from holdfast.resilience.breaker import BreakerSettings
from holdfast.resilience.bulkhead import BulkheadSettings
from holdfast.resilience.retry_budget import RetryBudgetSettings
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.resilience.adaptive import AdaptiveSettings
    from holdfast.resilience.hedge import HedgeSettings
    from holdfast.resilience.rate_meter import RateLimitSettings

__all__ = ["Gates", "Idempotency", "OnBreak", "Policy", "Retry", "Route", "Target", "Timeouts"]

OnBreak = Literal["error", "resume", "buffer"]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one attempt; those in seconds are above 0."""

    connect_s: float = 5.0
    first_token_s: float = 30.0
    """A stream's, from the attempt's start to its first content."""
    answer_s: float = 600.0
    """A plain call's, from the attempt's start to the answer's first byte."""
    idle_s: float = 30.0
    """Between two pieces that aren't pings; stands still while the client doesn't read."""
    min_tokens_per_s: float = 0.0
    """A stream that brings less in ten seconds is ended; 0 is off. A delta counts as a token, and four characters as one."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how soon one target is tried again."""

    max_retries: int = 2
    """After the first try."""
    base_s: float = 0.5
    multiplier: float = 2.0
    max_s: float = 8.0
    """No delay is longer, jitter included; a longer Retry-After goes to the next target."""
    jitter: Literal["full"] | float = "full"
    """``"full"``: uniform between 0 and the delay; a fraction *f* in 0 to 1: within (1 - f) and (1 + f) of it."""


class Idempotency(Settings, frozen=True, kw_only=True):
    """How a request with an idempotency key is kept."""

    ttl_s: Annotated[float, Meta(gt=0, le=31_536_000)] = 3600.0
    """For how long after its end its answer is told again."""
    max_joined: Annotated[int, Meta(ge=1, le=100_000)] = 256
    """Callers that may wait for one run, the first one included; more are told to come back."""


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """The policies that stand before a target; None: that one is off.

    Their state belongs to the target and is shared by all routes, but for those that a route sets itself (``own``).
    """

    budget: RetryBudgetSettings = RetryBudgetSettings()
    breaker: BreakerSettings | None = BreakerSettings(min_requests=10, window_s=30.0)
    """The window is a tenth of the class's own: five minutes of successes would hide an outage for as long."""
    bulkhead: BulkheadSettings | None = BulkheadSettings(max_concurrent=2000, max_queue=1000)
    """Streams are long and cost little: so many are open at a target that is well."""
    adaptive: AdaptiveSettings | None = None
    hedge: HedgeSettings | None = None
    rate: RateLimitSettings | None = None
    own: frozenset[str] = frozenset()
    """Names of those that are the route's own."""
    route: str = ""
    """Whose own they are."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a whole request, over all of its attempts."""

    total_s: float = 600.0
    """The one deadline over all attempts, waits and fallbacks."""
    keepalive_s: float = 0.0
    """Seconds before commit after which 200 and comments go out; 0 is off. Waives the honest status (ST5)."""
    client_stall_s: float = 60.0
    """How long a client may not read before its stream is ended."""
    max_attempts: int = 6
    """Over all targets, the first ones included."""
    on_break: OnBreak = "error"
    fallback_on: frozenset[int | str] = frozenset()
    """Of 401, 403, 404 and ``"content_policy"``: failures that otherwise end the request go to the next target."""
    drop: frozenset[str] = HARMLESS
    """Fields that may be left out where a target can't say them (names: :mod:`holdfast.dialects.fields`)."""
    set: Mapping[str, Any] = {}  # msgspec copies an empty mutable default for each instance
    """Parameters put into every request, over the caller's own, by OpenAI's names."""
    max_output_tokens: int | None = None
    """The output limit of requests that name none: sent to the provider, and told to the caller in a header."""
    idempotency: Idempotency = Idempotency()
    unbounded: Literal["refuse", "window"] = "refuse"
    """Under a hard budget, what can't be seen in a request (a file's id, a URL) has it refused, or a whole context window
    set aside."""
    settle_unseen: Literal["bound", "delivered"] = "bound"
    """What an attempt costs that was cut or never answered, and whatever tells no usage that can be believed: the most that
    it can have cost, or its input and what arrived, which may be less than the provider bills."""
    lower_max_tokens: bool = False
    """Where a hard budget has no room for the longest answer that was asked for, a shorter one is asked for."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider.

    In a route's definition ``model`` may hold ``{model}``, for the name asked for; once resolved it never does.
    """

    provider: str
    model: str
    deployment: str = ""
    """Of the provider's several keys or addresses, which one; empty where there is only one."""
    tier: int = 0
    """Its place in the chain: targets of one tier are equals, tried in an order drawn by weight."""
    weight: float = 1.0
    """Above 0: how likely it is to go first among its equals."""
    set: Mapping[str, Any] = {}  # msgspec copies an empty mutable default for each instance
    """Parameters put into what this target is sent, over the route's."""
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    gates: Gates = Gates()

    def __str__(self) -> str:
        deployment = f"[{self.deployment}]" if self.deployment else ""
        return f"{self.provider}{deployment}/{self.model}"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers may ask for, the other names it answers to, and its chain of targets."""

    name: str
    targets: tuple[Target, ...]
    models: tuple[str, ...] = ()
    """Patterns in which ``*`` and ``?`` are wildcards."""
    policy: Policy = Policy()
