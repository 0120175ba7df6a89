"""Reading a ledger, in SQLite or PostgreSQL: read-only, beside its writers, in short transactions that don't hold
anything up."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.errors import LedgerUnavailable, NotFound
from holdfast.ledger import keys_sql, sql_provider_keys
from holdfast.ledger.entry import Counts
from holdfast.ledger.read_only import IDS, open_read_only
from holdfast.ledger.rows import read_attempt, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from holdfast.ledger.entry import AttemptRow, Record, State
    from holdfast.ledger.keys import StoredKey
    from holdfast.ledger.provider_keys import SealedKey
    from holdfast.ledger.read_only import Kind, ReadOnly

__all__ = ["Filter", "LedgerReader", "Order"]

Order: TypeAlias = Literal["newest", "oldest"]

_EARLIEST: Final = -(2**63)
_LATEST: Final = 2**63 - 1
_PAGE: Final = 500

_COLUMNS: Final = """
    seq, id, owner, state, settled_by, late, started_ns, key, session, tags, route, model, dialect, stream,
    request_bytes, bound_nano, ended_ns, status, served_provider, served_model, finish_reason, error_label,
    error, first_token_ms, total_ms, cost_nano, input_tokens, cache_read_tokens, cache_write_tokens,
    cache_write_1h_tokens, input_audio_tokens, output_tokens, reasoning_tokens, output_audio_tokens,
    usage_extra, delivered_bytes, skipped, bound_tokens, accounts
FROM requests
"""
# Every optional condition is spelled out, so that the text of a query depends on nothing that a user gives. The casts are
# PostgreSQL's wish: of a NULL alone it can't tell the type.
_CONDITIONS: Final = """
    started_ns >= :since_ns AND started_ns < :until_ns
    AND (CAST(:state AS TEXT) IS NULL OR state = :state)
    AND (CAST(:key AS TEXT) IS NULL OR key = :key)
    AND (CAST(:session AS TEXT) IS NULL OR session = :session)
    AND (CAST(:model AS TEXT) IS NULL OR model = :model OR served_model = :model)
    AND (CAST(:provider AS TEXT) IS NULL OR served_provider = :provider OR EXISTS (
        SELECT 1 FROM attempts WHERE request_id = requests.id AND attempts.provider = :provider))
"""
# A page goes on where the one before ended; the index on started_ns leads.
_SELECT: Final = "SELECT" + _COLUMNS
_BY_AGE: Final[dict[Order, str]] = {
    "oldest": _SELECT
    + "WHERE (started_ns, seq) > (:after_ns, :after_seq) AND"
    + _CONDITIONS
    + "ORDER BY started_ns, seq LIMIT :page",
    "newest": _SELECT
    + "WHERE (started_ns, seq) < (:after_ns, :after_seq) AND"
    + _CONDITIONS
    + "ORDER BY started_ns DESC, seq DESC LIMIT :page",
}
_ONE: Final = _SELECT + "WHERE id = :id"
_PLACE: Final = "SELECT started_ns, seq FROM requests WHERE id = :id"
_SINCE: Final = "SELECT seq, id FROM requests WHERE seq > :seq ORDER BY seq"
_THESE: Final = _SELECT + "WHERE id {ids} ORDER BY seq"
_OPEN: Final = "SELECT id FROM requests WHERE state = 'in_flight'"
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM requests"
_COUNT: Final = "SELECT count(*) FROM requests"
_COUNT_BY_STATE: Final = "SELECT state, count(*) FROM requests GROUP BY state"
_ATTEMPTS: Final = """
SELECT request_id, number, provider, deployment, model, started_ns, outcome, status, error, retry_after_s,
    first_byte_ms, first_token_ms, total_ms, finish_reason, input_tokens, cache_read_tokens,
    cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, output_tokens, reasoning_tokens,
    output_audio_tokens, usage_extra, cost_nano, price_id, billed, upstream_id, usage_flag,
    paid_by
FROM attempts WHERE request_id {ids} ORDER BY request_id, number"""
_ENDED_OF_THESE: Final = _SELECT + "WHERE id {ids} AND state <> 'in_flight' ORDER BY ended_ns, seq"


_TARDY: Final[dict[Kind, tuple[int, int]]] = {"sqlite": (0, 1), "postgresql": (1_000, 25)}
"""Of several writers one may take a number first and commit last: how far back a number may still come, and for how many
looks. One writer commits in order."""


class _Arrived:
    """Which requests weren't there at the look before."""

    def __init__(self, floor: int, looks: int) -> None:
        self._last: deque[int] = deque([floor], maxlen=looks)
        self._seen: set[int] = set()

    @property
    def floor(self) -> int:
        """Nothing comes any more up to this number."""
        return self._last[0]

    def new(self, rows: list[tuple[Any, ...]]) -> list[str]:
        """Of number and id of those beyond the floor: the ids of those that are new, in the order of their numbers."""
        found = [request_id for seq, request_id in rows if seq not in self._seen]
        self._last.append(max((seq for seq, _ in rows), default=self._last[-1]))
        self._seen = {seq for seq, _ in rows if seq > self.floor}
        return found


class Filter(Struct, frozen=True, kw_only=True):
    """Which requests. ``None``: any. ``since_ns`` is included, ``until_ns`` isn't."""

    state: State | None = None
    model: str | None = None
    """Asked for or served."""
    provider: str | None = None
    """Served it, or was tried."""
    key: str | None = None
    session: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


