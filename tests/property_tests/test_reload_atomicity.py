"""OP2: whatever is reloaded while requests come, wait, fall back and stream, each of them sees one configuration alone.

Each generation has addresses, keys, models, a parameter and prices of its own. So what a request was sent, by which key, at
which price it was billed and what its caller was told all say under which generation it was; and there is one right answer:
the one that counted when it came.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulation.chat_wire import refuses, request, speaks, stream, whole
from tests.unit.gateway.reloading import Reloading, reloading

if TYPE_CHECKING:
    from holdfast.testing.memory_transport import Reply
    from holdfast.transport import Outgoing

_COST = re.compile(rb"cost-usd=([0-9.]+)")


def text_of(generation: int, *, broken: str = "") -> str:
    """``broken``: what makes it one that can't be applied."""
    g = generation
    caller = hashlib.sha256(b"caller").hexdigest()
    return f"""
[gateway]
admin_key = "adm-secret"
{broken}
[keys.K{g}]
sha256 = "{caller}"
[providers.a]
dialect = "openai_chat"
base_url = "http://a{g}/v1"
api_key = "sk-a-canary-{g}"
[providers.b]
dialect = "openai_chat"
base_url = "http://b{g}/v1"
api_key = "sk-b-canary-{g}"
[routes.chat]
targets = ["a/model-{g}", "b/model-{g}"]
set = {{ seed = {g} }}
[retry]
max_retries = 0
[breaker]
enabled = false
[bulkhead]
max_concurrent = {1 + g % 3}
max_queue = 100
max_wait_s = 600
[prices."a/model-{g}"]
input_per_1m = {g}
output_per_1m = {g}
[prices."b/model-{g}"]
input_per_1m = {1000 * g}
output_per_1m = {1000 * g}
"""


@dataclass(frozen=True)
class Asked:
    """One request, and how its providers behave."""

    at: int
    body_s: int
    streams: bool
    keyed: bool
    first_fails: bool
    takes_s: int


@dataclass(frozen=True)
class Turned:
    """One reload. ``broken`` ones change nothing."""

    at: int
    broken: str


MOMENTS = st.integers(0, 6)
ASKED = st.lists(
    st.builds(
        Asked, MOMENTS, st.integers(0, 3), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 3)
    ),
    min_size=1,
    max_size=6,
)
TURNED = st.lists(
    st.builds(Turned, MOMENTS, st.sampled_from(["", "", "", "port = 9", "max_body_mb = -1", "[surprise]"])),
    min_size=1,
    max_size=4,
)


class World:
    """The providers' side, and what each request was sent."""

    def __init__(self, asked: list[Asked]) -> None:
        self.asked = asked
        self.sent: dict[int, list[Outgoing]] = defaultdict(list)

    def answer(self, out: Outgoing) -> Reply:
        number = int(msgspec.json.decode(out.body)["messages"][0]["content"])
        ask = self.asked[number]
        self.sent[number].append(out)
        if ask.first_fails and len(self.sent[number]) == 1:
            return refuses(503, head_s=ask.takes_s)
        if ask.streams:
            return speaks(*stream("one", "two"), gap_s=ask.takes_s / 2)
        return whole(head_s=ask.takes_s)


def seen_by(out: Outgoing) -> set[int]:
    """Every generation that shows in what was sent."""
    body = msgspec.json.decode(out.body)
    headers = dict(out.headers)
    return {
        int(out.origin.host[1:]),
        int(headers[b"authorization"].rpartition(b"-")[2]),
        int(body["model"].removeprefix("model-")),
        body["seed"],
    }


@settings(max_examples=60)  # each one reads several configurations
@given(asked=ASKED, turned=TURNED)
def test_each_request_sees_one_configuration(asked: list[Asked], turned: list[Turned]) -> None:
    world = World(asked)

    async def main(here: Reloading) -> None:
        generations: dict[int, int] = {}
        began_with: dict[int, int] = {}
        generations[1] = 1

        async def reload(number: int, turn: Turned) -> None:
            await asyncio.sleep(max(0.0, turn.at - here.door.clock.monotonic()))
            said = await here.reload(text_of(number, broken=turn.broken))
            assert said.status == (422 if turn.broken else 200)
            if not turn.broken:
                generations[said.json["generation"]] = number

        async def ask(number: int, one: Asked) -> Any:
            await asyncio.sleep(one.at)
            began_with[number] = here.app.live.generation
            headers = {"authorization": "Bearer caller"}
            if one.keyed:
                headers["idempotency-key"] = f"key-{number}"
            body = request(stream=one.streams, prompt=str(number))
            return await here.door.chat(body, headers, body_s=float(one.body_s))

        turns = [
            reload(number, turn) for number, turn in enumerate(sorted(turned, key=lambda each: each.at), 2)
        ]
        asks = [asyncio.ensure_future(ask(number, one)) for number, one in enumerate(asked)]
        # One after the other, as a file has one text at a time.
        for turn in turns:
            await turn
        for number, one in enumerate(asked):
            said = await asks[number]
            right = generations[began_with[number]]
            assert said.status == 200
            for out in world.sent[number]:
                assert seen_by(out) == {right}
            assert len(world.sent[number]) == 1 + one.first_fails
            assert said.headers["x-holdfast-model"] == f"model-{right}"
            told = (
                _COST.findall(said.body)[-1].decode()
                if one.streams
                else said.headers.get("x-holdfast-cost-usd")
            )
            if told is not None:  # an answer that is kept for its key says it too, but not what is told again
                scale = 1000 if one.first_fails else 1
                assert round(float(told) * 10**9) == 15 * right * scale * 1000
            record = await here.app.ledger.get(said.headers["x-holdfast-request-id"])
            assert record.intent.key == f"K{right}"

    reloading(main, text_of(1), world.answer)
