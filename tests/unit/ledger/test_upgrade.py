"""A ledger that an older version wrote: what it holds, after this version has opened it.

``written_at_001.sql`` is the dump of a file that the first schema's code wrote: a request with all its fields, a failed one,
and one that its process never ended.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.unit.ledger.helpers import attempt, end, intent, ledger_at

from holdfast.errors import ConfigError
from holdfast.ledger.conformance import _full_end, _full_intent
from holdfast.ledger.entry import Counts, End
from holdfast.ledger.migrate import shipped
from holdfast.ledger.reader import LedgerReader
from holdfast.model import Usage

DUMP = Path(__file__).with_name("written_at_001.sql")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "old.db"
    with closing(sqlite3.connect(made)) as database:
        database.executescript(DUMP.read_text(encoding="utf-8"))
    return made


def older(whole: End) -> End:
    """What of it the first schema had a place for."""
    attempts = tuple(
        replace(
            each,
            deployment="",
            usage=each.usage and replace(each.usage, cache_write_1h_tokens=None),
            usage_flag=None,
            paid_by="gateway",
        )
        for each in whole.attempts
    )
    assert whole.usage is not None
    return replace(whole, attempts=attempts, usage=replace(whole.usage, cache_write_1h_tokens=None))


def test_the_dump_is_of_the_first_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        applied = database.execute("SELECT number, sha256 FROM migrations").fetchall()
    assert applied == [(1, shipped()[0].sha256)]
    assert len(shipped()) > 1


def test_reading_it_says_what_to_do_and_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="older version: start the gateway once"):
        LedgerReader(path)
    assert path.read_bytes() == before


def test_opening_it_keeps_every_value(path: Path) -> None:
    async def upgraded() -> None:
        ledger = ledger_at(path)
        try:
            assert ledger.recovered == 1
            assert await ledger.counts() == Counts(accepted=3, ok=1, failed=1, unknown=1)
            first, last = await ledger.get("1"), await ledger.get("3")
        finally:
            await ledger.aclose()
        assert first is not None
        assert last is not None
        assert first.intent == replace(_full_intent(1), bound_tokens=None, accounts=())
        assert first.end == older(_full_end(1))
        assert (last.settled_by, last.cost_nano) == ("recovery", _full_intent(3).bound_nano)

    asyncio.run(upgraded())


def test_what_is_new_is_kept_in_it(path: Path) -> None:
    usage = Usage(input_tokens=9, cache_write_tokens=5, cache_write_1h_tokens=4, output_tokens=1)
    served = end("new", provider="openai", usage=usage, attempts=(attempt(1, deployment="eu", usage=usage),))

    async def written() -> None:
        ledger = ledger_at(path)
        await ledger.begin(intent("new"))
        ledger.end(served)
        await ledger.aclose()

    asyncio.run(written())
    with LedgerReader(path) as reader:
        assert reader.show("new").end == served
        assert served.deployment == "eu"
        assert [record.intent.id for record in reader.requests(order="oldest")] == ["new", "1", "2", "3"]


def test_it_is_upgraded_once(path: Path) -> None:
    for _ in range(2):
        asyncio.run(ledger_at(path).aclose())
    with closing(sqlite3.connect(path)) as database:
        numbers = [number for (number,) in database.execute("SELECT number FROM migrations")]
    assert numbers == [each.number for each in shipped()]
