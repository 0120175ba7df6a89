"""One ledger's life: gateways start on it, serve, and are killed, again and again; in the end one is stopped in order."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tests.crash.callers import Callers
from tests.crash.evidence import Evidence, Served
from tests.crash.judge import Fault, judge
from tests.crash.plan import OUTSIDE
from tests.crash.world import ADMIN_KEY, PRICE_IN, PRICE_OUT, PROVIDERS, ROUTES, chaos_of, write
from tests.support.http import ask

from holdfast.chaos import run_chaos
from holdfast.failpoints import VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.crash.database import Database
    from tests.crash.evidence import Ask
    from tests.crash.nursery import Gateway, Nursery
    from tests.crash.plan import Death

    from holdfast.chaos import Entry

__all__ = ["SLOW_DISK", "Cycle", "Life", "Lived"]

_AT_ONCE: Final = 24
"""New requests in flight in each wave."""
_WAVES: Final = 8
"""Waves after which a failpoint that wasn't hit is given up, and the gateway is killed from outside."""
_MIDST_S: Final = 0.1
_LOOKING: Final = 3
"""Callers who ask again for an answer that they have."""
_IDLE_S: Final = 25.0
"""How long the next renewal of a lease is waited for."""
_LATE: Final = 8
"""Requests that the last gateway still serves when it is told to stop."""
SLOW_DISK: Final = "group.begun=pause:0.03@p0.5"
_LAST: Final = 6
"""Rounds in which who still waits for an answer comes back to the last gateway."""
_NONCE: Final = re.compile(rb"nonce=([\w-]+);")


@dataclass(frozen=True)
class Cycle:
    """How one start of the gateway ended."""

    number: int
    death: Death
    hit: bool
    """It died where it was to; else a kill from outside ended it."""
    in_flight: int
    """Requests that it left open."""
    seconds: float


