"""Holdfast: an LLM gateway and library that keeps its promises when providers fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.client import (
        ChatAnswer,
        ChatStream,
        Client,
        StreamChunk,
        SyncChatStream,
        SyncClient,
    )
    from holdfast.idempotency import InvalidIdempotencyKeyError, SqliteIdempotency, idempotent_operation
    from holdfast.resilience.adaptive import AdaptiveLimit
    from holdfast.resilience.bulkhead import Bulkhead, BulkheadFullError, BulkheadSettings
    from holdfast.resilience.circuit_breaker import CircuitBreaker, CircuitBreakerOpenError, CircuitState
    from holdfast.resilience.connection_pool import ConnectionPool, ConnectionPoolExhaustedError
    from holdfast.resilience.hedge import Hedge, HedgeSettings
    from holdfast.resilience.memory_bulkhead import MemoryBulkhead, MemoryLimitExceededError
    from holdfast.resilience.metrics import ReliabilityMetrics
    from holdfast.resilience.named_timeouts import (
        DatabaseTimeoutError,
        OperationTimeoutError,
        Timeout,
        with_timeout,
    )
    from holdfast.resilience.rate_limit import RateLimit, RateLimitExceededError, RateLimitSettings
    from holdfast.resilience.retry import (
        MaxRetriesExceededError,
        Retry,
        RetrySettings,
        RetryStoppedError,
        add_jitter,
        retry_with_backoff,
    )
    from holdfast.resilience.retry_budget import RetryBudget
    from holdfast.resilience.seam import Refused, compose
    from holdfast.resilience.thread_bulkhead import ThreadBulkhead

__all__ = [
    "AdaptiveLimit",
    "Bulkhead",
    "BulkheadFullError",
    "BulkheadSettings",
    "ChatAnswer",
    "ChatStream",
    "CircuitBreaker",
    "CircuitBreakerOpenError",
    "CircuitState",
    "Client",
    "ConnectionPool",
    "ConnectionPoolExhaustedError",
    "DatabaseTimeoutError",
    "Hedge",
    "HedgeSettings",
    "InvalidIdempotencyKeyError",
    "MaxRetriesExceededError",
    "MemoryBulkhead",
    "MemoryLimitExceededError",
    "OperationTimeoutError",
    "RateLimit",
    "RateLimitExceededError",
    "RateLimitSettings",
    "Refused",
    "ReliabilityMetrics",
    "Retry",
    "RetryBudget",
    "RetrySettings",
    "RetryStoppedError",
    "SqliteIdempotency",
    "StreamChunk",
    "SyncChatStream",
    "SyncClient",
    "ThreadBulkhead",
    "Timeout",
    "__version__",
    "add_jitter",
    "compose",
    "idempotent_operation",
    "retry_with_backoff",
    "with_timeout",
]

__version__ = "0.1.0"

_MODULES = {
    "client": ("ChatAnswer", "ChatStream", "Client", "StreamChunk", "SyncChatStream", "SyncClient"),
    "idempotency": ("InvalidIdempotencyKeyError", "SqliteIdempotency", "idempotent_operation"),
    "resilience.adaptive": ("AdaptiveLimit",),
    "resilience.bulkhead": ("Bulkhead", "BulkheadFullError", "BulkheadSettings"),
    "resilience.circuit_breaker": ("CircuitBreaker", "CircuitBreakerOpenError", "CircuitState"),
    "resilience.connection_pool": ("ConnectionPool", "ConnectionPoolExhaustedError"),
    "resilience.hedge": ("Hedge", "HedgeSettings"),
    "resilience.memory_bulkhead": ("MemoryBulkhead", "MemoryLimitExceededError"),
    "resilience.metrics": ("ReliabilityMetrics",),
    "resilience.named_timeouts": (
        "DatabaseTimeoutError",
        "OperationTimeoutError",
        "Timeout",
        "with_timeout",
    ),
    "resilience.rate_limit": ("RateLimit", "RateLimitExceededError", "RateLimitSettings"),
    "resilience.retry": (
        "MaxRetriesExceededError",
        "Retry",
        "RetrySettings",
        "RetryStoppedError",
        "add_jitter",
        "retry_with_backoff",
    ),
    "resilience.retry_budget": ("RetryBudget",),
    "resilience.seam": ("Refused", "compose"),
    "resilience.thread_bulkhead": ("ThreadBulkhead",),
}
"""Where each name is. Its module is imported when the name is first asked for: every part of Holdfast imports this package,
few need the library, and who wants a breaker doesn't want a client."""


def __getattr__(name: str) -> object:
    from importlib import import_module  # no part of Holdfast that only wants the version should pay for it

    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"holdfast.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
