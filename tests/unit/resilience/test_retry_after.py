"""When a server wants to be asked again: every form there is, and none of the nonsense."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.resilience.retry_after import MAX_RETRY_AFTER_S, parse_retry_after

NOW = datetime(2026, 11, 6, 8, 49, 30, tzinfo=UTC)
WALL_S = NOW.timestamp()
WORDS = [*["Fri,", "Nov", "06", "2026", "26", "08:49:37", ":", "-", "GMT", "+0100", "EST", "99"], ""]


def parse(wall_s: float = WALL_S, **headers: str) -> float | None:
    return parse_retry_after({name.replace("_", "-"): value for name, value in headers.items()}.get, wall_s)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": " 2.5 "}, 2.5),
        ({"retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "12.5"}, 0.0125),
        ({"retry_after_ms": "1500", "retry_after": "7"}, 1.5),
        ({"retry_after_ms": "soon", "retry_after": "7"}, 7.0),
        ({"retry_after_ms": "900000000", "retry_after": "7"}, 7.0),
        ({"retry_after": "86400"}, 86_400.0),
        ({}, None),
    ],
)
def test_numbers(headers, expected):
    assert parse(**headers) == expected


@pytest.mark.parametrize(
    "date",
    [
        "Fri, 06 Nov 2026 08:49:37 GMT",  # IMF-fixdate
        "Friday, 06-Nov-26 08:49:37 GMT",  # RFC 850
        "Fri Nov  6 08:49:37 2026",  # asctime
    ],
)
def test_the_three_formats_of_an_http_date(date):
    assert parse(retry_after=date) == 7.0


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_a_date_is_utc_wherever_the_machine_stands(zone):
    """asctime's format names no zone; RFC 9110 says it is UTC. In a process of its own: the zone is the process's."""
    code = (
        "from holdfast.resilience.retry_after import parse_retry_after\n"
        f"print(parse_retry_after({{'retry-after': 'Fri Nov  6 08:49:37 2026'}}.get, {WALL_S}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.strip() == "7.0"


def test_a_date_in_the_past_means_now():
    assert parse(retry_after="Fri, 06 Nov 2026 08:49:00 GMT") == 0.0


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "-1", "-0.5", "+5", "1e3", "nan", "inf", "Infinity", "0x10", "1_000", "5 seconds", "soon", "86401", "٣",
        "1234567890123", "Fri, 06 Nov 2126 08:49:37 GMT", "Fri, 32 Nov 2026 08:49:37 GMT", "Fri, 06 Nov 2026",
        "9999999999999999999999", "1,2", "Fri, 06 Nov 99999 08:49:37 GMT", "Fri, 06 Nov 2026 08:49:37 +9999999",
    ],
)  # fmt: skip
def test_nonsense_is_ignored(value):
    assert parse(retry_after=value) is None


@given(st.text(max_size=40), st.text(max_size=10))
def test_whatever_a_server_says_is_a_bounded_wait_or_nothing(value, milliseconds):
    waited = parse(retry_after=value, retry_after_ms=milliseconds)
    assert waited is None or 0.0 <= waited <= MAX_RETRY_AFTER_S


@given(
    st.lists(
        st.sampled_from(
            ["Fri,", "Nov", "06", "2026", "26", "08:49:37", ":", "-", "GMT", "+0100", "EST", "99", ""]
        ),
        max_size=9,
    )
)
def test_whatever_looks_like_a_date_is_a_bounded_wait_or_nothing(parts):
    waited = parse(retry_after=" ".join(parts))
    assert waited is None or 0.0 <= waited <= MAX_RETRY_AFTER_S


@given(st.integers(0, 86_400))
def test_a_date_is_as_far_away_as_it_says(seconds):
    date = datetime.fromtimestamp(WALL_S + seconds, UTC)
    assert parse(retry_after=format_datetime(date, usegmt=True)) == seconds
    assert parse(retry_after=str(seconds)) == seconds
