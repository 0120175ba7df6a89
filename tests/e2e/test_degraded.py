"""Each dependency is lost in each way, under load, on real servers: what goes on, how it shows and heals (RD1, LE1, BU1).

The rows of ``holdfast.gateway.degraded`` name these tests. At the end nobody has been told a secret (OP3).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.cli_process import called_json
from tests.support.degraded_world import (
    ADMIN,
    BUDGET_NANO,
    BUDGET_S,
    CANARIES,
    LIMIT,
    OWN,
    PRICE_IN,
    PRICE_OUT,
    WINDOW_S,
    Load,
    caller,
    run_lone,
    run_world,
)
from tests.support.http import ask
from tests.support.load import most_in_window

from holdfast.gateway.degraded import TABLE, WEAKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.support.degraded_world import Lone, Node, Scene, Shot, World
    from tests.support.http import Answer

    from holdfast.chaos import Entry

SURE_S = WINDOW_S - 0.5
"""Between its admission and its arrival at the provider a request takes some time, and not always the same."""
MOST_LINES = 4
"""Of a log about one loss. Redis may be lost once more by itself: on a busy machine 100 ms are soon over."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with run_world(tmp_path_factory.mktemp("degraded")) as made:
        yield made


@contextmanager
def redis_killed(world: World) -> Iterator[None]:
    world.redis.kill()
    yield
    world.redis.start()


@contextmanager
def redis_frozen(world: World) -> Iterator[None]:
    world.redis.freeze()
    try:
        yield
    finally:
        world.redis.thaw()


@contextmanager
def redis_read_only(world: World) -> Iterator[None]:
    world.redis.make_read_only()
    yield
    world.redis.make_writable()


@contextmanager
def redis_without_replicas(world: World) -> Iterator[None]:
    world.redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
    yield
    world.redis.command("CONFIG", "SET", "min-replicas-to-write", "0")


@contextmanager
def redis_full(world: World) -> Iterator[None]:
    world.redis.command("CONFIG", "SET", "maxmemory", "1")  # noeviction is Redis' own policy
    yield
    world.redis.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def redis_partitioned(world: World) -> Iterator[None]:
    """From ``a`` alone."""
    if world.paths.why_not:
        sys.stderr.write(f"a proxy stands for the network: {world.paths.why_not}\n")
    world.paths.sever[0]()
    try:
        yield
    finally:
        world.paths.join[0]()


@contextmanager
def postgresql_frozen(world: World) -> Iterator[None]:
    with world.postgres.frozen():
        yield


@contextmanager
def postgresql_killed(world: World) -> Iterator[None]:
    world.postgres.kill()
    yield
    world.postgres.start()


@contextmanager
def postgresql_stopped(world: World) -> Iterator[None]:
    world.postgres.stop(signal.SIGINT)
    yield
    world.postgres.start()


@contextmanager
def postgresql_read_only(world: World) -> Iterator[None]:
    world.postgres.admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    world.postgres.admin.execute("SELECT pg_reload_conf()")
    yield
    world.postgres.admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
    world.postgres.admin.execute("SELECT pg_reload_conf()")


@contextmanager
def postgresql_disk_full(world: World) -> Iterator[None]:
    if world.disk.why_not:
        sys.stderr.write(f"a server that takes no writes stands for a full disk: {world.disk.why_not}\n")
        with postgresql_read_only(world):
            yield
        return
    world.postgres.admin.execute("SELECT pg_switch_wal()")  # the log has room: else the server itself ends
    world.postgres.admin.execute("CHECKPOINT")
    with world.disk.full():
        yield


