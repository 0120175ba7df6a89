"""Two gateways, processes of their own, on one PostgreSQL and one Redis, under a load that goes on while things break.

Everything is seen from outside: answers, ``/health/ready``, ``/metrics``, logs, the provider's journal, the databases.
Gateway ``a`` reaches PostgreSQL through a proxy; each reaches Redis by a link of its own, that can be taken down alone.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.cli_process import serving
from tests.support.http import Answer, ask
from tests.support.links import links
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.redis_server import RedisServer
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.stalls import Stalls
from tests.support.tcp_proxy import TcpProxy

from holdfast.chaos import ChaosConfig, run_chaos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Self

    from tests.e2e.cli_process import Serving

    from holdfast.chaos import Chaos, Entry

__all__ = [
    "ADMIN",
    "BUDGET_NANO",
    "BUDGET_S",
    "CANARIES",
    "LIMIT",
    "OWN",
    "PRICE_IN",
    "PRICE_OUT",
    "WINDOW_S",
    "Load",
    "Lone",
    "Node",
    "Scene",
    "Shot",
    "World",
    "caller",
    "run_lone",
    "run_world",
]

PATIENCE_S: Final = 30.0
"""Until everything must have come true that is waited for."""

FAULTS: Final = 24
"""Sets of keys: one for each test, so that none finds the other's spending."""
KEYS: Final = ("free", "paced", "funded")
"""A caller without limits, one with a rate, one with a budget: of each, one for each number."""
LIMIT, WINDOW_S = 40, 2.0
BUDGET_S: Final = 0.25
"""The longest that a request waits for Redis here."""
BUDGET_NANO: Final = 4_000_000
PRICE_IN, PRICE_OUT = 1_000, 2_000
"""Nano-dollars per token."""

ADMIN: Final = "hf-canary-admin-51c7d0"
MASTER: Final = base64.b64encode(b"master-canary-of-thirty-two-byte").decode()
PROVIDER: Final = "sk-canary-provider-9a3e77"
OWN: Final = "sk-canary-own-7d2b90"
"""A caller's own key to the provider, kept sealed in the ledger's database."""
REDIS: Final = "redis-canary-0b44f1"


def caller(name: str) -> str:
    """The text of a caller's key."""
    return f"hf-canary-caller-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


NAMES: Final = [f"{kind}-{number}" for kind in KEYS for number in range(FAULTS)]
CANARIES: Final = (
    ADMIN,
    MASTER,
    OWN,
    PROVIDER,
    REDIS,
    PASSWORD,
    quote(PASSWORD, safe=""),
    "hf-canary-caller-",
)
"""What may stand nowhere but where it was given."""


@dataclass
class Shot:
    """One request of the load."""

    nonce: str
    key: str
    node: Node
    answer: Answer

    @property
    def sent_at(self) -> float:
        return self.answer.started

    @property
    def lost(self) -> str | None:
        return self.answer.headers.get("x-holdfast-degraded")

    @property
    def code(self) -> str | None:
        return None if self.answer.status == 200 else self.answer.error["code"]


