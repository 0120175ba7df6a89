"""Keys as other processes change them: read again when something is heard, and now and then all the same."""

from __future__ import annotations

import asyncio
import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from tests.unit.gateway.test_keyring import (
    ALICE,
    ALICE_TEXT,
    FILE_KEY,
    KEYS,
    NOW,
    OPS,
    OPS_TEXT,
    Fixture,
    S,
    made,
)

from holdfast.app import endpoints_of
from holdfast.config import parse
from holdfast.config.own_keys import OwnKey
from holdfast.errors import LedgerUnavailable, Unauthenticated
from holdfast.gateway.key_watch import EVERY_S, KeyWatch, StoredKeys
from holdfast.gateway.keyring import Keyring
from holdfast.ledger.keys import KeyBudget, KeyLimits, KeyRate
from holdfast.ledger.memory_keys import MemoryKeys
from holdfast.ledger.memory_provider_keys import MemoryProviderKeys
from holdfast.provider_keys import ProviderKeys
from holdfast.secret import Secret
from holdfast.tenants import Tenants
from holdfast.testing.virtual_time import run_virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.testing.virtual_time import VirtualClock

BOB_TEXT, BOB = made("bob", 3)
MASTERS = ["A" * 43 + "=", "B" * 42 + "A="]


class TestRing:
    """What a look finds, as the ring takes it."""

    def test_others_keys_count_and_those_that_are_gone_don_t(self):
        ring = Fixture(ALICE).ring
        ring.refresh([ALICE, BOB, OPS])
        assert (ring.caller(BOB_TEXT).name, ring.admin(OPS_TEXT)) == ("bob", "ops")
        ring.refresh([BOB])
        for text in (ALICE_TEXT, b""):
            with pytest.raises(Unauthenticated):
                ring.caller(text)
        assert [key.name for key in ring] == ["bob"]

    def test_what_was_closed_doesn_t_open_because_a_making_was_taken_back(self):
        ring = Fixture(ALICE).ring
        assert not ring.open
        ring.refresh([])
        assert not ring.open

    def test_a_revocation_that_isn_t_written_down_yet_stays(self):
        ring = Fixture(ALICE).ring
        ring.end("alice")
        ring.refresh([ALICE])
        with pytest.raises(Unauthenticated, match="was revoked"):
            ring.caller(ALICE_TEXT)

    def test_one_that_was_made_elsewhere_counts_here(self):
        ring = Fixture(ALICE).ring
        ring.refresh([replace(ALICE, revoked_ns=NOW)])
        with pytest.raises(Unauthenticated, match="was revoked"):
            ring.caller(ALICE_TEXT)

    def test_a_replaced_text_ends_in_time(self):
        fixture = Fixture(ALICE)
        newer = replace(BOB.texts[0])
        older = replace(ALICE.texts[0], until_ns=NOW + 5 * S)
        fixture.ring.refresh([replace(ALICE, texts=(newer, older))])
        assert fixture.ring.caller(BOB_TEXT).name == fixture.ring.caller(ALICE_TEXT).name == "alice"
        fixture.clock.ns += 5 * S
        with pytest.raises(Unauthenticated, match="replaced"):
            fixture.ring.caller(ALICE_TEXT)

    @pytest.mark.parametrize(
        ("limits", "told"),
        [
            (KeyLimits(rate=KeyRate(requests=1)), 1),
            (KeyLimits(budgets=(KeyBudget(window="day", limit_nano=1),)), 1),
            (KeyLimits(), 0),
        ],
    )
    def test_rates_and_budgets_are_put_in_force_where_something_changed(self, limits, told):
        ring = Fixture(ALICE).ring
        calls: list[int] = []
        ring.watch(lambda: calls.append(1))
        used = replace(ALICE.texts[0], last_used_ns=NOW)
        ring.refresh([replace(ALICE, limits=limits, texts=(used,))])
        assert len(calls) == 1 + told
        assert ring.tell(next(iter(ring)))["last_used_ns"] == NOW

    def test_a_name_of_the_files_is_left_out_and_said_once(self):
        ring = Fixture(**KEYS).ring
        text, clash = made("team", 5)
        with capture_logs() as logs:
            for _ in range(3):
                ring.refresh([clash, BOB])
        assert [each["keys"] for each in logs] == [["team"]]
        assert (ring.caller(FILE_KEY).name, ring.caller(BOB_TEXT).name) == ("Team", "bob")
        with pytest.raises(Unauthenticated):
            ring.caller(text)

    def test_one_that_can_t_be_used_leaves_the_others_and_what_it_was(self):
        ring = Fixture(ALICE).ring
        broken = replace(ALICE, limits=KeyLimits(rate=KeyRate(requests=-1)))
        with capture_logs() as logs:
            ring.refresh([broken, BOB])
        assert [each["key"] for each in logs] == ["alice"]
        assert (ring.caller(ALICE_TEXT).name, ring.caller(BOB_TEXT).name) == ("alice", "bob")