FAULTS: dict[str, Callable[[World], AbstractContextManager[None]]] = {
    # In turn: what is lost again before it was well for five seconds is asked less and less often.
    "redis-killed": redis_killed,
    "postgresql-frozen": postgresql_frozen,
    "redis-frozen": redis_frozen,
    "postgresql-killed": postgresql_killed,
    "redis-read-only": redis_read_only,
    "postgresql-stopped": postgresql_stopped,
    "redis-without-replicas": redis_without_replicas,
    "postgresql-disk-full": postgresql_disk_full,
    "redis-full": redis_full,
    "postgresql-read-only": postgresql_read_only,
    "redis-partitioned": redis_partitioned,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lost(world: World, fault: str) -> None:
    """Redis: all goes on. PostgreSQL: what runs goes on. Both heal by themselves."""
    if fault.startswith("redis"):
        losing = world.nodes[:1] if fault == "redis-partitioned" else world.nodes
        asyncio.run(without_redis(world, FAULTS[fault], losing))
    else:
        asyncio.run(without_ledger(world, lambda: FAULTS[fault](world)))


async def without_redis(
    world: World, breaking: Callable[[World], AbstractContextManager[None]], losing: list[Node]
) -> None:
    keys = world.keys()
    before = {node.name: lines(node, "redis") for node in losing}
    async with Load(world, keys) as load:
        await load.more(40)
        for node in world.nodes:
            await load.eventually(lambda node=node: node.dependency("redis")["ok"])
        broke_ns = time.monotonic_ns()
        with breaking(world):
            for node in losing:
                await load.eventually(lambda node=node: not node.dependency("redis")["ok"])
            await load.more(24)
            for node in losing:
                status, said = await asyncio.to_thread(node.ready)
                assert (status, said["status"]) == (200, "ready"), "a gateway without Redis serves"
                told = node.dependency("redis")
                assert told["reason"]
                assert tuple(told["weaker"]) == WEAKER["redis"]
                metrics = await asyncio.to_thread(node.metrics)
                assert (
                    metrics["holdfast_dependency_up redis"],
                    metrics["holdfast_dependency_up ledger"],
                ) == (0, 1)
                await load.more(2, lambda shot, node=node: shot.node is node and shot.lost == "redis")
            for node in world.nodes:
                if node not in losing:
                    await load.eventually(lambda node=node: node.dependency("redis")["ok"])
        for node in losing:
            await load.eventually(lambda node=node: node.dependency("redis")["ok"])
        await load.more(40, lambda shot: shot.lost is None)
        world.seen[f"redis, {len(world.seen)}"] = repr(await asyncio.to_thread(dumped, world)).encode()
    assert {shot.answer.status for shot in load.of("free")} == {200}, "nobody is refused for want of Redis"
    paced, stood_s = arrivals(world, load), world.stalls.longest()
    assert most_in_window([at for at in paced if at < broke_ns], SURE_S - stood_s) <= LIMIT
    assert most_in_window(paced, SURE_S - stood_s) <= 2 * LIMIT
    for node in losing:
        logged_once(node, "redis", before[node.name])
    for node in world.nodes:
        waited = node.metrics()
        assert waited["holdfast_store_seconds_count answered"] > 0
        # And what a machine makes of it that has more to do than processors. To the millisecond it is looked at in
        # tests/reliability/test_shared_rates.py, which knows how late its own loop was.
        assert waited["holdfast_store_longest_seconds"] < BUDGET_S + 0.25 + stood_s
    check(world, load, keys)


async def without_ledger(scene: Scene, breaking: Callable[[], AbstractContextManager[None]]) -> None:
    keys = scene.keys()
    before = {node.name: lines(node, "ledger") for node in scene.nodes}
    async with Load(scene, keys) as load:
        await load.more(20)
        once = f"once-{keys['free']}"
        run = asyncio.create_task(keyed(scene.nodes[-1], keys["free"], once))
        by = time.monotonic() + 20
        while not any(
            entry.model == "slow" and once.encode() in entry.body for entry in scene.wall.journal()
        ):
            assert time.monotonic() < by
            await asyncio.sleep(0.01)
        with breaking():
            for node in scene.nodes:
                await load.eventually(lambda node=node: node.ready()[0] == 503)
            turned_away = await load.until(lambda: [shot for shot in load.shots if refused(shot)], 12)
            for node in scene.nodes:
                status, said = await asyncio.to_thread(node.ready)
                told = next(each for each in said["dependencies"] if each["name"] == "ledger")
                assert (status, told["ok"]) == (503, False)
                assert tuple(told["weaker"]) == WEAKER["ledger"]
                metrics = await asyncio.to_thread(node.metrics)
                assert metrics["holdfast_dependency_up ledger"] == metrics["holdfast_ledger_ok"] == 0
            in_time = not run.done()
        for node in scene.nodes:
            await load.eventually(lambda node=node: node.ready()[0] == 200)
        await load.more(24, lambda shot: shot.answer.status == 200)
        first = await run
    for shot in turned_away:
        assert shot.code == "ledger_unavailable"
        assert shot.answer.headers["retry-after"] == "1"
        assert "x-should-retry" not in shot.answer.headers, "another gateway may serve"
    assert {shot.answer.status for shot in load.of("free")} <= {200, 503}
    assert max(shot.answer.seconds for shot in load.shots) < 15, "nobody waits for long"
    for node in scene.nodes:
        logged_once(node, "ledger", before[node.name])
    check(scene, load, keys)
    # What ran was finished, told, and stored later; or it is known that it was.
    again = await keyed(scene.nodes[-1], keys["free"], once)
    assert first.status == 200, first.body
    if in_time or again.status == 200:
        assert again.status == 200, again.body
        assert (first.body, again.headers.get("idempotency-replayed")) == (again.body, "true")
    else:  # on a slow machine it was over before the ledger came back
        assert (again.status, again.error["code"]) == (409, "not_replayable")


def test_postgresql_cut_in_the_commit(world: World) -> None:
    """Nobody knows whether the intents are durable: their callers are refused, nothing is sent, and each is closed."""
    keys = world.keys()

    def unanswered() -> float:
        """Intents of ``a``'s in the database that it doesn't know of."""
        pid = world.a.process.process.pid
        owned = f"SELECT id FROM requests WHERE owner IN (SELECT id FROM owners WHERE pid = {pid})"
        metrics = world.a.metrics()
        known = sum(value for name, value in metrics.items() if name.startswith("holdfast_requests_total"))
        return len(world.rows(owned)) - known - metrics["holdfast_in_flight"]

    world.settle()
    at_rest = unanswered()

    async def main() -> Load:
        async with Load(world, keys) as load:
            await load.more(40)
            for _ in range(5):  # a group may have more in it than one round trip: then its commit isn't sent
                world.proxy.stall_behind(rb"n\d{6}")
                by = time.monotonic() + 1
                while not (found := await asyncio.to_thread(unanswered) > at_rest) and time.monotonic() < by:
                    await asyncio.sleep(0.02)
                world.proxy.cut()
                world.proxy.heal()
                if found:
                    break
            await load.more(24, lambda shot: shot.node is world.a and shot.answer.status == 200)
        return load

    load = asyncio.run(main())
    turned_away = [shot for shot in load.shots if refused(shot)]
    assert {shot.node.name for shot in turned_away} == {"a"}
    check(world, load, keys)
    states = world.written({shot.nonce for shot in turned_away})
    assert set(states.values()) == {"failed"}, "at least one of them had been committed, and none is open"


def test_redis_emptied(world: World) -> None:
    """FLUSHALL: whoever asks next notices, and everybody writes back what they know."""
    keys = world.keys()

    async def main() -> Load:
        async with Load(world, keys) as load:
            await load.more(40)
            for node in world.nodes:
                await load.eventually(lambda node=node: node.dependency("redis")["ok"])
            before = [lines(node, "redis") for node in world.nodes]
            await asyncio.to_thread(world.redis.flush)
            for node, (losses, healings) in zip(world.nodes, before, strict=True):
                await load.eventually(lambda node=node, had=losses: lines(node, "redis")[0] > had)
                await load.eventually(lambda node=node, had=healings: lines(node, "redis")[1] > had)
            await load.more(40)
        return load

    load = asyncio.run(main())
    assert {shot.answer.status for shot in load.of("free")} == {200}
    assert most_in_window(arrivals(world, load), SURE_S - world.stalls.longest()) <= 2 * LIMIT
    assert any("it has forgotten what it knew" in node.process.stderr for node in world.nodes)
    check(world, load, keys)


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lone]:
    with run_lone(tmp_path_factory.mktemp("lone")) as made:
        yield made


