"""The rate limit against brute force over the whole history, and against two other limiters.

Time is fed by hand. Where another limiter counts in whole milliseconds, the unit here is 1/1024 s: a whole number of it is
an exact float, so that both see the very same instants.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from pyrate_limiter import InMemoryBucket, RateItem
from pyrate_limiter import Rate as TheirRate
from throttled.rate_limiter.fixed_window import MemoryLimitAtomicAction as FixedWindow
from throttled.rate_limiter.sliding_window import MemoryLimitAtomicAction as SlidingCounter
from throttled.store.memory import MemoryStoreBackend

from holdfast.resilience.rate_limit import RateLimit, RateLimitExceededError, RateLimitSettings, RatePermit
from holdfast.resilience.rate_window import OWN_ENTRIES

UNIT_S = 1 / 1024


class Clock:
    """Time by hand, in units."""

    def __init__(self) -> None:
        self.units = 0

    def monotonic(self) -> float:
        return self.units * UNIT_S

    def wall_ns(self) -> int:
        raise AssertionError("a limit on durations asks for no date")


class FloatClock(Clock):
    """Time by hand, in any fraction of a second."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def refusal(limit: RateLimit, tokens: int) -> RateLimitExceededError | None:
    """What ``enter`` says, which has no queue here and so never waits. It takes what it gets."""
    try:
        limit.enter(tokens=tokens).send(None)
    except RateLimitExceededError as error:
        return error
    except StopIteration:
        return None
    raise AssertionError("it waits")


# Brute force.


@dataclass
class Event:
    """Something that counts from ``at``: an admission, or what was used beyond its reservation."""

    at: int
    requests: int
    tokens: int


@dataclass
class Reference:
    """Every event there ever was, added up anew for each question."""

    requests: int | None
    tokens: int | None
    length: int

    def __post_init__(self) -> None:
        self.events: list[Event] = []

    def counted(self, now: int) -> tuple[int, int]:
        inside = [event for event in self.events if now - event.at < self.length]
        return sum(event.requests for event in inside), sum(event.tokens for event in inside)

    def fits(self, now: int, tokens: int) -> bool:
        requests, used = self.counted(now)
        return (self.requests is None or requests + 1 <= self.requests) and (
            self.tokens is None or used + tokens <= self.tokens
        )

    def soonest(self, now: int, tokens: int) -> int | None:
        """Tries every moment at which something leaves the window."""
        moments = sorted(
            {now, *(event.at + self.length for event in self.events if event.at + self.length > now)}
        )
        return next((moment for moment in moments if self.fits(moment, tokens)), None)


class RateLimitMachine(RuleBasedStateMachine):
    """Takes, settlements, refunds, reloads and clocks that jump either way."""

    permits = Bundle("permits")

    @initialize(
        requests=st.none() | st.integers(1, 6),
        tokens=st.none() | st.integers(1, 60),
        length=st.sampled_from([11, 1024, 61_440]),
    )
    def begin(self, requests, tokens, length):
        self.clock = Clock()
        self.high = 0
        self.reference = Reference(requests, tokens, length)
        self.limit = RateLimit(self.settings(), clock=self.clock)
        self.settled: set[int] = set()
        self.booked: dict[int, Event] = {}

    def settings(self) -> RateLimitSettings:
        r = self.reference
        return RateLimitSettings(requests=r.requests, tokens=r.tokens, window_s=r.length * UNIT_S)

    @rule(share=st.sampled_from([0, 1, 2, 5, 10, 11, 12, 25]), more=st.integers(0, 2))
    def time_passes(self, share, more):
        self.clock.units = max(self.clock.units, self.high) + share * self.reference.length // 10 + more
        self.high = self.clock.units

    @rule(by=st.integers(1, 100_000))
    def the_clock_goes_back(self, by):
        self.clock.units = max(0, self.clock.units - by)

    @rule(target=permits, tokens=st.integers(0, 70))
    def takes(self, tokens):
        fits = self.reference.fits(self.high, tokens)
        permit = self.limit.try_take(tokens)
        assert (permit is not None) is fits
        if permit is None:
            return None
        event = Event(self.high, 1, tokens)
        self.reference.events.append(event)
        self.booked[id(permit)] = event
        return permit

    @rule(permit=permits, tokens=st.integers(0, 120))
    def settles(self, permit: RatePermit | None, tokens):
        if permit is None:
            return
        permit.settle(tokens)
        if id(permit) in self.settled:
            return
        self.settled.add(id(permit))
        if tokens <= permit.reserved:
            self.booked[id(permit)].tokens = tokens
        else:
            self.reference.events.append(Event(self.high, 0, tokens - permit.reserved))

    @rule(permit=permits)
    def gives_back(self, permit: RatePermit | None):
        if permit is None:
            return
        permit.give_back()
        if id(permit) not in self.settled:
            self.settled.add(id(permit))
            self.booked[id(permit)].requests = self.booked[id(permit)].tokens = 0

    @rule(tokens=st.integers(0, 70))
    def is_told_when(self, tokens):
        if self.reference.fits(self.high, tokens):
            return
        error = refusal(self.limit, tokens)
        assert error is not None
        moment = self.reference.soonest(self.high, tokens)
        if moment is None:
            assert error.retry_after_s is None
            assert (error.kind, error.asked) == ("tokens", tokens)
        else:
            assert error.retry_after_s == (moment - self.clock.units) * UNIT_S
        assert (
            error.limit == {"requests": self.reference.requests, "tokens": self.reference.tokens}[error.kind]
        )

    @rule(requests=st.none() | st.integers(1, 6), tokens=st.none() | st.integers(1, 60))
    def reloads(self, requests, tokens):
        self.reference.requests, self.reference.tokens = requests, tokens
        self.limit.apply(self.settings())

    @precondition(lambda self: hasattr(self, "limit"))
    @invariant()
    def says_what_is_allowed(self):
        requests, tokens = self.reference.counted(self.high)
        free = (
            None if self.reference.requests is None else max(0, self.reference.requests - requests),
            None if self.reference.tokens is None else max(0, self.reference.tokens - tokens),
        )
        assert self.limit.allowed() == free
        assert self.limit.idle is ((requests, tokens) == (0, 0))


