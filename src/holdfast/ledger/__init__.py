"""The record of every request: an intent that is durable before anything is sent, and exactly one end."""

from holdfast.ledger.base import Ledger, LedgerHealth, LedgerStore
from holdfast.ledger.entry import (
    AttemptRow,
    Billed,
    Counts,
    End,
    FinalState,
    Intent,
    Record,
    SettledBy,
    State,
)
from holdfast.ledger.memory import MemoryLedger

__all__ = [
    "AttemptRow",
    "Billed",
    "Counts",
    "End",
    "FinalState",
    "Intent",
    "Ledger",
    "LedgerHealth",
    "LedgerStore",
    "MemoryLedger",
    "Record",
    "SettledBy",
    "State",
]