@dataclass
class Lived:
    """What a life came to."""

    seed: str
    cycles: list[Cycle] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    requests: int = 0
    """Calls."""
    attempts: int = 0
    """In the provider's journal."""
    delivered: int = 0
    replayed: int = 0
    states: dict[str, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    """Errors, by code."""
    folder: str = ""
    """Where it is kept, if it broke a promise."""


class Life:
    """Args:
    seed: of everything that happens. deaths: in their order. folder: for what it writes; who made it removes it.
    slow_end: what makes the last gateway's disk slow. routes: that callers ask for. script: the
    provider's, instead of :func:`~tests.crash.world.chaos_of`'s.
    """

    def __init__(
        self,
        seed: str,
        deaths: list[Death],
        *,
        folder: Path,
        nursery: Nursery,
        database: Database,
        slow_end: str = SLOW_DISK,
        routes: Sequence[str] = tuple(ROUTES),
        script: str | None = None,
    ) -> None:
        self._deaths = deaths
        self._slow_end = slow_end
        self._script = script
        self._read = 0
        self._folder = folder
        self._nursery = nursery
        self._database = database
        self._rng = random.Random(f"crash life {seed}")
        self._callers = Callers(self._rng, f"w{seed.replace('/', 'x')}", routes)
        self.evidence = Evidence(asks=self._callers.asks, calls=self._callers.calls)
        self.lived = Lived(seed)

    async def run(self) -> Lived:
        with run_chaos(chaos_of(self._rng.getrandbits(32), self._script)) as chaos:
            write(self._folder / "gateway.toml", chaos.base_url, self._database.url)
            for number, death in enumerate(self._deaths):
                self.lived.cycles.append(await self._cycle(number, death))
            await self._last(len(self._deaths))
            entries = await asyncio.to_thread(
                chaos.wait_for, lambda found: all(each.end for each in found), 20
            )
            self._gather(entries)
        self.lived.faults += judge(self.evidence)
        self._check_log()
        if self.lived.faults:
            (self._folder / "evidence.txt").write_text(self._told())
        return self.lived

    def _told(self) -> str:
        """All that is known of the asks that faults name: the database may be gone when somebody looks."""
        found, evidence = [], self.evidence
        for nonce, asked in evidence.asks.items():
            if any(re.search(rf"{nonce}\b", fault.what) for fault in self.lived.faults):
                found += [str(asked)]
                found += [str(call) for call in evidence.calls if call.nonce == nonce]
                found += [str(served) for served in evidence.served if served.nonce == nonce]
                found += [
                    f"{snapshot.label}: {row}"
                    for snapshot in evidence.snapshots
                    for row in snapshot.rows
                    if row.nonce == nonce
                ]
        return "\n".join(found)

    # One cycle.

    async def _cycle(self, number: int, death: Death) -> Cycle:
        began = time.monotonic()
        gateway = await self._start(death.env)
        timer = None
        if death.name == OUTSIDE:
            timer = asyncio.get_running_loop().call_later(death.after_s, gateway.signal, signal.SIGKILL)
        port = await gateway.port()
        if port is not None:
            if not gateway.gone:
                self._look(f"after start {number}", number, recovered=True)
            await self._serve(gateway, port, number, death)
        hit = await self._end(gateway, death)
        if timer is not None:
            timer.cancel()
        self._database.bury()
        open_ones = self._look(f"after death {number} ({death})", number, recovered=False)
        return Cycle(number, death, hit, open_ones, time.monotonic() - began)

    async def _serve(self, gateway: Gateway, port: int, number: int, death: Death) -> None:
        """Until it dies, or there is no more to ask."""
        callers, died = self._callers, asyncio.ensure_future(gateway.exited.wait())
        if death.phase == "drain":
            asyncio.get_running_loop().call_later(death.after_s, gateway.signal, signal.SIGTERM)
        for wave in range(_WAVES):
            asks = callers.new(_AT_ONCE) + (callers.returning(_LOOKING) if not wave else [])
            if (
                wave == _WAVES - 1 and death.phase == "load"
            ):  # in vain: it dies in the midst of work all the same
                asyncio.get_running_loop().call_later(_MIDST_S, gateway.signal, signal.SIGKILL)
            await callers.ask(port, asks, number)
            if died.done() or death.phase in ("idle", "drain", "start", "fresh"):
                break
        if death.phase in ("idle", "drain"):
            await asyncio.wait({died}, timeout=_IDLE_S)
        died.cancel()

    async def _end(self, gateway: Gateway, death: Death) -> bool:
        """Whether it died as it was to. It is dead in every case."""
        if death.name != OUTSIDE:
            await self._dies(gateway)
        gateway.signal(signal.SIGKILL)
        status = await gateway.over()
        if status not in (-signal.SIGKILL, 0):
            self._fault("OP1", f"the gateway ended with {status} instead of dying at {death}")
        return death.name == OUTSIDE or f"kill at {death.name}" in self._said()

    def _said(self) -> str:
        """What gateways have written on stderr since this was asked last."""
        with (self._folder / "gateway.log").open(errors="replace") as log:
            log.seek(self._read)
            said = log.read()
            self._read = log.tell()
        return said

    async def _dies(self, gateway: Gateway) -> None:
        """The last callers may have heard their connections break before its end was seen."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await gateway.exited.wait()

    async def _last(self, number: int) -> None:
        """A gateway that nobody kills: everybody gets an answer, everything is given back, and it stops in order."""
        gateway = await self._start({VARIABLE: self._slow_end})
        port = await gateway.port()
        if port is None:
            self._fault("LE1", f"the gateway doesn't start any more: it ended with {await gateway.over()}")
            self._look("at the end", number, recovered=False)
            return
        self._look(f"after start {number}", number, recovered=True)
        callers = self._callers
        for _ in range(_LAST):
            await callers.ask(port, callers.returning(4 * _LOOKING), number)
            if not callers.again:
                break
        told = {call.nonce for call in callers.calls if call.cycle == number and call.whole}
        for nonce in callers.again.keys() - told:
            self._fault("ID1", f"{nonce} has a key, and never gets an answer")
        held = await self._reservations(port)
        last = asyncio.ensure_future(callers.ask(port, callers.new(_LATE), number))
        asyncio.get_running_loop().call_later(self._rng.uniform(0, 0.1), gateway.signal, signal.SIGTERM)
        status = await gateway.over()
        await last
        if status:
            self._fault("OP1", f"the last gateway ended with {status}")
        self._look("at the end", number, recovered=True, reservations=held)

    async def _reservations(self, port: int) -> int:
        """Open ones, once those are over whose callers have just had their last byte."""
        for _ in range(100):
            answer = await ask(
                port, method="GET", path="/admin/budgets", headers={"authorization": f"Bearer {ADMIN_KEY}"}
            )
            said = json.loads(answer.body)
            if not said["reservations"]:
                break
        return int(said["reservations"])

    async def _start(self, env: dict[str, str]) -> Gateway:
        given = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), **env}
        argv = ("serve", "--config", str(self._folder / "gateway.toml"))
        return await self._nursery.start(argv, given, self._folder / "gateway.log")

    # What is known in the end.

    def _look(self, label: str, number: int, *, recovered: bool, reservations: int | None = None) -> int:
        """Requests that are open in the database now."""
        snapshot = self._database.snapshot(label, number, recovered=recovered)
        if reservations is not None:
            snapshot = replace(snapshot, reservations=reservations)
        self.evidence.snapshots.append(snapshot)
        return sum(row.state == "in_flight" for row in snapshot.rows)

    def _gather(self, entries: list[Entry]) -> None:
        self.evidence.served = [_served(entry, self.evidence.asks) for entry in entries]
        lived, last = self.lived, self.evidence.snapshots[-1]
        lived.requests, lived.attempts = len(self.evidence.calls), len(entries)
        lived.delivered = sum(call.success for call in self.evidence.calls)
        lived.replayed = sum(call.replayed for call in self.evidence.calls)
        lived.states = dict(Counter(row.state for row in last.rows))
        lived.told = dict(Counter(call.error for call in self.evidence.calls if call.error))

    def _check_log(self) -> None:
        """A fault of the product's own may show nowhere else."""
        said = (self._folder / "gateway.log").read_text(errors="replace")
        if "Traceback" in said:
            at = said.index("Traceback")
            self._fault("IN2", f"the gateway's log has a traceback: {said[at : at + 2000]}")

    def _fault(self, promise: str, what: str) -> None:
        self.lived.faults.append(Fault(promise, "wrong", what))


def _served(entry: Entry, asks: Mapping[str, Ask]) -> Served:
    found = _NONCE.search(entry.body)
    assert found is not None, entry.body
    nonce, usage = found[1].decode(), entry.usage
    bill = usage.prompt_tokens * PRICE_IN + usage.completion_tokens * PRICE_OUT
    cut = entry.end == "client_left"
    return Served(
        nonce=nonce,
        provider=PROVIDERS[entry.model or ""],
        arrived_ns=entry.arrived_wall_ns,
        bill_nano=bill,
        may_nano=usage.prompt_tokens * PRICE_IN + asks[nonce].max_tokens * PRICE_OUT if cut else bill,
        text=entry.text,
    )
