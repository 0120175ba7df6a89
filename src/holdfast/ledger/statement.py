"""A piece of SQL of another part's that rides in a group's transaction, with an answer of its own.

This is how a part keeps something in the ledger's file without a connection, a transaction or a disk flush of its own, and
how an intent can depend on what that part finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from holdfast.ledger.entry import Intent

__all__ = ["Connection", "Result", "Rows", "Statement"]


class Rows(Protocol):
    """What a statement found or changed."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """What a statement may use of a store's connection: it is SQLite's, and PostgreSQL's looks like it.

    ``?`` stands for a value. What only PostgreSQL is to read stands in ``/*pg … pg*/``.
    """

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Rows: ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Rows: ...


class Statement(Struct, frozen=True, kw_only=True, gc=False):
    """What to do in the transaction, and what if that fails.

    A value that can't be stored fails its statement alone. Where the database fails, nothing of the group is written and
    every statement in it is refused.
    """

    run: Callable[[Any], Any]
    """Given the store's :class:`Connection` within a transaction, on the writer's thread; its result is the answer. Must be
    short, and must not commit. May be run again where its transaction came to nothing."""
    locks: str = ""
    """What it locks or reads: a group's statements are run in the order of this, so that processes don't wait for each other
    in a circle. Those that say the same are run in the order in which they came."""
    owner: str | None = None
    """The process in whose name it takes something: refused when that was taken for dead. None: it needn't live."""
    intent: Intent | None = None
    """Written right behind it, if ``begins`` says so of its answer; where it can't be, the statement isn't either."""
    begins: Callable[[Any], bool] = bool
    size: int = 0
    """Bytes of payload. One that has any is the first to be left out when a group fails: the disk may only lack room
    for this."""
    undo: Statement | None = None
    """To be run sooner or later where nobody can say whether this one was: its caller was told that it wasn't."""
    instead: Statement | None = None
    """To be run sooner or later where this one wasn't, or nobody can say."""


class Result(Struct, frozen=True, gc=False):
    """What became of a statement in a group that was written."""

    answer: Any = None
    refused: str | None = None
    """Why it left no trace, though its group was written."""
    begun: bool = False
    """Its intent was written."""
