"""Words between processes: heard when they are committed, and "look at everything" whenever one may have been missed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.ledger.on_postgres import ledger_in

from holdfast.errors import LedgerUnavailable
from holdfast.ledger.pg_listen import PgListener, notify
from holdfast.ledger.statement import Statement

if TYPE_CHECKING:
    from tests.support.postgres import PostgresServer

    from holdfast.ledger.statement import Connection

CHANNEL = "holdfast_test"


class Ear:
    """What was heard, and a wait for more of it."""

    def __init__(self) -> None:
        self.words: asyncio.Queue[str | None] = asyncio.Queue()

    def __call__(self, said: str | None) -> None:
        self.words.put_nowait(said)

    async def next(self) -> str | None:
        async with asyncio.timeout(20):
            return await self.words.get()


def test_words_of_a_group_and_of_a_transaction_are_heard_by_all(database: str) -> None:
    async def main() -> None:
        async with ledger_in(database) as one, ledger_in(database) as two:
            ears = [Ear(), Ear()]
            for ledger, ear in zip((one, two), ears, strict=True):
                ledger.listener.listen(CHANNEL, ear)
                assert await ear.next() is None, "what was said before it listened"
            await one.ask(Statement(run=lambda connection: notify(connection, CHANNEL, "ä'\"\\")))
            assert [await ear.next() for ear in ears] == ["ä'\"\\"] * 2
            await two.ask(Statement(run=lambda connection: notify(connection, CHANNEL, "b")))
            assert [await ear.next() for ear in ears] == ["b"] * 2

    asyncio.run(main())


def test_what_is_rolled_back_was_not_said(database: str) -> None:
    async def main() -> None:
        async with ledger_in(database) as ledger:
            ear = Ear()
            ledger.listener.listen(CHANNEL, ear)
            await ear.next()

            def fail(connection: Connection) -> None:
                notify(connection, CHANNEL, "never")
                raise ValueError

            with pytest.raises(LedgerUnavailable):
                await ledger.ask(Statement(run=fail))
            await ledger.ask(Statement(run=lambda connection: notify(connection, CHANNEL, "then")))
            assert await ear.next() == "then"

    asyncio.run(main())


def test_too_long_a_word_says_look_at_everything(database: str) -> None:
    async def main() -> None:
        async with ledger_in(database) as ledger:
            ear = Ear()
            ledger.listener.listen(CHANNEL, ear)
            await ear.next()
            for said, heard in (("ü" * 3_950, "ü" * 3_950), ("ü" * 3_951, None), ("a\0b", "a\ufffdb")):
                await ledger.ask(
                    Statement(run=lambda connection, said=said: notify(connection, CHANNEL, said))
                )
                assert await ear.next() == heard

    asyncio.run(main())


def test_a_channel_that_is_listened_to_later(database: str) -> None:
    async def main() -> None:
        async with ledger_in(database) as ledger:
            first, second, third = Ear(), Ear(), Ear()
            ledger.listener.listen(CHANNEL, first)
            await first.next()
            ledger.listener.listen("Other", second)
            assert await second.next() is None
            ledger.listener.listen(CHANNEL, third)
            assert await third.next() is None
            await ledger.ask(Statement(run=lambda connection: notify(connection, "Other", "o")))
            assert await second.next() == "o"
            assert first.words.empty()

    asyncio.run(main())


def test_a_callback_that_fails_makes_nobody_deaf(database: str) -> None:
    async def main() -> None:
        complaints: asyncio.Queue[str] = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.put_nowait(context["message"])
        )

        def fails(_: str | None) -> None:
            raise ValueError

        async with ledger_in(database) as ledger:
            ear = Ear()
            ledger.listener.listen(CHANNEL, fails)
            ledger.listener.listen(CHANNEL, ear)
            assert await ear.next() is None
            assert await complaints.get() == f"a listener to {CHANNEL} failed"

    asyncio.run(main())


def test_after_a_lost_connection_it_listens_again_and_looks_at_everything(
    postgres: PostgresServer, database: str
) -> None:
    async def main() -> None:
        async with ledger_in(database) as ledger:
            ear, other = Ear(), Ear()
            ledger.listener.listen(CHANNEL, ear)
            ledger.listener.listen("other", other)
            await ear.next()
            await other.next()
            postgres.restart()
            assert await ear.next() is None
            assert await other.next() is None
            assert ledger.listener.up.is_set()
            await ledger.ask(Statement(run=lambda connection: notify(connection, CHANNEL, "again")))
            assert await ear.next() == "again"

    asyncio.run(main())


def test_it_starts_before_its_server_does(postgres: PostgresServer, database: str) -> None:
    async def main() -> None:
        postgres.stop()
        listener = PgListener(database, timeout_s=3.0)
        try:
            ear = Ear()
            listener.listen(CHANNEL, ear)
            while listener.trouble is None:
                await asyncio.sleep(0)
            assert "refused" in listener.trouble
            assert ear.words.empty()
            postgres.start()
            assert await ear.next() is None
            assert listener.trouble is None
        finally:
            await listener.aclose()
            await listener.aclose()

    asyncio.run(main())
