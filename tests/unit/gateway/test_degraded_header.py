"""What was lost when an answer was admitted, in one header (RD1)."""

from __future__ import annotations

from holdfast.gateway.degraded_header import degraded_header, lost_for
from holdfast.resilience.rate_meter import RateStatus


def test_nothing_lost_is_no_header():
    assert degraded_header(()) == []
    assert lost_for(None) == ()
    assert lost_for(RateStatus(None, None)) == ()


def test_each_once_and_by_name():
    assert degraded_header(("redis", "ledger", "redis")) == [(b"x-holdfast-degraded", b"ledger, redis")]


def test_a_limit_that_this_process_counts_alone():
    assert degraded_header(lost_for(RateStatus(None, None, alone=True))) == [
        (b"x-holdfast-degraded", b"redis")
    ]
