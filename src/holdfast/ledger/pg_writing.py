"""What PostgreSQL writes together: a group of intents, ends and other parts' statements.

Whatever is bad in it fails alone. First it is written as if nothing were: with one statement for all intents and one for all
ends. Where something is, that is rolled back, and all of it is done again with a savepoint around each part.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from holdfast import failpoints
from holdfast.ledger import spend_sql
from holdfast.ledger.pg_errors import is_row_fault, said
from holdfast.ledger.pg_group import (
    CLOSE,
    CLOSE_LATE,
    INSERT,
    attempts_json,
    charges_json,
    ends_json,
    intents_json,
)
from holdfast.ledger.pg_lease import ALIVE, HOLD
from holdfast.ledger.statement import Result
from holdfast.ledger.writer import GroupFailed, Written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Cursor

    from holdfast.clock import Clock
    from holdfast.ledger.entry import End, Intent
    from holdfast.ledger.pg_connection import PgConnection
    from holdfast.ledger.rows import Row
    from holdfast.ledger.statement import Statement

__all__ = ["BadRow", "Conflict", "Group", "Process"]

_FENCED: Final = (
    "this process was taken for dead, since it didn't renew its lease in time: it begins anew in a moment"
)
_TAKEN: Final = "the intent can't be stored: there is a request of that id"

_CLOSE_UNREADABLE: Final = """
UPDATE requests SET state = 'unknown', settled_by = 'end', ended_ns = ?, cost_nano = bound_nano, error = ?
WHERE id = ? AND state = 'in_flight'"""


Queued: TypeAlias = "tuple[Cursor[Row] | None, Cursor[Row] | None]"
"""The ids of what was begun and of what was closed, to be read when the pipeline is through."""


class BadRow(GroupFailed):
    """Something of a group can't be stored."""


class Conflict(GroupFailed):
    """Another transaction was in the way."""


class Process(Protocol):
    """In whose name it is written."""

    @property
    def owner(self) -> str: ...

    @property
    def dead(self) -> bool: ...

    @property
    def clock(self) -> Clock: ...

    def found_dead(self) -> None: ...


