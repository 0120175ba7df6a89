"""Reading a SQLite ledger: read-only, beside a running writer, in short transactions that don't hold up its
log."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from holdfast.errors import ConfigError, LedgerUnavailable, NotFound
from holdfast.ledger import migrate
from holdfast.ledger.entry import Counts
from holdfast.ledger.rows import read_attempt, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from holdfast.ledger.entry import AttemptRow, Record, State

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
    usage_extra, delivered_bytes, skipped
FROM requests
"""
# Every optional condition is spelled out, so that the text of a query depends on nothing that a user gives.
_CONDITIONS: Final = """
    started_ns >= :since_ns AND started_ns < :until_ns
    AND (:state IS NULL OR state = :state)
    AND (:key IS NULL OR key = :key)
    AND (:session IS NULL OR session = :session)
    AND (:model IS NULL OR model = :model OR served_model = :model)
    AND (:provider IS NULL OR served_provider = :provider OR EXISTS (
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
_ONE: Final = _SELECT + "WHERE id = ?"
_SINCE: Final = _SELECT + "WHERE seq > ? ORDER BY seq LIMIT ?"
_THESE: Final = _SELECT + (  # noqa: S608  # two constants
    "WHERE id IN (SELECT value FROM json_each(?)) AND state <> 'in_flight' ORDER BY ended_ns, seq"
)
_OPEN: Final = "SELECT id FROM requests WHERE state = 'in_flight'"
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM requests"
_COUNT: Final = "SELECT count(*) FROM requests"
_COUNT_BY_STATE: Final = "SELECT state, count(*) FROM requests GROUP BY state"
_ATTEMPTS: Final = """
SELECT request_id, number, provider, deployment, model, started_ns, outcome, status, error, retry_after_s,
    first_byte_ms, first_token_ms, total_ms, finish_reason, input_tokens, cache_read_tokens,
    cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, output_tokens, reasoning_tokens,
    output_audio_tokens, usage_extra, cost_nano, price_id, billed, upstream_id
FROM attempts WHERE request_id IN (SELECT value FROM json_each(?)) ORDER BY request_id, number"""


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
    """A read-only view of a ledger file. Use as a context manager, from one thread at a time.

    Raises:
        ConfigError: no ledger there, or one of another version.
        LedgerUnavailable: it can't be read now. (Every method may.)
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 2.0) -> None:
        if not path.is_file():
            raise ConfigError(f"no ledger at {path}: give the path of ledger.url, or start the gateway once")
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with _readable(path):
            self._connection = sqlite3.connect(
                uri, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
            )
        self._path = path
        try:
            with _readable(path):
                self._connection.execute("PRAGMA query_only = ON")
                known = migrate.shipped()
                if migrate.check(self._connection, known) < len(known):
                    raise ConfigError(f"{path} is of an older version: start the gateway once to upgrade it")
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def show(self, request_id: str) -> Record:
        """One request with its attempts.

        Raises:
            NotFound: no such id.
        """
        records = self._records(_ONE, (request_id,))
        if not records:
            raise NotFound(f"the ledger has no request {request_id}")
        ((_, record),) = records
        return record

    def requests(
        self, which: Filter | None = None, *, order: Order = "newest", limit: int | None = 50
    ) -> Iterator[Record]:
        """Requests in the order they were started. Pages through the file, so that ``limit = None`` takes no
        more memory.

        What is written meanwhile may or may not be among them; nothing comes twice.
        """
        values = _bounds(which or Filter(), order)
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
        with self._snapshot():
            seq: int = self._connection.execute(_LAST).fetchone()[0]
            pending = {request_id for (request_id,) in self._connection.execute(_OPEN)}
            shown = self._fetch(_BY_AGE["newest"], _bounds(Filter(), "newest") | {"page": recent})
        for _, record in reversed(shown):
            yield record
        while wait():
            for _, record in self._records(_THESE, (msgspec.json.encode(sorted(pending)).decode(),)):
                pending.discard(record.intent.id)
                yield record
            full = True
            while full:
                page = self._records(_SINCE, (seq, _PAGE))
                full = len(page) == _PAGE
                for newest, record in page:
                    seq = newest
                    if record.end is None:
                        pending.add(record.intent.id)
                    yield record

    def counts(self) -> Counts:
        """Exact, from one snapshot; looks at every row."""
        with self._snapshot():
            accepted = self._connection.execute(_COUNT).fetchone()[0]
            by_state = dict(self._connection.execute(_COUNT_BY_STATE).fetchall())
        return Counts(accepted=accepted, **by_state)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        """All that is read within is of one moment."""
        with _readable(self._path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def _records(self, sql: str, values: Any) -> list[tuple[int, Record]]:
        """Each with its ``seq``."""
        with self._snapshot():
            return self._fetch(sql, values)

    def _fetch(self, sql: str, values: Any) -> list[tuple[int, Record]]:
        rows = self._connection.execute(sql, values).fetchall()
        attempts = self._attempts([row[1] for row in rows])
        return [(row[0], read_record(row[1:], tuple(attempts.get(row[1], ())))) for row in rows]

    def _attempts(self, ids: list[str]) -> dict[str, list[AttemptRow]]:
        found: dict[str, list[AttemptRow]] = {}
        if ids:
            for row in self._connection.execute(_ATTEMPTS, (msgspec.json.encode(ids).decode(),)):
                found.setdefault(row[0], []).append(read_attempt(row[1:]))
        return found


def _bounds(which: Filter, order: Order) -> dict[str, Any]:
    values = msgspec.structs.asdict(which)
    edge = _EARLIEST if order == "oldest" else _LATEST
    return values | {
        "since_ns": _EARLIEST if which.since_ns is None else which.since_ns,
        "until_ns": _LATEST if which.until_ns is None else which.until_ns,
        "after_ns": edge,
        "after_seq": edge,
    }


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerUnavailable(f"can't read {path}: {error}") from error
