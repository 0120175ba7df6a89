"""One connection to PostgreSQL, in the shape that SQL written for SQLite's connection is run on.

``?`` stands for a value, ``execute`` gives rows and ``rowcount``; what only PostgreSQL is to read stands in ``/*pg … pg*/``,
which is a comment elsewhere. No answer is waited for without a limit: a server that is frozen, or behind a network that
drops everything, is as good as a lost one.
"""

from __future__ import annotations

import select
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import PGconn, Ping, TransactionStatus
from psycopg.types.numeric import Int8Dumper

from holdfast.errors import ConfigError, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Cursor
    from psycopg.abc import PQGen

__all__ = [
    "OLDEST",
    "SLACK_S",
    "PgConnection",
    "TimedConnection",
    "check_version",
    "connect",
    "parameters",
    "refused",
]

OLDEST: Final = 140_000
"""PostgreSQL 14, as a server says it."""

_CONNECT_S: Final = 3
SLACK_S: Final = 1.0
"""How much longer than the server itself is an answer waited for."""
_IDLE_S: Final = 10
"""After which a transaction of which nothing is heard is ended by the server: it holds locks."""

TICK_S: Final = 0.1
"""How often psycopg looks up while it waits."""

_NUL: Final = "\0"
_SIGN: Final = "\ufffd"
"""PostgreSQL's text has no NUL: where a caller or a provider puts one, the sign for what can't be shown is kept."""


class GaveUp(psycopg.OperationalError):
    """Nothing was heard for too long."""


class TimedConnection(psycopg.Connection[tuple[Any, ...]]):
    """One that gives up, and is closed then, when nothing is heard for :attr:`patience_s`."""

    patience_s: float | None = None
    gave_up = False

    def wait(self, gen: PQGen[Any], interval: float = TICK_S, timeout: float | None = None) -> Any:
        if self.patience_s is None or timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(patiently(gen, self.patience_s), TICK_S)
        except GaveUp:
            self.gave_up = True
            self.pgconn.finish()  # its answer may come yet, and would be taken for another's
            raise


