"""What reading a ledger asks of its database: a snapshot, and rows. Never a write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["IDS", "Kind", "ReadOnly", "is_postgres", "open_read_only"]

Kind: TypeAlias = Literal["sqlite", "postgresql"]

IDS: Final[Mapping[Kind, str]] = {
    "sqlite": "IN (SELECT value FROM json_each(:ids))",
    # As an array: PostgreSQL can't tell how many rows there will be, and would read the whole table.
    "postgresql": "= ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(:ids AS jsonb))))",
}
"""Whether a text is in ``:ids``, a JSON array: the one thing that each database spells in its own way."""

_SCHEMES: Final = ("postgresql://", "postgres://")


class ReadOnly(Protocol):
    """One connection that can't write. From one thread at a time.

    Statements name their values ``:so``, whatever the database; each raises LedgerUnavailable where it can't be read now.
    """

    @property
    def kind(self) -> Kind: ...

    @property
    def name(self) -> str:
        """For people: a path, or a URL without its password."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """All that is read within is of one moment. Not nested."""
        ...

    def rows(self, sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """All rows. Within a snapshot."""
        ...

    def stream(self, sql: str, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """As :meth:`rows`, for any number of rows in bounded memory."""
        ...

    def now_ns(self, here_ns: int) -> int:
        """The database's wall clock, ``here_ns`` being this machine's. Within a snapshot."""
        ...

    def judged_ns(self, now_ns: int) -> int:
        """A lease that ran out before then is one of the dead; 0: nobody is taken for dead yet. Within a snapshot."""
        ...

    def damage(self) -> list[str]:
        """What the database itself finds damaged; nothing where it has no such look. Within a snapshot."""
        ...

    @property
    def raw(self) -> Any:
        """A connection for the statements of other parts, which write their values as ``?``. Within a snapshot."""
        ...

    def close(self) -> None: ...


def is_postgres(where: str) -> bool:
    """Whether a URL (or a path) is of a PostgreSQL database."""
    return where.startswith(_SCHEMES)


def open_read_only(where: Path | str, *, busy_timeout_s: float = 2.0, statement_s: float = 60.0) -> ReadOnly:
    """A ledger by its file, or by its URL.

    Args:
        where: a SQLite file's path, ``sqlite:///…`` or ``postgresql://…``.
        busy_timeout_s: how long a SQLite file may be locked by another program.
        statement_s: how long one statement may take on PostgreSQL.

    Raises:
        ConfigError: no ledger there, or one of another version.
        LedgerUnavailable: it can't be read now.
    """
    if isinstance(where, str) and is_postgres(where):
        from holdfast.ledger.read_postgres import PostgresReadOnly  # psycopg is needed only here

        return PostgresReadOnly(where, statement_s=statement_s)
    from holdfast.ledger.read_sqlite import SqliteReadOnly  # beside its twin

    return SqliteReadOnly(where, busy_timeout_s=busy_timeout_s)
