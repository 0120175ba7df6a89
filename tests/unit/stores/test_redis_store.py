"""The store in a real Redis: asked while it answers, skipped while it doesn't, healed beside the requests (RD1)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import uvloop
from tests.support.redis_server import RedisServer, running_redis
from tests.support.stalls import Stalls
from tests.support.tcp_proxy import TcpProxy

from holdfast.clock import SystemClock, system_rng
from holdfast.stores.base import Script, Spell, StoreLost
from holdfast.stores.redis import RedisSettings, RedisStore
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from holdfast.stores.base import Ask

ECHO = Script("echo", "return {ARGV[1]}")
COUNT = Script("count", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
BROKEN = Script("broken", "return redis.call('INCR', 'a', 'b', 'c')")
SLOW = Script("slow", "local n = 0; for i = 1, 4000000 do n = n + i % 7 end; return {ARGV[1]}")
"""A good deal longer than a millisecond."""

PATIENT = RedisSettings(timeout_s=1.0, budget_s=1.0)
"""Where it is not about time: the machine may be busy."""


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared: RedisServer) -> RedisServer:
    shared.flush()
    return shared


def with_store(
    url: str,
    work: Callable[[RedisStore], Awaitable[Any]],
    settings: RedisSettings = PATIENT,
    *,
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Any:
    async def main() -> Any:
        store = await RedisStore.open(
            RedisAddress.parse(url), settings, clock=SystemClock(), rng=system_rng(), name="test"
        )
        try:
            return await work(store)
        finally:
            await store.aclose()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


def told(store: RedisStore) -> asyncio.Event:
    """Set when it is lost or healed the next time."""
    event = asyncio.Event()
    store.on_change(event.set)
    return event


async def lost(asked: Awaitable[Any]) -> str:
    with pytest.raises(StoreLost) as caught:
        await asked
    return str(caught.value)


class TestAsking:
    def test_a_script_answers(self, server):
        async def work(store: RedisStore) -> None:
            assert await store.call(ECHO, [], ["ä"], Spell()) == ["ä".encode()]
            assert await store.call(COUNT, [store.key("n", "x")], [5], Spell()) == 5
            assert await store.call(COUNT, [store.key("n", "x")], [5], Spell()) == 10
            assert store.state().up
            assert store.state().losses == 0

        with_store(server.url, work)
        assert server.command("GET", "{holdfast}:n:x") == b"10"
        assert server.command("PTTL", "{holdfast}:epoch") > 0

    def test_scripts_that_the_server_forgot_are_sent_again(self, server):
        async def work(store: RedisStore) -> None:
            await store.call(COUNT, ["a"], [1], Spell())
            server.command("SCRIPT", "FLUSH")
            assert await store.call(COUNT, ["a"], [1], Spell()) == 2
            server.command("SCRIPT", "FLUSH")
            store.tell(COUNT, ["a"], [1])
            await store.call(ECHO, [], ["x"], Spell())
            assert await store.call(COUNT, ["a"], [1], Spell()) == 4

        with_store(server.url, work)

    def test_what_is_told_first_comes_first(self, server):
        """Also the first time, when the server doesn't know the script yet."""

        async def work(store: RedisStore) -> None:
            store.tell(COUNT, ["a"], [1])
            assert await store.call(COUNT, ["a"], [10], Spell()) == 11

        with_store(server.url, work)

    def test_a_script_that_fails_is_one_call_and_not_the_store(self, server):
        async def work(store: RedisStore) -> None:
            with structlog.testing.capture_logs() as logs:
                for _ in range(3):
                    assert "broken" in await lost(store.call(BROKEN, [], [], Spell()))
            assert [line["event"] for line in logs] == ["redis_refused"]
            assert store.up

        with_store(server.url, work)

    def test_many_share_a_connection(self, server):
        async def work(store: RedisStore) -> None:
            answers = await asyncio.gather(
                *(store.call(ECHO, [], [number], Spell()) for number in range(500))
            )
            assert answers == [[str(number).encode()] for number in range(500)]

        with_store(server.url, work)
        assert server.command("INFO", "clients")

    def test_over_a_socket_with_user_password_and_database(self, server):
        server.command("ACL", "SETUSER", "gate", "on", ">p@ss w", "allkeys", "allcommands")

        async def work(store: RedisStore) -> None:
            assert await store.call(COUNT, ["socket"], [1], Spell()) == 1

        with_store(f"redis://gate:p%40ss%20w@127.0.0.1:{server.port}/3", work)
        assert server.command("GET", "socket") is None
        with_store(f"unix://{server.socket_path}", work)
        assert server.command("GET", "socket") == b"1"

    def test_a_wrong_password_is_lost_and_never_told(self, server):
        """OP3."""

        async def work(store: RedisStore) -> None:
            assert not store.up
            assert store.state().reason == "WRONGPASS"

        with structlog.testing.capture_logs() as logs:
            with_store(f"redis://gate:canary-9@127.0.0.1:{server.port}", work)
        assert [line["event"] for line in logs] == ["redis_lost"]
        assert "canary" not in str(logs)


