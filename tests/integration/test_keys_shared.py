"""Two gateways on one PostgreSQL: what one changes of keys counts at the other, and stays where the database is lost."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from structlog.testing import capture_logs
from tests.e2e.cli_process import called
from tests.simulation.chat_wire import request, whole
from tests.unit.gateway.door import Door

from holdfast.app import App
from holdfast.config import parse
from holdfast.gateway.metrics import Metrics
from holdfast.testing.memory_transport import MemoryTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.support.postgres import PostgresServer

ADMIN = {"authorization": "Bearer adm-secret"}
WITHIN_S = 2.0
"""From the change to the last gateway that knows of it."""
MASTER = "A" * 43 + "="


def document(url: str, **more: Any) -> dict[str, Any]:
    return {
        "gateway": {"admin_key": "adm-secret", **more.pop("gateway", {})},
        "ledger": {"url": url},
        "breaker": {"enabled": False},
        "providers": {
            "a": {"dialect": "openai_chat", "base_url": "http://a/v1", "api_key": "sk-canary-shared"}
        },
        "routes": {"chat": {"targets": ["a/m"]}, "other": {"targets": ["a/n"]}},
        "keys": {"closed": {"sha256": "1" * 64}},
        "prices": {"a/m": {"input_per_1m": 1000, "output_per_1m": 1000}},
        **more,
    }


class Replica(Door):
    """One of the gateways."""

    async def admin(self, method: str, path: str, form: Any = None) -> Any:
        body = b"" if form is None else msgspec.json.encode(form)
        said = await self.ask(method, f"/admin/{path}", body, ADMIN)
        assert said.status in (200, 201), said.body
        return said.json

    async def asked(self, key: str, model: str = "chat") -> int:
        body = request(stream=False, model=model, max_tokens=5)
        return (await self.chat(body, {"authorization": f"Bearer {key}"})).status

    async def until(self, key: str, status: int, model: str = "chat") -> None:
        """Asks until it is answered like that."""
        async with asyncio.timeout(WITHIN_S):
            while await self.asked(key, model) != status:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def replica(settings: dict[str, Any]) -> AsyncIterator[Replica]:
    app = await App.start(parse(settings, {}), transport=MemoryTransport(lambda _: whole()))
    try:
        metrics = Metrics(app.ledger)
        metrics.watch(app)
        door = Replica(app.clock, app, metrics)
        door.gateway.start()
        try:
            yield door
        finally:
            await door.gateway.aclose()
    finally:
        await app.aclose()


def on_two(main: Callable[[Replica, Replica], Awaitable[None]], url: str, **more: Any) -> None:
    async def run() -> None:
        async with replica(document(url, **more)) as one, replica(document(url, **more)) as other:
            await main(one, other)

    asyncio.run(run())


def test_a_key_is_made_changed_and_revoked_for_all(database: str) -> None:
    async def main(one: Replica, other: Replica) -> None:
        key = (await one.admin("POST", "keys", {"name": "alice"}))["key"]
        assert await one.asked(key) == 200
        await other.until(key, 200)
        await other.admin("PATCH", "keys/alice", {"routes": ["other"]})
        assert await other.asked(key) == 403
        await one.until(key, 403)
        assert await one.asked(key, "other") == 200
        rotated = (await one.admin("POST", "keys/alice/rotate", {"grace_s": 0}))["key"]
        await other.until(key, 401, "other")
        await other.until(rotated, 200, "other")
        await one.admin("DELETE", "keys/alice")
        assert await one.asked(rotated, "other") == 401
        await other.until(rotated, 401, "other")
        told = await other.admin("GET", "keys?all=true")
        assert [(each["name"], each["state"]) for each in told["keys"]][1:] == [("alice", "revoked")]
        names = {"name": "Alice"}
        taken = await other.ask("POST", "/admin/keys", msgspec.json.encode(names), ADMIN)
        assert taken.status == 409

    on_two(main, database)


def test_a_first_key_closes_all(database: str) -> None:
    async def main(one: Replica, other: Replica) -> None:
        assert await other.asked("nobody's") == 200
        key = (await one.admin("POST", "keys", {"name": "alice"}))["key"]
        await other.until("nobody's", 401)
        assert await other.asked(key) == 200

    on_two(main, database, keys={})


def test_its_budget_and_what_was_spent_of_it_are_one(database: str) -> None:
    async def main(one: Replica, other: Replica) -> None:
        form = {"name": "alice", "budgets": [{"window": "forever", "limit_usd": 100}]}
        key = (await one.admin("POST", "keys", form))["key"]
        await other.until(key, 200)
        assert await one.asked(key) == 200
        await one.admin("PATCH", "keys/alice", {"budgets": [{"window": "forever", "limit_usd": "0.016"}]})
        assert await one.asked(key) == 402
        await other.until(key, 402)
        await other.admin("PATCH", "keys/alice", {"budgets": None})
        assert await other.asked(key) == 200
        await one.until(key, 200)

    on_two(main, database)


def test_a_rate_of_its_own(database: str) -> None:
    async def main(one: Replica, other: Replica) -> None:
        key = (await one.admin("POST", "keys", {"name": "alice"}))["key"]
        await other.until(key, 200)
        await one.admin("PATCH", "keys/alice", {"rate": {"requests": 1, "window_s": 3600}})
        await other.until(key, 429)

    on_two(main, database)


def test_tenants_own_provider_keys(database: str) -> None:
    def sent(door: Replica) -> str:
        headers = dict(door.app.transport.exchanges[-1].request.headers)
        return headers[b"authorization"].decode()

    async def uses(door: Replica, key: str, wanted: str) -> None:
        async with asyncio.timeout(WITHIN_S):
            while (await door.asked(key), sent(door))[1] != wanted:
                await asyncio.sleep(0.01)

    async def main(one: Replica, other: Replica) -> None:
        key = (await one.admin("POST", "keys", {"name": "alice"}))["key"]
        await other.until(key, 200)
        assert sent(other) == "Bearer sk-canary-shared"
        own = {"api_key": "sk-canary-own", "base_url": "http://a/v1"}
        await one.admin("PUT", "keys/alice/providers/a", own)
        await uses(other, key, "Bearer sk-canary-own")
        await other.admin("DELETE", "keys/alice/providers/a")
        await uses(one, key, "Bearer sk-canary-shared")

    on_two(main, database, gateway={"master_key": MASTER})


def test_a_lost_database_leaves_the_last_known_keys_and_a_revocation_here_counts(
    postgres: PostgresServer, database: str
) -> None:
    async def main(one: Replica, other: Replica) -> None:
        key = (await one.admin("POST", "keys", {"name": "alice"}))["key"]
        await other.until(key, 200)
        watch = other.gateway.key_watch
        assert watch is not None
        with capture_logs() as logs:
            postgres.stop()
            try:
                watch.changed()
                async with asyncio.timeout(30):
                    while not watch._lost:
                        watch.changed()
                        await asyncio.sleep(0.05)
                assert other.gateway.ring.caller(key.encode()).name == "alice"
                gone = await one.ask("DELETE", "/admin/keys/alice", headers=ADMIN)
                assert gone.status == 503
                assert await one.asked(key) == 401
                assert other.gateway.ring.caller(key.encode()).name == "alice"  # nobody could tell it
                age_s = watch.age_s
            finally:
                postgres.start()
            async with asyncio.timeout(60):
                while await other.asked(key) != 401:  # the revocation is made up for
                    await asyncio.sleep(0.05)
        assert age_s > 0
        said = [entry["event"] for entry in logs if entry["event"].startswith("keys")]
        assert said.count("keys can't be read from the ledger: those that were read last go on") <= 2
        assert "keys are read from the ledger again" in said
        assert "holdfast_keys_age_seconds" in other.metrics.expose().decode()

    on_two(main, database)


def test_what_is_damaged_or_clashes_is_left_out_and_said(database: str) -> None:
    """A key whose name stands in one gateway's own file, made through another one."""

    async def run() -> None:
        file = {"keys": {"team": {"sha256": "0" * 64}}}
        async with replica(document(database)) as one, replica(document(database, **file)) as other:
            with capture_logs() as logs:
                key = (await one.admin("POST", "keys", {"name": "team"}))["key"]
                fine = (await one.admin("POST", "keys", {"name": "fine"}))["key"]
                await other.until(fine, 200)
                assert await other.asked(key) == 401
            (said,) = [entry for entry in logs if "stand in the file" in entry["event"]]
            assert said["keys"] == ["team"]

    asyncio.run(run())


