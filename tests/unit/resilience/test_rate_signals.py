"""What other sides say of their limits: every form, nonsense, and age."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.rate_signals import FAMILIES, KEPT_S, MAX_RESET_S, RateSignals, parse_reset

WALL_S = 1_767_225_600  # 2026-01-01T00:00:00Z


class Clock:
    """Time by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return WALL_S * 10**9 + round((self.now_s - 1000) * 1e9)


def told(headers: dict[str, str]) -> tuple[RateSignals, Clock]:
    clock = Clock()
    signals = RateSignals(clock)
    signals.read(headers.get)
    return signals, clock


def openai(kind: str, remaining: str, *, limit: str = "60", reset: str = "6m0s") -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": limit,
        f"x-ratelimit-remaining-{kind}": remaining,
        f"x-ratelimit-reset-{kind}": reset,
    }


def anthropic(
    kind: str, remaining: str, *, limit: str = "50", reset: str = "2026-01-01T00:00:30Z"
) -> dict[str, str]:
    prefix = f"anthropic-ratelimit-{kind}"
    return {f"{prefix}-limit": limit, f"{prefix}-remaining": remaining, f"{prefix}-reset": reset}


RESETS = {
    "6m0s": 360,
    "1ms": 0.001,
    "120ms": 0.12,
    "1s": 1,
    "7.66s": 7.66,
    "2m59.56s": 179.56,
    "1h2m3s": 3723,
    "1m": 60,
    "23h59m59.5s": 86_399.5,
    "1d": 86_400,
    "0s": 0,
    "1s5ms": 1.005,
    " 8s ": 8,
    "30": 30,
    "0.5": 0.5,
    "2026-01-01T00:00:30Z": 30,
    "2026-01-01T01:00:30+01:00": 30,
    "2026-01-01T00:00:00.25Z": 0.25,
    "2025-12-31T23:00:00Z": 0,
    "2026-01-02T00:00:00Z": 86_400,
}

NONSENSE = [
    *(
        None,
        "",
        " ",
        "soon",
        "-1",
        "-5s",
        "1e3",
        "inf",
        "nan",
        "s",
        "ms",
        "5x",
        "1s1m",
        "1.s",
        "1,5s",
        "٣",
        "٣s",
    ),
    *("86401", "25h", "1d1ms", "999999999999d", "9" * 400),  # further away than a day
    *("2026-01-02T00:00:01Z", "2026-01-01T00:00:30", "2026-13-01T00:00:00Z", "Thu, 01 Jan 2026 00:00:30 GMT"),
    *("0001-01-01T00:00:00+14:00x", "9999-12-31T23:59:59-12:00"),
]


@pytest.mark.parametrize(("value", "seconds"), RESETS.items())
def test_a_reset_is_read_in_every_form(value, seconds):
    assert parse_reset(value, WALL_S) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("value", NONSENSE)
def test_nonsense_is_no_reset(value):
    assert parse_reset(value, WALL_S) is None


@given(st.text(max_size=30) | st.from_regex(r"[0-9dhms.:TZ+ -]{0,24}", fullmatch=True))
def test_no_reset_is_read_into_the_past_or_beyond_a_day(value):
    seconds = parse_reset(value, WALL_S)
    assert seconds is None or 0 <= seconds <= MAX_RESET_S


@pytest.mark.parametrize(
    ("headers", "until"),
    [
        (openai("requests", "0"), 1360),
        (openai("tokens", "0", limit="150000", reset="1ms"), 1000.001),
        (openai("requests", "0", reset="1s") | openai("tokens", "0", reset="20s"), 1020),
        (openai("requests", "0", reset="1s") | openai("tokens", "5", reset="20s"), 1001),
        (anthropic("requests", "0"), 1030),
        (anthropic("tokens", "0"), 1030),
        (anthropic("input-tokens", "0"), 1030),
        (anthropic("output-tokens", "0"), 1030),
        (openai("requests", "1"), None),
        (openai("requests", "0", reset="soon"), None),
        (openai("requests", "0", limit="a lot"), 1360),
        ({}, None),
    ],
)
def test_nothing_left_blocks_until_the_reset(headers, until):
    signals, _ = told(headers)
    blocked = signals.blocked_until()
    assert blocked == (until if until is None else pytest.approx(until))


@pytest.mark.parametrize("remaining", ["", "-1", "1.5", "none", "61", "9" * 16, "٣"])
def test_nonsense_leaves_what_was_said_before(remaining):
    signals, _ = told(openai("requests", "0"))
    before = signals.limits()
    signals.read(openai("requests", remaining).get)
    assert signals.limits() == before
    assert signals.blocked_until() == 1360


def test_the_newest_answer_counts():
    signals, _ = told(openai("requests", "0"))
    signals.read(openai("requests", "3").get)
    assert signals.blocked_until() is None
    assert [(s.kind, s.remaining, s.limit, s.reset_at) for s in signals.limits()] == [
        ("requests", 3, 60, 1360)
    ]


def test_an_answer_that_says_nothing_changes_nothing():
    signals, _ = told(openai("requests", "0"))
    signals.read({"content-type": "application/json"}.get)
    assert signals.blocked_until() == 1360


@pytest.mark.parametrize(("reset", "ends"), [("90s", 90.0), ("10s", 10.0), ("soon", KEPT_S)])
def test_it_is_forgotten_at_its_reset(reset, ends):
    signals, clock = told(openai("requests", "0", reset=reset))
    clock.now_s = 1000 + ends - 0.001
    assert len(signals.limits()) == 1
    clock.now_s = 1000 + ends
    assert signals.blocked_until() is None
    assert signals.limits() == ()


@given(
    st.dictionaries(
        st.sampled_from([name for family in FAMILIES for name in family[1:]]), st.text(max_size=12)
    )
)
def test_no_header_breaks_it(headers):
    signals, _ = told(headers)
    blocked = signals.blocked_until()
    assert blocked is None or 1000 <= blocked <= 1000 + MAX_RESET_S
    assert len(signals.limits()) <= len(FAMILIES)


class TestPassesAt:
    """When one more request may pass: the reset that was said is the whole limit's."""

    @pytest.mark.parametrize(
        ("headers", "after_s"),
        [
            (openai("requests", "0"), 6.0),
            (openai("tokens", "0"), 18.0),
            (anthropic("requests", "0"), 0.6),
            (anthropic("input-tokens", "0"), 1.5),
            (openai("requests", "0") | openai("tokens", "0"), 18.0),
            (openai("requests", "0") | openai("tokens", "5"), 6.0),
        ],
    )
    def test_after_its_share_of_the_reset(self, headers, after_s):
        signals, clock = told(headers)
        assert signals.passes_at() == pytest.approx(clock.now_s + after_s)

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            openai("requests", "1"),
            openai("requests", "0", reset="soon"),
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s"},
            openai("requests", "0", limit="0"),
        ],
    )
    def test_nobody_knows(self, headers):
        assert told(headers)[0].passes_at() is None
