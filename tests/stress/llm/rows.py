"""The one way to run rows through the library: so many workers over one list, each row one call or several."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from holdfast import ChatAnswer, Client
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.stress.llm.collector import Collector

__all__ = ["Finished", "Outcome", "Query", "Result", "Row", "make_rows", "run_rows"]

Result: TypeAlias = ChatAnswer | HoldfastError
Outcome: TypeAlias = Literal["ok", "partial", "failed"]


@dataclass(frozen=True, slots=True)
class Query:
    """One call that a row needs."""

    row: int
    number: int
    """Within the row, from 0."""
    prompt: str

    @property
    def name(self) -> str:
        return f"{self.row}.{self.number}"


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    """Its place in the input, from 0."""
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """A row, and what became of each of its queries: an answer, or the error in its place."""

    row: Row
    worker: int
    results: tuple[Result, ...]

    @property
    def outcome(self) -> Outcome:
        """``partial``: some queries have answers, and these are kept; others have errors."""
        answered = sum(isinstance(result, ChatAnswer) for result in self.results)
        if answered == len(self.results):
            return "ok"
        return "partial" if answered else "failed"

    @property
    def asked(self) -> Iterator[tuple[Query, Result]]:
        return zip(self.row.queries, self.results, strict=True)


def make_rows(
    count: int,
    *,
    queries: int = 1,
    script: Callable[[int, int], str] | None = None,
    shared_key: bool = False,
    text: Callable[[int, int], str] = lambda row, query: f"row {row}, query {query}",
) -> list[Row]:
    """Rows whose prompts are all different.

    Args:
        script: what the provider does to each attempt at a query, by row and query; "" leaves it to the server's own.
        shared_key: attempts are counted over all rows together (a burst hits whoever comes), not for each query alone
            (chance is then a query's own, whatever the order of arrival).
    """

    def query(row: int, number: int) -> Query:
        prompt = text(row, number)
        if not shared_key:
            prompt += f" [[key=q-{row}.{number}]]"
        if script is not None and (steps := script(row, number)):
            prompt += f" [[chaos: {steps}]]"
        return Query(row, number, prompt)

    return [Row(row, tuple(query(row, number) for number in range(queries))) for row in range(count)]


async def run_rows(
    client: Client,
    rows: Sequence[Row],
    out: Collector,
    *,
    workers: int,
    model: str,
    stream: bool = False,
    deadline_s: float | None = None,
) -> None:
    """Returns when every row is in ``out``. A row that fails stops nobody.

    Args:
        workers: each takes the next row of the input when it has finished one; a row's queries are asked at once.
        stream: answers are asked for as streams, and read to their end.
        deadline_s: for a whole row: all of its calls begin together, so it is the time limit of each.
    """
    left = iter(rows)

    async def ask(query: Query) -> Result:
        asked = {
            "tags": {"row": str(query.row), "query": str(query.number)},
            "max_tokens": 4_096,
            "timeout": deadline_s,
        }
        try:
            if not stream:
                return await client.chat(query.prompt, model, **asked)
            async with client.stream(query.prompt, model, **asked) as answer:
                return await answer.answer()
        except HoldfastError as error:
            return error

    async def work(worker: int) -> None:
        for row in left:  # one iterator for all: a row is taken once
            results = await asyncio.gather(*(ask(query) for query in row.queries))
            out.put(Finished(row, worker, tuple(results)))

    async with asyncio.TaskGroup() as group:
        for worker in range(workers):
            group.create_task(work(worker))
