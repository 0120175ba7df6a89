"""Metrics: exact deltas, bounded labels, a format that its own parser reads."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from tests.simulation.chat_wire import chunk, refuses, request, speaks, stream, whole
from tests.unit.gateway.door import CONFIG, Door

from holdfast.clock import SystemClock
from holdfast.gateway.metrics import _SECONDS, Metrics, _Times
from holdfast.ledger.memory import MemoryLedger
from holdfast.providers.prices import PriceBook, parse_overrides
from holdfast.testing.memory_transport import Reply
from holdfast.testing.virtual_time import VirtualClock, run_virtual

JSON = {"content-type": "application/json"}
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
    """What was counted, as ``name{a=b}``; histograms by their count."""
    return {
        f"{name}{{{','.join(f'{label}={value}' for label, value in labels)}}}": round(
            after[key] - before.get(key, 0.0), 12
        )
        for key in after
        if (name := key[0]).endswith(("_total", "_count"))
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
        "holdfast_model_cost_usd_total{model=m,provider=a}": 0.00006,
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
    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, [speaks(chunk("a"), ending="reset", end_s=0.1)])
        before = samples(door)
        await door.chat(request(max_tokens=10))
        (record,) = door.app.ledger.records()
        cost = record.end.attempts[0].cost_nano * 1e-9
        assert cost > 0.00008, "ten tokens of output, and what the request has"
        assert delta(before, samples(door)) == {
            "holdfast_requests_total{route=chat,state=failed}": 1,
            "holdfast_attempts_total{outcome=connection_lost,provider=a}": 1,
            "holdfast_cost_usd_total{provider=a,source=bound}": pytest.approx(cost, abs=1e-12),
            "holdfast_model_cost_usd_total{model=m,provider=a}": pytest.approx(cost, abs=1e-12),
            "holdfast_request_seconds_count{route=chat}": 1,
            "holdfast_first_token_seconds_count{route=chat}": 1,
        }

    run_virtual(main)


def test_tokens_are_counted_by_kind():
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 9},
    }
    answer = msgspec.json.decode(whole("hi").segments[0][1])
    reply = Reply(200, JSON, ((0.0, msgspec.json.encode({**answer, "usage": usage})),))
    counted = grown(reply, body=request(stream=False))
    assert {name: count for name, count in counted.items() if name.startswith("holdfast_tokens")} == {
        f"holdfast_tokens_total{{kind={kind},provider=a}}": count
        for kind, count in {
            "input": 100, "cache_read": 60, "input_audio": 7, "output": 50, "reasoning": 30, "output_audio": 9,
        }.items()
    }  # fmt: skip


@pytest.mark.parametrize(("usage", "flag"), [((10, -5), "negative"), ((10**13, 5), "absurd")])
def test_a_usage_that_cant_be_believed_is_flagged_and_adds_no_tokens(usage, flag):
    counted = grown(whole("hi", usage=usage), body=request(stream=False))
    assert not [name for name in counted if name.startswith("holdfast_tokens")]
    assert counted[f"holdfast_usage_flagged_total{{flag={flag},provider=a}}"] == 1
    assert [name for name in counted if name.startswith("holdfast_cost_usd") and "source=bound" in name]


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


@pytest.mark.parametrize("nano", [1, 285_000, 71_250, 10**9 + 1, 123_456_789_012_345])
def test_money_is_told_to_the_nano_dollar(nano):
    """The nearest number that the format has, which reads as what was meant: 0.000285 and not 0.00028500000000000004."""
    metrics = Metrics(MemoryLedger(SystemClock()))
    metrics._add("holdfast_cost_usd", ("p", "provider"), nano)
    (line,) = [
        each for each in metrics.expose().decode().splitlines() if each.startswith("holdfast_cost_usd_total{")
    ]
    assert Decimal(line.rpartition(" ")[2]) == Decimal(nano).scaleb(-9)


PRICED = """
[pricing]
ceiling_input_per_1m = 3
ceiling_output_per_1m = 9
[prices."b/openai/gpt-x"]
input_per_1m = 1
output_per_1m = 1
[prices."a/m".flex]
input_per_1m = 1
output_per_1m = 1
[routes.all]
targets = ["a/{model}"]
models = ["never-*"]
"""


def of_models(door: Door) -> dict[tuple[str, str], float]:
    return {
        (dict(labels)["provider"], dict(labels)["model"]): round(value, 12)
        for (name, labels), value in samples(door).items()
        if name == "holdfast_model_cost_usd_total"
    }


def test_a_model_is_called_as_its_price_is():
    """Callers write names as they like, and invent dates; a ceiling is nobody's own price."""

    async def main(clock: VirtualClock) -> None:
        door = await Door.open(clock, lambda _: whole(usage=(1000, 1000)), CONFIG + PRICED)
        for model in (
            "a/m",
            "a/M",
            "a/m-2026-01-31",
            "a/m-2031-12-24",
            "b/openai/gpt-x",
            "a/nobodys",
            "never-heard-of",
        ):
            assert (await door.chat(request(stream=False, model=model))).status == 200
        assert of_models(door) == {
            ("a", "m"): 0.04,
            ("b", "openai/gpt-x"): 0.002,
            ("a", "other"): 0.024,
        }

    run_virtual(main)


@pytest.mark.parametrize(
    ("provider", "price_id", "model"),
    [
        ("openai", "genai-prices-0.2.3:openai/gpt-5@flex", "gpt-5"),
        ("deepseek", "genai-prices-0.2.3:deepseek/deepseek-chat#1", "deepseek-chat"),
        ("deepseek", "genai-prices-0.2.3:deepseek/deepseek-chat#1@batch", "deepseek-chat"),
        ("openrouter", "genai-prices-0.2.3:openrouter/openai/gpt-4o:free", "openai/gpt-4o:free"),
        ("vertex", "genai-prices-0.2.3:vertex/claude-haiku@20241022", "claude-haiku@20241022"),
        ("Wall", "override:wall/m#3f2a00ff3f2a", "m"),
        ("wall", "override:m@priority#3f2a00ff3f2a", "m"),
        ("wall", "override:openai/gpt-4o#3f2a00ff3f2a", "openai/gpt-4o"),
        ("wall", "ceiling:3/9", "other"),
        ("wall", "something else", "other"),
    ],
)
def test_the_name_in_a_prices_id(provider, price_id, model):
    assert Metrics(MemoryLedger(SystemClock()))._model(provider, price_id) == (provider, model)


def test_every_price_that_is_listed_has_a_name_of_its_own():
    """The ids that the book makes, and not only those that stand above."""
    metrics = Metrics(MemoryLedger(SystemClock()))
    book = PriceBook(parse_overrides({"wall/m": {"input_per_1m": 1, "output_per_1m": 2}})[0])
    for provider, model in (
        ("openai", "gpt-4o-2024-08-06"),
        ("anthropic", "claude-sonnet-4-5"),
        ("wall", "M"),
    ):
        for tier in (None, "batch", "flex"):
            price = book.price(provider, model, 1_790_000_000 * 10**9, tier)
            if price is not None:
                named = metrics._model(provider, price.id)[1]
                assert named in (model.lower(), "gpt-4o"), price.id


def test_models_beyond_the_first_256_are_other():
    metrics = Metrics(MemoryLedger(SystemClock()))
    names = [metrics._model("p", f"override:p/m-{n}#0")[1] for n in range(300)]
    assert names == [f"m-{n}" for n in range(256)] + ["other"] * 44
    assert metrics._model("p", "override:p/m-7@flex#1") == ("p", "m-7"), "known already, at another price"


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
