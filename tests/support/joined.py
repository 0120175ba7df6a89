"""What the client saw ⨝ what the provider served ⨝ what the ledger says."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.support.gateway import PRICE_IN, PRICE_OUT

if TYPE_CHECKING:
    from tests.support.http import Answer

    from holdfast.chaos import Entry
    from holdfast.ledger.entry import AttemptRow, Record

__all__ = ["Joined", "bill_of", "check_ledger", "numbered"]

_UNSEEN = frozenset(("connect_failed",))
"""Outcomes of attempts that never reached the provider."""


@dataclass
class Joined:
    """One request, from all three sides."""

    answer: Answer
    entries: list[Entry]
    """The journal's, over all targets, in order of arrival."""
    record: Record

    @property
    def rows(self) -> tuple[AttemptRow, ...]:
        assert self.record.end is not None, "the request is still in flight"
        return self.record.end.attempts

    @property
    def gaps(self) -> list[float]:
        """Seconds from each attempt's arrival at the provider to the next one's."""
        pairs = zip(self.entries, self.entries[1:], strict=False)
        return [(later.arrived_ns - earlier.arrived_ns) / 1e9 for earlier, later in pairs]

    @property
    def pauses(self) -> list[float]:
        """Seconds from each attempt's end to the next one's start, as the gateway saw them.

        The provider can't tell: it notes an end when it gets round to it, by which time the next attempt may be waiting.
        """
        rows = [row for row in self.rows if row.outcome != "connect_failed"]  # these never reached it
        pairs = itertools.pairwise(rows)
        return [
            (later.started_ns - earlier.started_ns) / 1e9 - earlier.total_ms / 1e3 for earlier, later in pairs
        ]


def numbered(nonce: str | None, count: int) -> str:
    """The text of ``count`` tokens of the attempt with that nonce."""
    return "".join(f"{nonce}:{i} " for i in range(count))


def bill_of(entry: Entry) -> int:
    """What the provider bills for an attempt, in nano-dollars."""
    return entry.usage.prompt_tokens * PRICE_IN + entry.usage.completion_tokens * PRICE_OUT


def check_ledger(joined: Joined, *, usage: Literal["true", "false", "absurd", "none"] = "true") -> None:
    """Each attempt in the journal is one row, in order; money is exact where the provider told its usage, and never
    below what it billed elsewhere.

    ``usage``: what the provider tells of it. A false one that could be true is written down as it was told; one that can't
    be (``absurd``) costs what nobody told would, and the row says why.
    """
    end = joined.record.end
    assert end is not None
    reached = [row for row in joined.rows if row.outcome not in _UNSEEN]
    assert [row.model for row in reached] == [entry.model for entry in joined.entries]
    assert [row.number for row in joined.rows] == list(range(1, len(joined.rows) + 1))
    for row, entry in zip(reached, joined.entries, strict=True):
        _check_row(row, entry, told=usage)
    for row in joined.rows:
        if row.outcome in _UNSEEN:
            assert (row.billed, row.cost_nano) == ("none", 0)
    assert end.cost_nano == sum(row.cost_nano or 0 for row in joined.rows)


def _check_row(row: AttemptRow, entry: Entry, *, told: str) -> None:
    bill = bill_of(entry)
    assert row.cost_nano is not None, f"attempt {row.number} has no cost"
    absurd = told == "absurd" and row.outcome == "ok"
    assert (row.usage_flag is not None) == absurd
    if row.usage is not None and not absurd:
        assert row.billed == "provider"
        cost = (row.usage.input_tokens or 0) * PRICE_IN + (row.usage.output_tokens or 0) * PRICE_OUT
        assert row.cost_nano == cost
        if told == "false":
            assert cost != bill
            return
        assert (row.usage.input_tokens, row.usage.output_tokens) == (
            entry.usage.prompt_tokens,
            entry.usage.completion_tokens,
        )
    elif row.status is not None and not 200 <= row.status < 300:
        assert (row.billed, row.cost_nano) == ("none", 0)
        assert bill == 0
    else:
        assert row.billed == "bound"
        assert row.cost_nano >= bill
    if row.status is not None:
        assert row.status == entry.status
