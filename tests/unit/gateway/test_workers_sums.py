"""Several processes' numbers as one's."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from tests.docs.pages import ROOT, text_of

from holdfast.clock import SystemClock
from holdfast.gateway.metrics import Metrics, exposed
from holdfast.gateway.workers_sums import LEVELS, Family, Sample, Tally
from holdfast.ledger.memory import MemoryLedger


def counter(value: float, name: str = "asked", **labels: str) -> Family:
    return Family(name, "counter", "Asked.", [Sample(f"{name}_total", tuple(labels.items()), value)])


def level(name: str, value: float) -> Family:
    return Family(name, "gauge", "Open.", [Sample(name, (), value)])


def values(tally: Tally) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sample.labels)): sample.value
        for family in tally.total()
        for sample in family.samples
    }


def test_counters_are_summed_series_by_series() -> None:
    tally = Tally()
    tally.note(1, [counter(3, route="a")])
    tally.note(2, [counter(4, route="a"), counter(5, "told", route="b")])
    assert values(tally) == {("asked_total", "a"): 7, ("told_total", "b"): 5}


def test_what_a_process_says_takes_the_place_of_what_it_said() -> None:
    tally = Tally()
    tally.note(1, [counter(3)])
    tally.note(1, [counter(4)])
    assert values(tally) == {("asked_total",): 4}


def test_what_the_dead_counted_stays_and_their_levels_go() -> None:
    tally = Tally()
    for value in (3, 30):  # two who had the place one after the other
        tally.note(1, [counter(value), level("holdfast_in_flight", 9)])
        tally.leave(1)
    tally.note(1, [counter(1), level("holdfast_in_flight", 2)])
    assert values(tally) == {("asked_total",): 34, ("holdfast_in_flight",): 2}
    tally.leave(2)  # it never said anything


def test_a_level_means_what_the_table_says() -> None:
    tally = Tally()
    for place, value in ((1, 2.0), (2, 5.0)):
        names = ("holdfast_in_flight", "holdfast_ledger_ok", "holdfast_budget_used_ratio")
        tally.note(place, [level(name, value) for name in names])
    assert values(tally) == {
        ("holdfast_in_flight",): 7,
        ("holdfast_ledger_ok",): 2,
        ("holdfast_budget_used_ratio",): 5,
    }


def test_every_level_that_is_shown_is_in_the_table() -> None:
    shown = Metrics(MemoryLedger(SystemClock())).families()
    assert {family.name for family in shown if family.kind == "gauge"} == set(LEVELS)
    assert {family.kind for family in shown} == {"counter", "histogram", "gauge"}


def test_the_document_says_what_each_means() -> None:
    page = text_of(ROOT / "docs" / "processes.md")
    assert not [name for name, how in LEVELS.items() if how != "sum" and f"`{name}`" not in page]


def test_sums_are_told_in_the_text_format_as_one_process_tells_its_own() -> None:
    histogram = HistogramMetricFamily("took_seconds", "Took.", labels=("route",))
    histogram.add_metric(("a",), [("0.1", 1.0), ("+Inf", 3.0)], 4.5)
    plain = CounterMetricFamily("asked", "Asked.", labels=("route",))
    plain.add_metric(('odd "label"\n',), 2)
    tally = Tally()
    for place in (1, 2):
        tally.note(place, [Family.of(histogram), Family.of(plain)])
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(exposed(tally.total()).decode())
        for sample in family.samples
    }
    assert told == {
        ("took_seconds_bucket", "0.1", "a"): 2,
        ("took_seconds_bucket", "+Inf", "a"): 6,
        ("took_seconds_count", "a"): 6,
        ("took_seconds_sum", "a"): 9,
        ("asked_total", 'odd "label"\n'): 4,
    }
