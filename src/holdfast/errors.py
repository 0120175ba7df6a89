"""Every error, drawn by what happened to the caller's money.

::

    HoldfastError
    ├── ConfigError                 the configuration is wrong: nothing started
    ├── Rejected                    nothing was sent to a provider: costs nothing
    │   ├── InvalidRequest   400    the caller's request is malformed; names the field
    │   │   └── InvalidIdempotencyKeyError 400  empty, too long or not visible ASCII
    │   ├── BodyTooLarge     413
    │   ├── RequestTimeout   408    the caller was too slow to send
    │   ├── Unauthenticated  401
    │   ├── Forbidden        403
    │   │   └── ProviderKeyMissing 403  the caller has no key of its own to the provider that serves this
    │   ├── NotFound         404    no such path here
    │   ├── UnknownModel     404    no route, provider or catalog row has it
    │   ├── MethodNotAllowed 405
    │   ├── Conflict         409    what is there stands against it: a name that is taken, a key that is over
    │   ├── CantExpress      400    this target can't say what was asked
    │   ├── NotSupported     501    nothing here can do that yet
    │   ├── IdempotencyConflict 422  the key stands for another request
    │   ├── IdempotencyRunning 409  the key's run isn't over
    │   ├── OutcomeUnknownForKey 409  the key's run died with its process: nobody knows how it ended
    │   ├── NotReplayable    409    the key's run is over, and its answer isn't kept
    │   ├── RateExceeded     429    more than the gateway lets this caller, model or target have
    │   ├── BreakerOpen      503    the target's circuit breaker is open
    │   ├── BudgetExceeded   402    a budget has no room for what it may cost
    │   ├── CostUnbounded    402    a budget limits it, and nobody can tell what it may cost
    │   ├── NoPlace          503    as many as may be are asking the target already
    │   ├── SessionEnded     410    the session was ended, or its time is over
    │   ├── CostBreakerOpen  503    too much was spent by everyone together: nothing more is, for a while
    │   ├── LedgerUnavailable 503   the intent could not be made durable
    │   ├── Draining         503    the process is shutting down
    │   ├── ConnectFailed    502    no connection, so nothing was sent
    │   └── NoTimeLeft       504    no time was left, to begin an attempt or for what it has to wait for
    ├── ProviderError               the provider answered, and said no
    │   ├── RequestRefused   4xx    the caller's own fault: passed on as it is
    │   │   ├── ContentRefused      content policy
    │   │   └── ContextTooLong      goes on only to a larger window
    │   ├── ModelMissing     404
    │   ├── AuthRefused      502    our key was refused
    │   │   └── OwnKeyRefused 401   a key that is the caller's own was: passed on as it is
    │   ├── QuotaExhausted   429    no credit left: not retried on that target
    │   ├── RateLimited      429
    │   ├── Overloaded       503
    │   └── ServerFailed     502
    ├── OutcomeUnknown              it was sent, and no verdict came: may be billed
    │   ├── TimedOut         504
    │   ├── ConnectionLost   502
    │   ├── BadAnswer        502    an answer that can't be read as one
    │   ├── Truncated        502    a stream that ended without its finish reason
    │   ├── Superseded       499    a hedge: another attempt of the same request was faster
    │   └── Abandoned        499    the caller left
    └── TargetsFailed               every target was tried; carries what each one said

Errors are values as well: the engine records them, compares them and raises one only at its edge. Each class
carries its metric ``label``, HTTP ``status`` and ``code`` (the dialects' machine-readable word), in this file alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Abandoned",
    "AuthRefused",
    "BadAnswer",
    "BodyTooLarge",
    "BreakerOpen",
    "BudgetExceeded",
    "CantExpress",
    "ConfigError",
    "Conflict",
    "ConnectFailed",
    "ConnectionLost",
    "ContentRefused",
    "ContextTooLong",
    "CostBreakerOpen",
    "CostUnbounded",
    "Draining",
    "Forbidden",
    "HoldfastError",
    "IdempotencyConflict",
    "IdempotencyRunning",
    "InvalidIdempotencyKeyError",
    "InvalidRequest",
    "LedgerUnavailable",
    "MethodNotAllowed",
    "ModelMissing",
    "NoPlace",
    "NoTimeLeft",
    "NotFound",
    "NotReplayable",
    "NotSupported",
    "OutcomeUnknown",
    "OutcomeUnknownForKey",
    "Overloaded",
    "OwnKeyRefused",
    "ProviderError",
    "ProviderKeyMissing",
    "QuotaExhausted",
    "RateExceeded",
    "RateLimited",
    "Rejected",
    "RequestRefused",
    "RequestTimeout",
    "ServerFailed",
    "SessionEnded",
    "Superseded",
    "TargetsFailed",
    "TimedOut",
    "Truncated",
    "Unauthenticated",
    "UnknownModel",
]


class HoldfastError(Exception):
    """Base of all.

    Args:
        message: one or two sentences: what was wrong, and what would be right.
        param: the field at fault, as the caller wrote it (``messages[0].content``).
        retry_after_s: seconds after which another try may help, where somebody said so.
        status: overrides the class's HTTP status (an upstream error keeps its own).
    """

    details: Mapping[str, str] = {}
    """More for programs to read, told with the error in each dialect's place for it."""
    label: ClassVar[str] = "error"
    default_status: ClassVar[int] = 500
    default_retry_after_s: ClassVar[float | None] = None
    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s if retry_after_s is not None else self.default_retry_after_s
        self.status = status if status is not None else self.default_status


