"""The promises of the policies, each watched with a model of its own: whole lists of events, nothing clever.

A model stands only where its policy is in the world. Its numbers are the plan's, its events what the world's gates were
asked and told; it shares no code with the policy.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.monitors import Monitor

from holdfast.engine.gates import MOMENT_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.simulation.stories import Stories
    from tests.simulation.trace import (
        Admitted,
        Arrived,
        Back,
        Entered,
        Entering,
        HedgeAsked,
        Judged,
        Places,
        Progressed,
        RetryAsked,
        Settled,
        Turned,
        TurnedAway,
    )

__all__ = [
    "POLICY_MONITORS",
    "Breakers",
    "CallerRate",
    "Overall",
    "RetryBudgets",
    "TargetPlaces",
    "TargetRate",
]

_EPSILON: Final = 1e-6
_MOST_AGAIN = 100
_TIMER_S: Final = 0.011
"""How late a limit may ring, and a rounding."""
_COARSE: Final = 63 / 64
"""A breaker's window is exact to a 64th of it."""


class PolicyMonitor(Monitor):
    """Watches a policy by its settings in the plan."""

    policy: str

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self.settings: Mapping[str, Any] = stories.plan.policies[self.policy]


@dataclass(slots=True)
class _Circuit:
    """A breaker as its model sees it."""

    state: str = "closed"
    epoch: int = 0
    since: float = 0.0
    reopened: int = 0
    """How often since it was last closed."""
    ended: deque[tuple[float, bool]] = field(default_factory=deque)
    """When calls of this closed epoch ended, and whether they failed."""
    let_in: dict[int, int] = field(default_factory=dict)
    """The epoch of each call that is under way, by its permit."""
    probes: dict[int, bool] = field(default_factory=dict)
    """Probes that are out, and whether they count as a success already."""
    successes: int = 0
    moved_at: float = 0.0
    """Half-open: when the last verdict came, or the first probe that is out went out."""
    moved_before: float = 0.0
    """The same, without a verdict that came just now: it may have come too late."""
    expected: str | None = None
    """The state that it must be in before anything else happens."""
    may_open: bool = False
    """The last verdict may have opened it."""
    failed_probe: bool = False