class TestAgainstBruteForce(RateLimitMachine.TestCase):
    """RL1."""

    settings = settings(stateful_step_count=40)


GAPS = st.lists(st.integers(0, 40) | st.integers(0, 3000) | st.sampled_from([1023, 1024, 1025]), max_size=80)


@given(gaps=GAPS, limit=st.integers(1, 8))
def test_no_window_anywhere_holds_more_than_the_limit(gaps, limit):
    """RL1: every window that begins at an admission, counted over the finished history."""
    clock = Clock()
    rate = RateLimit(RateLimitSettings(requests=limit, window_s=1), clock=clock)
    admitted = []
    for at in accumulate(gaps):
        clock.units = at
        if rate.try_take():
            admitted.append(at)
    assert all(sum(start <= at < start + 1024 for at in admitted) <= limit for start in admitted)


@given(
    times=st.lists(
        # close to whole seconds, by parts of the 2⁻²⁰ s in which the limit counts
        st.builds(lambda second, part: second + part * 2**-20, st.integers(1, 6), st.floats(-3, 3)),
        min_size=1,
        max_size=60,
    ).map(sorted),
    limit=st.integers(1, 5),
    window_s=st.sampled_from([0.7, 1.0, 2.0]),
)
def test_no_window_of_real_numbers_holds_more_than_the_limit(times, limit, window_s):
    """RL1: with times that no tick hits exactly. Fractions, so that the judge doesn't round either."""
    clock = FloatClock()
    rate = RateLimit(RateLimitSettings(requests=limit, window_s=window_s), clock=clock)
    admitted = []
    window = Fraction(window_s)
    for at in times:
        clock.now_s = at
        if rate.try_take():
            admitted.append(Fraction(at))
    assert all(sum(start <= at < start + window for at in admitted) <= limit for start in admitted)


@settings(max_examples=5)
@given(gaps=st.lists(st.integers(0, 60), min_size=50, max_size=50), limit=st.integers(9_000, 20_000))
def test_a_crowd_is_admitted_never_early_and_little_late(gaps, limit):
    """RL1, where admissions share entries: bounded memory, no window above the limit, and at most a granule late."""
    clock = Clock()
    length = 4 * OWN_ENTRIES  # units: a granule is 4 of them
    rate = RateLimit(RateLimitSettings(requests=limit, window_s=length * UNIT_S), clock=clock)
    admitted: list[int] = []  # one number for each admission: its time
    first = 0  # the first one that is inside the window
    for gap in gaps * 6:
        clock.units += gap
        burst = 500 + gap
        while first < len(admitted) and admitted[first] <= clock.units - length:
            first += 1
        free = limit - (len(admitted) - first)
        got = sum(rate.try_take() is not None for _ in range(burst))
        assert got <= free
        # Those who left less than a granule ago may still count.
        recent = sum(
            clock.units - length - 4 < at <= clock.units - length
            for at in admitted[max(0, first - limit) : first]
        )
        assert got >= min(burst, free - recent)
        admitted.extend([clock.units] * got)
    assert len(rate._window) <= 2 * OWN_ENTRIES + 1


# Other limiters.