def tenants_keys(master: str = MASTERS[0]) -> tuple[ProviderKeys, Tenants, MemoryProviderKeys]:
    text = '[providers.openai]\napi_key = "sk-canary-shared"\n[providers.gemini]\n'
    config = parse(tomllib.loads(text, parse_float=Decimal), {"HOLDFAST_MASTER_KEY": master})
    tenants, store = Tenants(config, endpoints=endpoints_of), MemoryProviderKeys()
    return ProviderKeys(store, tenants, config, Fixture().clock), tenants, store


class TestProviderKeys:
    """Tenants' own, likewise."""

    def test_others_keys_count_and_those_that_are_gone_don_t(self):
        async def main() -> None:
            mine, tenants, store = tenants_keys()
            theirs, _, _ = tenants_keys()
            await theirs.set("acme", "openai", Secret("sk-canary-own"))
            rows = list(theirs._rows.values())
            mine.refresh(rows)
            assert tenants.own("acme")["openai"].key == Secret("sk-canary-own")
            await theirs.set("acme", "openai", Secret("sk-canary-newer"))
            mine.refresh(list(theirs._rows.values()))
            assert tenants.own("acme")["openai"].key == Secret("sk-canary-newer")
            mine.refresh([])
            assert tenants.own("acme") == {}
            assert mine.listed() == []
            del store

        asyncio.run(main())

    def test_what_was_removed_here_isn_t_used_again_though_the_database_has_it_yet(self):
        async def main() -> None:
            mine, tenants, store = tenants_keys()
            await mine.set("acme", "openai", Secret("sk-canary-own"))
            rows = list(mine._rows.values())

            async def fails(*_: str) -> bool:
                raise LedgerUnavailable("the disk is full")

            store.remove = fails  # as a ledger that can't be written
            with pytest.raises(LedgerUnavailable):
                await mine.remove("acme", "openai")
            mine.refresh(rows)
            assert tenants.own("acme") == {}
            newer = replace(rows[0], set_ns=rows[0].set_ns + 1)
            mine.refresh([newer])  # set again, by somebody else
            assert tenants.own("acme")["openai"] == OwnKey(
                key=Secret("sk-canary-own"), told="the ledger's database"
            )

        asyncio.run(main())

    def test_one_that_another_master_key_seals_isn_t_used_and_is_told_of(self):
        async def main() -> None:
            mine, tenants, _ = tenants_keys()
            theirs, _, _ = tenants_keys(MASTERS[1])
            await mine.set("acme", "openai", Secret("sk-canary-own"))
            await theirs.set("acme", "openai", Secret("sk-canary-newer"))
            mine.refresh(list(theirs._rows.values()))
            assert tenants.own("acme") == {}
            (told,) = mine.problems
            assert "a master key that isn't known here" in told
            assert mine.listed()[0].unused is not None

        asyncio.run(main())


class Database:
    """What a look reads."""

    def __init__(self, *keys: Any) -> None:
        self.keys = list(keys)
        self.looks: list[float] = []
        self.fails: Exception | None = None
        self.while_reading: Callable[[], None] = lambda: None

    def read(self) -> StoredKeys:
        found = list(self.keys)
        self.while_reading()
        if self.fails is not None:
            raise self.fails
        return StoredKeys(found, ())


