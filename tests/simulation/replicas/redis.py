"""A simulated Redis behind the real client: sockets without a network, and the scripts' twins in memory on the other side.

The client speaks its own bytes to it, with its own time limits, its own local breaker and its own healing. What it asks may
be late, be carried out though nobody hears of it, or meet a server that is down, hangs, was flushed, or was restored from an
older snapshot.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from collections import deque
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import hiredis

from holdfast.stores.base import Spell
from holdfast.stores.breaker_state import ProbeAsk
from holdfast.stores.memory_breakers import MemoryBreakers
from holdfast.stores.memory_rates import MemoryRates
from holdfast.stores.rates import Change, Kept, Want

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine

    from tests.simulation.replicas.loop import Process, ReplicaLoop

    from holdfast.stores.breaker_state import Circuit, Standing

__all__ = ["SLOW_S", "RedisServer"]

SLOW_S: Final = 0.012
"""A round trip that takes longer may miss the client's time limit."""
_WALL_S: Final = 1_767_225_600
_OPERATIONS: Final = {
    path.read_text(encoding="utf-8"): path.name.removesuffix(".lua")
    for path in (files("holdfast.stores") / "lua").iterdir()
    if path.name.endswith(".lua") and not path.name.endswith("_base.lua")
}


class _Memory:
    """All that the server knows."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.epoch: bytes | None = None
        self.rates = MemoryRates(now_us)
        self.breakers = MemoryBreakers(lambda: now_us() // 1000)


class RedisServer:
    """One Redis, and the network to it.

    Args:
        loop: whose time it has.
        rng: latencies.
        latency_s: of one way, at most.
        spikes: how often a way takes much longer than that.
    """

    def __init__(self, loop: ReplicaLoop, rng: random.Random, *, latency_s: float, spikes: float) -> None:
        self._loop = loop
        self._rng = rng
        self._latency_s = latency_s
        self._spikes = spikes
        self._memory = self._empty()
        self._snapshot: _Memory | None = None
        self._known: dict[str, str] = {}
        self._lines: list[_Line] = []
        self.down = self.hangs = False
        self.cut: set[str] = set()
        """Processes that can't reach it."""
        self.deaf: set[str] = set()
        """Processes that its answers don't reach."""
        self.on_trouble: Callable[[float], None] = lambda _: None
        """Told of each moment in which it may have kept somebody waiting too long."""
        self.asked = 0

    # What befalls it.

    def stop(self) -> None:
        """It is gone, with all that it didn't save."""
        self.down = True
        self._known.clear()
        self._break_all()
        for line in list(self._lines):
            line.forget()

    def start(self, *, forget: bool, older: bool) -> None:
        """It is back: as it was, empty, or as it was at the last :meth:`save`."""
        self.down = False
        if forget:
            self._memory = self._empty()
        elif older and self._snapshot is not None:
            self._memory = copy.deepcopy(self._snapshot)

    def flush(self) -> None:
        self._memory = self._empty()

    def save(self) -> None:
        self._snapshot = copy.deepcopy(self._memory)

    def hang(self, *, hangs: bool) -> None:
        """It takes what it is told, and says nothing; afterwards it says all of it."""
        self.hangs = hangs
        if not hangs:
            for line in list(self._lines):
                line.serve()

    def reset(self, name: str) -> None:
        """A process' connections break."""
        self._break_all(name)

    def _break_all(self, name: str | None = None) -> None:
        for line in list(self._lines):
            if name is None or line.process.name == name:
                line.break_off()

    def probes(self) -> int:
        """Leases that are out."""
        now_ms = self._now_us() // 1000
        return sum(each.standing(now_ms).probes for each in self._memory.breakers._machines.values())

    # The network.

    async def connect(
        self, process: Process, factory: Callable[[], asyncio.Protocol]
    ) -> tuple[Any, asyncio.Protocol]:
        if process.name in self.cut or self.hangs:
            await asyncio.sleep(60.0)
            raise TimeoutError
        await asyncio.sleep(self.latency())
        if self.down:
            raise ConnectionRefusedError("connection refused")
        protocol = factory()
        line = _Line(self, self._loop, process, protocol)
        self._lines.append(line)
        protocol.connection_made(line)
        return line, protocol

    def latency(self) -> float:
        rng = self._rng
        if rng.random() < self._spikes:
            spike = rng.choice((0.008, 0.015, 0.03, 0.2))
            self.on_trouble(self._loop.time() + spike)
            return spike
        return rng.uniform(0.0001, self._latency_s)

    def gone(self, line: _Line) -> None:
        if line in self._lines:
            self._lines.remove(line)

    # What it does.

    def run(self, command: list[bytes]) -> Any:
        """One command, all at once. An exception is an error of the server's."""
        self.asked += 1
        name = command[0].decode().upper()
        if name == "EVAL":
            text = command[1].decode()
            self._known[hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()] = text
            return self._script(text, command)
        if name == "EVALSHA":
            text = self._known.get(command[1].decode(), "")
            if not text:
                raise _Refused("NOSCRIPT No matching script.")
            return self._script(text, command)
        if name == "PING":
            return b"PONG"
        if name in ("AUTH", "SELECT", "CLIENT"):
            return b"OK"
        raise _Refused(f"ERR unknown command '{name}'")

    def _script(self, text: str, command: list[bytes]) -> Any:
        count = int(command[2])
        keys = [each.decode() for each in command[3 : 3 + count]]
        args = [each.decode() for each in command[3 + count :]]
        operation = next((name for its, name in _OPERATIONS.items() if text.endswith(its)), "hello")
        return getattr(self, f"_{operation}")(keys, args)

    def _hello(self, _keys: list[str], args: list[str]) -> Any:
        memory = self._memory
        made = memory.epoch is None
        if memory.epoch is None:
            memory.epoch = args[0].encode()
        return [memory.epoch, int(made)]

    def _rate_take(self, keys: list[str], args: list[str]) -> Any:
        memory = self._memory
        if memory.epoch != args[0].encode():
            return [-1]
        wants = []
        for place, window in enumerate(keys[1::2]):
            length, requests, tokens, take, take_tokens, entry, *ahead = args[2 + 8 * place : 10 + 8 * place]
            wants.append(
                Want(
                    window,
                    int(length),
                    None if requests == "-1" else int(requests),
                    None if tokens == "-1" else int(tokens),
                    int(take),
                    int(take_tokens),
                    entry,
                    *map(int, ahead),
                )
            )
        answer = _at_once(memory.rates.take(wants, Spell()))
        return [int(answer.admitted), answer.now, *(number for stand in answer.stands for number in stand)]

    def _rate_amend(self, keys: list[str], args: list[str]) -> Any:
        changes = []
        for place, window in enumerate(keys[0::2]):
            length, entry, back, back_tokens, more, more_requests, more_tokens = args[
                1 + 7 * place : 8 + 7 * place
            ]
            numbers = int(back), int(back_tokens), more, int(more_requests), int(more_tokens)
            changes.append(Change(window, int(length), entry, *numbers))
        self._memory.rates.amend(changes)
        return 1

    def _rate_restore(self, keys: list[str], args: list[str]) -> Any:
        kept = [
            Kept(args[at], int(args[at + 1]), int(args[at + 2]), int(args[at + 3]))
            for at in range(3, len(args), 4)
        ]
        self._memory.rates.keep(keys[0], int(args[1]), args[2], kept)
        return 1

    def _breaker_put(self, _keys: list[str], args: list[str]) -> Any:
        target, epoch, opens, open_ms, times, by = args[3:]
        asked = self._memory.breakers.put(
            target, epoch=int(epoch), opens=opens == "1", open_ms=int(open_ms), times=int(times), by=by
        )
        return _standing(_at_once(asked))

    def _breaker_probe(self, _keys: list[str], args: list[str]) -> Any:
        target, epoch, id_, most, lease_ms = args[3:]
        ask = ProbeAsk(epoch=int(epoch), id=id_, most=int(most), lease_ms=int(lease_ms))
        grant = _at_once(self._memory.breakers.probe(target, ask))
        return _standing(grant.standing, int(grant.answer))

    def _breaker_succeed(self, _keys: list[str], args: list[str]) -> Any:
        target, epoch, id_, most, by = args[3:]
        asked = self._memory.breakers.succeed(target, epoch=int(epoch), id=id_, most=int(most), by=by)
        return _standing(_at_once(asked))

    def _breaker_give_back(self, _keys: list[str], args: list[str]) -> Any:
        target, epoch, id_ = args[3:]
        return _standing(_at_once(self._memory.breakers.give_back(target, epoch=int(epoch), id=id_)))

    def _breaker_renew(self, _keys: list[str], args: list[str]) -> Any:
        target, epoch, lease_ms, *ids = args[3:]
        asked = self._memory.breakers.renew(target, epoch=int(epoch), ids=ids, lease_ms=int(lease_ms))
        return _standing(_at_once(asked))

    def _breaker_pull(self, _keys: list[str], args: list[str]) -> Any:
        born, seen, _ = map(int, args[4:])
        news = _at_once(self._memory.breakers.pull(born, seen))
        changes = [[target, *_circuit(circuit)] for target, circuit in news.circuits]
        return [news.now_ms, news.born, news.version, int(news.more), *changes]

    def _empty(self) -> _Memory:
        return _Memory(lambda: self._now_us())  # a function: a snapshot copies no server

    def _now_us(self) -> int:
        return _WALL_S * 1_000_000 + round(self._loop.time() * 1e6)