class TestLeaving:
    def test_the_next_never_reads_another_ones_answer(self, server):
        """Cancelled in the middle of a command, at many moments: answers stay with those who asked."""

        async def work(store: RedisStore) -> None:
            for round_ in range(40):
                tasks = [
                    asyncio.ensure_future(store.call(ECHO, [], [f"{round_}.{number}"], Spell()))
                    for number in range(10)
                ]
                for _ in range(round_ % 5):
                    await asyncio.sleep(0)
                for number in range(0, 10, 3):
                    tasks[number].cancel()
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                for number, answer in enumerate(answers):
                    if not isinstance(answer, asyncio.CancelledError):
                        assert answer == [f"{round_}.{number}".encode()]
                assert await store.call(ECHO, [], ["next"], Spell()) == [b"next"]
            assert store.state().losses == 0

        with_store(server.url, work)

    def test_the_answer_that_nobody_waits_for_goes_to_the_orphanage(self, server):
        async def work(store: RedisStore) -> None:
            heard = []
            task = asyncio.ensure_future(store.call(ECHO, [], ["x"], Spell(), orphan=heard.append))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.call(ECHO, [], ["y"], Spell())
            assert heard == [[b"x"]]
            await asyncio.gather(
                store.call(BROKEN, [], [], Spell(), orphan=heard.append), return_exceptions=True
            )
            assert heard == [[b"x"]]

        with_store(server.url, work)

    def test_answered_and_cancelled_in_one_turn(self, server):
        async def work(store: RedisStore) -> None:
            heard = []
            task = asyncio.ensure_future(store.call(ECHO, [], ["x"], Spell(), orphan=heard.append))
            await asyncio.sleep(0)
            wire = store._wire
            assert wire is not None
            waiting = wire._waiting[0]

            class Both:
                def answer(self, reply: Any) -> None:
                    waiting.answer(reply)
                    task.cancel()  # the task has not run since

            wire._waiting[0] = Both()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert heard == [[b"x"]]

        with_store(server.url, work)


class TestTime:
    TIGHT = RedisSettings(timeout_s=0.05, budget_s=0.05)

    def test_a_server_that_hangs_costs_one_time_out(self, server):
        """RD1: and all who come after it nothing."""

        async def work(store: RedisStore) -> None:
            server.freeze()
            try:
                spells = [Spell() for _ in range(50)]
                with Stalls() as stalls:
                    began = time.monotonic()
                    said = await asyncio.gather(
                        *(lost(store.call(ECHO, [], ["x"], spell)) for spell in spells)
                    )
                    took_s = time.monotonic() - began
                    stood_s = stalls.since(began)
                assert set(said) == {"timed out"}
                assert 0.05 <= took_s < 0.05 + 0.5 + stood_s
                assert all(0.05 <= spell.spent_s <= took_s for spell in spells)
                assert not store.up
                spells = [Spell() for _ in range(100)]
                skipped = store.state().skipped
                for spell in spells:
                    await lost(store.call(ECHO, [], ["x"], spell))
                assert [spell.spent_s for spell in spells] == [0] * 100, "skipped, not asked"
                assert store.state().skipped == skipped + 100
            finally:
                server.thaw()

        with_store(server.url, work, self.TIGHT)

    def test_what_a_request_has_spent_is_spent(self, server):
        """RD1: all parts of it together."""

        async def work(store: RedisStore) -> None:
            spell = Spell()
            await store.call(ECHO, [], ["x"], spell)
            assert 0 < spell.spent_s < 1
            spell.spent_s = 1.0
            assert "long enough" in await lost(store.call(ECHO, [], ["x"], spell))
            heard = []
            spell.spent_s = 1.0 - 0.001
            asked = store.call(SLOW, [], ["late"], spell, orphan=heard.append)
            assert "long enough" in await lost(asked)
            assert store.up, "it is this request's time that was over"
            assert await store.call(ECHO, [], ["y"], Spell()) == [b"y"]
            assert heard == [[b"late"]]

        with_store(server.url, work)

    @pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
    def test_a_loop_that_was_busy_itself_reads_first(self, server, loop):
        """The time is over when it looks, and the answer is there."""

        async def work(store: RedisStore) -> None:
            task = asyncio.ensure_future(store.call(ECHO, [], ["x"], Spell()))
            await asyncio.sleep(0)
            until = time.monotonic() + 0.1
            while time.monotonic() < until:  # what blocks the loop, whatever it is
                pass
            assert await task == [b"x"]

        with_store(server.url, work, self.TIGHT, loop=loop)


