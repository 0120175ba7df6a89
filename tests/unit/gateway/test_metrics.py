"""Metrics: exact deltas, bounded labels, a format that its own parser reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.simulation.chat_wire import chunk, refuses, request, speaks, stream, whole
from tests.unit.gateway.door import Door

from holdfast.gateway.metrics import _SECONDS, _Times
from holdfast.testing.virtual_time import VirtualClock, run_virtual

if TYPE_CHECKING:
    from holdfast.testing.memory_transport import Reply

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(door: Door) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(door.metrics.expose().decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, "one series, one sample"
            found[key] = sample.value
    return found


def delta(before: Samples, after: Samples) -> dict[str, float]:
    """What grew, as ``name{a=b}``; histograms by their count."""
    return {
        f"{name}{{{','.join(f'{label}={value}' for label, value in labels)}}}": round(
            after[key] - before.get(key, 0.0), 12
        )
        for key in after
        if not (name := key[0]).endswith(("_bucket", "_sum"))
        and after[key] != before.get(key, 0.0)
        and (labels := key[1]) is not None
    }


def grown(*replies: Reply, body: bytes, headers: dict[str, str] | None = None) -> dict[str, float]:
    async def main(clock: VirtualClock) -> dict[str, float]:
        door = await Door.open(clock, replies)
        before = samples(door)
        await door.chat(body, headers)
        return delta(before, samples(door))

    return run_virtual(main)


def test_one_good_request_counts_once_everywhere():
    assert grown(whole("hi", usage=(10, 5)), body=request(stream=False)) == {
        "holdfast_requests_total{route=chat,state=ok}": 1,
        "holdfast_attempts_total{outcome=ok,provider=a}": 1,
        "holdfast_tokens_total{kind=input,provider=a}": 10,
        "holdfast_tokens_total{kind=output,provider=a}": 5,
        "holdfast_cost_usd_total{provider=a,source=provider}": 0.00006,
        "holdfast_request_seconds_count{route=chat}": 1,
        "holdfast_first_token_seconds_count{route=chat}": 1,
    }


def test_a_fallback_counts_both_attempts_and_an_unknown_price_apart():
    assert grown(refuses(503), speaks(*stream("a")), body=request()) == {
        "holdfast_requests_total{route=chat,state=ok}": 1,
        "holdfast_attempts_total{outcome=overloaded,provider=a}": 1,
        "holdfast_attempts_total{outcome=ok,provider=b}": 1,
        "holdfast_tokens_total{kind=input,provider=b}": 10,
        "holdfast_tokens_total{kind=output,provider=b}": 5,
        "holdfast_unpriced_attempts_total{provider=b}": 1,
        "holdfast_request_seconds_count{route=chat}": 1,
        "holdfast_first_token_seconds_count{route=chat}": 1,
    }


def test_a_broken_stream_is_a_failure_at_its_bound():
    body = request(max_tokens=10)
    assert grown(speaks(chunk("a"), ending="reset", end_s=0.1), body=body) == {
        "holdfast_requests_total{route=chat,state=failed}": 1,
        "holdfast_attempts_total{outcome=connection_lost,provider=a}": 1,
        "holdfast_cost_usd_total{provider=a,source=bound}": round((len(body) * 2_000 + 80_000) * 1e-9, 12),
        "holdfast_request_seconds_count{route=chat}": 1,
        "holdfast_first_token_seconds_count{route=chat}": 1,
    }


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"{", {}, "invalid_request"),
        (request(model="nobody-knows"), {}, "unknown_model"),
        (request(), {"x-holdfast-session": "a b"}, "invalid_request"),
        (request(), {"host": "evil.example"}, "forbidden"),
        (request(), {"content-length": "999999999"}, "body_too_large"),
    ],
)
def test_a_refusal_is_counted_and_is_no_request(body, headers, reason):
    assert grown(body=body, headers=headers) == {f"holdfast_refused_total{{reason={reason}}}": 1}


def test_what_is_under_way_is_seen_and_then_over():
    async def main(clock: VirtualClock) -> None:
        seen: list[float] = []
        door = None

        def handler(_: object) -> Reply:
            seen.append(samples(door)["holdfast_in_flight", ()])
            return whole()

        door = await Door.open(clock, handler)
        await door.chat(request(stream=False))
        assert seen == [1.0]
        assert samples(door)["holdfast_in_flight", ()] == 0.0
        assert samples(door)["holdfast_ledger_ok", ()] == 1.0
        door.app.ledger.refuse("full")
        assert samples(door)["holdfast_ledger_ok", ()] == 0.0

    run_virtual(main)


def test_a_callers_names_never_become_labels():
    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, lambda _: whole())
        await door.chat(request(stream=False))
        series = len(samples(door))
        for n in range(50):
            headers = {"x-holdfast-session": f"s-{n}", "x-holdfast-tags": f"t{n}=v{n}"}
            await door.chat(request(stream=False), headers)
            await door.chat(request(stream=False, model=f"a/invented-{n}"), headers)
        text = door.metrics.expose().decode()
        assert "invented" not in text
        assert "s-7" not in text
        more = {
            key
            for key in samples(door)
            if ("route", "direct") in key[1] or key[0] == "holdfast_unpriced_attempts_total"
        }
        assert len(samples(door)) == series + len(more)
        assert len(more) <= 40, "however many names callers invent"

    run_virtual(main)


@given(st.lists(st.floats(0.0, 2000.0), max_size=40))
def test_a_histogram_counts_each_time_in_its_buckets(times):
    histogram = _Times()
    for seconds in times:
        histogram.add(seconds)
    cumulative = dict(histogram.cumulative())
    for bound in _SECONDS:
        assert cumulative[str(bound)] == sum(seconds <= bound for seconds in times)
    assert cumulative["+Inf"] == len(times)
    assert histogram.total == pytest.approx(sum(times))
