"""What every ledger keeps: two writes a request, the first one durable before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from typing import Any

    from holdfast.ledger.entry import Charge, Counts, End, Intent, Record
    from holdfast.ledger.statement import Statement

__all__ = ["Ledger", "LedgerHealth", "LedgerStore", "SqlLedger"]


class LedgerHealth(Struct, frozen=True, kw_only=True):
    """How the ledger is doing. The counters only grow, from 0 at opening."""

    ok: bool
    """False: the last write failed, or nothing is taken any more."""
    reason: str | None = None
    """Why not, and what to do."""
    queued: int = 0
    """Ends that wait to be written."""
    oldest_pending_s: float = 0.0
    """Age of the oldest of them."""
    intents: int = 0
    """Intents made durable."""
    ends: int = 0
    """Ends written, late ones too."""
    late: int = 0
    """Ends that came after their request had been given up as ``unknown``."""
    ignored: int = 0
    """Ends that had nothing to close: a second one, or one whose intent was never written."""
    refused: int = 0
    """Calls of ``begin`` that raised."""
    commits: int = 0
    """Transactions committed: how well writes are grouped."""


class Ledger(Protocol):
    """Where requests are written down.

    The order of calls for one request is ``begin``, then ``end``. A caller whose ``begin`` was *cancelled*
    doesn't know whether the intent was written: it calls ``end`` all the same. An intent that was queued is
    written before the ends that were queued after it, so the end closes the intent if it is there and is
    ignored if it isn't. A caller whose ``begin`` *raised* has nothing to end.
    """

    async def begin(self, intent: Intent) -> None:
        """Return when the intent is durable.

        Raises:
            LedgerUnavailable: it isn't, and won't be: nothing may be sent.
        """
        ...

    def end(self, end: End) -> None:
        """Take the end. Never blocks, never raises; kept and tried again until it is written."""
        ...

    async def raise_bound(self, request_id: str, *, bound_nano: int | None, bound_tokens: int | None) -> None:
        """Return when it is durable that an open request may come to this much.

        Raises:
            LedgerUnavailable: it isn't, and won't be: nothing more may be sent for it.
        """
        ...

    async def spending(self) -> list[Charge]:
        """What was spent of budgets and still counts, open requests not included.

        Raises:
            LedgerUnavailable: it can't be read.
        """
        ...

    async def forget_spending(self, account: str) -> None:
        """Return when what was spent of one account counts no more.

        Raises:
            LedgerUnavailable: it can't be written.
        """
        ...

    async def flush(self) -> None:
        """Return when every end taken so far is written, however long that takes: bound it where that matters.

        Raises:
            LedgerUnavailable: the ledger was closed before they were.
        """
        ...

    def health(self) -> LedgerHealth: ...

    async def aclose(self) -> None:
        """Flush for a bounded time, give up the lease, close. A second call does nothing."""
        ...


class LedgerStore(Ledger, Protocol):
    """A ledger that can be asked as well: what :mod:`holdfast.ledger.conformance` needs."""

    async def get(self, request_id: str) -> Record | None: ...

    async def counts(self) -> Counts: ...


class SqlLedger(LedgerStore, Protocol):
    """A ledger in a database, whose transactions take other parts' statements along."""

    idempotency_secret: bytes
    shared: ClassVar[bool]
    """Other processes write it at the same time."""

    @property
    def owner(self) -> str:
        """This process' id: new for every start, and again when it was taken for dead."""
        ...

    async def ask(self, statement: Statement) -> Any:
        """See :meth:`holdfast.ledger.writer.GroupWriter.ask`; so for the others."""
        ...

    async def tell(self, statement: Statement) -> Any: ...

    def post(self, statement: Statement) -> None: ...
