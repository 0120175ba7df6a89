"""A ledger as an operator writes it, beside gateways or without one: what the dead left is mended, what is old deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from holdfast.clock import new_id, system_rng
from holdfast.errors import ConfigError, LedgerUnavailable
from holdfast.ledger.sqlite import SqliteStore
from holdfast.ledger.statement import Statement
from holdfast.ledger.writer import GroupFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from holdfast.clock import Clock

__all__ = ["Mender", "SqliteMender"]


class Mender(Protocol):
    """Each step is durable when it returns. Raises LedgerUnavailable where it can't be written."""

    def sweep(self) -> bool:
        """Give up what dead processes have left open, and clear away some of what counts no more; whether there may be
        more of that."""
        ...

    def run(self, work: Callable[[Any], Any]) -> Any:
        """``work``, given a connection, in a transaction of its own; its result."""
        ...

    def close(self) -> None: ...


class SqliteMender:
    """Alone: it holds the file's lock, so that every other writer is dead. Made, it has given up what they left open.

    Raises:
        ConfigError: no ledger there, or one that can't be used.
        LedgerUnavailable: a living process has the file, or it can't be written.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        if not path.is_file():
            raise ConfigError(f"no ledger at {path}: give the path of ledger.url")
        self._store: Final = SqliteStore(path, owner=new_id(clock, system_rng()), clock=clock)

    def sweep(self) -> bool:
        try:
            return self._store.renew()
        except GroupFailed as failure:
            raise LedgerUnavailable(failure.reason) from failure

    def run(self, work: Callable[[Any], Any]) -> Any:
        try:
            (result,) = self._store.write([], [], [Statement(run=work)]).results
        except GroupFailed as failure:
            raise LedgerUnavailable(failure.reason) from failure
        if result.refused is not None:
            raise LedgerUnavailable(result.refused)
        return result.answer

    def close(self) -> None:
        self._store.close()