class LedgerReader:
    """A read-only view of a ledger. Use as a context manager, from one thread at a time.

    Args:
        where: a SQLite file, or the URL of either database.
        busy_timeout_s, statement_s: as :func:`~holdfast.ledger.read_only.open_read_only` has them.

    Raises:
        ConfigError: no ledger there, or one of another version.
        LedgerUnavailable: it can't be read now. (Every method may.)
    """

    def __init__(self, where: Path | str, *, busy_timeout_s: float = 2.0, statement_s: float = 60.0) -> None:
        self.base: ReadOnly = open_read_only(where, busy_timeout_s=busy_timeout_s, statement_s=statement_s)
        """What it reads from, for those who ask something else."""
        ids = IDS[self.base.kind]
        self._attempts_of = _ATTEMPTS.format(ids=ids)
        self._these = _THESE.format(ids=ids)
        self._ended_of_these = _ENDED_OF_THESE.format(ids=ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.base.close()

    def show(self, request_id: str) -> Record:
        """One request with its attempts.

        Raises:
            NotFound: no such id.
        """
        records = self._records(_ONE, {"id": request_id})
        if not records:
            raise NotFound(f"the ledger has no request {request_id}")
        ((_, record),) = records
        return record

    def requests(
        self,
        which: Filter | None = None,
        *,
        order: Order = "newest",
        limit: int | None = 50,
        after: str | None = None,
    ) -> Iterator[Record]:
        """Requests in the order they were started. Pages through the table, so that ``limit = None`` takes no
        more memory.

        What is written meanwhile may or may not be among them; nothing comes twice. ``after``: only those behind this one.

        Raises:
            NotFound: ``after`` isn't there.
        """
        values = _bounds(which or Filter(), order)
        if after is not None:
            values |= self._place(after)
        left = _LATEST if limit is None else limit
        while left > 0:
            values["page"] = page = min(_PAGE, left)
            records = self._records(_BY_AGE[order], values)
            yield from (record for _, record in records)
            if len(records) < page:
                return
            left -= page
            seq, record = records[-1]
            values |= {"after_ns": record.intent.started_ns, "after_seq": seq}

    def tail(self, wait: Callable[[], bool], *, recent: int = 10) -> Iterator[Record]:
        """The ``recent`` newest, then each request when it begins and again when it ends, in the order that
        was seen.

        Args:
            wait: called between looks; sleeps, and returns whether to go on.
            recent: how many to begin with.
        """
        base = self.base
        behind, looks = _TARDY[base.kind]
        with base.snapshot():
            ((last,),) = base.rows(_LAST, {})
            arrived = _Arrived(last - behind, looks)
            arrived.new(base.rows(_SINCE, {"seq": arrived.floor}))
            pending = {request_id for (request_id,) in base.rows(_OPEN, {})}
            shown = self._fetch(_BY_AGE["newest"], _bounds(Filter(), "newest") | {"page": recent})
        for _, record in reversed(shown):
            yield record
        while wait():
            for _, record in self._records(self._ended_of_these, {"ids": _list(sorted(pending))}):
                pending.discard(record.intent.id)
                yield record
            with base.snapshot():
                new = arrived.new(base.rows(_SINCE, {"seq": arrived.floor}))
            for start in range(0, len(new), _PAGE):
                for _, record in self._records(self._these, {"ids": _list(new[start : start + _PAGE])}):
                    if record.end is None:
                        pending.add(record.intent.id)
                    yield record

    def counts(self) -> Counts:
        """Exact, from one snapshot; looks at every row."""
        with self.base.snapshot():
            ((accepted,),) = self.base.rows(_COUNT, {})
            by_state = dict(self.base.rows(_COUNT_BY_STATE, {}))
        return Counts(accepted=accepted, **by_state)

    def keys(self) -> list[StoredKey]:
        """Every key that was made, in that order, those that are over included; when each was used, to the minute."""
        with self.base.snapshot():
            try:
                return list(keys_sql.every(self.base.raw))
            except ValueError as error:
                raise LedgerUnavailable(f"can't read {self.base.name}: {error}") from error

    def provider_keys(self) -> Sequence[SealedKey]:
        """Tenants' own keys to providers, sealed."""
        with self.base.snapshot():
            return sql_provider_keys.every(self.base.raw)

    def _place(self, request_id: str) -> dict[str, int]:
        with self.base.snapshot():
            rows = self.base.rows(_PLACE, {"id": request_id})
        if not rows:
            raise NotFound(f"the ledger has no request {request_id}")
        return {"after_ns": rows[0][0], "after_seq": rows[0][1]}

    def _records(self, sql: str, values: Mapping[str, Any]) -> list[tuple[int, Record]]:
        """Each with its ``seq``."""
        with self.base.snapshot():
            return self._fetch(sql, values)

    def _fetch(self, sql: str, values: Mapping[str, Any]) -> list[tuple[int, Record]]:
        rows = self.base.rows(sql, values)
        attempts = self._attempts([row[1] for row in rows])
        return [(row[0], read_record(row[1:], tuple(attempts.get(row[1], ())))) for row in rows]

    def _attempts(self, ids: list[str]) -> dict[str, list[AttemptRow]]:
        found: dict[str, list[AttemptRow]] = {}
        if ids:
            for row in self.base.rows(self._attempts_of, {"ids": _list(ids)}):
                found.setdefault(row[0], []).append(read_attempt(row[1:]))
        return found


def _list(ids: list[str]) -> str:
    return msgspec.json.encode(ids).decode()


def _bounds(which: Filter, order: Order) -> dict[str, Any]:
    values = msgspec.structs.asdict(which)
    edge = _EARLIEST if order == "oldest" else _LATEST
    return values | {
        "since_ns": _EARLIEST if which.since_ns is None else which.since_ns,
        "until_ns": _LATEST if which.until_ns is None else which.until_ns,
        "after_ns": edge,
        "after_seq": edge,
    }