class Group:
    """What is to be written together."""

    def __init__(
        self,
        process: Process,
        intents: Sequence[Intent],
        ends: Sequence[End],
        statements: Sequence[Statement],
    ) -> None:
        self._process = process
        self._intents = intents
        self._ends = ends
        self.statements = statements
        # Every process runs what locks the same in the same order.
        self._order = sorted(range(len(statements)), key=lambda place: statements[place].locks)
        self._first = {end.id: end for end in reversed(ends)}
        """Of several ends of one request the first."""

    # Without statements, as if nothing were bad

    def queue(self, connection: PgConnection, *, alive: bool) -> Queued:
        """In a pipeline."""
        inserted = closed = None
        # What can't be encoded raises before anything is in the pipeline, whose end commits.
        begun = self._rows_of(self._intents) if self._intents and alive else None
        ended = self._end_values() if self._ends else None
        if begun is not None:
            connection.execute(HOLD, (self._process.owner,))
            inserted = connection.execute(INSERT, begun)
            if failpoints.armed:
                failpoints.hit("group.intents")
        if ended is not None:
            closed = connection.execute(CLOSE, ended)
        return inserted, closed

    def read(self, queued: Queued) -> tuple[Written, list[End]]:
        """What became of it, and the ends that closed nothing."""
        inserted, closed = queued
        written = _ids(inserted)
        refused = {}
        for place, intent in enumerate(self._intents):
            if intent.id in written:
                written.discard(intent.id)
            else:
                refused[place] = _FENCED if inserted is None else _TAKEN
        return Written(refused=refused, late=0, ignored=0), self._left(_ids(closed))

    def explain(self, connection: PgConnection, refused: dict[int, str]) -> None:
        """Why intents weren't written, which isn't looked at before."""
        if not self._hold(connection):
            refused.update(dict.fromkeys(refused, _FENCED))

    def close_each(self, connection: PgConnection, ends: Sequence[End]) -> tuple[int, int]:
        """How many were late, and how many had nothing to close."""
        closed = [self._close_one(connection, end) for end in ends]
        return closed.count(True), closed.count(None)

    def _rows_of(self, intents: Sequence[Intent]) -> tuple[str, str]:
        owner = self._process.owner
        return intents_json(intents, owner), owner

    def _end_values(self) -> tuple[str, str, str]:
        ends = tuple(self._first.values())
        return ends_json(ends), attempts_json(ends), charges_json(ends)

    def _left(self, closed: set[str]) -> list[End]:
        """Rare: some are late, a second one, or nobody's."""
        if len(closed) == len(self._ends):
            return []
        return [end for end in self._ends if end.id not in closed or self._first[end.id] is not end]

    # With statements

    def write(self, connection: PgConnection) -> Written:
        """As if nothing of it were bad. Raises what the database raises where something is."""
        results: list[Result] = [Result()] * len(self.statements)
        alive = self._hold(connection)
        begun: list[Intent] = []
        for place in self._order:
            statement = self.statements[place]
            results[place] = result = self._run(connection, statement, alive=alive)
            if result.begun and statement.intent is not None:
                begun.append(statement.intent)
        if begun and len(connection.execute(INSERT, self._rows_of(begun)).fetchall()) != len(begun):
            raise ValueError(_TAKEN)
        if failpoints.armed:
            failpoints.hit("group.statements")
        queued: Queued = (None, None)
        if self._intents or self._ends:
            with connection.raw.pipeline():
                queued = self.queue(connection, alive=alive)
        written, left = self.read(queued)
        late, ignored = self.close_each(connection, left)
        if failpoints.armed:
            failpoints.hit("group.ends")
        return Written(refused=written.refused, late=late, ignored=ignored, results=results)

    def write_carefully(self, connection: PgConnection) -> Written:
        """Each part for itself, so that only what is bad fails."""
        results: list[Result] = [Result()] * len(self.statements)
        alive = self._hold(connection)
        for place in self._order:
            results[place] = self._perform(connection, self.statements[place], alive=alive)
        refused: dict[int, str] = {}
        for place, intent in enumerate(self._intents):
            why = self._begin(connection, intent) if alive else _FENCED
            if why is not None:
                refused[place] = why
        late, ignored = self.close_each(connection, self._ends)
        return Written(refused=refused, late=late, ignored=ignored, results=results)

    def _hold(self, connection: PgConnection) -> bool:
        """Whether the owner lives, which nobody can change until the transaction's end."""
        if not (self._intents or any(each.owner or each.intent for each in self.statements)):
            return True
        owner = self._process.owner
        if self._process.dead:
            return False
        with connection.raw.pipeline():
            connection.execute(HOLD, (owner,))
            found = connection.execute(ALIVE, (owner,))
        if found.fetchone() is not None:
            return True
        self._process.found_dead()
        return False

    def _run(self, connection: PgConnection, statement: Statement, *, alive: bool) -> Result:
        if statement.owner is not None and not (alive and statement.owner == self._process.owner):
            return Result(refused=_FENCED)
        if statement.intent is not None and not alive:
            return Result(refused=_FENCED)
        answer = statement.run(connection)
        if failpoints.armed:
            failpoints.hit("group.statement")
        return Result(answer, begun=statement.intent is not None and statement.begins(answer))

    def _perform(self, connection: PgConnection, statement: Statement, *, alive: bool) -> Result:
        try:
            with _savepoint(connection):
                result = self._run(connection, statement, alive=alive)
                if result.begun and statement.intent is not None:
                    why = self._begun(connection, statement.intent)
                    if why is not None:
                        raise ValueError(why)
                return result
        except BadRow as bad:
            return Result(refused=f"it can't be stored: {bad.reason}")

    def _begin(self, connection: PgConnection, intent: Intent) -> str | None:
        """Why it is refused, if it is."""
        try:
            with _savepoint(connection):
                return self._begun(connection, intent)
        except BadRow as bad:
            return f"the intent can't be stored: {bad.reason}"

    def _begun(self, connection: PgConnection, intent: Intent) -> str | None:
        written = connection.execute(INSERT, self._rows_of([intent])).fetchone()
        return _TAKEN if written is None else None

    def _close_one(self, connection: PgConnection, end: End) -> bool | None:
        """Whether it was late; ``None`` if there was nothing to close."""
        try:
            with _savepoint(connection):
                return _closed(connection, end)
        except BadRow as bad:
            return False if self._close_unreadable(connection, end, bad.reason) else None

    def _close_unreadable(self, connection: PgConnection, end: End, fault: str) -> bool:
        """An end that no database takes must neither be lost nor be tried for ever: the request is closed at its bound."""
        try:
            with _savepoint(connection):
                values = (self._process.clock.wall_ns(), f"the end can't be stored: {fault}", end.id)
                closed = connection.execute(_CLOSE_UNREADABLE, values).rowcount == 1
        except BadRow:
            return False  # the id itself can't be stored, so no row has it
        if closed:
            with contextlib.suppress(BadRow), _savepoint(connection):
                spend_sql.charge_bound(connection, end.id)
        return closed


def _ids(found: Cursor[Row] | None) -> set[str]:
    return set() if found is None else {each for (each,) in found.fetchall()}


def _closed(connection: PgConnection, end: End) -> bool | None:
    ends = (end,)
    rows, attempts = ends_json(ends), attempts_json(ends)
    if connection.execute(CLOSE, (rows, attempts, charges_json(ends))).fetchone() is not None:
        return False
    if connection.execute(CLOSE_LATE, (rows, attempts)).fetchone() is None:
        return None
    spend_sql.take_back(connection, end.id)
    spend_sql.charge(connection, ends)
    return True


@contextlib.contextmanager
def _savepoint(connection: PgConnection) -> Iterator[None]:
    """Raises BadRow where that is what went wrong within: of what was done there, nothing is left."""
    connection.execute("SAVEPOINT part")
    try:
        yield
    except Exception as error:
        if connection.raw.closed or not is_row_fault(error):
            raise
        connection.execute("ROLLBACK TO part")
        connection.execute("RELEASE part")
        raise BadRow(said(error), ambiguous=False) from error
    connection.execute("RELEASE part")
