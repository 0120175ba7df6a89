"""What several processes need to act as one: a database that takes them all, and Redis for what they count together.

Budgets, keys, sessions and idempotency keys are the ledger's database's. Rate limits, breakers with their probes and
adaptive limits are Redis's; bulkheads, hedges and retry budgets are each process's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.config.problems import Path, Problem
from holdfast.config.substitute import Filled, Substituted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from holdfast.config.effective import Config

__all__ = ["REDIS_URL", "by_environment", "needs_redis", "redis_notes", "sharing_problems", "wanting_redis"]

REDIS_URL: Final = "REDIS_URL"

_SQLITE: Final = "SQLite's file takes one process"
_POSTGRES: Final = 'ledger.url = "postgresql://USER:PASSWORD@HOST/DATABASE"'


def by_environment(filled: Filled, env: Mapping[str, str]) -> Filled:
    """``filled`` with the environment's Redis in place of the file's, and known to be from there. An empty one isn't set."""
    url = env.get(REDIS_URL, "").strip()
    table: Any = filled.document.get("redis", {})
    if not url or not isinstance(table, dict):  # what is no table is reported as such
        return filled
    path: Path = ("redis", "url")
    return msgspec.structs.replace(
        filled,
        document={**filled.document, "redis": {**table, "url": Substituted(url, (REDIS_URL,))}},
        problems=tuple(problem for problem in filled.problems if problem.path != path),
        origins={**filled.origins, path: (REDIS_URL,)},
    )


def needs_redis(config: Config, *, stored: bool = False) -> tuple[str, ...]:
    """What of it several processes can't keep together without Redis, each with where it is set.

    Args:
        config: what counts.
        stored: keys that are stored have rate limits.
    """
    gates = [
        provider.gates for provider in config.providers.values() if provider.usable or provider.from_callers
    ]
    gates += [target.gates for route in config.routes.values() for target in route.targets]
    needs = {
        "circuit breakers (breaker)": any(each.breaker is not None for each in gates),
        "adaptive limits (adaptive)": any(each.adaptive is not None for each in gates),
        "rate limits of targets (rate)": any(each.rate is not None for each in gates),
        "rate limits of callers (gateway.rate, keys, models)": stored or not config.rates.empty,
    }
    return tuple(name for name, needed in needs.items() if needed)


def wanting_redis(needs: Iterable[str]) -> str:
    """The sentence for who has several processes and no Redis."""
    return (
        f"several processes share {', '.join(needs)} through Redis alone: "
        f'set redis.url = "redis://HOST:6379/0" (or the environment\'s {REDIS_URL}), or switch them off'
    )


def sharing_problems(config: Config) -> Iterator[Problem]:
    """Why as many processes as it says can't serve it."""
    gateway, redis = config.gateway, config.redis
    if gateway.workers > 1 and not config.ledger.shared:
        yield Problem(
            ("gateway", "workers"), f"must be 1 here: {_SQLITE}; for {gateway.workers} set {_POSTGRES}"
        )
    elif gateway.workers > 1 and redis.url is None and (needs := needs_redis(config)):
        yield Problem(("gateway", "workers"), wanting_redis(needs))
    if redis.budget_ms < redis.timeout_ms:
        yield Problem(
            ("redis", "budget_ms"),
            f"must be at least redis.timeout_ms, {redis.timeout_ms:g}: no request could wait for a whole command",
        )


def redis_notes(config: Config) -> Iterator[str]:
    """What holds because of the environment."""
    if config.redis.url is not None and config.origins.get(("redis", "url")) == (REDIS_URL,):
        yield f"environment {REDIS_URL}: limits are shared through {config.redis.url}"
