"""The ledger as lines of text, for other programs: JSON Lines with everything, CSV with one flat row per
request."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from holdfast.ledger.entry import Record
    from holdfast.model import Usage

__all__ = ["as_dict", "csv_lines", "jsonl_lines"]

_CSV_COLUMNS: Final = (
    "id",
    "state",
    "started_ns",
    "ended_ns",
    "key",
    "session",
    "tags",
    "route",
    "model",
    "dialect",
    "stream",
    "status",
    "served_provider",
    "served_deployment",
    "served_model",
    "attempts",
    "finish_reason",
    "error_label",
    "error",
    "first_token_ms",
    "total_ms",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "input_audio_tokens",
    "output_tokens",
    "reasoning_tokens",
    "output_audio_tokens",
    "cost_nano",
    "cost_usd",
    "bound_nano",
    "request_bytes",
    "delivered_bytes",
    "settled_by",
    "late",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_json: Final = msgspec.json.Encoder()


def as_dict(record: Record) -> dict[str, Any]:
    """One flat object: the intent's fields, the end's, the attempts as a list; dollars as an exact decimal
    string."""
    intent, end = record.intent, record.end
    cost_usd = record.cost_usd
    flat: dict[str, Any] = {
        "id": intent.id,
        "state": record.state,
        "settled_by": record.settled_by,
        "late": record.late,
        "owner": record.owner,
        "started_ns": intent.started_ns,
        "key": intent.key,
        "session": intent.session,
        "tags": intent.tags,
        "route": intent.route,
        "model": intent.model,
        "dialect": intent.dialect,
        "stream": intent.stream,
        "request_bytes": intent.request_bytes,
        "bound_nano": intent.bound_nano,
        "bound_tokens": intent.bound_tokens,
    }
    if end is not None:
        flat |= {
            "ended_ns": end.ended_ns,
            "status": end.status,
            "served_provider": end.provider,
            "served_deployment": end.deployment or None,
            "served_model": end.model,
            "finish_reason": end.finish_reason,
            "error_label": end.error_label,
            "error": end.error,
            "first_token_ms": end.first_token_ms,
            "total_ms": end.total_ms,
            "usage": end.usage,
            "cost_nano": end.cost_nano,
            "cost_usd": None if cost_usd is None else f"{cost_usd:f}",
            "delivered_bytes": end.delivered_bytes,
            "skipped": end.skipped,
            "attempts": end.attempts,
        }
    return flat


def jsonl_lines(records: Iterable[Record]) -> Iterator[str]:
    """One JSON object per line, each with its newline."""
    for record in records:
        yield _json.encode(as_dict(record)).decode() + "\n"


def csv_lines(records: Iterable[Record]) -> Iterator[str]:
    """A header, then one line per request; attempts are counted, not listed.

    Text that a spreadsheet would run as a formula gets a leading apostrophe: callers choose model names and
    tags.
    """
    yield _csv_line(_CSV_COLUMNS)
    for record in records:
        flat = as_dict(record)
        usage: Usage | None = flat.pop("usage", None)
        if usage is not None:
            flat |= msgspec.structs.asdict(usage)
        flat["attempts"] = len(flat.get("attempts", ()))
        flat["tags"] = _json.encode(flat["tags"]).decode() if flat["tags"] else None
        yield _csv_line([_inert(flat.get(column)) for column in _CSV_COLUMNS])


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
