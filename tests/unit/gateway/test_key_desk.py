"""Changes that fail half way, whose askers leave, or that come at the same time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from msgspec.structs import replace

from holdfast.clock import SystemClock
from holdfast.config import parse
from holdfast.errors import Conflict, LedgerUnavailable, NotFound, Unauthenticated
from holdfast.gateway.key_desk import KeyDesk
from holdfast.gateway.keyring import Keyring
from holdfast.ledger.memory_keys import MemoryKeys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.ledger.keys import KeyLimits, KeyText, StoredKey

BY = "ops"


class Store(MemoryKeys):
    """``trouble``: nothing can be written. ``gate``: writing takes until it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def create(self, key: StoredKey) -> bool:
        await self._write()
        return await super().create(key)

    async def change(self, name: str, limits: KeyLimits, *, instead_of: KeyLimits) -> StoredKey | None:
        await self._write()
        return await super().change(name, limits, instead_of=instead_of)

    async def rotate(self, name: str, text: KeyText, *, until_ns: int) -> StoredKey | None:
        await self._write()
        return await super().rotate(name, text, until_ns=until_ns)

    async def revoke(self, name: str, *, now_ns: int) -> StoredKey | None:
        await self._write()
        return await super().revoke(name, now_ns=now_ns)

    async def _write(self) -> None:
        self.entered.set()
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.trouble:
            raise LedgerUnavailable("the disk is full")


class Room:
    def __init__(self, store: Store | None = None) -> None:
        self.config = config = parse({"gateway": {"admin_key": "k"}}, {})
        self.store = store or Store()
        self.ring = Keyring(config, (), self.store, SystemClock())
        self.desk = KeyDesk(config, self.ring, self.store, clock=SystemClock(), rng=random.Random(1))

    async def make(self, name: str = "alice") -> bytes:
        made = await self.desk.create(b'{"name":"%s"}' % name.encode(), by=BY)
        return made["key"].encode()

    def lets_in(self, text: bytes) -> bool:
        try:
            self.ring.caller(text)
        except Unauthenticated:
            return False
        return True


def in_a_room(main: Callable[[Room], Awaitable[None]], store: Store | None = None) -> None:
    async def run() -> None:
        await main(Room(store))

    asyncio.run(run())


def test_a_revocation_counts_even_where_it_cant_be_written_down():
    async def main(room: Room) -> None:
        text = await room.make()
        room.store.trouble = True
        with pytest.raises(
            LedgerUnavailable, match="alice is refused from now on, but that isn't written down yet"
        ):
            await room.desk.revoke("alice", by=BY)
        assert not room.lets_in(text)
        room.store.trouble = False
        ended = await room.desk.revoke("alice", by=BY)  # what it tells to do
        assert ended["state"] == "revoked"
        assert [key.revoked_ns for key in await room.store.all()] == [ended["revoked_ns"]]

    in_a_room(main)


def test_it_counts_before_it_is_written_down():
    async def main(room: Room) -> None:
        text = await room.make()
        room.store.gate.clear()
        room.store.entered.clear()
        revoking = asyncio.create_task(room.desk.revoke("alice", by=BY))
        await room.store.entered.wait()
        assert not room.lets_in(text)
        room.store.gate.set()
        await revoking

    in_a_room(main)


def test_what_couldnt_be_written_doesnt_count():
    async def main(room: Room) -> None:
        text = await room.make()
        before = room.desk.show("alice")
        room.store.trouble = True
        for change in (
            room.desk.create(b'{"name":"bob"}', by=BY),
            room.desk.change("alice", b'{"team":"x"}', by=BY),
            room.desk.rotate("alice", b'{"grace_s":0}', by=BY),
        ):
            with pytest.raises(LedgerUnavailable):
                await change
        assert room.desk.show("alice") == before
        assert room.lets_in(text)
        with pytest.raises(NotFound):
            room.desk.show("bob")

    in_a_room(main)


