"""A group's intents and ends as statements of PostgreSQL: each takes all of its rows at once, as one JSON value.

So a statement has the same text and the same types for any number of rows, and its plan is made once; and JSON is encoded
several times faster than thousands of parameters are bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.ledger.rows import attempt_row, end_row, intent_row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.ledger.entry import End, Intent
    from holdfast.ledger.rows import Row

__all__ = ["CLOSE", "CLOSE_LATE", "INSERT", "attempts_json", "charges_json", "ends_json", "intents_json"]


def _columns(words: str) -> dict[str, str]:
    """Names and types, of ``name type, name type``."""
    pairs = (each.split(maxsplit=1) for each in words.replace("\n", " ").split(","))
    return {name: kind.strip() for name, kind in pairs}


_USAGE: Final = """
input_tokens bigint, cache_read_tokens bigint, cache_write_tokens bigint, cache_write_1h_tokens bigint,
input_audio_tokens bigint, output_tokens bigint, reasoning_tokens bigint, output_audio_tokens bigint, usage_extra text"""
_INTENT: Final = _columns("""
id text, owner text, started_ns bigint, key text, session text, tags text, route text, model text, dialect text,
stream boolean, request_bytes bigint, bound_nano bigint, bound_tokens bigint, accounts text""")
_END: Final = _columns(f"""
state text, ended_ns bigint, status bigint, served_provider text, served_model text, finish_reason text, error_label text,
error text, first_token_ms float8, total_ms float8, cost_nano bigint, {_USAGE}, delivered_bytes bigint, skipped text,
id text""")
_ATTEMPT: Final = _columns(f"""
request_id text, number bigint, provider text, deployment text, model text, started_ns bigint, outcome text, status bigint,
error text, retry_after_s float8, first_byte_ms float8, first_token_ms float8, total_ms float8, finish_reason text, {_USAGE},
cost_nano bigint, price_id text, billed text, upstream_id text, usage_flag text, paid_by text""")
_CHARGE: Final = _columns(
    "request_id text, account text, start_ns bigint, until_ns bigint, amount bigint, held bigint"
)


def _rows(columns: dict[str, str]) -> str:
    """Rows of a JSON value, as a source with the alias ``r``."""
    return f"json_to_recordset(?::json) AS r({', '.join(f'{name} {kind}' for name, kind in columns.items())})"


def _from_row(columns: dict[str, str]) -> str:
    return ", ".join(f"r.{name}" for name in columns)


_SET: Final = ", ".join(f"{name} = r.{name}" for name in _END if name != "id")

INSERT: Final = f"""
INSERT INTO requests ({", ".join(_INTENT)}) SELECT {_from_row(_INTENT)} FROM {_rows(_INTENT)}
WHERE EXISTS (SELECT 1 FROM owners WHERE owners.id = ?)
ON CONFLICT (id) DO NOTHING RETURNING id"""  # noqa: S608  # names of columns; so for the others
"""``intents``, their owner. Finds the ids of those that were written, in their order: not of one whose id there is already;
none, where the owner was given up."""

# Accounts are locked in their order, and blocks behind them in theirs: whoever locks them keeps to that.
CLOSE: Final = f"""
WITH closed AS (
    UPDATE requests SET late = FALSE, settled_by = 'end', {_SET} FROM {_rows(_END)}
    WHERE requests.id = r.id AND requests.state = 'in_flight'
    RETURNING requests.id, requests.owner
), tried AS (
    INSERT INTO attempts ({", ".join(_ATTEMPT)})
    SELECT {_from_row(_ATTEMPT)} FROM {_rows(_ATTEMPT)} JOIN closed ON closed.id = r.request_id
), charges AS (
    SELECT closed.owner, {_from_row(_CHARGE)} FROM {_rows(_CHARGE)} JOIN closed ON closed.id = r.request_id
), spent AS (
    INSERT INTO spend (account, start_ns, until_ns, amount)
    SELECT account, start_ns, max(until_ns), sum(amount)::bigint FROM charges
    GROUP BY account, start_ns ORDER BY account, start_ns
    ON CONFLICT (account, start_ns) DO UPDATE SET amount = spend.amount + excluded.amount
    RETURNING 1
), freed AS (
    SELECT account, owner, sum(held)::bigint AS held FROM charges WHERE held > 0 GROUP BY account, owner
), locked AS (
    SELECT blocks.account, blocks.owner, freed.held FROM blocks JOIN freed USING (account, owner)
    WHERE (SELECT count(*) FROM spent) >= 0 ORDER BY blocks.account FOR UPDATE OF blocks
), lowered AS (
    UPDATE blocks SET amount = greatest(blocks.amount - locked.held, 0) FROM locked
    WHERE blocks.account = locked.account AND blocks.owner = locked.owner
)
SELECT id FROM closed"""  # noqa: S608  # as above
"""``ends``, ``attempts``, ``charges``. Finds the ids of the requests that were open, and are closed now; nothing is written
of the others."""

CLOSE_LATE: Final = f"""
WITH closed AS (
    UPDATE requests SET late = TRUE, settled_by = 'end', {_SET} FROM {_rows(_END)}
    WHERE requests.id = r.id AND requests.settled_by = 'recovery' RETURNING requests.id
), tried AS (
    INSERT INTO attempts ({", ".join(_ATTEMPT)})
    SELECT {_from_row(_ATTEMPT)} FROM {_rows(_ATTEMPT)} JOIN closed ON closed.id = r.request_id
)
SELECT id FROM closed"""  # noqa: S608  # as above
"""``ends``, ``attempts``. Finds the ids of the requests that had been given up."""


def intents_json(intents: Iterable[Intent], owner: str) -> str:
    return _json(_INTENT, [intent_row(intent, owner) for intent in intents])


def ends_json(ends: Iterable[End]) -> str:
    return _json(_END, [end_row(end) for end in ends])


def attempts_json(ends: Iterable[End]) -> str:
    return _json(_ATTEMPT, [attempt_row(end.id, attempt) for end in ends for attempt in end.attempts])


def charges_json(ends: Iterable[End]) -> str:
    rows = [
        (end.id, each.account, each.start_ns, each.until_ns, each.amount, each.held)
        for end in ends
        for each in end.charges
    ]
    return _json(_CHARGE, rows)


_encode: Final = msgspec.json.Encoder().encode
_NUL: Final = b"\\u0000"
_IDS: Final = ("id", "request_id")


def _json(columns: dict[str, str], rows: Sequence[Row]) -> str:
    objects = [dict(zip(columns, row, strict=True)) for row in rows]
    encoded = _encode(objects)
    if _NUL in encoded:
        encoded = _encode([{name: _cleaned(name, value) for name, value in each.items()} for each in objects])
    return encoded.decode()


def _cleaned(name: str, value: Any) -> Any:
    """PostgreSQL's text has no NUL: see :mod:`holdfast.ledger.pg_connection`. A request's id must stay what it is."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and name not in _IDS else value
