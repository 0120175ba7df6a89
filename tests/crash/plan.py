"""Where the gateway dies in each cycle: every failpoint in turn, and in between at any moment, by a kill from outside."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from holdfast.failpoints import NAMES, VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIFE", "OUTSIDE", "Death", "names_of", "plan"]

LIFE: Final = 8
"""Deaths that one ledger lives through."""
OUTSIDE: Final = "from outside"

Phase: TypeAlias = Literal["load", "start", "fresh", "idle", "drain"]
"""When it is hit: under load; as the process starts; as it starts on no ledger; while time passes; after SIGTERM."""

_PHASE: Final[Mapping[str, Phase]] = {
    "recovery": "start",
    "start": "start",
    "lease": "idle",
    "drain": "drain",
    "recovery.migrating": "fresh",
}
_MOST: Final[Mapping[str, int]] = {
    "group": 20, "send": 30, "send.piece": 200, "send.end": 15, "caller": 15, "caller.piece": 150,
    "settle": 25, "intent": 25, "bound": 5, "idempotency": 8, "idempotency.failed": 2, "idempotency.forgotten": 2,
    "session": 3, "recovery.migrating": 6,
}  # fmt: skip  # a list reads better packed
"""At which hit it dies at the latest."""
_OUTSIDE_SHARE: Final = 0.2
_SLOW_SHARE: Final = 0.4
_PAUSED: Final = ("group.begun", "group.intents", "group.ends", "group.committed")
_CYCLE_S: Final = 0.8
"""About how long a cycle's start and load take: a kill from outside comes at any moment of it."""


@dataclass(frozen=True)
class Death:
    """How one cycle's gateway is to die."""

    name: str
    """A failpoint's, or :data:`OUTSIDE`."""
    phase: Phase
    hit: int = 1
    after_s: float = 0.0
    """Of a kill from outside: seconds from the process' start. Of a drain: from the first request to SIGTERM."""

    slow: str = ""
    """Failpoints that pause: a slow disk makes the time between two instructions long enough to die in."""

    @property
    def env(self) -> dict[str, str]:
        kill = "" if self.name == OUTSIDE else f"{self.name}=kill@{self.hit}"
        told = ";".join(part for part in (self.slow, kill) if part)
        return {VARIABLE: told} if told else {}

    def __str__(self) -> str:
        when = f" after {self.after_s:.3f} s" if self.name == OUTSIDE else f"@{self.hit}"
        return f"{self.name}{when}{f', {self.slow}' if self.slow else ''}"


_SQLITE_ONLY: Final = frozenset(("group.closed", "group.attempts"))
"""PostgreSQL closes requests, writes their attempts and charges them in one statement."""


def names_of(ledger: str) -> tuple[str, ...]:
    """The failpoints that a gateway on ``sqlite`` or ``postgres`` comes to."""
    return tuple(name for name in NAMES if ledger == "sqlite" or name not in _SQLITE_ONLY)


def plan(seed: int, cycles: int, names: tuple[str, ...] = tuple(NAMES)) -> list[list[Death]]:
    """The deaths of ``cycles`` cycles, life by life. Every name gets its share, and one in five dies from outside.

    Where a process starts on no ledger it is a life's first; whoever dies of recovery has something to recover.
    """
    rng = random.Random(f"crash plan {seed}")
    outside = round(cycles * _OUTSIDE_SHARE)
    deaths = [_death(names[i % len(names)], rng) for i in range(cycles - outside)]
    deaths += [
        Death(OUTSIDE, "load", after_s=rng.uniform(0, _CYCLE_S), slow=_slow(OUTSIDE, rng))
        for _ in range(outside)
    ]
    rng.shuffle(deaths)
    lives = [deaths[at : at + LIFE] for at in range(0, cycles, LIFE)]
    fresh = [death for death in deaths if death.phase == "fresh"]
    for life in lives:
        life[:] = [death for death in life if death.phase != "fresh"]
    for i, death in enumerate(fresh):
        lives[i % len(lives)].insert(0, death)
    for life in lives:
        _load_first(life)
    assert Counter(death for life in lives for death in life) == Counter(deaths)
    return [life for life in lives if life]


def _death(name: str, rng: random.Random) -> Death:
    part = name.partition(".")[0]
    phase = _PHASE.get(name, _PHASE.get(part, "load"))
    most = _MOST.get(name, _MOST.get(part, 1))
    after_s = rng.uniform(0, 0.3) if phase == "drain" else 0.0
    slow = _slow(name, rng) if phase in ("load", "drain") else ""
    return Death(name, phase, hit=rng.randint(1, most), after_s=after_s, slow=slow)


def _slow(name: str, rng: random.Random) -> str:
    place = rng.choice([place for place in _PAUSED if place != name])
    seed = rng.randrange(1000)
    return f"{place}=pause:0.03@p0.3,seed={seed}" if rng.random() < _SLOW_SHARE else ""


def _load_first(life: list[Death]) -> None:
    """A recovery needs something that was left open: each is put behind a death under load, if there is one."""
    loads = [i for i, death in enumerate(life) if death.phase == "load"]
    first = next((i for i, death in enumerate(life) if death.phase != "fresh"), None)
    if loads and first is not None and loads[0] != first:
        life[first], life[loads[0]] = life[loads[0]], life[first]
