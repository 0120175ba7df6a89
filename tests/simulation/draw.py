"""Each seed draws a world of its own: its providers and how they fail, its callers, its route and its policies.

Nothing is at a fixed rate. With one rate for all worlds a guard that only matters when failures are rare (or dense, or come
all at once) is never needed, and a world in which it is missing passes; rates are therefore drawn over orders of magnitude,
and each kind of fault is absent from most worlds.

A :class:`Plan` says everything, as plain data, and holds nothing that depends on the order of events: what a provider does
with a request is drawn from the plan's seed, its own name and the number of the request. So a part may be taken out of a
plan, and the rest stays as it was. Shrinking lives on that.
"""

from __future__ import annotations

import math
import random
from typing import Any, Final, Literal

import msgspec

from holdfast.engine.policy import OnBreak  # noqa: TC001  # msgspec resolves the annotations of a Plan

__all__ = [
    "DEFAULT_LOAD",
    "FAULTS",
    "POLICIES",
    "Ask",
    "Capacity",
    "Crash",
    "Episode",
    "Plan",
    "ProviderPlan",
    "RoutePlan",
    "draw",
    "hours_of",
]

DEFAULT_LOAD: Final = 1.0
"""Multiplies the number of requests; at 1 a world sees about a thousand an hour."""

_PER_HOUR: Final = (250.0, 2500.0)
"""Requests an hour of a world at load 1: drawn between these, evenly on a logarithmic scale."""

_HOURS: Final = (0.25, 1.75)
"""How long a world is unsafe: on average an hour."""

FAULTS: Final = (
    "slow",  # the first content comes late
    "lags",  # long gaps between pieces
    "hung",  # takes the request and says nothing
    "stalls",  # begins, then says nothing more
    "pings",  # alive, and nothing but comments
    "cuts",  # the connection ends in order, in the middle
    "resets",  # the connection breaks in the middle
    "drops",  # the connection breaks before a byte came
    "garbage",  # an event that isn't JSON
    "tidy",  # an end marker without a finish reason
    "unfinished",  # every word, and the end of the connection in the place of the finish reason
    "late_break",  # after the finish reason, where it does no harm any more
    "goes_on",  # content after the finish reason
    "error_event",  # a 200 with an error inside
    "html",  # a 200 that is no answer
    "down",  # 500
    "overloaded",  # 503 or 529
    "limited",  # 429 with Retry-After
    "quota",  # 429, and no credit left
    "auth",  # 401
    "unreachable",  # no connection
    "far",  # connecting takes longer than anybody waits
)
"""What a provider may do to one request, other than serving it."""

_LASTING: Final = (
    "hung",
    "pings",
    "drops",
    "down",
    "overloaded",
    "limited",
    "unreachable",
    "far",
    "slow",
    "stalls",
    "resets",
)
"""Faults that come in episodes: an outage is one thing for a while."""

WALL_S: Final = (0, 0, 20 * 60, 40 * 60)
"""Seconds before a midnight that also ends a month, at which a world with budgets begins; 0: it is that midnight."""

_ON_BREAK: Final[tuple[OnBreak, ...]] = ("error", "error", "resume", "resume", "buffer")

Answer = Literal["seconds", "decimals", "date", "ms", "nonsense", "none"]
"""How a refusal says when to come back."""


class Episode(msgspec.Struct, frozen=True, array_like=True):
    """From ``start_s`` to ``end_s`` a provider does ``mood`` to ``share`` of its requests."""

    start_s: float
    end_s: float
    mood: str
    share: float


class Capacity(msgspec.Struct, frozen=True, array_like=True):
    """From ``at_s`` on it serves ``places`` requests at once, and refuses others with ``status``."""

    at_s: float
    places: int
    status: int


class Crash(msgspec.Struct, frozen=True, array_like=True):
    """At ``at_s`` what is open is given up, as after a crash. Unless ``dead``, its process lives on, and ends come late."""

    at_s: float
    dead: bool