class _Line:
    """One connection: the client's transport, and the server's end of it. What is sent arrives in order."""

    def __init__(
        self, server: RedisServer, loop: ReplicaLoop, process: Process, protocol: asyncio.Protocol
    ) -> None:
        self.process = process
        self._server = server
        self._loop = loop
        self._protocol = protocol
        self._reader = hiredis.Reader()
        self._inbox: deque[bytes] = deque()
        self._outbox: deque[bytes] = deque()
        self._there = self._back = 0.0
        self._over = False

    # The client's side.

    def write(self, data: bytes) -> None:
        if self._over or self.process.name in self._server.cut:
            return
        self._inbox.append(data)
        self._there = max(self._there, self._loop.time() + self._server.latency())
        self._loop.call_at(self._there, self._arrived, context=self._loop.outside)

    def abort(self) -> None:
        """What is on its way arrives; no answer does. A server that hangs reads it when it doesn't any more."""
        self._over = True
        if not self._server.hangs:
            self._server.gone(self)

    # The server's side.

    def break_off(self) -> None:
        if not self._over:
            self.abort()
            self.forget()
            error = ConnectionResetError("connection reset")
            self._loop.call_soon(self._protocol.connection_lost, error, context=self.process.context)

    def forget(self) -> None:
        """What it hasn't read it will never read."""
        self._inbox.clear()
        self._server.gone(self)

    def serve(self) -> None:
        while self._inbox and not self._server.hangs and not self._server.down:
            self._reader.feed(self._inbox.popleft())
            self._answer_all()
        if self._over:
            self._server.gone(self)

    def _arrived(self) -> None:
        if self._server.hangs or not self._inbox:  # it is read later
            return
        if self._server.down:
            self._inbox.clear()
            return
        self._reader.feed(self._inbox.popleft())
        self._answer_all()

    def _answer_all(self) -> None:
        out = []
        while (command := self._reader.gets()) is not False:
            try:
                out.append(_encode(self._server.run(command)))
            except _Refused as error:
                out.append(b"-%s\r\n" % str(error).encode())
        lost = self._over or self.process.name in self._server.cut | self._server.deaf
        if out and not lost:
            self._outbox.append(b"".join(out))
            self._back = max(self._back, self._loop.time() + self._server.latency())
            self._loop.call_at(self._back, self._deliver, context=self.process.context)

    def _deliver(self) -> None:
        if self._outbox and not self._over:
            self._protocol.data_received(self._outbox.popleft())


class _Refused(Exception):
    """An error that the server says."""


def _at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """What waits for nothing is done in one step."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


def _standing(standing: Standing, verdict: int = 0) -> list[Any]:
    circuit = [] if standing.circuit is None else _circuit(standing.circuit)
    return [verdict, standing.now_ms, standing.probes, *circuit]


def _circuit(circuit: Circuit) -> list[Any]:
    numbers = circuit.epoch, int(circuit.open), circuit.until_ms, circuit.times, circuit.successes
    return [*numbers, circuit.by]


def _encode(reply: Any) -> bytes:
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(_encode, reply))
    if reply is None:
        return b"$-1\r\n"
    data = reply.encode() if isinstance(reply, str) else reply
    return b"$%d\r\n%s\r\n" % (len(data), data)