def test_the_gateway_is_told_by_whoever_writes(database: str) -> None:
    """Not only a gateway: a command that writes the database, a hand in it."""
    import psycopg

    async def main(one: Replica, other: Replica) -> None:
        key = (await one.admin("POST", "keys", {"name": "alice"}))["key"]
        await other.until(key, 200)
        with psycopg.connect(database, autocommit=True) as hand:
            hand.execute("UPDATE keys SET revoked_ns = 1")
        await asyncio.gather(one.until(key, 401), other.until(key, 401))

    on_two(main, database)


def test_use_alone_is_no_news(database: str) -> None:
    import psycopg

    async def main(one: Replica, other: Replica) -> None:
        key = (await one.admin("POST", "keys", {"name": "alice"}))["key"]
        await other.until(key, 200)
        with psycopg.connect(database, autocommit=True) as ear:
            ear.execute("LISTEN holdfast_changes")
            with psycopg.connect(database, autocommit=True) as hand:
                hand.execute("UPDATE key_texts SET last_used_ns = 1")
                hand.execute("NOTIFY holdfast_changes, 'end'")
            assert [word.payload for word in ear.notifies(timeout=5, stop_after=1)] == ["end"]

    on_two(main, database)


def test_the_command_line_needs_no_gateway_for_it(database: str, tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text(f'[ledger]\nurl = "{database}"\n[breaker]\nenabled = false\n')

    async def main(one: Replica, other: Replica) -> None:
        async def command(*arguments: str) -> str:
            done = await asyncio.to_thread(called, tmp_path, "keys", *arguments)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        key = await command("create", "alice")
        await asyncio.gather(one.until(key, 200), other.until(key, 200))
        await command("change", "alice", "--route", "chat", "--budget-usd", "0")
        await asyncio.gather(one.until(key, 402), other.until(key, 402))
        assert json.loads(await command("show", "alice", "--json"))["routes"] == ["chat"]
        await command("revoke", "alice", "--yes")
        await asyncio.gather(one.until(key, 401), other.until(key, 401))

    on_two(main, database)


def test_both_tell_their_configuration(database: str) -> None:
    async def main(one: Replica, other: Replica) -> None:
        hashes = {json.dumps((await each.admin("GET", "config"))["hash"]) for each in (one, other)}
        assert len(hashes) == 1

    on_two(main, database)