def patiently(gen: PQGen[Any], patience_s: float) -> PQGen[Any]:
    """``gen``, as psycopg waits for it: it is told of each tick in which there was nothing."""
    ticks = max(int(patience_s / TICK_S), 1)
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready:
                ticks -= 1
                if not ticks:
                    raise GaveUp(f"the server has said nothing for {patience_s:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


class PgConnection:
    """In autocommit mode: transactions are begun and committed by their words, as with SQLite."""

    def __init__(self, connection: TimedConnection) -> None:
        self.raw = connection

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor[tuple[Any, ...]]:
        return self.raw.execute(_translated(sql), _cleaned(values))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor[tuple[Any, ...]]:
        cursor = self.raw.cursor()
        cursor.executemany(_translated(sql), [_cleaned(row) for row in rows])
        return cursor

    @property
    def in_transaction(self) -> bool:
        return self.raw.info.transaction_status in _WITHIN

    def is_well(self) -> bool:
        """Whether the server hasn't ended it meanwhile, as far as that is known here. Between transactions."""
        poll = select.poll()
        poll.register(self.raw.fileno(), select.POLLIN)
        try:
            while not self.raw.closed and poll.poll(0):
                self.raw.pgconn.consume_input()  # words of a server that says good-bye, then the end
        except psycopg.Error:
            return False
        return not self.raw.closed

    def close(self) -> None:
        self.raw.close()


_WITHIN: Final = (TransactionStatus.INTRANS, TransactionStatus.INERROR, TransactionStatus.ACTIVE)


def connect(url: str, *, timeout_s: float, name: str) -> PgConnection:
    """A new connection, on which an answer is waited for a little longer than ``timeout_s``.

    Raises:
        ConfigError: the URL is none; the server refuses us; it is too old.
        LedgerUnavailable: nobody answers there, or not now.
    """
    given = parameters(url, timeout_s=timeout_s, name=name)
    try:
        raw = TimedConnection.connect(**given, autocommit=True)
    except psycopg.Error as error:
        raise refused(given, error) from None
    raw.patience_s = timeout_s + SLACK_S
    try:
        check_version(raw.info.server_version)
    except ConfigError:
        raw.close()
        raise
    # A big number is refused by the column; and one type for all of them is one plan for all of them.
    raw.adapters.register_dumper(int, Int8Dumper)
    return PgConnection(raw)


def parameters(url: str, *, timeout_s: float, name: str) -> dict[str, Any]:
    """What psycopg is given: what ``url`` says goes over what we say, but for the options that limits need.

    Raises:
        ConfigError: as :func:`connect`.
    """
    try:
        given: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.Error:  # its message quotes what it can't read, which may be half a password
        raise ConfigError(
            "ledger.url can't be read: write postgresql://user:password@host:5432/database, with %40 for an @ in the "
            "password, %2F for a /, %25 for a %"
        ) from None
    ours = {
        "connect_timeout": _CONNECT_S,
        "application_name": name,
        "client_encoding": "UTF8",
        # Of several hosts the one that takes writes.
        "target_session_attrs": "read-write",
        # A peer that is gone without a word.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int((timeout_s + SLACK_S) * 1000),
        # Else libpq looks for a Kerberos ticket first.
        "gssencmode": "disable",
    }
    settings = {
        "statement_timeout": f"{int(timeout_s * 1000)}",
        "lock_timeout": f"{int(timeout_s * 1000 / 2)}",
        "idle_in_transaction_session_timeout": f"{_IDLE_S * 1000}",
        "default_transaction_isolation": "read\\ committed",
    }
    options = " ".join(f"-c {setting}={value}" for setting, value in settings.items())
    theirs = given.get("options") or ""
    return {**ours, **given, "client_encoding": "UTF8", "options": f"{options} {theirs}".strip()}


def check_version(version: int) -> None:
    """Raises ConfigError: we need what it can't do."""
    if version < OLDEST:
        raise ConfigError(
            f"ledger.url: the server is PostgreSQL {version // 10_000}: upgrade it, {OLDEST // 10_000} or newer is needed"
        )


def refused(given: dict[str, Any], error: psycopg.Error) -> ConfigError | LedgerUnavailable:
    """Why there is no connection, and what to do. Whether the server itself refuses us is asked of it: its words may be in
    any language, and libpq hands no code on."""
    said = " ".join(str(error).split())
    where = _where(given)
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return LedgerUnavailable(
            f"the ledger's server {where} doesn't answer: see whether it runs, and isn't overloaded or behind a firewall"
        )
    known = {
        name: given[name]
        for name in ("host", "hostaddr", "port", "service", "connect_timeout")
        if name in given
    }
    answer = PGconn.ping(psycopg.conninfo.make_conninfo("", **known).encode())
    if answer == Ping.OK:  # psycopg gives the bare number
        return ConfigError(
            f"the ledger's server {where} refuses the connection ({said}): see that user, password and database in "
            "ledger.url are right, and that it takes writes and has connections left"
        )
    if answer == Ping.REJECT:
        return LedgerUnavailable(
            f"the ledger's server {where} is starting or stopping: try again soon ({said})"
        )
    return LedgerUnavailable(
        f"the ledger's server {where} can't be reached ({said}): start it, or correct host and port in ledger.url"
    )


def _where(given: dict[str, Any]) -> str:
    return (
        f"at {given.get('host') or given.get('hostaddr') or 'the local socket'}:{given.get('port') or 5432}"
    )


@lru_cache(maxsize=512)
def _translated(sql: str) -> str:
    """In psycopg's spelling."""
    return sql.replace("%", "%%").replace("?", "%s").replace("/*pg ", "").replace(" pg*/", "")


def _cleaned(values: Sequence[Any]) -> Sequence[Any]:
    for value in values:
        if type(value) is str and _NUL in value:
            return [each.replace(_NUL, _SIGN) if type(each) is str else each for each in values]
    return values
