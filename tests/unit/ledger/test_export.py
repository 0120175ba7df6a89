"""The ledger as JSON Lines and CSV."""

from __future__ import annotations

import csv
import json

from tests.unit.ledger.helpers import attempt, end, intent

from holdfast.ledger import Record
from holdfast.ledger.export import csv_lines, jsonl_lines
from holdfast.model import Usage

USAGE = Usage(
    input_tokens=3, cache_write_tokens=2, cache_write_1h_tokens=1, output_tokens=4, extra={"tier": "flex"}
)
SERVED = Record(
    intent=intent("a", tags={"app": "x"}, model="=cmd|' /C calc'!A0", session='line\nbreak, "quoted"'),
    owner="o",
    settled_by="end",
    end=end(
        "a",
        cost_nano=1,
        usage=USAGE,
        error="-1+2",
        provider="openai",
        attempts=(attempt(1, usage=USAGE), attempt(2, deployment="eu-1")),
    ),
)
OPEN = Record(intent=intent("b"), owner="o")


def test_jsonl_has_everything() -> None:
    lines = list(jsonl_lines([SERVED, OPEN]))
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    served, still_open = map(json.loads, lines)
    assert served["id"] == "a"
    assert served["model"] == "=cmd|' /C calc'!A0"
    assert (served["cost_nano"], served["cost_usd"]) == (1, "0.000000001")
    assert served["usage"]["extra"] == {"tier": "flex"}
    assert [each["number"] for each in served["attempts"]] == [1, 2]
    assert [each["deployment"] for each in served["attempts"]] == ["", "eu-1"]
    assert served["served_deployment"] == "eu-1"
    assert served["usage"]["cache_write_1h_tokens"] == 1
    assert served["tags"] == {"app": "x"}
    assert still_open["state"] == "in_flight"
    assert "cost_nano" not in still_open


def test_csv_reads_back_and_is_no_formula() -> None:
    served, still_open = csv.DictReader(csv_lines([SERVED, OPEN]))
    assert served["session"] == 'line\nbreak, "quoted"'
    assert served["model"] == "'=cmd|' /C calc'!A0"
    assert served["error"] == "'-1+2"
    assert (served["attempts"], served["input_tokens"], served["cost_usd"]) == ("2", "3", "0.000000001")
    assert (served["served_provider"], served["served_deployment"]) == ("openai", "eu-1")
    assert (served["cache_write_tokens"], served["cache_write_1h_tokens"]) == ("2", "1")
    assert json.loads(served["tags"]) == {"app": "x"}
    assert (still_open["id"], still_open["state"], still_open["ended_ns"]) == ("b", "in_flight", "")


def test_both_take_an_iterator_as_it_comes() -> None:
    """An export of a large file holds one record at a time."""
    taken: list[str] = []

    def records():
        for record in (SERVED, OPEN):
            taken.append(record.intent.id)
            yield record

    lines = jsonl_lines(records())
    next(lines)
    assert taken == ["a"]
    rows = csv_lines(records())
    next(rows)
    next(rows)
    assert taken == ["a", "a"]