@given(
    arrivals=st.lists(
        st.tuples(
            st.integers(0, 40) | st.integers(0, 3000) | st.sampled_from([999, 1000, 1001]), st.integers(1, 12)
        ),
        max_size=80,
    ),
    limit=st.integers(1, 20),
    length=st.integers(20, 2000),
)
def test_pyrate_limiter_decides_the_same(arrivals, limit, length):
    """RL1: each decision, and each time to come again. Its window includes both ends: one unit longer than said."""
    clock = Clock()
    ours = RateLimit(RateLimitSettings(tokens=limit, window_s=length * UNIT_S), clock=clock)
    theirs = InMemoryBucket([TheirRate(limit, length - 1)])
    for gap, weight in arrivals:
        clock.units += gap
        theirs.leak(clock.units)
        said = theirs.put(RateItem("one", clock.units, weight))
        error = refusal(ours, weight)
        assert (error is None) is said
        if error is not None and error.retry_after_s is not None:
            assert theirs.failing_rate is not None
            wait = theirs.waiting(RateItem("one", clock.units, weight))
            assert error.retry_after_s == wait * UNIT_S


@given(
    arrivals=st.lists(st.tuples(st.integers(0, 40) | st.integers(0, 3000), st.integers(1, 10)), max_size=80),
    limit=st.integers(1, 20),
    requests=st.integers(1, 20),
)
def test_two_of_pyrate_limiters_decide_the_same_together(arrivals, limit, requests):
    """RL1: requests and tokens are taken together or not at all."""
    clock = Clock()
    ours = RateLimit(RateLimitSettings(requests=requests, tokens=limit, window_s=1), clock=clock)
    first, second = InMemoryBucket([TheirRate(requests, 1023)]), InMemoryBucket([TheirRate(limit, 1023)])
    for gap, weight in arrivals:
        clock.units += gap
        first.leak(clock.units)
        second.leak(clock.units)
        # Asked without being told, they'd take from one where the other refuses.
        room = first.count() < requests and second.count() + weight <= limit
        if room:
            assert first.put(RateItem("one", clock.units))
            assert second.put(RateItem("one", clock.units, weight))
        assert (ours.try_take(weight) is not None) is room


def fixed_window(period: int, limit: int):
    """throttled-py's fixed window, whose time is fed: the number of the calendar's period."""
    action = FixedWindow(MemoryStoreBackend())
    return lambda seconds: not action.do([f"period:{seconds // period}"], [period, limit, 1])[0]


def sliding_counter(period: int, limit: int):
    """throttled-py's sliding window: it counts by periods, and weighs the one before by how much of it is still inside."""
    action = SlidingCounter(MemoryStoreBackend())

    def takes(seconds: int) -> bool:
        index = seconds // period
        keys = [f"period:{index}", f"period:{index - 1}"]
        return not action.do(keys, [period, limit, 1, seconds * 1000])[0]

    return takes


@given(gaps=st.lists(st.integers(0, 30), max_size=100), limit=st.integers(1, 10), period=st.integers(5, 40))
def test_throttled_pys_fixed_window_admits_at_least_as_many_in_each_period(gaps, limit, period):
    """RL1: what fits into every window fits into the calendar's; after a whole quiet period the two are the same."""
    clock = Clock()
    ours = RateLimit(RateLimitSettings(requests=limit, window_s=period), clock=clock)
    theirs = fixed_window(period, limit)
    counts: dict[int, list[int]] = {}
    arrivals = list(accumulate(gaps))
    for seconds in arrivals:
        clock.units = seconds * 1024
        count = counts.setdefault(seconds // period, [0, 0])
        count[0] += ours.try_take() is not None
        count[1] += theirs(seconds)
    for index, (our_count, their_count) in counts.items():
        assert our_count <= their_count
        if index - 1 not in counts:
            assert our_count == their_count


@given(
    bursts=st.lists(
        st.lists(st.integers(0, 9), min_size=1, max_size=30).map(sorted), min_size=1, max_size=10
    ),
    limit=st.integers(1, 10),
)
def test_throttled_pys_sliding_window_decides_the_same_after_a_rest(bursts, limit):
    """RL1: after a whole quiet period its weighed count is exact, and then each decision is the same."""
    period = 10
    clock = Clock()
    ours = RateLimit(RateLimitSettings(requests=limit, window_s=period), clock=clock)
    theirs = sliding_counter(period, limit)
    for number, burst in enumerate(bursts):
        for second in burst:
            seconds = 2 * period * number + second
            clock.units = seconds * 1024
            assert (ours.try_take() is not None) is theirs(seconds)


@given(limit=st.integers(1, 10), rounds=st.integers(1, 5), period=st.integers(1, 100))
def test_the_whole_limit_may_come_at_once_again_and_again(limit, rounds, period):
    """No guess, no burst of its own: what no window forbids is let in."""
    clock = Clock()
    ours = RateLimit(RateLimitSettings(requests=limit, window_s=period), clock=clock)
    for number in range(rounds):
        clock.units = number * period * 1024
        assert all(ours.try_take() for _ in range(limit))
        assert ours.try_take() is None
