"""Between entries and database rows, for every SQL ledger. The tuples are in the order of the statements'
columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from holdfast.ledger.entry import AccountPart, AttemptRow, End, Intent, Record
from holdfast.model import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MAX_ERROR_CHARS", "Row", "attempt_row", "end_row", "intent_row", "read_attempt", "read_record"]

Row: TypeAlias = tuple[Any, ...]

MAX_ERROR_CHARS: Final = 4_000
"""Of an error message this much is kept: what a provider says must not be able to fill the disk."""

_NO_USAGE: Final[Row] = (None,) * 9
_json: Final = msgspec.json.Encoder()
_decode_tags: Final = msgspec.json.Decoder(dict[str, str])
_decode_skipped: Final = msgspec.json.Decoder(tuple[tuple[str, str], ...])
_decode_accounts: Final = msgspec.json.Decoder(tuple[AccountPart, ...])
_decode_extra: Final = msgspec.json.Decoder(dict[str, Any])


def intent_row(intent: Intent, owner: str) -> Row:
    return (
        intent.id,
        owner,
        intent.started_ns,
        intent.key,
        intent.session,
        _json.encode(intent.tags).decode() if intent.tags else None,
        intent.route,
        intent.model,
        intent.dialect,
        intent.stream,
        intent.request_bytes,
        intent.bound_nano,
        intent.bound_tokens,
        _json.encode(intent.accounts).decode() if intent.accounts else None,
    )


def end_row(end: End) -> Row:
    """The id comes last: it is the condition of the UPDATE."""
    return (
        end.state,
        end.ended_ns,
        end.status,
        end.provider,
        end.model,
        end.finish_reason,
        end.error_label,
        end.error and end.error[:MAX_ERROR_CHARS],
        end.first_token_ms,
        end.total_ms,
        end.cost_nano,
        *_usage_columns(end.usage),
        end.delivered_bytes,
        _json.encode(end.skipped).decode() if end.skipped else None,
        end.id,
    )


def attempt_row(request_id: str, attempt: AttemptRow) -> Row:
    return (
        request_id,
        attempt.number,
        attempt.provider,
        attempt.deployment,
        attempt.model,
        attempt.started_ns,
        attempt.outcome,
        attempt.status,
        attempt.error and attempt.error[:MAX_ERROR_CHARS],
        attempt.retry_after_s,
        attempt.first_byte_ms,
        attempt.first_token_ms,
        attempt.total_ms,
        attempt.finish_reason,
        *_usage_columns(attempt.usage),
        attempt.cost_nano,
        attempt.price_id,
        attempt.billed,
        attempt.upstream_id,
        attempt.usage_flag,
        attempt.paid_by,
    )


def read_record(row: Sequence[Any], attempts: tuple[AttemptRow, ...]) -> Record:
    """``row`` as ``SELECT`` names it in :mod:`holdfast.ledger.reader`, without the leading ``seq``."""
    request_id, owner, state, settled_by, late = row[:5]
    started_ns, key, session, tags, route, model, dialect, stream, request_bytes, bound_nano = row[5:15]
    delivered_bytes, skipped, bound_tokens, accounts = row[34:38]
    intent = Intent(
        id=request_id,
        started_ns=started_ns,
        key=key,
        session=session,
        tags=_decode_tags.decode(tags) if tags else {},
        route=route,
        model=model,
        dialect=dialect,
        stream=bool(stream),
        request_bytes=request_bytes,
        bound_nano=bound_nano,
        bound_tokens=bound_tokens,
        accounts=_decode_accounts.decode(accounts) if accounts else (),
    )
    if state == "in_flight":
        return Record(intent=intent, owner=owner)
    ended_ns, status, provider, served, finish_reason, error_label, error = row[15:22]
    first_token_ms, total_ms, cost_nano = row[22:25]
    end = End(
        id=request_id,
        ended_ns=ended_ns,
        state=state,
        status=status,
        provider=provider,
        model=served,
        finish_reason=finish_reason,
        error_label=error_label,
        error=error,
        first_token_ms=first_token_ms,
        total_ms=total_ms,
        cost_nano=cost_nano,
        usage=_read_usage(row[25:34]),
        attempts=attempts,
        delivered_bytes=delivered_bytes,
        skipped=_decode_skipped.decode(skipped) if skipped else (),
    )
    return Record(intent=intent, owner=owner, end=end, settled_by=settled_by, late=bool(late))


def read_attempt(row: Sequence[Any]) -> AttemptRow:
    """``row`` in the order of :func:`attempt_row`, without the request's id."""
    number, provider, deployment, model, started_ns, outcome, status, error, retry_after_s = row[:9]
    first_byte_ms, first_token_ms, total_ms, finish_reason = row[9:13]
    cost_nano, price_id, billed, upstream_id, usage_flag, paid_by = row[22:28]
    return AttemptRow(
        number=number,
        provider=provider,
        deployment=deployment,
        model=model,
        started_ns=started_ns,
        outcome=outcome,
        status=status,
        error=error,
        retry_after_s=retry_after_s,
        first_byte_ms=first_byte_ms,
        first_token_ms=first_token_ms,
        total_ms=total_ms,
        finish_reason=finish_reason,
        usage=_read_usage(row[13:22]),
        cost_nano=cost_nano,
        price_id=price_id,
        billed=billed,
        upstream_id=upstream_id,
        usage_flag=usage_flag,
        paid_by=paid_by,
    )


def _usage_columns(usage: Usage | None) -> Row:
    if usage is None:
        return _NO_USAGE
    return (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.input_audio_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.output_audio_tokens,
        _json.encode(usage.extra).decode() if usage.extra else "{}",
    )


def _read_usage(columns: Sequence[Any]) -> Usage | None:
    *counts, extra = columns
    if extra is None:
        return None
    read, cached, written, written_1h, heard, output, reasoned, spoken = counts
    return Usage(
        input_tokens=read,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        input_audio_tokens=heard,
        output_tokens=output,
        reasoning_tokens=reasoned,
        output_audio_tokens=spoken,
        extra=_decode_extra.decode(extra),
    )
