"""The simulated providers that all processes ask, and what they truly did."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from tests.simulation.chat_wire import DONE, JSON, SSE, chunk, refuses, usage_chunk, usage_fields
from tests.simulation.providers import PRICES

from holdfast.testing.memory_transport import MemoryTransport, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.replicas.replica import Replica
    from tests.simulation.replicas.world import World

    from holdfast.testing.memory_transport import MemoryAnswer
    from holdfast.transport.base import Outgoing

__all__ = ["Far", "Sent"]

_MOST_GIVEN: Final = 20
_BREAKS: Final = ("down", "resets", "cuts", "hangs")


@dataclass(slots=True)
class Sent:
    """One attempt as its provider knows it."""

    n: int
    provider: str
    replica: Replica
    most: tuple[int, int]
    """The most that it could be billed: nano-dollars, tokens."""
    billed: int


class _Message(msgspec.Struct):
    content: str


class _Question(msgspec.Struct):
    messages: list[_Message]
    max_tokens: int
    stream: bool = False


_read = msgspec.json.Decoder(_Question).decode


class Far:
    """All providers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: dict[tuple[int, str], int] = {}
        self.down = 0
        """Troubles under way in which they fail."""
        self.well = False

    def transport(self, replica: Replica) -> MemoryTransport:
        return _Wire(self, replica)

    def answer(self, replica: Replica, outgoing: Outgoing) -> tuple[Sent, Reply]:
        plan, name = self._world.plan, outgoing.origin.host
        question = _read(outgoing.body)
        n = int(question.messages[0].content.rpartition(" ")[2])
        nth = self._asked[n, name] = self._asked.get((n, name), 0) + 1
        rng = random.Random(f"{plan.seed} {name} {n} {nth}")
        given_price, made_price = PRICES[name]
        usage = rng.randint(1, _MOST_GIVEN), rng.randint(1, question.max_tokens)
        most = _MOST_GIVEN * given_price + question.max_tokens * made_price, _MOST_GIVEN + question.max_tokens
        bill = usage[0] * given_price + usage[1] * made_price
        mood = "well"
        if not self.well:
            dice, broken = rng.random(), rng.choice(_BREAKS)
            if (self.down and name == "a") or dice < plan.provider_fails:
                mood = broken
        if mood == "down":
            return Sent(n, name, replica, (0, 0), 0), refuses(500, head_s=0.02)
        head_s = 0.02 if self.well else plan.head_s * rng.uniform(0.3, 2)
        gap_s = 0.01 if self.well else plan.gap_s * rng.uniform(0.2, 3)
        sent = Sent(n, name, replica, most, bill)
        if mood == "resets":
            return sent, Reply(None, ending="reset", head_s=head_s)
        if mood == "hangs":
            return sent, Reply(None, ending="hang", head_s=head_s)
        who = {"answer_id": f"chatcmpl-{n}.{nth}", "model": f"m-{name}"}
        if not question.stream:
            return sent, _whole(who, usage, head_s, cut=mood == "cuts")
        pieces = [chunk(role="assistant", **who), chunk("so ", **who), chunk("be it", **who)]
        if mood != "cuts":
            pieces += [chunk(finish="stop", **who), usage_chunk(*usage, **who), DONE]
        segments = tuple((gap_s, piece) for piece in pieces)
        return sent, Reply(200, SSE, segments, "cut" if mood == "cuts" else "complete", head_s=head_s)


def _whole(who: dict[str, str], usage: tuple[int, int], head_s: float, *, cut: bool) -> Reply:
    body = msgspec.json.encode(
        {
            "id": who["answer_id"],
            "object": "chat.completion",
            "created": 1,
            "model": who["model"],
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "so be it"}, "finish_reason": "stop"}
            ],
            "usage": usage_fields(*usage),
        }
    )
    return Reply(200, JSON, ((0.0, body[:20] if cut else body),), "cut" if cut else "complete", head_s=head_s)


class _Wire(MemoryTransport):
    """A process' transport, whose sends are told."""

    def __init__(self, far: Far, replica: Replica) -> None:
        super().__init__(self._reply)
        self._far = far
        self._replica = replica
        self._on_the_way: dict[int, Sent] = {}

    def _reply(self, outgoing: Outgoing) -> Reply:
        sent, reply = self._far.answer(self._replica, outgoing)
        self._on_the_way[id(outgoing)] = sent
        return reply

    async def send(
        self, request: Outgoing, *, connect_s: float, on_sent: Callable[[], None] | None = None
    ) -> MemoryAnswer:
        def told() -> None:
            self._replica.world.watch.sent(self._on_the_way.pop(id(request)))
            if on_sent is not None:
                on_sent()

        return await super().send(request, connect_s=connect_s, on_sent=told)
