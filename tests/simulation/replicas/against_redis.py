"""A script of what befalls two processes and their Redis, played on the simulated one or on a real one.

On both sides it is the product's own client that asks. What each step is answered is told in the same words of both, without
times: windows last an hour, breakers rest for ever or not at all.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from msgspec import Struct
from structlog.testing import capture_logs
from tests.simulation.replicas import redis as simulated
from tests.simulation.replicas.loop import Process, ReplicaLoop, run_replicas
from tests.support.redis_server import RedisServer
from tests.support.tcp_proxy import TcpProxy

from holdfast.stores.base import Spell, StoreLost
from holdfast.stores.breaker_state import ProbeAsk
from holdfast.stores.rates import Change, Kept, Want
from holdfast.stores.redis import RedisSettings, RedisStore
from holdfast.stores.redis_breakers import RedisBreakers
from holdfast.stores.redis_rates import RedisRates
from holdfast.stores.redis_url import RedisAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from holdfast.clock import Clock
    from holdfast.stores.breaker_state import BreakerStore, Circuit, Standing
    from holdfast.stores.rates import Answer, Restore

__all__ = ["Step", "draw", "on_real", "on_simulated"]

Fate: TypeAlias = Literal["well", "unsent", "unanswered", "late"]
"""Of a command: lost on its way; carried out, and the answer is lost; carried out by a server that hung, after the client
had given its connection up."""

_LENGTH: Final = 3_600_000_000
_WINDOWS: Final = {"caller": (6, 60), "model": (9, None)}
"""Their limits: requests, tokens."""
_TARGETS: Final = ("a", "b")
_LEASE_MS: Final = 3_600_000
_SETTINGS: Final = RedisSettings(timeout_s=1.0, budget_s=1.0)
"""A machine that is busy isn't a Redis that is lost."""
_PATIENCE_S: Final = 20.0


class Step(Struct, frozen=True):
    """One thing that happens. ``n``: what can be seen of it on its way."""

    what: str
    n: int
    who: int = 0
    fate: Fate = "well"
    windows: tuple[str, ...] = ()
    requests: int = 0
    tokens: int = 0
    entry: str = ""
    target: str = ""
    epoch: int = 0
    opens: bool = False
    rests: bool = False
    most: int = 0
    id: str = ""

    @property
    def sign(self) -> str:
        return f"sign-{self.n:03}-"


def draw(seed: int) -> list[Step]:
    """A script in which what can befall them befalls them, in an order of its own, with other work between.

    A loss takes half a second until it is healed. So not all of it is in each: of three, each loses a breaker's command in
    another way.
    """
    rng = random.Random(f"against redis {seed}")
    draft = _Draft(rng)
    fates: tuple[Fate, ...] = ("unsent", "unanswered", "late")
    troubles: list[Callable[[], list[Step]]] = [
        *(lambda fate=fate: [draft.take(fate)] for fate in fates),
        *(lambda fate=fate: [draft.amend(fate)] for fate in fates[:2]),
        lambda: [draft.put(fates[seed % 3])],
        lambda: draft.probed(fates[(seed + 1) % 3]),
        *(
            lambda what=what: draft.trouble(what)
            for what in ("flush", "forgets", "older", "restart", "reset")
        ),
    ]
    rng.shuffle(troubles)
    steps = []
    for trouble in troubles:
        steps += [draft.work() for _ in range(rng.randrange(3, 7))]
        steps += trouble()
        steps += draft.looks()
    return steps


