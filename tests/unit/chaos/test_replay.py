"""Same seed, same bytes, under any concurrency; and the shares that were asked for, counted at the socket."""

import asyncio
import random
import re
from collections import Counter

import pytest
from tests.support.binomial import interval
from tests.unit.chaos.raw import ask, payload
from tests.unit.chaos.speaking import SPEAKERS

from holdfast.chaos import ChaosConfig, ChaosServer, presets, run_chaos

CALLERS = 50
EACH = 4
FAST = {"delay": 0, "ttft": 0, "tps": 0, "jitter": 0}

# Faults of every sort, many attempts each; none that waits.
MANY = {
    "429 retry-after=1": 8,
    "overloaded": {"pct": 6, "burst": 3},
    "503": {"pct": 6, "burst": 2},
    "reset": 6,
    "cut=reset after=2": 6,
    "cut=fin after=2": 6,
    "truncate": 6,
    "malformed": 6,
    "bad_utf8": 5,
    "error_in_200": 5,
    "error_event": 5,
    "drop": 5,
    "reorder": 5,
    "repeat": 5,
    "no_done": 5,
    "segments=7": 5,
    "wrong_type": 5,
}


def quick(rates):
    """The same steps, less what takes its time; the shares stay as they are."""
    waits = re.compile(r"\b(hang|slow|stall|slow_headers|half_close)\b")
    return {name: None for name in rates if waits.search(name)}


def configs():
    for name in presets.NAMES:
        rates = presets.load(name).get("rates", {})
        yield name, {"preset": name, "pace": FAST, "rates": quick(rates), "timeline": [], "capacity": None}
    yield "many", {"rates": MANY}
    yield (
        "script",
        {"default": "429; 30% reset | 30% cut=reset | ok; tokens=9 x3; 50% 503 burst=2 | words vary"},
    )


class Call(asyncio.Protocol):
    """All bytes of an answer on a connection of its own, and how it ended."""  # a StreamReader forgets bytes at a reset

    def __init__(self, body):
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.data = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        transport.write(self.request)

    def data_received(self, data):
        self.data += data

    def connection_lost(self, error):
        self.done.set_result((self.data, "reset" if isinstance(error, ConnectionResetError) else "fin"))


async def call(port, body):
    _, protocol = await asyncio.get_running_loop().create_connection(lambda: Call(body), "127.0.0.1", port)
    return await protocol.done


def request(caller, number, *, shared):
    """A caller's own key, or the one that all share; plain and streamed in turn (by key: what is asked must not differ)."""
    key = "shared" if shared else f"caller {caller}"
    text = f"hello [[key={key}]]"
    stream = bool(number % 2) and not shared
    return payload("m", stream=stream, messages=[{"role": "user", "content": text}])


async def one_after_the_other(port, *, shared):
    """Each caller's answers, in its order."""
    return {
        caller: [await call(port, request(caller, number, shared=shared)) for number in range(EACH)]
        for caller in range(CALLERS)
    }


async def all_at_once(port, *, shared):
    """Fifty callers; each asks again as soon as it has its answer, and begins somewhere in the first turns."""
    order = random.Random(7)

    async def caller(number):
        for _ in range(order.randrange(20)):
            await asyncio.sleep(0)
        return number, [await call(port, request(number, turn, shared=shared)) for turn in range(EACH)]

    numbers = list(range(CALLERS))
    order.shuffle(numbers)
    return dict(await asyncio.gather(*map(caller, numbers)))


def served(config, callers, *, shared=False):
    async def main():
        server = ChaosServer(ChaosConfig.from_dict(config))
        await server.start()
        try:
            return await callers(server.port, shared=shared)
        finally:
            await server.stop()

    return asyncio.run(main())


@pytest.mark.parametrize(("name", "config"), list(configs()), ids=[name for name, _ in configs()])
def test_the_same_seed_gives_the_same_bytes_in_any_order(name, config):
    """Each caller's answers one by one (its own key); all answers taken together (one key for all)."""
    calm = served({**config, "seed": 11}, one_after_the_other)
    busy = served({**config, "seed": 11}, all_at_once)
    assert busy == calm
    if name != "silent":
        kinds = {(end, data[:12]) for answers in calm.values() for data, end in answers}
        assert len(kinds) > 1  # something went wrong

    together = served({**config, "seed": 11}, all_at_once, shared=True)
    apart = served({**config, "seed": 11}, one_after_the_other, shared=True)
    assert Counter(one for answers in together.values() for one in answers) == Counter(
        one for answers in apart.values() for one in answers
    )