class TestLostAndHealed:
    @pytest.mark.parametrize("how", ["killed", "frozen", "cut", "stalled", "read-only"])
    def test_each_way(self, how):
        """RD1: lost at the first command, told once, and healed by itself."""
        with running_redis() as server, TcpProxy(server.port) as proxy:
            lose: dict[str, Callable[[], object]] = {
                "killed": server.kill,
                "frozen": server.freeze,
                "cut": proxy.cut,
                "stalled": proxy.stall,
                "read-only": server.make_read_only,
            }
            heal: dict[str, Callable[[], object]] = {
                "killed": server.start,
                "frozen": server.thaw,
                "cut": proxy.heal,
                "stalled": proxy.heal,
                "read-only": server.make_writable,
            }

            async def work(store: RedisStore) -> None:
                changed = told(store)
                lose[how]()
                await lost(store.call(COUNT, ["a"], [1], Spell()))
                assert not store.up
                assert changed.is_set()
                changed.clear()
                heal[how]()
                await changed.wait()
                assert store.up
                assert await store.call(ECHO, [], ["x"], Spell()) == [b"x"]
                assert store.state().losses == 1

            with structlog.testing.capture_logs() as logs:
                with_store(
                    f"redis://127.0.0.1:{proxy.port}", work, RedisSettings(timeout_s=0.1, budget_s=0.1)
                )
            assert [line["event"] for line in logs] == ["redis_lost", "redis_healed"]

    def test_one_that_is_not_there_yet(self):
        """It is lost from the start, and nobody waits for it."""
        server = RedisServer()
        try:

            async def work(store: RedisStore) -> None:
                assert not store.up
                assert "ConnectionRefused" in store.state().reason
                changed = told(store)
                server.start()
                await changed.wait()
                assert store.up

            with structlog.testing.capture_logs() as logs:
                with_store(server.url, work)
            assert [line["event"] for line in logs] == ["redis_lost", "redis_healed"]
        finally:
            server.close()

    def test_all_write_back_before_anybody_asks(self, server):
        async def work(store: RedisStore) -> None:
            seen: list[tuple[str, bool]] = []

            async def restore(ask: Ask) -> None:
                seen.append(("restore", store.up))
                await ask(COUNT, ["restored"], [1])

            store.on_healing(restore)
            store.on_change(lambda: seen.append(("change", store.up)))
            changed = told(store)
            store.forgotten()
            assert changed.is_set()
            changed.clear()
            await changed.wait()
            assert seen == [("change", False), ("restore", False), ("change", True)]

        with_store(server.url, work)
        assert server.command("GET", "restored") == b"1"

    def test_a_part_that_fails_to_write_back_is_tried_again(self, server):
        async def work(store: RedisStore) -> None:
            tries = 0

            async def restore(_: Ask) -> None:
                nonlocal tries
                tries += 1
                if tries == 1:
                    raise ZeroDivisionError

            store.on_healing(restore)
            changed = told(store)
            store.forgotten()
            changed.clear()
            await changed.wait()
            assert (tries, store.up) == (2, True)

        with structlog.testing.capture_logs() as logs:
            with_store(server.url, work)
        assert "redis_restore_failed" in [line["event"] for line in logs]

    def test_another_epoch_after_a_flush(self, server):
        async def work(store: RedisStore) -> None:
            before = store.epoch
            server.flush()
            await store._beat()
            assert not store.up
            changed = told(store)
            await changed.wait()
            assert store.up
            assert store.epoch != before

        with_store(server.url, work)

    def test_nobody_waits_for_a_store_that_is_closed(self, server):
        async def main() -> None:
            store = await RedisStore.open(
                RedisAddress.parse(server.url), PATIENT, clock=SystemClock(), rng=system_rng()
            )
            store.tell(COUNT, ["told"], [7])
            asked = asyncio.ensure_future(store.call(SLOW, [], ["x"], Spell()))
            await asyncio.sleep(0)
            await store.aclose()
            assert not store.up
            await asyncio.gather(asked, return_exceptions=True)
            await lost(store.call(ECHO, [], ["x"], Spell()))
            store.tell(ECHO, [], ["x"])
            await store.aclose()

        asyncio.run(main())
        assert server.command("GET", "told") == b"7", "what was told before is there"


class TestStrangers:
    @pytest.mark.parametrize(
        ("said", "reason"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\ncanary", "doesn't speak"),
            (b"+OK\r\n" * 50, ""),
            (b"$99999999999\r\n" + b"canary" * 10, ""),
        ],
    )
    def test_what_is_no_redis(self, said, reason):
        """IN1: classified, and nothing of it is quoted."""

        async def main() -> str:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(said)
                with contextlib.suppress(ConnectionError):
                    await reader.read()  # until it is left
                    await reader.read()
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with server:
                store = await RedisStore.open(
                    RedisAddress.parse(f"redis://127.0.0.1:{port}"), clock=SystemClock(), rng=system_rng()
                )
                try:
                    assert not store.up
                    return store.state().reason
                finally:
                    await store.aclose()

        with structlog.testing.capture_logs() as logs:
            told_reason = asyncio.run(main())
        assert reason in told_reason
        assert "canary" not in told_reason + str(logs)
