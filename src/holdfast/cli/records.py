"""A ledger's records as rows for people, and as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.cli.times import iso_utc, local, zone
from holdfast.ledger.export import as_dict
from holdfast.money.cost import format_usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.ledger import AttemptRow, End, Record
    from holdfast.model import Usage

__all__ = ["ATTEMPT_COLUMNS", "RIGHT", "attempt_cells", "cells", "columns", "details", "to_json"]

_SHORT_ID: Final = 18
"""Characters of an id in a table: its millisecond and 12 bits of chance. ``show`` takes any unique prefix."""

_COLUMNS: Final = (
    "started",
    "id",
    "state",
    "status",
    "model",
    "served by",
    "tries",
    "in",
    "out",
    "ms",
    "cost $",
    "error",
)
ATTEMPT_COLUMNS: Final = (
    "#",
    "target",
    "outcome",
    "status",
    "first ms",
    "ms",
    "in",
    "out",
    "cost $",
    "billed",
    "error",
)
RIGHT: Final = ("status", "tries", "in", "out", "ms", "first ms", "cost $")


def columns(records: Sequence[Record]) -> tuple[str, ...]:
    """The names of :func:`cells`, with the zone that the times are in."""
    if not records:
        return _COLUMNS
    return (f"started ({zone(records[0].intent.started_ns)})", *_COLUMNS[1:])


def cells(record: Record) -> tuple[str, ...]:
    """One request on one line, in the order of :func:`columns`."""
    intent, end = record.intent, record.end
    start = (local(intent.started_ns), intent.id[:_SHORT_ID], record.state)
    if end is None:
        return (*start, "", intent.model, "", "", "", "", "", "", "")
    served = _target(end) if end.provider is not None else ""
    return (
        *start,
        _or_nothing(end.status),
        intent.model,
        served,
        str(len(end.attempts)),
        *_tokens(end.usage),
        _ms(end.total_ms),
        _usd(end.cost_nano),
        end.error_label or "",
    )


def attempt_cells(attempt: AttemptRow) -> tuple[str, ...]:
    """One attempt on one line, in the order of :data:`ATTEMPT_COLUMNS`."""
    return (
        str(attempt.number),
        _target(attempt),
        attempt.outcome,
        _or_nothing(attempt.status),
        _ms(attempt.first_token_ms),
        _ms(attempt.total_ms),
        *_tokens(attempt.usage),
        _usd(attempt.cost_nano),
        attempt.billed,
        attempt.error or "",
    )


def details(record: Record) -> Iterator[tuple[str, str]]:
    """Name and value of all that is known of a request, but for its attempts."""
    intent, end = record.intent, record.end
    yield "id", intent.id
    yield (
        "state",
        record.state + (", found open after its process died" if record.settled_by == "recovery" else ""),
    )
    yield "started", f"{local(intent.started_ns)} {zone(intent.started_ns)}"
    yield (
        "asked for",
        f"{intent.model} (route {intent.route}, {intent.dialect}, {'stream' if intent.stream else 'plain'})",
    )
    yield "key", intent.key
    if intent.session is not None:
        yield "session", intent.session
    if intent.tags:
        yield "tags", ", ".join(f"{name}={value}" for name, value in intent.tags.items())
    if end is None:
        return
    if end.provider is not None:
        yield "served by", _target(end)
    if end.status is not None:
        yield "status", str(end.status)
    if end.finish_reason is not None:
        yield "finish reason", end.finish_reason
    if end.error_label is not None or end.error is not None:
        yield "error", ": ".join(part for part in (end.error_label, end.error) if part)
    yield "first token", f"{_ms(end.first_token_ms)} ms" if end.first_token_ms is not None else "none"
    yield "total", f"{_ms(end.total_ms)} ms" if end.total_ms is not None else "not known"
    yield "delivered", f"{end.delivered_bytes} bytes"
    if end.usage is not None:
        yield "usage", _usage(end.usage)
    yield "cost", "not known" if end.cost_nano is None else f"${format_usd(end.cost_nano)}"
    for target, why in end.skipped:
        yield "skipped", f"{target}: {why}"
    if record.late:
        yield "late", "its end came after it had been given up as unknown"


def to_json(record: Record) -> dict[str, Any]:
    """Everything, with each time both in nanoseconds since 1970 UTC and in ISO 8601."""
    flat: dict[str, Any] = msgspec.to_builtins(as_dict(record))
    for one in (flat, *flat.get("attempts", ())):
        for name in ("started", "ended"):
            if (ns := one.get(f"{name}_ns")) is not None:
                one[f"{name}_at"] = iso_utc(ns)
    return flat


def _target(who: AttemptRow | End) -> str:
    """As routes name it: ``openai[eu]/gpt-4o``, with the deployment where there are several."""
    deployment = f"[{who.deployment}]" if who.deployment else ""
    return f"{who.provider}{deployment}/{who.model}"


def _tokens(usage: Usage | None) -> tuple[str, str]:
    if usage is None:
        return "", ""
    return _or_nothing(usage.input_tokens), _or_nothing(usage.output_tokens)


def _usage(usage: Usage) -> str:
    """The kinds of token that there were any of."""
    counts = msgspec.structs.asdict(usage)
    counts.pop("extra", None)
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "0 tokens"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _usd(nano: int | None) -> str:
    return "" if nano is None else format_usd(nano)


def _or_nothing(value: int | None) -> str:
    return "" if value is None else str(value)