class _Draft:
    """What was drawn so far."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._n = 0
        self._entries: tuple[list[str], list[str]] = ([], [])
        self._epochs = dict.fromkeys(_TARGETS, 0)
        self._ids: list[tuple[str, int, str]] = []

    def work(self) -> Step:
        draws = (self.take, self.take, self.take, self.amend, self.put, self.probe, self.probe, self.ended)
        return self._rng.choice(draws)()

    def take(self, fate: Fate = "well") -> Step:
        rng = self._rng
        who, n = rng.randrange(2), self._next()
        windows = tuple(sorted(rng.sample(sorted(_WINDOWS), rng.randrange(1, 3))))
        entry = f"p{who}.sign-{n:03}-"
        self._entries[who].append(entry)
        requests, tokens = rng.choice(((1, 0), (1, 5), (0, 7)))
        return Step("take", n, who, fate, windows, requests, tokens, entry)

    def amend(self, fate: Fate = "well") -> Step:
        """Gives back what it took of one, and books under a name that can be seen."""
        rng = self._rng
        who, n = rng.randrange(2), self._next()
        entry = rng.choice(self._entries[who][-8:] or ["p0.none"])
        return Step("amend", n, who, fate, ("caller",), rng.randrange(2), rng.randrange(4), entry)

    def stranger(self) -> Step:
        """What nobody writes back: of a process that is gone."""
        return _with(self.amend(), id="stranger")

    def put(self, fate: Fate = "well") -> Step:
        rng = self._rng
        target = rng.choice(_TARGETS)
        self._epochs[target] += rng.choice((0, 1, 1))
        step = Step("put", self._next(), rng.randrange(2), fate, target=target, epoch=self._epochs[target])
        return _with(step, opens=rng.random() < 0.8, rests=rng.random() < 0.3)

    def probe(self, fate: Fate = "well") -> Step:
        rng = self._rng
        target, n = rng.choice(_TARGETS), self._next()
        id_ = f"sign-{n:03}-"
        self._ids.append((target, self._epochs[target], id_))
        step = Step("probe", n, rng.randrange(2), fate, target=target, epoch=self._epochs[target])
        return _with(step, most=3, id=id_)

    def probed(self, fate: Fate) -> list[Step]:
        """A half-open circuit, and a probe's place whose answer is lost; and a success."""
        self._epochs["a"] += 1
        opens = Step("put", self._next(), target="a", epoch=self._epochs["a"], opens=True)
        first, second = self._probe_of("a"), self._probe_of("a")
        doomed = _with(second, fate=fate)
        success = Step(
            "succeed", self._next(), 1, "well", target="a", epoch=self._epochs["a"], most=3, id=first.id
        )
        return [opens, first, doomed, success]

    def ended(self) -> Step:
        rng = self._rng
        target, epoch, id_ = rng.choice(self._ids[-6:] or [("a", 1, "none")])
        what = rng.choice(("succeed", "give back", "renew"))
        return Step(what, self._next(), rng.randrange(2), "well", target=target, epoch=epoch, most=3, id=id_)

    def trouble(self, what: str) -> list[Step]:
        after = [self.take(), self.probe(), self.put()]
        self._rng.shuffle(after)
        before = [self.take(), self.put(), self.stranger(), self.take()]
        return [self.stranger(), Step("save", self._next()), *before, Step(what, self._next()), *after]

    def looks(self) -> list[Step]:
        """What both think stands there."""
        every = tuple(_WINDOWS)
        return [
            step
            for who in (0, 1)
            for step in (Step("take", self._next(), who, "well", every), Step("pull", self._next(), who))
        ]

    def _probe_of(self, target: str) -> Step:
        step = _with(self.probe(), target=target, epoch=self._epochs[target])
        self._ids[-1] = (target, self._epochs[target], step.id)
        return step

    def _next(self) -> int:
        self._n += 1
        return self._n


def _with(step: Step, **changes: Any) -> Step:
    return Step(**{**{name: getattr(step, name) for name in step.__struct_fields__}, **changes})


# What is played.


class _Names:
    """Numbers drawn by chance or by a clock are told apart, and told by when they were seen first."""

    def __init__(self) -> None:
        self._seen: dict[Any, int] = {0: 0}

    def of(self, value: Any) -> int:
        return self._seen.setdefault(value, len(self._seen))