def watching(
    main: Callable[[KeyWatch, Database, Keyring, VirtualClock], Awaitable[None]], *keys: Any
) -> list[Any]:
    async def run(clock: VirtualClock) -> None:
        database = Database(*keys)
        ring = Keyring(parse({}, {}), keys, MemoryKeys(), clock)

        def read() -> StoredKeys:
            database.looks.append(clock.monotonic())
            return database.read()

        watch = KeyWatch(ring, tenants_keys()[0], read, clock=clock)
        watch.start()
        try:
            await main(watch, database, ring, clock)
        finally:
            await watch.aclose()
            await watch.aclose()

    with capture_logs() as logs:
        run_virtual(run, start_wall_ns=NOW)
    return logs


class TestWatch:
    def test_it_looks_when_something_is_heard(self):
        async def main(watch: KeyWatch, database: Database, ring: Keyring, clock: VirtualClock) -> None:
            await asyncio.sleep(1)
            database.keys = [ALICE]
            watch.changed("keys")
            await asyncio.sleep(0.01)
            assert ring.caller(ALICE_TEXT).name == "alice"
            assert (database.looks, watch.age_s) == ([1.0], pytest.approx(0.01))
            del clock

        watching(main)

    def test_and_every_ten_seconds_all_the_same(self):
        async def main(watch: KeyWatch, database: Database, ring: Keyring, clock: VirtualClock) -> None:
            database.keys = [replace(ALICE, revoked_ns=NOW)]
            await asyncio.sleep(EVERY_S + 0.01)
            with pytest.raises(Unauthenticated):
                ring.caller(ALICE_TEXT)
            await asyncio.sleep(3 * EVERY_S + 1)
            assert len(database.looks) == 4
            del watch, clock

        watching(main, ALICE)

    def test_a_thousand_changes_are_a_few_looks(self):
        async def main(watch: KeyWatch, database: Database, ring: Keyring, clock: VirtualClock) -> None:
            for number in range(1000):
                database.keys = [made(f"k{number}", number % 250 + 1)[1]]
                watch.changed()
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.2)
            assert len(database.looks) < 15
            assert [key.name for key in ring] == ["k999"]
            del clock

        watching(main)

    def test_what_was_changed_here_meanwhile_goes_before_what_was_read(self):
        async def main(watch: KeyWatch, database: Database, ring: Keyring, clock: VirtualClock) -> None:
            loop = asyncio.get_running_loop()
            changed = replace(ALICE, limits=KeyLimits(team="newer"))

            def change() -> None:  # once the read is under way, before the ring is told of it
                database.while_reading = lambda: None
                database.keys = [changed]
                loop.call_soon_threadsafe(ring.put, changed)

            database.while_reading = change
            watch.changed()
            await asyncio.sleep(0.05)
            assert ring.caller(ALICE_TEXT).team == "newer"
            await asyncio.sleep(0.2)  # and it looks again
            assert len(database.looks) == 2
            assert ring.caller(ALICE_TEXT).team == "newer"
            del clock

        watching(main, ALICE)

    def test_a_lost_database_leaves_what_is_known_and_is_said_once(self):
        async def main(watch: KeyWatch, database: Database, ring: Keyring, clock: VirtualClock) -> None:
            database.fails = LedgerUnavailable("no answer")
            await asyncio.sleep(3600)
            assert ring.caller(ALICE_TEXT).name == "alice"
            assert watch.age_s == pytest.approx(3600, abs=1)
            database.fails, database.keys = None, [BOB]
            await asyncio.sleep(EVERY_S + 1)
            assert ring.caller(BOB_TEXT).name == "bob"
            assert watch.age_s < EVERY_S
            del clock

        logs = watching(main, ALICE)
        assert [each["event"] for each in logs] == [
            "keys can't be read from the ledger: those that were read last go on",
            "keys are read from the ledger again",
        ]
        assert logs[1]["after_s"] == pytest.approx(3600, abs=20)

    def test_a_fault_of_ours_doesn_t_make_it_blind(self):
        async def main(watch: KeyWatch, database: Database, ring: Keyring, clock: VirtualClock) -> None:
            database.fails = ZeroDivisionError()
            watch.changed()
            await asyncio.sleep(1)
            database.fails, database.keys = None, [BOB]
            watch.changed()
            await asyncio.sleep(1)
            assert ring.caller(BOB_TEXT).name == "bob"
            del clock

        (said,) = watching(main)
        assert "a fault of our own" in said["event"]