class ConfigError(HoldfastError):
    """The configuration is wrong. ``problems`` lists all of them at once, each beginning with its path."""

    label = "config"
    code = "invalid_configuration"

    def __init__(self, message: str, *, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


# Nothing was sent: costs nothing.


class Rejected(HoldfastError):
    """Nothing was sent to a provider."""

    label = "rejected"
    default_status = 400
    code = "rejected"


class InvalidRequest(Rejected):
    label = "invalid_request"
    code = "invalid_request"


class InvalidIdempotencyKeyError(InvalidRequest):
    label = "invalid_idempotency_key"
    code = "invalid_idempotency_key"


class BodyTooLarge(Rejected):
    label = "body_too_large"
    default_status = 413
    code = "request_too_large"


class RequestTimeout(Rejected):
    label = "request_timeout"
    default_status = 408
    code = "request_timeout"


class Unauthenticated(Rejected):
    label = "unauthenticated"
    default_status = 401
    code = "invalid_api_key"


class Forbidden(Rejected):
    label = "forbidden"
    default_status = 403
    code = "forbidden"


class ProviderKeyMissing(Forbidden):
    """Who would serve this is reached with keys of callers' own, and this one has none there."""

    label = "provider_key_missing"
    default_status = 403
    code = "provider_key_missing"


class NotFound(Rejected):
    label = "not_found"
    default_status = 404
    code = "unknown_url"


class UnknownModel(Rejected):
    label = "unknown_model"
    default_status = 404
    code = "model_not_found"


class MethodNotAllowed(Rejected):
    label = "method_not_allowed"
    default_status = 405
    code = "method_not_allowed"


class Conflict(Rejected):
    label = "conflict"
    default_status = 409
    code = "conflict"


class CantExpress(Rejected):
    """The target can't say what was asked. ``param`` is where it stands in the request, ``field`` what it is."""

    label = "cant_express"
    code = "unsupported_by_target"

    def __init__(self, message: str, *, param: str | None = None, field: str | None = None) -> None:
        super().__init__(message, param=param)
        self.field = field if field is not None else param


class NotSupported(Rejected):
    label = "not_supported"
    default_status = 501
    code = "not_supported"


# Another run stands under the caller's idempotency key: nothing was sent for this call.


class IdempotencyConflict(Rejected):
    label = "idempotency_conflict"
    default_status = 422
    code = "idempotency_conflict"


class IdempotencyRunning(Rejected):
    label = "idempotency_running"
    default_status = 409
    code = "idempotency_running"


class OutcomeUnknownForKey(Rejected):
    label = "idempotency_outcome_unknown"
    default_status = 409
    code = "idempotency_outcome_unknown"


class NotReplayable(Rejected):
    label = "not_replayable"
    default_status = 409
    code = "not_replayable"


class RateExceeded(Rejected):
    """More than one of our own rate limits lets through. ``rate`` is how that limit stands."""

    label = "rate_exceeded"
    default_status = 429
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float | None = None, rate: object = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.rate = rate


class BreakerOpen(Rejected):
    label = "breaker_open"
    default_status = 503
    code = "circuit_open"


class NoPlace(Rejected):
    label = "no_place"
    default_status = 503
    code = "overloaded"


class BudgetExceeded(Rejected):
    """A hard budget has no room for what the request may cost. ``details`` say which, and how it stands."""

    label = "budget_exceeded"
    default_status = 402
    code = "budget_exceeded"

    def __init__(
        self, message: str, *, details: Mapping[str, str] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.details = details or {}


class CostUnbounded(Rejected):
    """A hard budget limits the request, and nobody can tell what it may cost."""

    label = "cost_unbounded"
    default_status = 402
    code = "cost_unbounded"


class SessionEnded(Rejected):
    """Gone for good: another try under the same id never helps, so no SDK should retry it (they do none of 410)."""

    label = "session_ended"
    default_status = 410
    code = "session_ended"


class CostBreakerOpen(Rejected):
    label = "cost_breaker_open"
    default_status = 503
    code = "cost_breaker_open"


class LedgerUnavailable(Rejected):
    label = "ledger_unavailable"
    default_status = 503
    default_retry_after_s = 1.0
    """Whatever it is that is lost is asked again each second."""
    code = "ledger_unavailable"


class Draining(Rejected):
    label = "draining"
    default_status = 503
    code = "shutting_down"


class ConnectFailed(Rejected):
    """No connection could be made, so nothing was sent. ``timed_out`` where it was the connect limit."""

    label = "connect_failed"
    default_status = 502
    code = "connect_failed"

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class NoTimeLeft(Rejected):
    label = "no_time_left"
    default_status = 504
    code = "deadline_exceeded"


# The provider answered: what it billed, it said.


class ProviderError(HoldfastError):
    """The provider answered with an error.

    ``body`` and ``headers`` are what it sent, with our secrets scrubbed, and ``dialect`` the one in which the body speaks;
    ``kind`` is its own machine-readable word.
    """

    label = "provider_error"
    default_status = 502
    code = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        kind: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.upstream_status = upstream_status
        self.body = body
        self.dialect: str | None = None
        self.headers: Mapping[str, str] = headers or {}
        self.kind = kind


class RequestRefused(ProviderError):
    label = "request_refused"
    default_status = 400
    code = "invalid_request"


class ContentRefused(RequestRefused):
    label = "content_refused"
    code = "content_policy_violation"


class ContextTooLong(RequestRefused):
    label = "context_too_long"
    code = "context_length_exceeded"


class ModelMissing(ProviderError):
    label = "model_missing"
    default_status = 404
    code = "model_not_found"


class AuthRefused(ProviderError):
    label = "auth_refused"
    code = "provider_auth_failed"


class OwnKeyRefused(AuthRefused):
    """The provider refused a key that isn't ours: its owner is told with the provider's status, and in its words."""

    label = "own_key_refused"
    default_status = 401
    code = "invalid_api_key"

    def __init__(self, message: str, *, upstream_status: int, **said: Any) -> None:
        super().__init__(message, upstream_status=upstream_status, **said)
        # Some say 400 of a key that is none; in another dialect that would read as the request's fault.
        self.status = upstream_status if upstream_status in (401, 403) else self.default_status


class QuotaExhausted(ProviderError):
    label = "quota_exhausted"
    default_status = 429
    code = "insufficient_quota"


class RateLimited(ProviderError):
    label = "rate_limited"
    default_status = 429
    code = "rate_limited"


class Overloaded(ProviderError):
    label = "overloaded"
    default_status = 503
    code = "overloaded"


class ServerFailed(ProviderError):
    label = "server_failed"
    code = "provider_failed"


# Sent, and no verdict: it may have been billed.


class OutcomeUnknown(HoldfastError):
    """The request was sent and no usable verdict came back."""

    label = "outcome_unknown"
    default_status = 502
    code = "outcome_unknown"


class TimedOut(OutcomeUnknown):
    """``limit`` names the limit that ran out (``first_token_s``).

    ``silent``: not one byte had come. ``hasty``: it was a limit of the caller's, shorter than ours, so the provider isn't to
    blame.
    """

    label = "timed_out"
    default_status = 504
    code = "provider_timeout"

    def __init__(self, message: str, *, limit: str, silent: bool, hasty: bool = False) -> None:
        super().__init__(message)
        self.limit = limit
        self.silent = silent
        self.hasty = hasty


class ConnectionLost(OutcomeUnknown):
    label = "connection_lost"
    code = "connection_lost"


class BadAnswer(OutcomeUnknown):
    label = "bad_answer"
    code = "bad_provider_answer"


class Truncated(OutcomeUnknown):
    label = "truncated"
    code = "truncated_answer"


class Superseded(OutcomeUnknown):
    label = "superseded"
    default_status = 499
    code = "superseded"


class Abandoned(OutcomeUnknown):
    label = "abandoned"
    default_status = 499
    code = "client_closed_request"


class TargetsFailed(HoldfastError):
    """Every target was tried. ``failures`` holds ``(target, error)`` in the order they happened."""

    label = "targets_failed"
    default_status = 502
    code = "all_targets_failed"

    def __init__(
        self,
        message: str,
        *,
        failures: Sequence[tuple[str, HoldfastError]],
        status: int,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, status=status, retry_after_s=retry_after_s)
        self.failures = tuple(failures)
