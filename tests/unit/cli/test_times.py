"""Dates as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.times import instant_ns, iso_utc, span_s

NOW_NS = 1_769_860_800_123_456_789


@pytest.mark.parametrize(
    ("text", "ago_s"), [("0s", 0), ("45s", 45), ("30m", 1_800), ("2h", 7_200), ("7d", 604_800)]
)
def test_how_long_ago(text: str, ago_s: int) -> None:
    assert instant_ns(text, now_ns=NOW_NS) == NOW_NS - ago_s * 10**9


@given(st.datetimes(min_value=datetime(1971, 1, 2), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # st wants naive bounds
def test_an_instant_with_its_zone_is_read_exactly(at: datetime) -> None:
    ns = instant_ns(at.isoformat(), now_ns=NOW_NS)
    assert datetime.fromisoformat(iso_utc(ns)[:26] + "+00:00") == at


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_iso_keeps_every_nanosecond(ns: int) -> None:
    text = iso_utc(ns)
    whole = datetime.fromisoformat(text[:19] + "+00:00")
    assert int(whole.timestamp()) * 10**9 + int(text[20:29]) == ns


@pytest.mark.parametrize("text", ["", "soon", "-5m", "5w", "2026-13-01", "9999999999d", "1.5h", "٣m"])
def test_anything_else_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="30m, 2h, 7d"):
        instant_ns(text, now_ns=NOW_NS)


@pytest.mark.parametrize(("text", "ns"), [("999999999d", 0), ("0001-01-02", 0), ("9999-01-01", 2**63 - 1)])
def test_what_no_ledger_can_hold_is_the_nearest_that_one_can(text: str, ns: int) -> None:
    assert instant_ns(text, now_ns=NOW_NS) == ns


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("30m", 1_800), ("24h", 86_400), ("30d", 2_592_000)]
)
def test_a_span_of_time(text: str, seconds: int) -> None:
    assert span_s(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "h", "1.5h", "-1h", "1 h", "1w", "1h30m", "9" * 10 + "s", "2026-01-01"]
)
def test_what_is_no_span_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no span of time such as 90s"):
        span_s(text)
