"""What the ledger is told of a call: before anything is sent, and of each attempt once it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import TargetsFailed
from holdfast.ledger.entry import AttemptRow, Intent

if TYPE_CHECKING:
    from holdfast.engine.attempt import Attempt
    from holdfast.engine.billing import Bill
    from holdfast.engine.call import Call
    from holdfast.errors import HoldfastError
    from holdfast.ledger.entry import AccountPart
    from holdfast.money.rules import Amount

__all__ = ["elapsed_ms", "intent_of", "label_of", "row_of"]


def intent_of(call: Call, bound: Amount, accounts: tuple[AccountPart, ...]) -> Intent:
    """``bound`` is the most that the request may come to, and ``accounts`` is where that counts."""
    return Intent(
        id=call.id,
        started_ns=call.started_ns,
        key=call.key,
        session=call.session,
        tags=call.tags,
        route=call.resolved.route,
        model=call.envelope.model,
        dialect=call.dialect.name,
        stream=call.envelope.stream,
        request_bytes=call.envelope.size,
        bound_nano=bound.nano,
        bound_tokens=bound.tokens,
        accounts=accounts,
    )


def row_of(attempt: Attempt, bill: Bill, error: HoldfastError | None, ended_at: float) -> AttemptRow:
    """``ended_at``: monotonic seconds."""
    guard = attempt.guard
    return AttemptRow(
        number=attempt.number,
        provider=attempt.target.provider,
        deployment=attempt.target.deployment,
        model=attempt.target.model,
        started_ns=attempt.started_ns,
        outcome="ok" if error is None else error.label,
        status=attempt.status,
        error=None if error is None else error.message,
        retry_after_s=None if error is None else error.retry_after_s,
        first_byte_ms=elapsed_ms(attempt.started_at, attempt.first_byte_at),
        first_token_ms=elapsed_ms(attempt.started_at, attempt.first_token_at),
        total_ms=(ended_at - attempt.started_at) * 1e3,
        finish_reason=guard.finish_reason,
        usage=guard.usage,
        cost_nano=bill.nano,
        price_id=bill.price_id,
        billed=bill.source,
        upstream_id=attempt.upstream_id,
        usage_flag=bill.flag,
        paid_by="gateway" if attempt.endpoint.key_of == "shared" else "caller",
    )


def label_of(error: HoldfastError | None) -> str | None:
    """A chain that failed the same way everywhere says how; the rows have the rest."""
    if isinstance(error, TargetsFailed):
        labels = {failure.label for _, failure in error.failures}
        return labels.pop() if len(labels) == 1 else error.label
    return None if error is None else error.label


def elapsed_ms(start: float, moment: float | None) -> float | None:
    """Between two readings of the monotonic clock, in seconds; None: it never came to the second."""
    return None if moment is None else (moment - start) * 1e3