@contextmanager
def sqlite_disk_full(lone: Lone) -> Iterator[None]:
    if lone.disk.why_not:
        sys.stderr.write(f"a lock stands for a full disk: {lone.disk.why_not}\n")
        with lone.locked():
            yield
        return
    with lone.disk.full():
        yield


@pytest.mark.parametrize("fault", ["locked", "disk-full"])
def test_sqlite(lone: Lone, fault: str) -> None:
    """As a database that is lost."""
    breaking = lone.locked if fault == "locked" else lambda: sqlite_disk_full(lone)
    asyncio.run(without_ledger(lone, breaking))


def test_nobody_was_told_a_secret(world: World, lone: Lone) -> None:
    """OP3: after all that no answer, log, metric, page, row, key in Redis, command line or title has one."""
    if not any(
        name.startswith("redis") for name in world.seen
    ):  # this test alone, or in another process than the others
        asyncio.run(without_redis(world, redis_killed, world.nodes))
        asyncio.run(without_ledger(world, lambda: postgresql_read_only(world)))
    if not lone.seen:
        asyncio.run(without_ledger(lone, lone.locked))
    seen = {**world.seen, **lone.seen}
    for node in (*world.nodes, *lone.nodes):
        seen |= {f"{node.name} {what}": data for what, data in told_by(node)}
    tables = [name for (name,) in world.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    for name in tables:
        seen[f"table {name}"] = repr(world.rows(f"SELECT * FROM {name}")).encode()
    for file in lone.disk.path.iterdir():
        seen[f"sqlite {file.name}"] = file.read_bytes()
    # There was something to be found: each of these has what it is about.
    assert b"chat" in seen["table requests"]
    assert b"wall" in seen["table provider_keys"]
    assert b"chat" in seen["sqlite ledger.db"] + seen["sqlite ledger.db-wal"]
    assert any(name.startswith("redis") and b"rate" in seen[name] for name in seen)
    assert any(name.startswith("errors") and b"ledger_unavailable" in seen[name] for name in seen)
    for secret in CANARIES:
        assert [name for name, data in seen.items() if secret.encode() in data] == [], secret


def told_by(node: Node) -> Iterator[tuple[str, bytes]]:
    """Everything that a gateway says to anybody, reloads that go wrong included."""
    status, kept = node.ask("PUT", "/admin/keys/free-9/providers/wall", ADMIN, {"api_key": OWN})
    assert status == 200, kept
    yield "kept", kept
    good = node.file.read_text()
    for what, text in {
        "no TOML": f"{good}\nmaster = {OWN}",
        "another ledger": good.replace("${LEDGER}", f"postgresql://u:{ADMIN}@127.0.0.1:1/x?password={OWN}"),
        "another Redis": good.replace("[redis]", f'[redis]\nurl = "redis://:{OWN}@127.0.0.1:1/x"'),
        "no key": good.replace('api_key = "${PROVIDER_KEY}"', f'api_key = "{OWN}\\u0007"'),
        "no number": good.replace("drain_s = 10", f'drain_s = "{OWN}"'),
    }.items():
        node.file.write_text(text)
        yield f"reload, {what}", node.ask("POST", "/admin/reload", ADMIN)[1]
    node.file.write_text(good)
    status, said = node.ask("POST", "/admin/reload", ADMIN)
    assert status == 200, said
    for path in ("/health/ready", "/metrics", "/openapi.json", "/v1/models", "/nowhere"):
        yield path, node.get(path, ADMIN if path == "/metrics" else caller("free-0"))[1]
    for path in (
        "targets",
        "rates",
        "keys",
        "budgets",
        "sessions",
        "config",
        "cost-breaker",
        "provider-keys",
    ):
        status, said = node.get(f"/admin/{path}", ADMIN)
        assert status in {200, 404}, path
        yield f"/admin/{path}", said
    for file in ("cmdline", "comm", "status"):
        yield file, Path(f"/proc/{node.process.process.pid}/{file}").read_bytes()
    log = node.process.stderr.encode()
    assert b"Traceback" not in log
    yield "log", log
    yield "said", "".join(node.process.said).encode()


def dumped(world: World) -> list[Any]:
    """Every key and value in Redis."""
    command = world.redis.command
    read = {
        b"hash": ("HGETALL",),
        b"string": ("GET",),
        b"zset": ("ZRANGE", 0, -1),
        b"list": ("LRANGE", 0, -1),
    }
    found = []
    for key in command("KEYS", "*"):
        kind = command("TYPE", key)
        if kind != b"none":  # it has expired meanwhile
            how, *more = read[kind]
            found.append((key, command(how, key, *more)))
    return found


def test_every_fault_has_its_rows_and_every_row_its_test() -> None:
    told = {(row.lost, fault) for row in TABLE for fault in row.faults}
    injected = {tuple(fault.replace("disk-full", "disk full").split("-", 1)) for fault in FAULTS}
    injected -= {("redis", "without-replicas")}
    injected |= {("redis", "read-only"), ("redis", "emptied"), ("sqlite", "locked"), ("sqlite", "disk full")}
    assert injected <= told
    named = {test for row in TABLE for test in row.shown_by}
    assert all(row.shown_by for row in TABLE)
    assert {f"tests/e2e/test_degraded.py::test_lost[{fault}]" for fault in FAULTS} <= named
    options = ("--collect-only", "-q", "--assert=plain", "-p", "no:cacheprovider")
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *sorted(named)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]