class _Party:
    """One of the two processes: what it knows, and writes back to a Redis that has lost it."""

    def __init__(self, number: int, store: RedisStore, names: _Names) -> None:
        self.name = f"p{number}"
        self.store = store
        self.rates = RedisRates(store)
        self.breakers = RedisBreakers(store)
        self.turned = asyncio.Event()
        self._names = names
        self._mine: dict[tuple[str, str], tuple[int, int]] = {}
        self._circuits: dict[str, Circuit] = {}
        self._probes: dict[str, str] = {}
        self.rates.on_healing(self._restore)
        self.breakers.on_healing(self._tell)
        store.on_change(self.turned.set)

    async def until(self, *, up: bool) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while self.store.up is not up:
                self.turned.clear()
                await self.turned.wait()

    async def take(self, step: Step) -> Any:
        wants = [
            Want(
                name, _LENGTH, *_WINDOWS[name], step.requests, step.tokens, step.entry or f"{self.name}.none"
            )
            for name in step.windows
        ]
        answer = await self.rates.take(wants, Spell())
        if answer.admitted and (step.requests or step.tokens):
            self._mine.update({(name, step.entry): (step.requests, step.tokens) for name in step.windows})
        return _answer(answer)

    async def amend(self, step: Step) -> str:
        (window,) = step.windows
        more = f"{step.id or self.name}.{step.sign}"
        self.rates.amend([Change(window, _LENGTH, step.entry, step.requests, step.tokens, more, 0, 1)])
        requests, tokens = self._mine.pop((window, step.entry), (0, 0))
        left = max(0, requests - step.requests), max(0, tokens - step.tokens)
        if any(left):
            self._mine[window, step.entry] = left
        if not step.id:
            self._mine[window, more] = 0, 1
        await self.breakers.pull(0, 0)  # it was told before this is asked
        return "told"

    async def put(self, step: Step) -> Any:
        open_ms = (_LEASE_MS if step.rests else 0) if step.opens else 0
        by = f"{self.name}.{step.sign}"
        standing = await self.breakers.put(
            step.target,
            epoch=step.epoch,
            opens=step.opens,
            open_ms=open_ms,
            times=2 * step.n + (not step.rests),
            by=by,
        )
        return self._learned(step.target, standing)

    async def probe(self, step: Step) -> Any:
        ask = ProbeAsk(epoch=step.epoch, id=step.id, most=step.most, lease_ms=_LEASE_MS)
        grant = await self.breakers.probe(step.target, ask)
        if grant.answer == 0:
            self._probes[step.id] = step.target
        return grant.answer.name, self._learned(step.target, grant.standing)

    async def succeed(self, step: Step) -> Any:
        self._probes.pop(step.id, None)
        asked = self.breakers.succeed(
            step.target, epoch=step.epoch, id=step.id, most=step.most, by=f"{self.name}.{step.sign}"
        )
        return self._learned(step.target, await asked)

    async def give_back(self, step: Step) -> Any:
        self._probes.pop(step.id, None)
        asked = self.breakers.give_back(step.target, epoch=step.epoch, id=step.id)
        return self._learned(step.target, await asked)

    async def renew(self, step: Step) -> Any:
        asked = self.breakers.renew(step.target, epoch=step.epoch, ids=[step.id], lease_ms=_LEASE_MS)
        return self._learned(step.target, await asked)

    async def pull(self, _: Step) -> Any:
        news = await self.breakers.pull(0, 0)
        # In which order they were written back is a matter of chance, and so is how many times.
        told = sorted((target, _circuit(circuit)) for target, circuit in news.circuits)
        return self._names.of(news.born), news.more, told

    def _learned(self, target: str, standing: Standing) -> Any:
        if standing.circuit is None:
            return None, standing.probes
        self._circuits[target] = standing.circuit
        return _circuit(standing.circuit), standing.probes

    async def _restore(self, put: Restore) -> None:
        for window in _WINDOWS:
            kept = [Kept(entry, 0, *had) for (name, entry), had in self._mine.items() if name == window]
            await put(window, _LENGTH, f"{self.name}.", kept)

    async def _tell(self, store: BreakerStore) -> None:
        for target, circuit in self._circuits.items():
            open_ms = _LEASE_MS if circuit.open and _rests(circuit) else 0
            await store.put(
                target,
                epoch=circuit.epoch,
                opens=circuit.open,
                open_ms=open_ms,
                times=circuit.times,
                by=circuit.by,
            )
            ids = [id_ for id_, its in self._probes.items() if its == target]
            await store.renew(target, epoch=circuit.epoch, ids=ids, lease_ms=_LEASE_MS)


