"""The gateway as an ASGI application in virtual time, with everything behind it in memory."""

from __future__ import annotations

import asyncio
import random
import tomllib
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.app import App
from holdfast.config import parse
from holdfast.gateway.http import Gateway
from holdfast.gateway.metrics import Metrics
from holdfast.ledger.memory import MemoryLedger
from holdfast.testing.memory_transport import MemoryTransport, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.gateway.reload import Source
    from holdfast.testing.virtual_time import VirtualClock

CONFIG = """
[providers.a]
dialect = "openai_chat"
base_url = "http://a/v1"
api_key = "sk-upstream-canary"
[providers.b]
dialect = "openai_chat"
base_url = "http://b/v1"
api_key = "sk-upstream-canary"
[routes.chat]
targets = ["a/m", "b/m"]
[retry]
max_retries = 0
[prices."a/m"]
input_per_1m = 2
output_per_1m = 8
"""


@dataclass
class Said:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    whole: bool = False

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


class Door:
    """A gateway and its callers."""

    def __init__(self, clock: VirtualClock, app: App, metrics: Metrics, source: Source | None = None) -> None:
        self.clock = clock
        self.app = app
        self.metrics = metrics
        self.gateway = Gateway(app, metrics, source)

    @classmethod
    async def open(
        cls,
        clock: VirtualClock,
        replies: Sequence[Reply] | Any = (),
        config: str = CONFIG,
        *,
        source: Source | None = None,
    ) -> Door:
        ledger = MemoryLedger(clock)
        transport = MemoryTransport(replies if callable(replies) else list(replies))
        app = await App.start(
            parse(tomllib.loads(config, parse_float=Decimal), {}),
            clock=clock,
            rng=random.Random(1),
            transport=transport,
            ledger=ledger,
        )
        metrics = Metrics(ledger)
        metrics.watch(app)
        return cls(clock, app, metrics, source)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        body_s: float = 0.0,
        leaves_s: float | None = None,
        sends_slowly_s: float = 0.0,
    ) -> Said:
        """One request. ``leaves_s``: the caller is gone after that; ``body_s``: its body takes that long."""
        said = Said()
        fields = {"host": "127.0.0.1:8080", **(headers or {})}
        inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        half = len(body) // 2
        if body_s:
            inbox.put_nowait({"type": "http.request", "body": body[:half], "more_body": True})
            loop.call_later(
                body_s, inbox.put_nowait, {"type": "http.request", "body": body[half:], "more_body": False}
            )
        else:
            inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
        if leaves_s is not None:
            loop.call_later(leaves_s, inbox.put_nowait, {"type": "http.disconnect"})

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert said.status == 0, "one status"
                said.status = message["status"]
                said.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                return
            await asyncio.sleep(sends_slowly_s)
            assert said.status
            assert not said.whole
            said.pieces.append((self.clock.monotonic(), message["body"]))
            said.body += message["body"]
            said.whole = not message.get("more_body", False)

        scope = {
            "type": "http",
            "method": method,
            "path": path.partition("?")[0],
            "query_string": path.partition("?")[2].encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in fields.items()],
        }
        await self.gateway(scope, inbox.get, send)
        if said.whole and "content-length" in said.headers:
            assert int(said.headers["content-length"]) == len(said.body)
        return said

    async def chat(self, body: bytes, headers: dict[str, str] | None = None, **more: Any) -> Said:
        return await self.ask("POST", "/v1/chat/completions", body, headers, **more)

    async def settle(self) -> None:
        """Lets what was cancelled end, and checks that nothing is left."""
        for _ in range(5):
            await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == []
        assert self.gateway.running == 0
        counts = await self.app.ledger.counts()
        assert counts.balanced
        assert counts.in_flight == 0
        assert self.app.transport.stats().open == 0
