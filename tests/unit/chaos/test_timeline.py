"""Windows of time: when they are on, how far they are, and that nothing changes between the changes that they announce."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.support.binomial import interval
from tests.unit.chaos.raw import ask, payload, send

from holdfast.chaos import ChaosConfig, ChaosError, run_chaos
from holdfast.chaos.timeline import Timeline, Window, fits

_HORIZON = 400  # ticks; a tick is a hundredth of a second, so that every time is a whole number


@st.composite
def ticked(draw):
    """A window as whole ticks: begin, length (None: for ever), period (None: once)."""
    at = draw(st.integers(0, 120))
    lasts = draw(st.none() | st.integers(1, 80))
    every = None
    if lasts is not None and draw(st.booleans()):
        every = lasts + draw(st.integers(1, 60))
    return at, lasts, every


def window(ticks, **settings):
    at, lasts, every = (None if tick is None else tick / 100 for tick in ticks)
    return Window(at=at, lasts=lasts, every=every, **(settings or {"script": "503"}))


def is_on(ticks, now):
    at, lasts, every = ticks
    if now < at:
        return False
    since = now - at if every is None else (now - at) % every
    return lasts is None or since < lasts


@given(st.lists(ticked(), min_size=1, max_size=4))
def test_on_and_next_change_are_those_of_a_walk_from_tick_to_tick(given):
    timeline = Timeline(window(ticks) for ticks in given)
    states = [[i for i, ticks in enumerate(given) if is_on(ticks, now)] for now in range(_HORIZON)]
    for now, state in enumerate(states):
        assert [i for i, _, _ in timeline.on(now / 100)] == state
    # From each tick, the next one that any window's begin or end falls on.
    turns = [
        now
        for now in range(1, _HORIZON)
        if any(is_on(ticks, now) != is_on(ticks, now - 1) for ticks in given)
    ]
    for now in range(_HORIZON - 100):
        change = timeline.next_change(now / 100)
        expected = next((turn for turn in turns if turn > now), None)
        if expected is None:
            assert change is None or change > (_HORIZON - 1) / 100
        else:
            assert change == pytest.approx(expected / 100, abs=1e-9)


_SECONDS = st.floats(0.001, 86_400)


@given(st.floats(0, 86_400), _SECONDS, st.none() | _SECONDS, st.floats(0, 1e6), st.integers(0, 5))
def test_a_change_is_always_later_and_nothing_changes_before_it(at, lasts, every, now, steps):
    assume(every is None or lasts < every)
    timeline = Timeline([Window(at=at, lasts=lasts, every=every, door="refused")])
    for _ in range(steps + 1):
        state = timeline.door(now)
        change = timeline.next_change(now)
        if change is None:
            assert timeline.door(now + 1e6) == state
            return
        assert change > now
        gap = change - now
        if gap > 1e-6:  # what is shorter than a timer's tick has no between
            assert all(timeline.door(now + gap * part) == state for part in (0.25, 0.5, 0.999))
        now = change


@given(st.floats(0.001, 1000), st.floats(0.0011, 2000), st.integers(1, 100_000), st.integers(-3, 3))
def test_the_turn_of_a_round_isnt_missed_nor_met_twice(lasts, every, rounds, ulps):
    """Just at, before and after the begin of a far round, where its number rounds one way and its time the other."""
    assume(lasts < every)
    once = Window(lasts=lasts, every=every, door="refused")
    now = rounds * every
    for _ in range(abs(ulps)):
        now = math.nextafter(now, math.inf if ulps > 0 else 0.0)
    change = once.next_change(now)
    assert now < change <= now + every * (1 + 1e-9)


def test_progress_goes_from_0_to_1_and_a_ramp_goes_with_it():
    ramp = Window(at=10, lasts=4, rates={"429": 50}, ramp=(0.2, 1.0))
    assert [ramp.progress(now) for now in (9.99, 10, 11, 12, 13, 14)] == [None, 0, 0.25, 0.5, 0.75, None]
    assert [ramp.scale(part) for part in (0, 0.5, 1)] == pytest.approx([0.2, 0.6, 1.0])
    again = Window(at=10, lasts=4, every=10, rates={"429": 50}, ramp=(1, 0))
    assert [again.progress(now) for now in (11, 15, 21, 31)] == [0.25, None, 0.25, 0.25]
    assert Window(at=3, script="503").progress(1000) == 0


@given(ticked(), st.integers(0, _HORIZON))
def test_progress_is_the_part_that_has_passed(ticks, now):
    at, lasts, every = ticks
    progress = window(ticks).progress(now / 100 + 1e-9)
    assert (progress is not None) == is_on(ticks, now)
    if progress is not None and lasts is not None:
        since = now - at if every is None else (now - at) % every
        assert progress == pytest.approx(since / lasts, abs=1e-6)
        assert 0 <= progress < 1


def test_the_first_window_that_is_on_decides():
    timeline = Timeline(
        [
            Window(at=5, lasts=5, door="silent"),
            Window(at=0, door="refused"),
            Window(at=0, script="503"),
        ]
    )
    assert [timeline.door(now) for now in (0, 5, 9.9, 10)] == ["refused", "silent", "silent", "refused"]
    assert Timeline([]).door(0) == "open"
    assert Timeline([]).next_change(0) is None


@pytest.mark.parametrize(
    ("models", "routes", "model", "path", "yes"),
    [
        ("*", "*", "m", "/v1/x", True),
        ("GPT-*", "*", "gpt-4o", "/", True),
        ("gpt-*", "*", "claude", "/", False),
        ("*", "/v1/chat/*", "m", "/v1/chat/completions", True),
        ("*", "/v1/chat/*", "m", "/v1/messages", False),
        ("gpt-*", "/v1/messages", "gpt-4", "/v1/chat/completions", False),
    ],
)
def test_whom_a_window_is_for(models, routes, model, path, yes):
    assert fits(Window(models=models, routes=routes, script="503"), model, path) is yes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"at": 1}, "timeline[0]: nothing happens in it"),
        ({"script": "503", "rates": {"429": 5}}, "timeline[0]: it has a script and rates"),
        ({"script": "503", "every": 5}, "timeline[0]: what comes again"),
        ({"script": "503", "every": 5, "for": 5}, "timeline[0]: what comes again"),
        ({"script": "503", "ramp": [0, 1], "for": 5}, "timeline[0]: a ramp changes rates"),
        ({"rates": {"429": 5}, "ramp": [0, 1]}, "timeline[0]: a ramp changes rates"),
        ({"rates": {"429": 5}, "ramp": [0, 2], "for": 1}, "timeline[0].ramp[1]: Expected `float` <= 1.0"),
        ({"door": "refused", "models": "m"}, "timeline[0]: a door has no model or route"),
        ({"door": "ajar"}, "timeline[0].door: Invalid enum value 'ajar'"),
        ({"script": "503", "for": 0}, "timeline[0].for: Expected `float` >= 0.001"),
        ({"script": "503", "at": -1}, "timeline[0].at: Expected `float` >= 0.0"),
        ({"script": "503", "at": float("nan")}, "timeline[0].at: "),
        ({"script": "503", "lasts": 1}, "timeline[0].lasts: unknown setting"),
        ({"script": "50x"}, "timeline[0].script: step 1: unknown word '50x'"),
        ({"rates": {"429": 60, "503": 41}}, "timeline[0].rates: the shares add up to 101 %"),
        ({"rates": {"42": 5}}, "timeline[0].rates.42: "),
    ],
)
def test_a_window_that_cant_be_meant(given, said):
    with pytest.raises(ChaosError) as raised:
        ChaosConfig.from_dict({"timeline": [given]})
    assert str(raised.value).startswith(said)


# On a real server, whose clock is moved by hand.


def serving(*windows, **more):
    return run_chaos(ChaosConfig.from_dict({"clock": "hand", "tokens": 2, "timeline": windows, **more}))


def test_an_outage_and_what_it_is_for():
    with serving({"at": 5, "for": 2, "models": "gpt*", "script": "503"}) as chaos:
        seen = []
        for _ in range(4):
            seen.append((ask(chaos.port, payload("gpt-4")).status, ask(chaos.port, payload("other")).status))
            chaos.advance(2.5)
        assert seen == [(200, 200), (200, 200), (503, 200), (200, 200)]
        rules = [entry.rule for entry in chaos.journal(model="gpt-4")]
        assert rules == ["default", "default", "timeline 0", "default"]


def test_a_flap():
    with serving({"at": 1, "for": 0.5, "every": 2, "script": "503"}) as chaos:
        seen = []
        for _ in range(20):
            seen.append(ask(chaos.port, payload()).status)
            chaos.advance(0.25)
        tick = [200] * 4 + [503] * 2 + [200] * 6 + [503] * 2 + [200] * 6
        assert seen == tick


def test_times_that_floats_dont_hit_are_hit():
    """Fifty times 0.1 is 5, and after a reset at an odd time it is again."""
    with serving({"at": 5, "for": 0.3, "script": "503"}) as chaos:
        for _ in range(2):
            for _ in range(49):
                chaos.advance(0.1)
            assert ask(chaos.port, payload()).status == 200
            chaos.advance(0.1)
            assert ask(chaos.port, payload()).status == 503
            for _ in range(3):
                chaos.advance(0.1)
            assert ask(chaos.port, payload()).status == 200
            chaos.advance(0.7)
            chaos.reset()


def test_a_reset_begins_the_timeline_again():
    with serving({"at": 3, "for": 1, "script": "503"}, {"at": 7, "door": "refused"}) as chaos:
        chaos.advance(3.5)
        assert ask(chaos.port, payload()).status == 503
        chaos.reset()
        assert ask(chaos.port, payload()).status == 200
        chaos.advance(3.4)
        assert ask(chaos.port, payload()).status == 503
        chaos.advance(3.4)  # 6.8 s since the reset, 10.3 since the start
        assert ask(chaos.port, payload()).status == 200


def test_a_ramp_makes_failures_more_and_more_frequent():
    """Counted at the socket: at a quarter, half and three quarters of it, with the interval at 1e-9 each."""
    count = 400
    with serving({"at": 0, "for": 100, "rates": {"503": 80}, "ramp": [0, 1]}) as chaos:
        assert not any(ask(chaos.port, payload("m0")).status == 503 for _ in range(20))
        for quarter in (1, 2, 3):
            chaos.advance(25)
            failed = sum(ask(chaos.port, payload(f"m{quarter}")).status == 503 for _ in range(count))
            low, high = interval(count, 0.8 * quarter / 4)
            assert low <= failed <= high


def test_a_window_goes_before_scripts_but_not_before_the_prompt():
    with serving({"script": "503"}, scripts={"m": "429"}) as chaos:
        assert ask(chaos.port, payload("m")).status == 503
        prompt = [{"role": "user", "content": "[[chaos: 418]]"}]
        assert ask(chaos.port, payload("m", messages=prompt)).status == 418


def test_a_new_timeline_takes_the_place_of_the_old_one_while_it_runs():
    with serving({"at": 5, "script": "503"}) as chaos:
        chaos.advance(4)
        chaos.update_config(timeline=[{"at": 6, "for": 1, "script": "500"}])
        statuses = []
        for _ in range(4):
            statuses.append(ask(chaos.port, payload()).status)
            chaos.advance(1)
        assert statuses == [200, 200, 500, 200]


def test_doors_of_the_timeline():
    with serving({"at": 5, "for": 5, "every": 20, "door": "refused"}) as chaos:
        for _ in range(2):
            chaos.advance(5)
            with pytest.raises(ConnectionRefusedError):
                send(chaos.port, payload())
            chaos.advance(5)
            assert ask(chaos.port, payload()).status == 200
            chaos.advance(10)