_OPERATIONS: Final[dict[str, Callable[[_Party, Step], Coroutine[Any, Any, Any]]]] = {
    "take": _Party.take,
    "amend": _Party.amend,
    "put": _Party.put,
    "probe": _Party.probe,
    "succeed": _Party.succeed,
    "give back": _Party.give_back,
    "renew": _Party.renew,
    "pull": _Party.pull,
}


def _answer(answer: Answer) -> Any:
    stands = [
        (each.requests, each.tokens, each.requests_pass_at > 0, each.tokens_pass_at > 0)
        for each in answer.stands
    ]
    return answer.admitted, stands


def _circuit(circuit: Circuit) -> Any:
    return circuit.epoch, circuit.open, circuit.times, circuit.successes, circuit.by


def _rests(circuit: Circuit) -> bool:
    """Told by its number: its times are another clock's."""
    return circuit.times % 2 == 0


class World(Protocol):
    """A Redis with two processes, and what can befall them."""

    parties: list[_Party]

    def within(self, who: int, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Done by a process."""
        ...

    async def doomed(self, step: Step, doing: Callable[[], asyncio.Task[Any]]) -> Any:
        """Done under a fate other than ``well``; returns when the process has lost its connection, and may have another."""
        ...

    async def save(self) -> None: ...
    async def flush(self) -> None: ...
    async def again(self, *, what: str) -> None:
        """It dies and comes again: as it was (``restart``), empty (``forgets``), or as it was saved (``older``)."""
        ...

    async def reset(self, who: int) -> None: ...


async def play(world: World, steps: Sequence[Step]) -> list[Any]:
    """What each of them is answered."""
    told = []
    names = _Names()
    for step in steps:
        party = world.parties[step.who]
        answer: Any = "done"
        if step.what in _OPERATIONS:
            answer = await _ask(world, step, party)
        elif step.what == "save":
            await world.save()
        elif step.what == "flush":
            await world.flush()
            # Whoever asks next finds out; so does the other one, by the epoch.
            answer = [
                await _ask(world, _with(step, what="take", who=who, windows=tuple(_WINDOWS)), each)
                for who, each in enumerate(world.parties)
            ]
        elif step.what == "reset":
            await world.reset(step.who)
            await party.until(up=False)
        else:
            await world.again(what=step.what)
        for each in world.parties:
            await each.until(up=True)
        told.append((answer, [names.of(each.store.epoch) for each in world.parties]))
    return told


async def _ask(world: World, step: Step, party: _Party) -> Any:
    async def asked() -> Any:
        try:
            return await _OPERATIONS[step.what](party, step)
        except StoreLost:
            return "lost"

    if step.fate == "well":
        return await world.within(step.who, asked())
    return await world.doomed(step, lambda: world.within(step.who, asked()))


# On the simulated one.


class _Simulated:
    def __init__(self, kind: type[simulated.RedisServer], loop: ReplicaLoop, clock: Clock) -> None:
        self._loop = loop
        self._server = kind(loop, random.Random("redis"), latency_s=0.002, spikes=0.0)
        loop.network = self._server
        self._processes = [Process("p0"), Process("p1")]
        names = _Names()
        self.parties = []
        for number in range(2):
            address = RedisAddress.parse("redis://redis:6379")
            store = RedisStore(address, _SETTINGS, clock=clock, rng=random.Random(f"store {number}"))
            self.parties.append(_Party(number, store, names))

    async def open(self) -> None:
        for who, party in enumerate(self.parties):
            await self.within(who, party.store.start())

    def within(self, who: int, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._loop.spawn(self._processes[who], work)

    async def doomed(self, step: Step, doing: Callable[[], asyncio.Task[Any]]) -> Any:
        """The client's own time limit ends it."""
        party = self.parties[step.who]
        with self._fated(step.fate, party.name):
            answer = await doing()
            await party.until(up=False)
        return answer

    @contextmanager
    def _fated(self, fate: Fate, name: str) -> Iterator[None]:
        server = self._server
        if fate == "late":
            server.hang(hangs=True)
            yield
            server.hang(hangs=False)
            return
        unreachable = server.cut if fate == "unsent" else server.deaf
        unreachable.add(name)
        yield
        unreachable.discard(name)

    async def save(self) -> None:
        self._server.save()

    async def flush(self) -> None:
        self._server.flush()

    async def again(self, *, what: str) -> None:
        self._server.stop()
        for party in self.parties:
            await party.until(up=False)
        self._server.start(forget=what == "forgets", older=what == "older")

    async def reset(self, who: int) -> None:
        self._server.reset(self.parties[who].name)


def on_simulated(
    steps: Sequence[Step], kind: type[simulated.RedisServer] = simulated.RedisServer
) -> list[Any]:
    """Plays it in virtual time."""

    async def main(loop: ReplicaLoop, clock: Clock) -> list[Any]:
        world = _Simulated(kind, loop, clock)
        await world.open()
        told = await play(world, steps)
        for party in world.parties:
            await party.store.aclose()
        return told

    with capture_logs():
        return run_replicas(main, random.Random("against redis"))


# On a real one.


class _Clock:
    """The loop's, which can be told that much time has passed: a loss after a long peace is healed soon."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self._ahead_s

    def wall_ns(self) -> int:
        raise AssertionError("nobody asks for a date")

    def jump(self) -> None:
        self._ahead_s += 10.0


class _Real:
    def __init__(self, server: RedisServer, stack: AsyncExitStack) -> None:
        self._server = server
        self._clock = _Clock()
        self._proxies = [stack.enter_context(TcpProxy(server.port)) for _ in range(2)]
        names = _Names()
        self.parties = []
        for number, proxy in enumerate(self._proxies):
            address = RedisAddress.parse(f"redis://127.0.0.1:{proxy.port}/0")
            store = RedisStore(address, _SETTINGS, clock=self._clock, rng=random.Random(f"store {number}"))
            stack.push_async_callback(store.aclose)
            self.parties.append(_Party(number, store, names))

    async def open(self) -> None:
        for party in self.parties:
            await party.store.start()
            await party.until(up=True)

    def within(self, who: int, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return asyncio.create_task(work)

    async def doomed(self, step: Step, doing: Callable[[], asyncio.Task[Any]]) -> Any:
        proxy, party, sign = self._proxies[step.who], self.parties[step.who], step.sign.encode()
        self._clock.jump()
        if step.fate == "unsent":
            proxy.stall_before(sign)
        else:
            proxy.stall_behind(sign)
        if step.fate == "late":
            self._server.freeze()
        task = doing()
        there = proxy.passed if step.fate == "late" else proxy.held
        await asyncio.to_thread(there.wait, _PATIENCE_S)
        proxy.reset()
        answer = await task
        await party.until(up=False)
        if step.fate == "late":
            self._server.thaw()
            self._server.command("PING")  # behind what had come before
        return answer

    async def save(self) -> None:
        self._server.command("SAVE")

    async def flush(self) -> None:
        self._clock.jump()
        self._server.flush()

    async def again(self, *, what: str) -> None:
        self._clock.jump()
        dump = self._server.folder / "dump.rdb"
        if what == "restart":
            self._server.command("SAVE")
        if what == "forgets":
            dump.unlink(missing_ok=True)
        self._server.kill()
        for party in self.parties:
            await party.until(up=False)
        await asyncio.to_thread(self._server.start)

    async def reset(self, who: int) -> None:
        self._clock.jump()
        self._proxies[who].reset()


def on_real(scripts: Sequence[Sequence[Step]]) -> list[list[Any]]:
    """Plays them side by side, each on a server of its own: what takes time is only the waiting before each healing."""

    async def one(server: RedisServer, steps: Sequence[Step]) -> list[Any]:
        async with AsyncExitStack() as stack:
            world = _Real(server, stack)
            await world.open()
            return await play(world, steps)

    async def all_of_them() -> list[list[Any]]:
        with ExitStack() as stack:
            # All before the first begins: nobody's answer may be late because another one's server starts.
            servers = [stack.enter_context(RedisServer()) for _ in scripts]
            return await asyncio.gather(*map(one, servers, scripts))

    with capture_logs():
        return asyncio.run(all_of_them())
