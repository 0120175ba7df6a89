"""Each seed draws a world of several processes: what they share, what befalls it, and who asks.

As in :mod:`tests.simulation.draw` nothing is at a fixed rate, each kind of trouble is absent from most worlds, and a plan is
plain data of which any part may be taken out.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any, Final

import msgspec
from tests.simulation.replicas.database import LEASE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PARTS", "Ask", "Plan", "Trouble", "draw", "hours_of", "without"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    n: int
    at_s: float
    replica: int
    """Which process it comes to; the next one that lives, if that one doesn't."""
    stream: bool
    words: int
    key: str
    session: str | None
    team: str | None
    leaves_s: float | None = None
    only: str | None = None
    """Asks this target, and no other."""
    once: str | None = None
    """Its idempotency key: all that have it ask for the same."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Something that befalls somebody, from when to when."""

    what: str
    at_s: float
    end_s: float
    replica: int = 0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A world."""

    seed: int
    length_s: float
    replicas: int
    skews_s: tuple[float, ...]
    database_s: float
    """Of one way to the database, at most."""
    database_fails: float
    redis_s: float
    redis_spikes: float
    wall_s: float
    """Before a midnight the world begins."""
    rules: tuple[dict[str, Any], ...]
    rate: dict[str, Any] | None
    model_rate: dict[str, Any] | None
    breaker: dict[str, Any] | None
    head_s: float
    gap_s: float
    provider_fails: float
    """The share of attempts that break, one way or another."""
    troubles: tuple[Trouble, ...]
    asks: tuple[Ask, ...]
    ttl_s: float = 3600.0
    """For how long an idempotency key stands after its run."""


PARTS: Final = {
    "crash": (0.5, 0.0, 40.0),
    "freeze": (0.5, 1.0, 60.0),
    "database_down": (0.3, 0.05, 20.0),
    "database_cut": (0.4, 0.05, 60.0),
    "redis_down": (0.3, 0.05, 30.0),
    "redis_forgets": (0.25, 0.05, 10.0),
    "redis_older": (0.25, 0.05, 10.0),
    "redis_hangs": (0.3, 0.01, 20.0),
    "redis_cut": (0.35, 0.05, 60.0),
    "redis_flush": (0.3, 0.0, 0.0),
    "redis_reset": (0.3, 0.0, 0.0),
    "provider_down": (0.6, 0.5, 30.0),
}
"""What may befall a world: the share of worlds that have it, and how long it lasts, from and to."""

_HOURS: Final = (0.03, 0.3)


def hours_of(seed: int) -> float:
    low, high = _HOURS
    return random.Random(f"replicas' length {seed}").uniform(low, high)


def draw(seed: int, *, hours: float | None = None, have: Sequence[str] = (), load: float = 1.0) -> Plan:
    """The world of a seed.

    Args:
        hours: how long it fails; drawn, if None.
        have: parts that it has in any case: of :data:`PARTS`, or ``rules``, ``rate``, ``breaker``, ``database_fails``,
            ``keys``.
        load: multiplies the number of requests.
    """
    rng = random.Random(f"replicas {seed}")
    length_s = (hours_of(seed) if hours is None else hours) * 3600
    replicas = rng.choice((2, 2, 3, 4))
    fails = 10 ** rng.uniform(-3, -1)
    keys = random.Random(f"replicas' keys {seed}")
    keyed = keys.random() < 0.6 or "keys" in have
    return Plan(
        seed=seed,
        length_s=round(length_s, 3),
        replicas=replicas,
        skews_s=tuple(round(rng.choice((0.0, rng.uniform(-5, 5))), 3) for _ in range(replicas)),
        database_s=10 ** rng.uniform(-3.3, -1.3),
        database_fails=fails if rng.random() < 0.35 or "database_fails" in have else 0.0,
        redis_s=10 ** rng.uniform(-3.7, -2.5),
        redis_spikes=rng.choice((0.0, 0.0, 10 ** rng.uniform(-4, -2))),
        wall_s=rng.choice((7200.0, length_s * rng.random())),
        rules=_rules(rng) if rng.random() < 0.75 or "rules" in have else (),
        rate=_rate(rng) if rng.random() < 0.5 or "rate" in have else None,
        model_rate=_rate(rng, windows=(1.0, 5.0)) if rng.random() < 0.25 else None,
        breaker=_breaker(rng) if rng.random() < 0.5 or "breaker" in have else None,
        head_s=10 ** rng.uniform(-2, 0.5),
        gap_s=10 ** rng.uniform(-3, -0.3),
        provider_fails=rng.choice((0.0, 10 ** rng.uniform(-2.5, -0.7))),
        troubles=_troubles(rng, length_s, replicas, have),
        asks=_keyed(keys, _asks(rng, length_s, replicas, load))
        if keyed
        else _asks(rng, length_s, replicas, load),
        ttl_s=keys.choice((3600.0, 20.0)),
    )


def without(plan: Plan, part: str) -> Plan:
    """``plan`` without a kind of trouble, or one of its settings (``rules``, ``rate``, ``breaker`` …), or ``keys``."""
    if part == "keys":
        asks = tuple(msgspec.structs.replace(ask, once=None) for ask in plan.asks)
        return msgspec.structs.replace(plan, asks=asks)
    if part in PARTS or any(name.startswith(part + "_") for name in PARTS):
        kept = tuple(each for each in plan.troubles if not each.what.startswith(part))
        return msgspec.structs.replace(plan, troubles=kept)
    if part not in (
        "rules",
        "rate",
        "model_rate",
        "breaker",
        "database_fails",
        "redis_spikes",
        "provider_fails",
    ):
        raise ValueError(f"there is no part {part!r}")
    empty: Any = () if part == "rules" else 0.0 if part.endswith(("fails", "spikes")) else None
    return msgspec.structs.replace(plan, **{part: empty})


def _troubles(rng: random.Random, length_s: float, replicas: int, have: Sequence[str]) -> tuple[Trouble, ...]:
    troubles = []
    for what, (share, least_s, most_s) in PARTS.items():
        if rng.random() >= share and what not in have:
            continue
        for _ in range(rng.choice((1, 1, 3, 8))):
            at_s = rng.uniform(0, length_s)
            lasts_s = math.exp(rng.uniform(math.log(least_s + 0.01), math.log(most_s + 0.01)))
            if most_s > LEASE_S and rng.random() < 0.5:  # as long as it takes to be given up
                lasts_s = rng.uniform(LEASE_S - 5.0, most_s)
            who = rng.randrange(replicas)
            troubles.append(
                Trouble(what=what, at_s=round(at_s, 4), end_s=round(at_s + lasts_s, 4), replica=who)
            )
    return tuple(sorted(troubles, key=lambda each: each.at_s))


def _rules(rng: random.Random) -> tuple[dict[str, Any], ...]:
    rules = []
    for number in range(rng.randint(1, 3)):
        scope = rng.choice(("all", "all", "key", "session", "team"))
        window = "session" if scope == "session" else rng.choice(("day", "month", "forever"))
        rule: dict[str, Any] = {"name": f"b{number}", "scope": scope, "window": window}
        if rng.random() < 0.7:
            rule["limit_nano"] = round(10 ** rng.uniform(6.5, 9))
        else:
            rule["limit_tokens"] = round(10 ** rng.uniform(3.2, 5.3))
        rules.append({**rule, "hard": rng.random() < 0.85})
    return tuple(rules)


def _rate(rng: random.Random, windows: Sequence[float] = (1.0, 5.0, 20.0, 60.0)) -> dict[str, Any]:
    return {
        "requests": round(10 ** rng.uniform(0.7, 1.7)),
        "window_s": rng.choice(windows),
        "max_queue": rng.choice((0, 0, 5, 50)),
        "max_wait_s": rng.choice((0.5, 10.0)),
    }


def _breaker(rng: random.Random) -> dict[str, Any]:
    return {
        "failure_threshold": rng.choice((1, 2, 3, 5)),
        "success_threshold": rng.choice((1, 2, 3, 5)),
        "min_requests": rng.choice((None, 1, 5)),
        "window_s": rng.choice((5.0, 30.0, 120.0)),
        "open_s": round(10 ** rng.uniform(-0.3, 1.0), 3),
        "max_open_s": 20.0,
        "half_open_s": round(10 ** rng.uniform(0, 1.3), 3),
    }


def _asks(rng: random.Random, length_s: float, replicas: int, load: float) -> tuple[Ask, ...]:
    count = round(math.exp(rng.uniform(math.log(300), math.log(5000))) * load * length_s / 3600)
    keys, leaving = rng.choice((1, 1, 3)), rng.choice((0.0, 0.0, 0.1))
    words = rng.choice((4, 20, 100))
    times = [rng.uniform(0, length_s) for _ in range(round(count * rng.uniform(0.2, 0.9)))]
    width_s, size = rng.choice((0.0, 0.2, 3.0)), round(10 ** rng.uniform(0.3, 1.7))
    while len(times) < count:
        start = rng.uniform(0, length_s)
        times += [start + rng.uniform(0, width_s) for _ in range(min(size, count - len(times)))]
    return tuple(
        Ask(
            n=n,
            at_s=round(at_s, 6),
            replica=rng.randrange(replicas),
            stream=rng.random() < 0.6,
            words=rng.randint(1, words),
            key=f"key-{rng.randrange(keys)}",
            session=rng.choice((None, "s1", "s2")),
            team=rng.choice((None, "team-0", "team-1")),
            leaves_s=round(10 ** rng.uniform(-3, 1), 6) if rng.random() < leaving else None,
        )
        for n, at_s in enumerate(sorted(times))
    )


def _keyed(rng: random.Random, asks: tuple[Ask, ...]) -> tuple[Ask, ...]:
    """Some have an idempotency key, which later ones may have too: soon, as of a caller that asks again, or at any time."""
    share, again, soon = rng.choice((0.1, 0.5, 1.0)), rng.choice((0.3, 0.7)), rng.choice((0.2, 0.8))
    first: list[Ask] = []
    """Who was the first with a key."""
    keyed = []
    for ask in asks:
        if rng.random() >= share:
            keyed.append(ask)
        elif first and rng.random() < again:
            its = rng.choice(first[-3:] if rng.random() < soon else first)
            same = {"once": its.once, "key": its.key, "stream": its.stream, "words": its.words}
            keyed.append(msgspec.structs.replace(ask, **same))
        else:
            first.append(msgspec.structs.replace(ask, once=f"once-{ask.n}"))
            keyed.append(first[-1])
    return tuple(keyed)
