"""What the tests of the ledger share: entries with short spellings, a clock that is set by hand, a file ledger."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from holdfast.clock import new_id
from holdfast.ledger import AttemptRow, End, Intent
from holdfast.ledger.sqlite import SqliteLedger, SqliteStore
from holdfast.ledger.writer import GroupWriter

if TYPE_CHECKING:
    from pathlib import Path

START_NS = 1_790_000_000_000_000_000


class HandClock:
    """Wall and monotonic time that stand still until :meth:`advance`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return START_NS + round(self.now_s * 1e9)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


def intent(request_id: str, **fields: Any) -> Intent:
    known: dict[str, Any] = {
        "id": request_id,
        "started_ns": START_NS,
        "route": "chat",
        "model": "gpt-4o",
        "dialect": "openai_chat",
        "stream": False,
        "request_bytes": 100,
        "bound_nano": 5_000,
    }
    return Intent(**known | fields)


def end(request_id: str, **fields: Any) -> End:
    known: dict[str, Any] = {
        "id": request_id,
        "ended_ns": START_NS + 1,
        "state": "ok",
        "status": 200,
        "cost_nano": 1_234,
        "attempts": (attempt(1),),
    }
    return End(**known | fields)


def attempt(number: int, **fields: Any) -> AttemptRow:
    known: dict[str, Any] = {
        "number": number,
        "provider": "openai",
        "model": "gpt-4o",
        "started_ns": START_NS,
        "outcome": "ok",
        "total_ms": 1.5,
        "billed": "provider",
    }
    return AttemptRow(**known | fields)


def store_at(path: Path, clock: HandClock | None = None, **options: Any) -> SqliteStore:
    clock = clock or HandClock()
    owner = new_id(clock, random.Random())
    return SqliteStore(path, owner=owner, clock=clock, **options)


def ledger_at(
    path: Path, clock: HandClock | None = None, *, writer: dict[str, Any] | None = None, **options: Any
) -> SqliteLedger:
    """For calls inside a loop or out of it: the thread starts at once, the loop is met at the first ``begin``."""
    clock = clock or HandClock()
    return SqliteLedger(store_at(path, clock, **options), clock, **writer or {})


def writer_on(store: Any, clock: HandClock | None = None, **options: Any) -> GroupWriter:
    return GroupWriter(store, clock or HandClock(), **options)