def refused(shot: Shot) -> bool:
    return shot.answer.status == 503


def lines(node: Node, name: str) -> tuple[int, int]:
    """How often its log says that it was lost, and healed."""
    return node.logged(f"{name}_lost"), node.logged(f"{name}_healed")


def logged_once(node: Node, name: str, before: tuple[int, int]) -> None:
    now = lines(node, name)
    losses, healings = now[0] - before[0], now[1] - before[1]
    assert 1 <= losses <= MOST_LINES, "once for each loss, not for each request"
    assert healings >= 1
    assert abs(losses - healings) <= 1


def arrivals(world: World, load: Load) -> list[int]:
    """When requests with a rate reached the provider."""
    paced = {shot.nonce for shot in load.of("paced")}
    return [entry.arrived_ns for _, entry in world.served(paced)]


async def keyed(node: Node, key: str, name: str) -> Answer:
    """A request with an idempotency key that takes a second."""
    body = {"model": "slow", "messages": [{"role": "user", "content": name}], "max_tokens": 8}
    headers = {"authorization": f"Bearer {caller(key)}", "idempotency-key": name, "connection": "close"}
    return await ask(node.port, body, headers=headers)


def check(scene: Scene, load: Load, keys: dict[str, str]) -> None:
    """What holds after each of them, once everything is written down."""
    scene.settle()
    served, rows = scene.served(load.nonces), scene.written(load.nonces)
    arrived = {nonce for nonce, _ in served}
    assert arrived <= rows.keys(), "nothing is sent without an intent"
    assert len(served) == len(arrived), "and nothing twice"
    assert {rows[shot.nonce] for shot in load.shots if shot.answer.status == 200} == {"ok"}
    assert "in_flight" not in rows.values()
    assert not {shot.nonce for shot in load.shots if refused(shot)} & arrived
    # The budget has what the provider billed, and never passed.
    funded = {shot.nonce for shot in load.of("funded")}
    spent = scene.spent(keys["funded"])
    assert spent == sum(billed(entry) for nonce, entry in served if nonce in funded)
    assert 0 < spent + scene.held(keys["funded"]) <= BUDGET_NANO
    assert called_json(Path(__file__).parent, "ledger", "verify", "--ledger", scene.ledger)


def billed(entry: Entry) -> int:
    return entry.usage.prompt_tokens * PRICE_IN + entry.usage.completion_tokens * PRICE_OUT