def test_another_seed_gives_other_bytes():
    first, second = (served({"rates": MANY, "seed": seed}, one_after_the_other) for seed in (1, 2))
    alike = sum(a == b for caller in first for a, b in zip(first[caller], second[caller], strict=True))
    # A whole answer tells its nonce, so only answers without one are alike: two resets, two equal errors.
    assert alike < CALLERS * EACH / 4
    assert all(
        b"chatcmpl" not in a[0]
        for caller in first
        for a, b in zip(first[caller], second[caller], strict=True)
        if a == b
    )


@pytest.mark.parametrize("name", sorted(SPEAKERS))
def test_every_provider_replays(name):
    speaker = SPEAKERS[name]
    runs = []
    for _ in range(2):
        with run_chaos(ChaosConfig.from_dict({"rates": MANY, "seed": 4})) as chaos:
            seen = [speaker.ask(chaos.port, stream=bool(number % 2)) for number in range(24)]
            runs.append([(one.data, one.end) for one in seen])
    assert runs[0] == runs[1]


def test_a_reset_begins_the_same_run_again():
    with run_chaos(ChaosConfig.from_dict({"rates": MANY, "seed": 3})) as chaos:
        runs = []
        for _ in range(2):
            runs.append([(seen.data, seen.end) for seen in (ask(chaos.port, payload()) for _ in range(60))])
            chaos.reset()
    assert runs[0] == runs[1]


def test_a_run_with_a_timeline_replays_by_the_hand_clock():
    config = {
        "clock": "hand",
        "seed": 5,
        "rates": {"503": 20},
        "timeline": [
            {"at": 2, "for": 1, "every": 4, "rates": {"429": 60}, "ramp": [0.2, 1]},
            {"at": 9, "for": 2, "script": "reset"},
        ],
        "limits": {"requests_per_minute": 50},
    }
    runs = []
    for _ in range(2):
        with run_chaos(ChaosConfig.from_dict(config)) as chaos:
            seen = []
            for _ in range(90):
                answer = ask(chaos.port, payload())
                seen.append((answer.data, answer.end))
                chaos.advance(0.15)
            runs.append(seen)
    assert runs[0] == runs[1]
    assert len({data[:12] for data, _ in runs[0]}) == 4  # 200, 503, 429, and none


# Shares at the socket.


async def outcomes(port, *, keys, per_key, stream):
    """What each attempt of each key came to: its status, or "reset". A key has one connection, as long as it lives."""

    async def one(key):
        found = []
        messages = [{"role": "user", "content": f"[[key={key}]]"}]
        body = payload("m", stream=stream, messages=messages)
        request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        writer = None
        for _ in range(per_key):
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                await _body(reader, head.decode())
                found.append(int(head.split()[1]))
            except (asyncio.IncompleteReadError, ConnectionResetError):
                found.append("reset")
                writer.close()
                writer = None
        if writer is not None:
            writer.close()
        return found

    return await asyncio.gather(*map(one, keys))


async def _body(reader, head):
    size = re.search(r"content-length: (\d+)", head)
    if size is None:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    else:
        await reader.readexactly(int(size[1]))


@pytest.mark.parametrize("stream", [False, True])
def test_shares_counted_at_the_socket(stream):
    """3,000 attempts over six keys: each share in its interval at 1e-9, bursts by their blocks, keys not alike."""
    rates = {"429": 10, "503": {"pct": 8, "burst": 5}, "reset": 4, "529": 1.5}
    keys, per_key = [f"k{i}" for i in range(6)], 500
    total = len(keys) * per_key

    async def main():
        server = ChaosServer(ChaosConfig.from_dict({"rates": rates, "tokens": 1}))
        await server.start()
        try:
            return await outcomes(server.port, keys=keys, per_key=per_key, stream=stream)
        finally:
            await server.stop()

    rows = asyncio.run(main())
    seen = Counter(what for row in rows for what in row)
    assert sum(seen.values()) == total
    for what, share in ((429, 0.10), ("reset", 0.04), (529, 0.015)):
        low, high = interval(total, share)
        assert low <= seen[what] <= high, what
    blocks = [set(row[i : i + 5]) for row in rows for i in range(0, per_key, 5)]
    hit = [block for block in blocks if 503 in block]
    assert all(block == {503} for block in hit)
    low, high = interval(len(blocks), 0.08)
    assert low <= len(hit) <= high
    assert len({tuple(row) for row in rows}) == len(keys)