class Breakers(PolicyMonitor):
    """CB1 to CB4: legal transitions, by the rule and only by it; few probes; nothing of an older epoch counts."""

    promise = "CB1"
    policy = "breaker"

    _LEGAL: Final = frozenset(
        {("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("half_open", "closed")}
    )

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self._circuits: defaultdict[str, _Circuit] = defaultdict(_Circuit)

    def on_entered(self, event: Entered) -> None:
        circuit = self._circuits[event.target]
        circuit.let_in[event.permit] = circuit.epoch
        if circuit.state == "open":
            self.fail(event.at, event.n, f"{event.target} is open, and a call was let in")
        if circuit.state != "half_open":
            return
        if not circuit.probes:
            circuit.moved_before = circuit.moved_at = event.at
        circuit.probes[event.permit] = False
        undecided = sum(not heard for heard in circuit.probes.values())
        if undecided + circuit.successes > self.settings["success_threshold"]:
            what = f"{undecided} probes at {event.target} are out, {circuit.successes} succeeded"
            self.fail(event.at, event.n, what, promise="CB2")

    def on_progressed(self, event: Progressed) -> None:
        circuit = self._circuits[event.target]
        if circuit.probes.get(event.permit) is False:
            circuit.probes[event.permit] = True
            self._succeeded(circuit, event.at)

    def on_judged(self, event: Judged) -> None:
        circuit = self._circuits[event.target]
        circuit.expected, circuit.may_open, circuit.failed_probe = None, False, False
        epoch = circuit.let_in.get(event.permit)
        if epoch != circuit.epoch:  # CB3: it may change nothing, and _turned says so if it did
            return
        failed = event.outcome in ("failure", "overload")
        if circuit.state == "closed" and (failed or event.outcome == "success"):
            circuit.ended.append((event.at, failed))
            must, may = self._rule(circuit.ended, event.at)
            circuit.may_open = may
            circuit.expected = "open" if must else None
        elif circuit.state == "half_open" and event.permit in circuit.probes:
            heard = circuit.probes[event.permit]
            if failed:
                circuit.failed_probe, circuit.expected = True, "open"
            elif event.outcome == "success" and not heard:
                circuit.probes[event.permit] = True
                self._succeeded(circuit, event.at)

    def on_back(self, event: Back) -> None:
        circuit = self._circuits[event.target]
        self._came_true(circuit, event.at, event.target)
        circuit.let_in.pop(event.permit, None)
        circuit.probes.pop(event.permit, None)

    def on_entering(self, event: Entering) -> None:
        self._came_true(self._circuits[event.target], event.at, event.target)

    def on_turned(self, event: Turned) -> None:
        circuit = self._circuits[event.target]
        if event.before != circuit.state or (event.before, event.after) not in self._LEGAL:
            self.fail(
                event.at,
                event.n,
                f"{event.target} went from {event.before} to {event.after}; it was {circuit.state}",
            )
        if event.before == "closed" and not circuit.may_open:
            self.fail(event.at, event.n, f"{event.target} opened, and its rule doesn't hold")
        if event.before == "half_open":
            self._left_half_open(circuit, event)
        if event.after == "half_open":
            self._waited(circuit, event)
            circuit.moved_at = event.at
        circuit.reopened = {"closed": 0, "half_open": circuit.reopened}.get(
            event.after, circuit.reopened + 1 if event.before == "half_open" else 0
        )
        circuit.state, circuit.epoch, circuit.since = event.after, circuit.epoch + 1, event.at
        circuit.successes, circuit.expected, circuit.may_open, circuit.failed_probe = 0, None, False, False
        circuit.ended.clear()
        circuit.probes.clear()

    def _left_half_open(self, circuit: _Circuit, event: Turned) -> None:
        enough = circuit.successes >= self.settings["success_threshold"]
        if event.after == "closed" and not enough:
            self.fail(event.at, event.n, f"{event.target} closed after {circuit.successes} successes")
        waits_since = circuit.moved_before if event.at == circuit.moved_at else circuit.moved_at
        timed_out = event.at >= waits_since + self.settings["half_open_s"] - _EPSILON
        if event.after == "open" and not circuit.failed_probe and not (timed_out and circuit.probes):
            self.fail(
                event.at,
                event.n,
                f"{event.target} re-opened {event.at - circuit.moved_at:.3f} s after the last verdict: "
                f"{circuit.successes} probes had succeeded, {len(circuit.probes)} were out, none had failed",
                promise="CB4",
            )

    def _waited(self, circuit: _Circuit, event: Turned) -> None:
        settings = self.settings
        again = min(circuit.reopened, _MOST_AGAIN)  # in an outage of days a float would be too small for it
        full_s = settings["open_s"] * settings["open_multiplier"] ** again
        least_s = min(full_s, settings["max_open_s"]) * (1 - settings["jitter"])
        if event.at - circuit.since < least_s - _EPSILON:
            what = f"{event.target} was open for {event.at - circuit.since:.3f} s, and {least_s:.3f} are the least"
            self.fail(event.at, event.n, what)

    def _succeeded(self, circuit: _Circuit, at: float) -> None:
        circuit.successes += 1
        circuit.moved_before, circuit.moved_at = circuit.moved_at, at
        if circuit.successes >= self.settings["success_threshold"]:
            circuit.expected = "closed"

    def _came_true(self, circuit: _Circuit, at: float, target: str) -> None:
        if circuit.expected is not None:
            self.fail(at, -1, f"{target} must be {circuit.expected} by its rule, and is {circuit.state}")
            circuit.expected = None

    def _rule(self, ended: deque[tuple[float, bool]], now: float) -> tuple[bool, bool]:
        """Whether it must be open, and whether it may: the window may begin anywhere within its last 64th."""
        window_s = self.settings["window_s"]
        while ended and ended[0][0] < now - window_s - _EPSILON:
            ended.popleft()
        surely = now - window_s * _COARSE + _EPSILON
        verdicts = [self._holds(list(ended))]
        for index, (at, _) in enumerate(ended):
            if at >= surely:
                break
            verdicts.append(self._holds(list(ended)[index + 1 :]))
        return all(verdicts), any(verdicts)

    def _holds(self, calls: list[tuple[float, bool]]) -> bool:
        settings = self.settings
        failures = sum(failed for _, failed in calls)
        least = settings["min_requests"]
        return bool(
            len(calls) >= (settings["failure_threshold"] if least is None else least)
            and failures >= settings["failure_threshold"]
            and failures >= settings["failure_ratio"] * len(calls)
        )


class TargetPlaces(PolicyMonitor):
    """BH1: never more calls at a target than it has places, and nobody waits for longer than is stated."""

    promise = "BH1"
    policy = "bulkhead"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self._out: defaultdict[str, int] = defaultdict(int)
        self._entering: dict[int, float] = {}
        policies = stories.plan.policies
        waits = [policies[name] for name in ("bulkhead", "overall", "rate") if name in policies]
        self._most_wait_s = sum(each["max_wait_s"] + _TIMER_S for each in waits if each.get("max_queue"))
        if "doorman" in policies:
            self._most_wait_s += 2 * policies["doorman"]["wait_s"]
        self._most_wait_s += MOMENT_S  # for the provider's own limit, as its answers tell it

    def on_entering(self, event: Entering) -> None:
        self._entering[event.n] = event.at

    def on_entered(self, event: Entered) -> None:
        self._out[event.target] += 1
        self._waited(event.at, event.n)
        if self._out[event.target] > self.settings["max_concurrent"]:
            self.fail(event.at, event.n, f"{self._out[event.target]} calls are let in to {event.target}")

    def on_turned_away(self, event: TurnedAway) -> None:
        self._waited(event.at, event.n)

    def on_back(self, event: Back) -> None:
        self._out[event.target] -= 1

    def on_places(self, event: Places) -> None:
        if event.in_use < self._out[event.target]:
            what = f"{self._out[event.target]} calls at {event.target}, and {event.in_use} places are taken"
            self.fail(event.at, event.n, what)

    def _waited(self, at: float, n: int) -> None:
        waited_s = at - self._entering.pop(n, at)
        if waited_s > self._most_wait_s + _EPSILON:
            self.fail(at, n, f"{waited_s:.3f} s before the gate; {self._most_wait_s:.3f} are the most")


class Overall(PolicyMonitor):
    """BH1, over all targets together."""

    promise = "BH1"
    policy = "overall"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self._out = 0

    def on_entered(self, event: Entered) -> None:
        self._out += 1
        if self._out > self.settings["max_concurrent"]:
            self.fail(event.at, event.n, f"{self._out} calls are let in to all targets together")

    def on_back(self, event: Back) -> None:
        self._out -= 1


class AdaptiveBounds(PolicyMonitor):
    """RL3: the limit stays within its bounds."""

    promise = "RL3"
    policy = "adaptive"

    def on_places(self, event: Places) -> None:
        bulkhead = self.stories.plan.policies.get("bulkhead", {"max_concurrent": 1000})
        most = min(self.settings["max_limit"], bulkhead["max_concurrent"])
        if not 1 <= event.limit <= most:
            self.fail(event.at, event.n, f"the limit of {event.target} is {event.limit}")


class RetryBudgets(PolicyMonitor):
    """RT4: in every window a target's retries are at most a share of its requests, and the floor."""

    promise = "RT4"
    policy = "budget"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self._requests: defaultdict[str, deque[float]] = defaultdict(deque)
        self._retries: defaultdict[str, deque[float]] = defaultdict(deque)

    def on_arrived(self, event: Arrived) -> None:
        (self._retries if event.again else self._requests)[event.target].append(event.at)

    def on_retry_asked(self, event: RetryAsked) -> None:
        if not event.given:
            return
        retries, requests = self._retries[event.target], self._requests[event.target]
        retries.append(event.at)
        window_s = self.settings["window_s"]
        # What is a window away, but for a clock's last digits, is out of it where that is a retry, and in it else.
        for each, slack in ((retries, _EPSILON), (requests, -_EPSILON)):
            while each and each[0] <= event.at - window_s + slack:
                each.popleft()
        allowed = self.settings["ratio"] * len(requests) + self.settings["floor_per_s"] * window_s
        if len(retries) > allowed + _EPSILON:
            what = (
                f"{len(retries)} retries at {event.target} in {window_s:g} s, after {len(requests)} requests"
            )
            self.fail(event.at, event.n, what)


class HedgeBudgets(PolicyMonitor):
    """RT4: from the start on a target's hedges are at most a share of its requests."""

    promise = "RT4"
    policy = "hedge"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self._requests: Counter[str] = Counter()
        self._hedges: Counter[str] = Counter()

    def on_entering(self, event: Entering) -> None:
        self._requests[event.target] += event.first

    def on_hedge_asked(self, event: HedgeAsked) -> None:
        self._hedges[event.target] += event.given
        hedges, requests = self._hedges[event.target], self._requests[event.target]
        if hedges > self.settings["ratio"] * requests + _EPSILON:
            self.fail(event.at, event.n, f"{hedges} hedges of {requests} requests at {event.target}")


@dataclass(slots=True)
class _Grant:
    at: float
    tokens: int


class _Window:
    """Everything that was let through lately."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._grants: deque[_Grant] = deque()

    def add(self, at: float, tokens: int) -> tuple[_Grant, str | None]:
        """One more; and what is wrong with it."""
        grant = _Grant(at, tokens)
        self._grants.append(grant)
        window_s = self._settings["window_s"]
        while self._grants[0].at <= at - window_s + _EPSILON:
            self._grants.popleft()
        count, total = len(self._grants), sum(each.tokens for each in self._grants)
        for name, used in (("requests", count), ("tokens", total)):
            limit = self._settings[name]
            if limit is not None and used > limit:
                return grant, f"{used} {name} in {window_s:g} s; the limit is {limit}"
        return grant, None

    def withdraw(self, grant: _Grant) -> None:
        if grant in self._grants:
            self._grants.remove(grant)


class CallerRate(PolicyMonitor):
    """RL1: in every window at most so many requests and tokens of a key."""

    promise = "RL1"
    policy = "caller_rate"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self._windows: defaultdict[str, _Window] = defaultdict(lambda: _Window(self.settings))
        self._grants: dict[int, tuple[_Window, _Grant]] = {}

    def on_admitted(self, event: Admitted) -> None:
        window = self._windows[event.key]
        grant, wrong = window.add(event.at, event.tokens)
        self._grants[event.n] = window, grant
        if wrong is not None:
            self.fail(event.at, event.n, f"{event.key}: {wrong}")

    def on_settled(self, event: Settled) -> None:
        window, grant = self._grants.pop(event.n)
        if event.state is None:
            window.withdraw(grant)
        elif event.used is not None:
            grant.tokens = event.used


class TargetRate(PolicyMonitor):
    """RL1: in every window at most so many attempts and tokens at a target."""

    promise = "RL1"
    policy = "rate"

    def __init__(self, stories: Stories) -> None:
        super().__init__(stories)
        self._windows: defaultdict[str, _Window] = defaultdict(lambda: _Window(self.settings))
        self._grants: dict[int, _Grant] = {}

    def on_entered(self, event: Entered) -> None:
        grant, wrong = self._windows[event.target].add(event.at, event.tokens)
        self._grants[event.permit] = grant
        if wrong is not None:
            self.fail(event.at, event.n, f"{event.target}: {wrong}")

    def on_back(self, event: Back) -> None:
        grant = self._grants.pop(event.permit)
        if event.used is not None:
            grant.tokens = event.used
        elif event.label not in _MAY_HAVE_USED:
            grant.tokens = 0


_MAY_HAVE_USED: Final = frozenset(
    {None, "timed_out", "connection_lost", "bad_answer", "truncated", "abandoned", "superseded", "error"}
)
"""How an attempt ends that may have used tokens without anybody telling."""

POLICY_MONITORS: Final[tuple[type[PolicyMonitor], ...]] = (
    Breakers,
    TargetPlaces,
    Overall,
    AdaptiveBounds,
    RetryBudgets,
    HedgeBudgets,
    CallerRate,
    TargetRate,
)
