"""The one output collector: rows arrive as they are finished, and leave in the order of the input."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stress.llm.rows import Finished, Outcome, Query, Result, Row

__all__ = ["Collector"]


class Collector:
    """First in, first out: a row is released when all rows before it have been.

    Args:
        on_finished: called with each row as it is finished, before it is released.
    """

    def __init__(self, on_finished: Callable[[Finished], None] | None = None) -> None:
        self.released: list[Finished] = []
        """In the order in which they left."""
        self.finished: list[int] = []
        """Numbers in the order in which they came."""
        self._on_finished = on_finished
        self._waiting: dict[int, Finished] = {}

    def put(self, row: Finished) -> None:
        """Raises AssertionError for a row that was there before."""
        number = row.row.number
        assert number not in self._waiting, f"row {number} was finished twice"
        assert number >= len(self.released), f"row {number} was finished twice"
        self.finished.append(number)
        self._waiting[number] = row
        if self._on_finished is not None:
            self._on_finished(row)
        while (ready := self._waiting.pop(len(self.released), None)) is not None:
            self.released.append(ready)

    @property
    def asked(self) -> Iterator[tuple[Query, Result]]:
        """Every query with its result, in the order of the input."""
        return (pair for row in self.released for pair in row.asked)

    @property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(row.outcome for row in self.released)

    def numbers(self, outcome: Outcome) -> list[int]:
        """The rows that ended so."""
        return [row.row.number for row in self.released if row.outcome == outcome]

    def check_complete(self, rows: list[Row]) -> None:
        """Each row of the input came out once, at its place, with a result for each of its queries."""
        assert self._waiting == {}
        assert [row.row for row in self.released] == rows
        assert sorted(self.finished) == [row.number for row in rows]