@dataclass
class Node:
    """A gateway, seen from outside."""

    name: str
    process: Serving
    file: Path
    """Its configuration."""

    @property
    def port(self) -> int:
        return int(self.process.url.rpartition(":")[2].rstrip("/"))

    def get(self, path: str, key: str | None = None) -> tuple[int, bytes]:
        return self.ask("GET", path, key)

    def ask(self, method: str, path: str, key: str | None = None, body: Any = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ready(self) -> tuple[int, dict[str, Any]]:
        status, body = self.get("/health/ready")
        return status, json.loads(body)

    def dependency(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.ready()[1]["dependencies"] if each["name"] == name)
        return found

    def metrics(self) -> dict[str, float]:
        """Each series by its name and its labels' values."""
        status, text = self.get("/metrics", ADMIN)
        assert status == 200, text
        return {
            " ".join((sample.name, *sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
        }

    def logged(self, event: str) -> int:
        """How many lines of its log begin with that event."""
        return len(re.findall(rf'"event": "{event}', self.process.stderr))


class Scene:
    """Gateways before a provider, and where what they did is looked up."""

    def __init__(self, wall: Chaos) -> None:
        self.wall = wall
        self.nodes: list[Node] = []
        self.seen: dict[str, bytes] = {}
        """Everything that was told to anybody, for the search for secrets."""
        self._nonces = itertools.count(1)
        self._sets = itertools.count()

    @property
    def ledger(self) -> str:
        """Where it is, as the command line takes it."""
        raise NotImplementedError

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds in the ledger's database, past the product."""
        raise NotImplementedError

    def nonce(self) -> str:
        return f"n{next(self._nonces):06}"

    def keys(self) -> dict[str, str]:
        """The names of a fresh set of keys, by kind."""
        number = next(self._sets)
        return {kind: f"{kind}-{number}" for kind in KEYS}

    def served(self, nonces: set[str]) -> list[tuple[str, Entry]]:
        """What of those reached the provider."""
        told = [(_nonce_in(entry), entry) for entry in self.wall.journal()]
        return [(nonce, entry) for nonce, entry in told if nonce in nonces]

    def written(self, nonces: set[str]) -> dict[str, str]:
        """The states of their rows, by nonce; of two rows for one this fails."""
        found: dict[str, str] = {}
        for tags, state in self.rows("SELECT tags, state FROM requests"):
            nonce = re.findall(r"n\d{6}", tags or "")
            if nonce and nonce[0] in nonces:
                assert nonce[0] not in found, f"{nonce[0]} has two rows"
                found[nonce[0]] = state
        return found

    def spent(self, key: str) -> int:
        """Nano-dollars that were charged to a key's budget."""
        return _sum(self.rows(f"SELECT amount FROM spend WHERE account LIKE '%{key}'"))

    def held(self, key: str) -> int:
        """Nano-dollars of it that processes have leased."""
        return _sum(self.rows(f"SELECT amount FROM blocks WHERE account LIKE '%{key}'"))

    def settle(self) -> None:
        """Waits until nothing is under way and all ends are written."""
        by = time.monotonic() + PATIENCE_S
        for node in self.nodes:
            while (now := node.metrics())["holdfast_ledger_queued"] or now["holdfast_in_flight"]:
                assert time.monotonic() < by, now
                time.sleep(0.02)


class World(Scene):
    """Two gateways on one PostgreSQL and one Redis."""

    def __init__(self, wall: Chaos, postgres: PostgresServer, database: str, redis: RedisServer) -> None:
        super().__init__(wall)
        self.postgres, self.database, self.redis = postgres, database, redis
        self.disk: SmallDisk
        """PostgreSQL's."""
        self.proxy: TcpProxy
        """Between gateway ``a`` and PostgreSQL."""
        self.paths: Paths
        self.stalls: Stalls

    @property
    def a(self) -> Node:
        return self.nodes[0]

    @property
    def ledger(self) -> str:
        return self.database

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.postgres.run(self.database, sql)


class Lone(Scene):
    """One gateway on a SQLite file, on a disk of its own."""

    def __init__(self, wall: Chaos, disk: SmallDisk) -> None:
        super().__init__(wall)
        self.disk = disk
        self.file = disk.path / "ledger.db"

    @property
    def ledger(self) -> str:
        return str(self.file)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(
            sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=30)
        ) as database:
            return database.execute(sql).fetchall()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another program is in the middle of writing."""
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")


class Load:
    """So many callers at each gateway, each with one request under way, for the block.

    Args:
        keys: by kind, their names; callers take them in turn.
    """

    def __init__(self, world: Scene, keys: dict[str, str], *, callers: int = 12) -> None:
        self._world = world
        self._keys = list(keys.values())
        self._callers = callers
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []
        self.shots: list[Shot] = []
        self.nonces: set[str] = set()

    async def __aenter__(self) -> Self:
        for node, number in itertools.product(self._world.nodes, range(self._callers)):
            self._tasks.append(asyncio.create_task(self._ask(node, self._keys[number % len(self._keys)])))
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._over = True
        if failure[0] is not None:
            for task in self._tasks:
                task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception) and failure[0] is None:
                raise result
        told = {f"{shot.answer.headers} {shot.answer.body!r}" for shot in self.shots if shot.code}
        self._world.seen[f"errors {len(self._world.seen)}"] = "\n".join(told).encode()

    async def more(self, count: int, holds: Callable[[Shot], bool] = lambda _: True) -> list[Shot]:
        """Waits until so many further requests, sent from now on, have answers for which that holds. Those."""
        since = time.monotonic()
        return await self.until(
            lambda: [shot for shot in self.shots if shot.sent_at >= since and holds(shot)], count
        )

    async def until(self, found: Callable[[], list[Shot]], count: int) -> list[Shot]:
        by = time.monotonic() + PATIENCE_S
        while len(now := found()) < count:
            self._check()
            assert time.monotonic() < by, f"only {len(now)} of {count}: {self._summary()}"
            await asyncio.sleep(0.02)
        return now

    async def eventually(self, holds: Callable[[], Any]) -> Any:
        """Waits until it is so; ``holds`` may block. What it said."""
        by = time.monotonic() + PATIENCE_S
        while not (value := await asyncio.to_thread(holds)):
            self._check()
            assert time.monotonic() < by, f"it never came true: {self._summary()}"
            await asyncio.sleep(0.02)
        return value

    def of(self, kind: str) -> list[Shot]:
        return [shot for shot in self.shots if shot.key.startswith(kind)]

    def _check(self) -> None:
        for task in self._tasks:
            if task.done() and not self._over:
                task.result()
                raise AssertionError("a caller left")

    def _summary(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for shot in self.shots:
            said = f"{shot.node.name} {shot.answer.status} {shot.code}"
            counts[said] = counts.get(said, 0) + 1
        return counts

    async def _ask(self, node: Node, key: str) -> None:
        while not self._over:
            nonce = self._world.nonce()
            self.nonces.add(nonce)
            body = {"model": "chat", "messages": [{"role": "user", "content": nonce}], "max_tokens": 8}
            headers = {
                "authorization": f"Bearer {caller(key)}",
                "x-holdfast-tags": f"n={nonce}",
                "connection": "close",
            }
            answer = await ask(node.port, body, headers=headers, timeout=PATIENCE_S)
            self.shots.append(Shot(nonce, key, node, answer))
            if answer.status != 200:  # who is refused comes again soon, and not at once
                await asyncio.sleep(0.1)


@dataclass
class Paths:
    """The ways of both gateways to Redis."""

    urls: list[str] = field(default_factory=list)
    sever: list[Callable[[], None]] = field(default_factory=list)
    """Of each gateway, what cuts it off Redis."""
    join: list[Callable[[], None]] = field(default_factory=list)
    """And what joins it again."""
    why_not: str = ""
    """Empty: they are links of the kernel's. Else why they are proxies."""


@contextmanager
def run_world(folder: Path) -> Iterator[World]:
    """Starts all of it; some seconds."""
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(256))
        data = disk.path / "data"
        data.mkdir()
        postgres = stack.enter_context(PostgresServer({"max_wal_size": "64MB"}, folder=data))
        wall = stack.enter_context(_provider())
        redis, paths = _redis(stack)
        database = postgres.database()
        proxy = stack.enter_context(TcpProxy(postgres.port))
        world = World(wall, postgres, database, redis)
        world.disk, world.proxy, world.paths = disk, proxy, paths
        world.stalls = stack.enter_context(Stalls())
        databases = (postgres.url(database.rpartition("/")[2], port=proxy.port), database)
        gateways = [
            _gateway(folder / name, name, wall, url, redis=way)
            for name, url, way in zip("ab", databases, paths.urls, strict=True)
        ]
        with ThreadPoolExecutor() as pool:
            world.nodes = list(pool.map(stack.enter_context, gateways))
        yield world


@contextmanager
def run_lone(folder: Path) -> Iterator[Lone]:
    """One gateway on SQLite."""
    with small_disk(32) as disk, _provider() as wall:
        lone = Lone(wall, disk)
        with _gateway(folder / "lone", "lone", wall, f"sqlite:///{lone.file}") as node:
            lone.nodes = [node]
            yield lone


def _provider() -> AbstractContextManager[Chaos]:
    scripts = {"m": "ttft=0.2 tokens=3", "slow": "ttft=1 tokens=3"}
    return run_chaos(ChaosConfig(scripts=scripts, journal_entries=50_000))


@contextmanager
def _gateway(place: Path, name: str, wall: Chaos, ledger: str, *, redis: str | None = None) -> Iterator[Node]:
    place.mkdir()
    file = place / "holdfast.toml"
    file.write_text(_configuration(wall.base_url, redis=redis is not None))
    env = {"LEDGER": ledger, "PROVIDER_KEY": PROVIDER, "ADMIN_KEY": ADMIN, "MASTER_KEY": MASTER}
    if redis is not None:
        env["REDIS_URL"] = redis
    if "PYTHONPATH" in os.environ:  # the package that this test was told to look at
        env["PYTHONPATH"] = os.environ["PYTHONPATH"]
    with serving(place, env=env) as process:
        yield Node(name, process, file)


def _redis(stack: ExitStack) -> tuple[RedisServer, Paths]:
    """One behind two links; or, where no links can be made, behind two proxies."""
    paths = Paths()
    made = stack.enter_context(links(2))
    if isinstance(made, str):
        paths.why_not = made
        redis = stack.enter_context(RedisServer(requirepass=REDIS))
        for _ in range(2):
            proxy = stack.enter_context(TcpProxy(redis.port))
            paths.urls.append(f"redis://:{REDIS}@127.0.0.1:{proxy.port}/0")
            paths.sever.append(proxy.stall)
            paths.join.append(proxy.heal)
        return redis, paths
    listens = " ".join(("127.0.0.1", *made.addresses))
    redis = stack.enter_context(RedisServer(within=made.within, bind=listens, requirepass=REDIS))
    for number, address in enumerate(made.addresses):
        paths.urls.append(f"redis://:{REDIS}@{address}:{redis.port}/0")
        paths.sever.append(partial(made.down, number))
        paths.join.append(partial(made.up, number))
    return redis, paths


def _sum(rows: list[tuple[Any, ...]]) -> int:
    return sum(amount for (amount,) in rows)


def _configuration(provider: str, *, redis: bool) -> str:
    # Five times the defaults: processes that wait for a processor would lose Redis now and then by themselves.
    shared = f"[redis]\ntimeout_ms = 100\nbudget_ms = {BUDGET_S * 1e3}\n" if redis else ""
    keys = "".join(
        f'[keys.{name}]\nsha256 = "{hashlib.sha256(caller(name).encode()).hexdigest()}"\n'
        + (f"rate = {{ requests = {LIMIT}, window_s = {WINDOW_S} }}\n" if name.startswith("paced") else "")
        for name in NAMES
    )
    return f"""
[gateway]
drain_s = 10
admin_key = "${{ADMIN_KEY}}"
master_key = "${{MASTER_KEY}}"
[gateway.log]
format = "json"
level = "debug"
[ledger]
url = "${{LEDGER}}"
busy_timeout_s = 0.2
{shared}
[providers.wall]
dialect = "openai_chat"
base_url = "{provider}"
api_key = "${{PROVIDER_KEY}}"
[routes.chat]
targets = ["wall/m"]
[routes.slow]
targets = ["wall/slow"]
[prices."wall/m"]
input_per_1m = {PRICE_IN / 1e3}
output_per_1m = {PRICE_OUT / 1e3}
[prices."wall/slow"]
input_per_1m = {PRICE_IN / 1e3}
output_per_1m = {PRICE_OUT / 1e3}
[budgets.each]
scope = "key"
match = ["funded-*"]
limit_usd = {BUDGET_NANO / 1e9}
window = "forever"
{keys}"""


def _nonce_in(entry: Entry) -> str:
    found = re.search(rb"n\d{6}", entry.body)
    return "" if found is None else found[0].decode()