class ProviderPlan(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    kind: str
    head_s: float
    """Typically from a request to its answer's head; each one is drawn around it."""
    gap_s: float
    """Likewise, between two pieces."""
    tier: int
    weight: float
    rates: dict[str, float]
    """How likely each fault is, all the time."""
    episodes: tuple[Episode, ...]
    capacity: tuple[Capacity, ...]
    retry_after: Answer
    retry_after_s: float
    signals: bool
    """Its 429 also say when its own limit is free again."""
    timeouts: dict[str, float]
    retry: dict[str, Any]


class RoutePlan(msgspec.Struct, frozen=True, kw_only=True):
    total_s: float
    max_attempts: int
    on_break: OnBreak


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One request."""

    n: int
    at_s: float
    stream: bool
    words: int
    """How long its answer is."""
    leaves_s: float | None = None
    """The client leaves after so long, if it hasn't heard all by then."""
    total_s: float | None = None
    """The client's own deadline."""
    read_s: float | None = None
    pause_s: float = 0.0
    """How long it reads nothing, once, in the middle."""
    usage: bool = False
    """It asks for the stream's usage."""
    bad: bool = False
    """Its own fault: every provider refuses it."""
    agreed: bool = False
    """Every provider says the same, so that a broken stream can be gone on with."""
    key: str = "local"
    only: str | None = None
    """It asks this provider and no other."""
    retry: int = 0
    """The client itself has asked before."""
    session: str | None = None
    team: str | None = None
    project: str | None = None
    """A tag."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A world, until it heals."""

    seed: int
    length_s: float
    providers: tuple[ProviderPlan, ...]
    route: RoutePlan
    asks: tuple[Ask, ...]
    ledger_s: float
    """How long writing an intent takes."""
    ledger_down: tuple[tuple[float, float], ...]
    """When it can't be written."""
    policies: dict[str, dict[str, Any]]
    """The settings of each policy that this world has, by the policy's name; ``wire.py`` makes them."""
    crashes: tuple[Crash, ...] = ()


def draw(seed: int, *, load: float = DEFAULT_LOAD, hours: float | None = None) -> Plan:
    """The world of ``seed``, which lasts ``hours`` instead of its own length where given."""
    rng = random.Random(f"world {seed}")
    own_hours = rng.uniform(*_HOURS)
    length_s = round((own_hours if hours is None else hours) * 3600, 3)
    route = RoutePlan(
        total_s=rng.choice((5.0, 15.0, 30.0, 60.0, 120.0, 600.0)),
        max_attempts=rng.choice((1, 2, 3, 4, 6, 6, 6, 10)),
        on_break=rng.choice(_ON_BREAK),
    )
    count = rng.choice((1, 2, 2, 2, 3, 3, 4))
    equals = rng.random() < 0.3
    # One scale for a whole world: its providers are all rather good or all rather bad.
    trouble = 10 ** rng.uniform(-3, -0.3)
    providers = tuple(_provider(rng, index, length_s, trouble, equals=equals) for index in range(count))
    ledger_down: tuple[tuple[float, float], ...] = ()
    if rng.random() < 0.15:
        start = rng.uniform(0, length_s)
        ledger_down = ((start, start + rng.uniform(1, 120)),)
    return Plan(
        seed=seed,
        length_s=length_s,
        providers=providers,
        route=route,
        asks=_asks(
            random.Random(f"asks {seed}"),
            random.Random(f"subjects {seed}"),
            length_s,
            load,
            total_s=route.total_s,
        ),
        ledger_s=rng.choice((0.0, 0.0, 0.002, 0.02)),
        ledger_down=ledger_down,
        policies=policies(random.Random(f"policies {seed}")),
        crashes=_crashes(random.Random(f"crashes {seed}"), length_s),
    )


def hours_of(seed: int) -> float:
    """How long the world of ``seed`` lasts until it heals, without drawing the rest of it."""
    return round(random.Random(f"world {seed}").uniform(*_HOURS) * 3600, 3) / 3600


def _provider(
    rng: random.Random, index: int, length_s: float, trouble: float, *, equals: bool
) -> ProviderPlan:
    kind = rng.choice(
        ("healthy", "healthy", "slow", "flapping", "dead", "hung", "capacity", "ragged", "mixed")
    )
    head_s = 10 ** rng.uniform(-1.5, 0.5) * (8 if kind == "slow" else 1)
    first_token_s = rng.choice((2.0, 5.0, 30.0))
    answer_s = rng.choice((3.0, 20.0, 600.0))
    max_s = rng.choice((1.0, 8.0, 30.0))
    return ProviderPlan(
        name="abcd"[index],
        kind=kind,
        head_s=head_s,
        gap_s=10 ** rng.uniform(-2.5, 0),
        tier=rng.randint(0, 1) if equals else index,
        weight=rng.choice((1.0, 1.0, 0.1, 5.0)),
        rates=_rates(rng, kind, trouble),
        episodes=_episodes(rng, kind, length_s),
        capacity=_capacity(rng, length_s) if kind == "capacity" or rng.random() < 0.1 else (),
        retry_after=rng.choice(("seconds", "decimals", "date", "ms", "nonsense", "none")),
        retry_after_s=round(10 ** rng.uniform(-1, 2), 3),
        signals=rng.random() < 0.3,
        timeouts={
            "connect_s": rng.choice((0.5, 2.0, 5.0)),
            "first_token_s": first_token_s,
            "answer_s": answer_s,
            "idle_s": rng.choice((1.0, 5.0, 30.0)),
            "min_tokens_per_s": rng.choice((0.0, 0.0, 0.0, 1.0)),
        },
        retry={
            "max_retries": rng.choice((0, 1, 2, 2, 3)),
            "base_s": min(rng.choice((0.05, 0.5, 2.0, max_s)), max_s),
            "multiplier": rng.choice((1.0, 2.0, 3.0)),
            "max_s": max_s,
            "jitter": rng.choice(("full", "full", 0.0, 0.2)),
        },
    )


def _rates(rng: random.Random, kind: str, trouble: float) -> dict[str, float]:
    if kind in ("healthy", "dead", "hung") and rng.random() < 0.5:
        return {}
    if kind == "ragged":
        names = [
            "cuts",
            "resets",
            "stalls",
            "garbage",
            "tidy",
            "unfinished",
            "late_break",
            "goes_on",
            "error_event",
            "lags",
        ]
    else:
        names = list(FAULTS)
    chosen = rng.sample(names, rng.randint(1, 6))
    return {name: round(min(0.5, trouble * 10 ** rng.uniform(-0.7, 0.7)), 5) for name in chosen}


def _episodes(rng: random.Random, kind: str, length_s: float) -> tuple[Episode, ...]:
    mood = rng.choice(_LASTING)
    if kind == "dead":
        start = rng.choice((0.0, rng.uniform(0, length_s)))
        mood = rng.choice(("down", "unreachable", "drops", "overloaded", "limited"))
        return (Episode(start, length_s, mood, rng.choice((1.0, 1.0, 0.9))),)
    if kind == "hung":
        start = rng.uniform(0, length_s)
        return (
            Episode(start, start + 10 ** rng.uniform(1, 3.5), rng.choice(("hung", "stalls", "pings")), 1.0),
        )
    if kind == "flapping":
        mean_s = 10 ** rng.uniform(0, 2.5)
        spans = list(_alternating(rng, length_s, mean_s))
        return tuple(Episode(start, end, mood, 1.0) for start, end in spans[:2000:2])
    if kind == "mixed":
        starts = sorted(rng.uniform(0, length_s) for _ in range(rng.randint(1, 8)))
        return tuple(
            Episode(
                start, start + 10 ** rng.uniform(0, 2.7), rng.choice(_LASTING), rng.choice((1.0, 0.5, 0.1))
            )
            for start in starts
        )
    return ()


def _alternating(rng: random.Random, length_s: float, mean_s: float) -> list[tuple[float, float]]:
    spans, now = [], 0.0
    while now < length_s:
        end = now + rng.expovariate(1 / mean_s)
        spans.append((now, end))
        now = end
    return spans


def _capacity(rng: random.Random, length_s: float) -> tuple[Capacity, ...]:
    steps = [0.0, *sorted(rng.uniform(0, length_s) for _ in range(rng.randint(0, 6)))]
    status = rng.choice((429, 503, 529))
    return tuple(Capacity(at, round(10 ** rng.uniform(0, 1.7)), status) for at in steps)


def _crashes(rng: random.Random, length_s: float) -> tuple[Crash, ...]:
    if rng.random() < 0.7:
        return ()
    times = sorted(rng.uniform(0, length_s) for _ in range(rng.choice((1, 5, 25))))
    return tuple(Crash(round(at_s, 6), rng.random() < 0.6) for at_s in times)


def _asks(
    rng: random.Random, subjects: random.Random, length_s: float, load: float, *, total_s: float
) -> tuple[Ask, ...]:
    low, high = _PER_HOUR
    count = round(math.exp(rng.uniform(math.log(low), math.log(high))) * load * length_s / 3600)
    leaving = rng.choice((0.0, 0.02, 0.2))
    own_deadline = rng.choice((0.0, 0.05, 0.5))
    pausing = rng.choice((0.0, 0.0, 0.1))
    plain = rng.choice((0.0, 0.3, 0.7, 1.0))
    bad = rng.choice((0.0, 0.0, 0.05))
    agreed = rng.choice((0.0, 0.5, 1.0))
    keys = rng.choice((1, 1, 3))
    retried = rng.choice((0.0, 0.0, 0.2))
    asks = []
    for n, at_s in enumerate(_arrivals(rng, length_s, count)):
        session, team, project = (subjects.randrange(4) for _ in range(3))
        asks.append(
            Ask(
                n=n,
                at_s=round(at_s, 6),
                stream=rng.random() >= plain,
                words=rng.randint(1, 8),
                leaves_s=round(10 ** rng.uniform(-3, 1.3), 6) if rng.random() < leaving else None,
                total_s=round(10 ** rng.uniform(-0.5, 1.5), 3) if rng.random() < own_deadline else None,
                read_s=round(10 ** rng.uniform(-0.3, 1.5), 3) if rng.random() < own_deadline / 2 else None,
                pause_s=round(min(rng.uniform(0, 40), total_s), 3) if rng.random() < pausing else 0.0,
                usage=rng.random() < 0.5,
                bad=rng.random() < bad,
                agreed=rng.random() < agreed,
                key=f"key-{rng.randrange(keys)}",
                retry=rng.randint(1, 2) if rng.random() < retried else 0,
                session=f"s{session}" if session else None,
                team=f"team-{team % 2}" if team else None,
                project=f"p{project}" if project else None,
            )
        )
    return tuple(asks)


def _arrivals(rng: random.Random, length_s: float, count: int) -> list[float]:
    """A share of the requests comes evenly spread, the others in bursts, some of those all in one moment."""
    steady = round(count * rng.uniform(0.1, 0.9))
    times = [rng.uniform(0, length_s) for _ in range(steady)]
    size = round(10 ** rng.uniform(0.3, 2))
    width_s = rng.choice((0.0, 0.5, 10.0))
    while len(times) < count:
        start = rng.uniform(0, length_s)
        times += [
            start + rng.uniform(0, width_s) for _ in range(min(rng.randint(1, size), count - len(times)))
        ]
    return sorted(min(at, length_s) for at in times)


def policies(rng: random.Random) -> dict[str, dict[str, Any]]:
    """Which policies this world has, and their settings."""
    return {name: settings(rng) for name, (share, settings) in POLICIES.items() if rng.random() < share}


def _doorman(rng: random.Random) -> dict[str, Any]:
    """A gate that belongs to the simulation: it refuses and delays by dice, as a full bulkhead would."""
    return {
        "refuses": rng.choice((0.0, 0.05, 0.5)),
        "waits": rng.choice((0.0, 0.3)),
        "wait_s": 10 ** rng.uniform(-2, 1),
        "denies_retries": rng.choice((0.0, 0.5)),
    }


def _porter(rng: random.Random) -> dict[str, Any]:
    """An admission that belongs to the simulation, likewise."""
    return {"refuses": rng.choice((0.0, 0.05)), "waits": 0.2, "wait_s": 10 ** rng.uniform(-2, 0)}


def _breaker(rng: random.Random) -> dict[str, Any]:
    open_s = round(10 ** rng.uniform(-0.5, 1.7), 3)
    return {
        "failure_threshold": rng.choice((1, 2, 5, 10)),
        "success_threshold": rng.choice((1, 2, 3, 5)),
        "min_requests": rng.choice((None, 1, 5, 10, 20)),
        "failure_ratio": rng.choice((0.1, 0.5, 0.5, 0.9, 1.0)),
        "window_s": round(10 ** rng.uniform(0, 2.5), 3),
        "open_s": open_s,
        "open_multiplier": rng.choice((1.0, 2.0, 3.0)),
        "max_open_s": max(open_s, rng.choice((10.0, 120.0))),
        "jitter": rng.choice((0.0, 0.1, 0.9)),
        "half_open_s": round(10 ** rng.uniform(-0.5, 1.7), 3),
    }


def _bulkhead(rng: random.Random) -> dict[str, Any]:
    return {
        "max_concurrent": round(10 ** rng.uniform(0, 1.7)),
        "max_queue": rng.choice((0, 1, 10, 100)),
        "max_wait_s": rng.choice((0.0, 0.5, 10.0)),
    }


def _adaptive(rng: random.Random) -> dict[str, Any]:
    return {
        "min_limit": 1,
        "initial_limit": rng.choice((1, 5, 10)),
        "max_limit": rng.choice((10, 50, 1000)),
        "increase": rng.choice((1, 3)),
        "decrease": rng.choice((0.5, 0.9)),
        "restart_after": rng.choice((1, 10)),
    }


def _rate(rng: random.Random) -> dict[str, Any]:
    """A window lets enough through for the few requests that look whether all is well again."""
    limited = rng.choice(("requests", "tokens", "both"))
    requests, tokens = round(10 ** rng.uniform(0.5, 1.6)), round(10 ** rng.uniform(2.7, 4))
    return {
        "requests": None if limited == "tokens" else requests,
        "tokens": None if limited == "requests" else tokens,
        "window_s": rng.choice((1.0, 10.0, 60.0, 60.0)),
        "max_queue": rng.choice((0, 0, 5, 50)),
        "max_wait_s": rng.choice((0.5, 10.0)),
    }


def _budget(rng: random.Random) -> dict[str, Any]:
    return {
        "ratio": rng.choice((0.0, 0.1, 0.5, 1.0)),
        "floor_per_s": rng.choice((0.0, 0.01, 0.3, 10.0)),
        "window_s": rng.choice((1.0, 10.0, 60.0)),
    }


def _hedge(rng: random.Random) -> dict[str, Any]:
    percentile = rng.choice((None, 50.0, 95.0))
    return {
        "delay_s": round(10 ** rng.uniform(-2, 0.7), 3) if percentile is None else None,
        "percentile": percentile,
        "min_samples": rng.choice((1, 20)),
        "max_hedges": rng.choice((1, 1, 3)),
        "ratio": rng.choice((0.05, 0.5, 1.0)),
        "burst": rng.choice((1, 10)),
    }


def _budgets(rng: random.Random) -> dict[str, Any]:
    """Limits from less than a request may cost to more than the world spends."""
    rules = []
    for number in range(rng.randint(1, 3)):
        scope = rng.choice(("all", "all", "key", "session", "team", "model", "tag"))
        window = "session" if scope == "session" else rng.choice(("hour", "day", "month", "forever"))
        rule: dict[str, Any] = {"name": f"b{number}", "scope": scope, "window": window}
        if scope == "tag":
            rule["tag"] = "project"
        if rng.random() < 0.7:
            rule["limit_nano"] = round(10 ** rng.uniform(6.4, 10.4))
        else:
            rule["limit_tokens"] = round(10 ** rng.uniform(2.8, 6.4))
        rules.append({**rule, "hard": rng.random() < 0.8})
    return {"rules": rules, "lower_max_tokens": rng.random() < 0.3, "wall_s": rng.choice(WALL_S)}


POLICIES: Final = {
    "doorman": (0.15, _doorman),
    "porter": (0.15, _porter),
    "breaker": (0.6, _breaker),
    "bulkhead": (0.4, _bulkhead),
    "overall": (0.15, _bulkhead),
    "adaptive": (0.25, _adaptive),
    "rate": (0.2, _rate),
    "budget": (0.6, _budget),
    "caller_rate": (0.2, _rate),
    "hedge": (0.25, _hedge),
    "budgets": (0.5, _budgets),
}
"""For each policy: the share of the worlds that have it, and how its settings are drawn. A world without any of those that
stand before a target has no gate at all."""