@pytest.mark.parametrize("change", ["create", "change", "rotate", "revoke"])
def test_who_leaves_doesnt_leave_a_change_half_done(change):
    """What stands in the store counts here too, though nobody waited for it."""

    async def main(room: Room) -> None:
        await room.make()
        room.store.gate.clear()
        room.store.entered.clear()
        calls: dict[str, Callable[[], Any]] = {
            "create": lambda: room.desk.create(b'{"name":"bob"}', by=BY),
            "change": lambda: room.desk.change("alice", b'{"team":"x"}', by=BY),
            "rotate": lambda: room.desk.rotate("alice", b"", by=BY),
            "revoke": lambda: room.desk.revoke("alice", by=BY),
        }
        task = asyncio.create_task(calls[change]())
        await room.store.entered.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        room.store.gate.set()
        await room.desk.change("alice", b"{}", by=BY) if change != "revoke" else await room.make("last")
        assert list(room.ring) == await room.store.all()

    in_a_room(main)


def test_one_change_after_the_other():
    async def main(room: Room) -> None:
        await room.make()
        fields = [b'{"team":"x"}', b'{"tags":{"a":"b"}}', b'{"models":["m"]}', b'{"expires_in_s":60}']
        await asyncio.gather(*(room.desk.change("alice", each, by=BY) for each in fields * 10))
        alice = room.desk.show("alice")
        assert (alice["team"], alice["tags"], alice["models"]) == ("x", {"a": "b"}, ("m",))
        assert alice["expires_ns"] is not None

    in_a_room(main)


def test_changes_at_two_gateways_at_once_are_both_made():
    """Each has seen the key as it was before the other's."""

    async def main(room: Room) -> None:
        await room.make()
        others = Keyring(room.config, await room.store.all(), room.store, SystemClock())
        desk = KeyDesk(room.config, others, room.store, clock=SystemClock(), rng=random.Random(2))
        told = await asyncio.gather(
            room.desk.change("alice", b'{"team":"x"}', by=BY),
            desk.change("alice", b'{"models":["m"]}', by=BY),
        )
        assert [(each["team"], each["models"]) for each in told] == [("x", None), ("x", ("m",))]
        (alice,) = await room.store.all()
        assert (alice.limits.team, alice.limits.models) == ("x", ("m",))
        assert list(others) == [alice], "what it tells is what counts there"

    in_a_room(main)


def test_who_is_always_too_late_is_told():
    class Restless(Store):
        async def change(self, name: str, limits: KeyLimits, *, instead_of: KeyLimits) -> StoredKey | None:
            team = f"{(instead_of.team or '')[-50:]}x"
            await super().change(name, replace(instead_of, team=team), instead_of=instead_of)
            return await super().change(name, limits, instead_of=instead_of)

    async def main(room: Room) -> None:
        await room.make()
        with pytest.raises(Conflict, match="others change the key alice all the time: try again"):
            await room.desk.change("alice", b'{"models":["m"]}', by=BY)
        assert room.desk.show("alice")["models"] is None

    in_a_room(main, Restless())


def test_of_many_who_want_a_name_one_gets_it():
    async def main(room: Room) -> None:
        asked = [room.desk.create(b'{"name":"alice"}', by=BY) for _ in range(20)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        made = [answer for answer in answers if isinstance(answer, dict)]
        assert len(made) == 1
        assert all(isinstance(answer, Conflict) for answer in answers if answer not in made)
        assert room.lets_in(made[0]["key"].encode())

    in_a_room(main)


def test_each_change_is_a_line_in_the_log_and_no_key_is():
    async def main(room: Room) -> None:
        with structlog.testing.capture_logs() as lines:
            text = await room.make()
            await room.desk.change("alice", b'{"team":"x"}', by=BY)
            await room.desk.change("alice", b"{}", by=BY)
            rotated = await room.desk.rotate("alice", b"", by=BY)
            await room.desk.revoke("alice", by=BY)
        assert [line["event"] for line in lines] == [
            "key created",
            "key changed",
            "key rotated",
            "key revoked",
        ]
        assert all((line["key"], line["by"], line["log_level"]) == ("alice", BY, "info") for line in lines)
        assert lines[1]["fields"] == ["team"]
        for key in (text.decode(), rotated["key"]):
            assert key[3:] not in repr(lines)

    in_a_room(main)
