"""What a reload can't change, and why: one table, which the documents show as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.config.server_url import ServerUrl

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.config.effective import Config

__all__ = ["FIXED", "Fixed", "fixed_problems"]


class Fixed(msgspec.Struct, frozen=True):
    """A setting that needs a restart."""

    path: str
    read: Callable[[Config], object]
    why: str
    """Ends the sentence "can't change while the gateway runs: …"."""


_SOCKET: Final = "its sockets are open, and connections are waiting in them"
_LEDGER: Final = "requests under way are written there, and end there"
_REDIS: Final = "processes count together there, and would count apart from one another meanwhile"


FIXED: Final = (
    Fixed("gateway.host", lambda config: config.gateway.host, _SOCKET),
    Fixed("gateway.port", lambda config: config.gateway.port, _SOCKET),
    Fixed(
        "gateway.workers",
        lambda config: config.gateway.workers,
        "processes are started and watched by the one that started first",
    ),
    Fixed(
        "gateway.log.format",
        lambda config: config.gateway.log.format,
        "who reads the log would have to read both in one file",
    ),
    Fixed("ledger.url", lambda config: _whole(config.ledger.url), _LEDGER),
    Fixed("ledger.durability", lambda config: config.ledger.durability, _LEDGER),
    Fixed("ledger.busy_timeout_s", lambda config: config.ledger.busy_timeout_s, _LEDGER),
    Fixed("ledger.keep_days", lambda config: config.ledger.keep_days, _LEDGER),
    Fixed("redis.url", lambda config: _whole(config.redis.url), _REDIS),
    Fixed("redis.timeout_ms", lambda config: config.redis.timeout_ms, _REDIS),
    Fixed("redis.budget_ms", lambda config: config.redis.budget_ms, _REDIS),
    Fixed("redis.prefix", lambda config: config.redis.prefix, _REDIS),
    Fixed(
        "cost_protection.enabled",
        lambda config: config.cost_protection.enabled,
        "what was spent before is read from the ledger at the start; its limits can change",
    ),
    Fixed(
        "cost_protection.circuit_breaker_window_hours",
        lambda config: config.cost_protection.breaker.window_s,
        "what was spent is counted by it since the start",
    ),
)
"""Everything else applies at once, to requests that begin afterwards."""


def fixed_problems(before: Config, after: Config) -> tuple[str, ...]:
    """What of ``after`` needs a restart, each with its path. Shows no value: one may be an address with a login."""
    return tuple(
        f"{fixed.path}: can't change while the gateway runs, {fixed.why}: restart it, or put the old value back"
        for fixed in FIXED
        if fixed.read(before) != fixed.read(after)
    )


def _whole(url: Any) -> Any:
    """With its password: where that alone is another one, the connections are to be made anew as well."""
    return url.reveal() if isinstance(url, ServerUrl) else url
