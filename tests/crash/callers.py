"""Callers who don't know that the gateway will die: what they ask, what they hear, and what they ask again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.crash.evidence import Ask, Call
from tests.crash.world import ROUTES, TENANTS
from tests.support.http import Client, request_bytes

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tests.support.http import Answer

__all__ = ["Callers", "draw", "send"]

_PATIENCE_S: Final = 10.0
_TWICE: Final = 0.2
"""Of those who have a key, how many ask twice at once."""


def draw(rng: random.Random, nonce: str, routes: Sequence[str] = tuple(ROUTES)) -> Ask:
    life, number = nonce.rsplit("-", 1)
    return Ask(
        nonce=nonce,
        tenant=rng.choice(TENANTS),
        route=rng.choice(routes),
        stream=rng.random() < 0.6,
        max_tokens=rng.choice((768, 1024)),  # most of a bound: so that one of two attempts covers no other
        key=f"key-{nonce}" if rng.random() < 0.5 else None,
        session=f"s-{life}-{int(number) // 48}-{rng.randrange(3)}" if rng.random() < 0.4 else None,
    )


def _bytes(ask: Ask) -> bytes:
    body: dict[str, Any] = {
        "model": ask.route,
        "messages": [{"role": "user", "content": f"nonce={ask.nonce};"}],
        "max_tokens": ask.max_tokens,
    }
    if ask.stream:
        body["stream"] = True
    headers = {
        "authorization": f"Bearer {ask.tenant}",
        "x-holdfast-tags": f"n={ask.nonce}",
        "connection": "close",
    }
    if ask.session is not None:
        headers["x-holdfast-session"] = ask.session
    if ask.key is not None:
        headers["idempotency-key"] = ask.key
    return request_bytes("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)


async def send(port: int, ask: Ask, cycle: int) -> Call:
    """One time. A gateway that dies meanwhile is what this is about: then there is less to tell, and no error."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            client = await Client.connect(port)
            try:
                await client.send(_bytes(ask))
                await client.head()
                return _told(ask, cycle, await client.rest())
            finally:
                client.leave()
    except (OSError, EOFError, TimeoutError):
        return Call(ask.nonce, cycle)


def _told(ask: Ask, cycle: int, answer: Answer) -> Call:
    success, text = False, ""
    try:
        success, text, error = _read(answer)
    except (ValueError, KeyError):
        error = "unreadable"
    return Call(
        nonce=ask.nonce,
        cycle=cycle,
        status=answer.status,
        whole=answer.whole or success,
        success=success,
        replayed="idempotency-replayed" in answer.headers,
        accepted="x-holdfast-attempts" in answer.headers,
        body=answer.body if success else b"",
        text=text if success else "",
        error=error,
    )


def _read(answer: Answer) -> tuple[bool, str, str]:
    """Whether it is an answer, its text, and the code of its error."""
    success, text, error = False, "", ""
    if answer.status != 200:
        error = _code(answer) if answer.whole else ""
    elif not answer.streamed:
        if answer.whole:
            success, text = True, answer.text
    elif answer.body.endswith(b"\n\n"):
        errors = [event for event in answer.events if event.is_error]
        error = str(errors[0].json["error"].get("code")) if errors else ""
        text = answer.text
        # A stream is an answer once its end marker is there, whatever then becomes of the connection.
        success = not errors and bool(answer.finish_reasons) and any(event.is_end for event in answer.events)
    return success, text, error


def _code(answer: Answer) -> str:
    said = answer.error
    return str(said.get("code") or said.get("type"))


@dataclass
class Callers:
    """Everybody who calls during one ledger's life.

    Args:
        rng: what they ask. life: part of their nonces. routes: that they ask for.
    """

    rng: random.Random
    life: str
    routes: Sequence[str] = tuple(ROUTES)

    def __post_init__(self) -> None:
        self.asks: dict[str, Ask] = {}
        self.calls: list[Call] = []
        self.again: dict[str, Ask] = {}
        """With a key, and without a final answer: they come back once a gateway is there."""
        self._numbers = 0

    def new(self, count: int) -> list[Ask]:
        """Requests that nobody has sent yet."""
        made = []
        for _ in range(count):
            self._numbers += 1
            made.append(draw(self.rng, f"{self.life}-{self._numbers}", self.routes))
        self.asks.update((ask.nonce, ask) for ask in made)
        return made

    def returning(self, old: int) -> list[Ask]:
        """Who has to come back, and some who look once more at what they have been told."""
        had = [ask for ask in self.asks.values() if ask.key is not None and ask.nonce not in self.again]
        return [*self.again.values(), *self.rng.sample(had, min(old, len(had)))]

    async def ask(self, port: int, asks: list[Ask], cycle: int) -> None:
        """All of them at once; some twice."""
        twice = [ask for ask in asks if ask.key is not None and self.rng.random() < _TWICE]
        calls = await asyncio.gather(*(send(port, ask, cycle) for ask in (*asks, *twice)))
        self.calls += calls
        for call in calls:
            ask = self.asks[call.nonce]
            if ask.key is None:
                continue
            if call.success or (
                call.whole and call.status in (400, 402, 409) and call.error != "idempotency_running"
            ):
                self.again.pop(ask.nonce, None)
            elif not call.whole:
                self.again[ask.nonce] = ask
