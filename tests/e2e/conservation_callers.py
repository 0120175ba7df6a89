"""Callers of three dialects who spend: some stream, some leave, some come back for an answer that they have paid for."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.e2e.conservation_world import KEYS, ROUTES
from tests.support.http import Answer, Client, request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["AT_ONCE", "Ask", "asks", "send_all"]

AT_ONCE: Final = 32
_PATIENCE_S: Final = 30.0

Leaves = Literal["never", "at once", "soon", "at the head", "at the first piece"]


@dataclass(frozen=True)
class Ask:
    """One request, as its caller means it."""

    n: int
    wire: str
    route: str
    stream: bool
    max_tokens: int | None
    choices: int
    key: str
    session: str | None
    project: str | None
    leaves: Leaves
    leaves_s: float
    once: bool
    """With an idempotency key: its run goes on without its caller."""

    @property
    def prompt(self) -> str:
        # The second part is the provider's: its attempts are counted, and drawn for, by request.
        return f"question {self.n}. [[key=q{self.n}]]"

    def bytes(self) -> bytes:
        path, body = _BODIES[self.wire](self)
        headers = {"authorization": f"Bearer {self.key}", "x-holdfast-tags": f"n={self.n}"}
        if self.project is not None:
            headers["x-holdfast-tags"] += f",project={self.project}"
        if self.session is not None:
            headers["x-holdfast-session"] = self.session
        if self.once:
            headers["idempotency-key"] = f"once-{self.n}"
        return request_bytes("POST", path, json.dumps(body).encode(), {**headers, "connection": "close"})


def asks(seed: int, count: int) -> list[Ask]:
    rng = random.Random(f"conservation {seed}")
    return [_ask(rng, n, count) for n in range(count)]


def _ask(rng: random.Random, n: int, count: int) -> Ask:
    wire = rng.choice(tuple(_BODIES))
    stream = rng.random() < 0.6
    leaving: tuple[Leaves, ...] = ("at once", "soon", "soon", "at the head", "at the first piece")
    return Ask(
        n=n,
        wire=wire,
        route=rng.choice(tuple(ROUTES)),
        stream=stream,
        max_tokens=None if rng.random() < 0.1 else rng.choice((24, 32, 64)),
        choices=2 if wire == "openai" and rng.random() < 0.1 else 1,
        key=rng.choice(tuple(KEYS)),
        session=f"s{rng.randrange(1 + count // 20)}" if rng.random() < 0.5 else None,
        project=rng.choice((None, "red", "green", "blue")),
        leaves=rng.choice(leaving) if rng.random() < 0.1 else "never",
        leaves_s=rng.choice((0.001, 0.01, 0.05, 0.2)),
        once=rng.random() < 0.05,
    )


async def send_all(port: int, every: Iterable[Ask]) -> dict[int, Answer | None]:
    """What each caller heard; None: it left."""
    turn = asyncio.Semaphore(AT_ONCE)
    heard: dict[int, Answer | None] = {}

    async def one(ask: Ask) -> None:
        async with turn, asyncio.timeout(_PATIENCE_S):
            heard[ask.n] = await _send(port, ask)

    await asyncio.gather(*(one(ask) for ask in every))
    return heard


async def _send(port: int, ask: Ask) -> Answer | None:
    client = await Client.connect(port)
    try:
        await client.send(ask.bytes())
        if ask.leaves == "at once":
            return None
        if ask.leaves == "soon":
            with suppress(TimeoutError):
                async with asyncio.timeout(ask.leaves_s):
                    await client.head()
                    return await client.rest()
            return None
        await client.head()
        if ask.leaves == "at the head":
            return None
        if ask.leaves == "at the first piece":
            await client.piece()
            return None
        return await client.rest()
    finally:
        client.leave()


def _openai(ask: Ask) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"model": ask.route, "messages": [{"role": "user", "content": ask.prompt}]}
    if ask.max_tokens is not None:
        body["max_tokens"] = ask.max_tokens
    if ask.choices > 1:
        body["n"] = ask.choices
    return "/v1/chat/completions", {**body, "stream": True} if ask.stream else body


def _anthropic(ask: Ask) -> tuple[str, dict[str, Any]]:
    body = {
        "model": ask.route,
        "max_tokens": ask.max_tokens or 128,
        "messages": [{"role": "user", "content": ask.prompt}],
    }
    return "/v1/messages", {**body, "stream": True} if ask.stream else body


def _gemini(ask: Ask) -> tuple[str, dict[str, Any]]:
    verb = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": ask.prompt}]}]}
    if ask.max_tokens is not None:
        body["generationConfig"] = {"maxOutputTokens": ask.max_tokens}
    return f"/v1beta/models/{ask.route}:{verb}", body


_BODIES: Final = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}
