"""Which entries are meant; and how they are written out."""

import base64
import json

import pytest
from tests.unit.chaos.entries import entry

from holdfast.chaos import ChaosConfig
from holdfast.chaos.journal import Journal
from holdfast.chaos.journal_filter import ALL, Filter
from holdfast.chaos.journal_rows import line, row, stable_order


def settings(filter_: dict) -> Filter:
    return Filter(**filter_)


@pytest.mark.parametrize(
    ("wanted", "fitting", "others"),
    [
        ({"model": "gpt-4"}, {"model": "gpt-4"}, {"model": "gpt-4o"}),
        ({"model": "GPT-*"}, {"model": "gpt-4o"}, {"model": "claude"}),
        ({"model": "a[1]"}, {"model": "a[1]"}, {"model": None}),
        ({"key": "k?"}, {"script_key": "k1"}, {"script_key": "k10"}),
        ({"rule": "default"}, {"rule": "default"}, {"rule": None}),
        ({"status": "429"}, {"status": 429}, {"status": 428}),
        ({"status": "4xx"}, {"status": 401}, {"status": 500}),
        ({"status": "4xx"}, {"status": 499}, {"status": None}),
        ({"status": "none"}, {"status": None}, {"status": 200}),
        ({"fault": "cut"}, {"faults": ["stall", "cut"]}, {"faults": ["stall"]}),
        ({"fault": "any"}, {"faults": ["stall"]}, {"faults": []}),
        ({"fault": "none"}, {"faults": []}, {"faults": ["stall"]}),
        ({"end": "running"}, {"end": None}, {"end": "complete"}),
        ({"end": "client_left"}, {"end": "client_left"}, {"end": None}),
        ({"attempt": 2}, {"attempt": 2}, {"attempt": None}),
        ({"text": "needle"}, {"text": "a needle"}, {"text": "hay"}),
        ({"text": "needle"}, {"reasoning": "needle"}, {"nonce": "needle"}),
        ({"text": "needle"}, {"arguments": '{"needle":1}'}, {}),
    ],
)  # fmt: skip  # one row each
def test_what_fits(wanted, fitting, others):
    assert settings(wanted).fits(entry(**fitting))
    assert not settings(wanted).fits(entry(**others))
    assert ALL.fits(entry(**fitting))


def test_text_is_looked_for_in_the_request_too():
    one = entry()
    one.body = '{"content": "ä needle"}'.encode()
    assert Filter(text="ä n").fits(one)
    assert not Filter(text="\ud800").fits(one), "half a surrogate pair is no reason to fail"


def test_numbers_wire_and_operation():
    assert [i for i in range(1, 9) if Filter(since=3, until=6).fits(entry(i))] == [4, 5, 6]
    assert not Filter(wire="gemini").fits(entry())
    assert not Filter(operation="count").fits(entry())


def filled(count: int, most: int = 10_000) -> Journal:
    journal = Journal(ChaosConfig(journal_entries=most))
    for _ in range(count):
        seq = journal.next_seq()
        journal.add(entry(seq, attempt=seq % 2))
    return journal


@pytest.mark.parametrize("newest", [False, True])
def test_scanning_goes_through_all_in_small_steps(newest):
    journal = filled(50, most=40)
    seen, at, steps = [], 50 if newest else 1, 0
    while at is not None:
        found, at = journal.scan(Filter(attempt=1), at, newest=newest, most=3, look_at=5)
        assert len(found) <= 3
        seen += [one.seq for one in found]
        steps += 1
    assert seen == sorted(range(11, 50, 2), reverse=newest)
    assert steps >= 40 / 5


def test_finding_one():
    journal = filled(50, most=40)
    assert journal.find(11).seq == 11
    assert journal.find(50).seq == 50
    assert journal.find(10) is None, "given up"
    assert journal.find(51) is None
    journal.reset()
    assert journal.find(50) is None
    assert journal.scan(ALL, 1) == ([], None)
    assert journal.scan(ALL, 50, newest=True) == ([], None)


def with_body(body: bytes, size: int | None = None):
    one = entry()
    one.body, one.body_size = body, len(body) if size is None else size
    return json.loads(line(one))


def test_a_body_is_text_or_base64():
    assert with_body("ä".encode())["body"] == "ä"
    assert "body_base64" not in with_body(b"")
    binary = with_body(b"\xff\x00")
    assert binary["body"] is None
    assert base64.b64decode(binary["body_base64"]) == b"\xff\x00"
    cut = "aä€😀".encode()
    assert [with_body(cut[:i], len(cut))["body"] for i in range(1, 10)] == [
        "a", "a", "aä", "aä", "aä", "aä€", "aä€", "aä€", "aä€",
    ]  # fmt: skip  # one row
    assert with_body(cut[:9])["body"] is None, "that is how it came: it wasn't cut off here"


def test_half_a_surrogate_pair_is_written_too():
    one = entry(model="\ud800")
    one.body, one.body_size = b"\xff", 1
    told = json.loads(line(one))
    assert told["model"] == "\ud800"
    assert base64.b64decode(told["body_base64"]) == b"\xff"


def test_what_is_stable_has_no_times_numbers_or_ports():
    one, other = (
        entry(seq, seq, client=f"127.0.0.1:{seq}", arrived_s=seq / 2, ended_ns=seq, script_key="k", attempt=1)
        for seq in (3, 4)
    )
    one.headers, other.headers = {"host": "localhost:1", "x": "1"}, {"host": "localhost:2", "x": "1"}
    assert line(one, stable=True) == line(other, stable=True)
    assert row(one, stable=True)["headers"] == {"x": "1"}
    assert line(one) != line(other)
    assert one.headers["host"] == "localhost:1", "what is shown isn't what is kept"


def test_the_stable_order_is_by_key_and_attempt():
    mixed = [
        entry(1, script_key="b", attempt=1),
        entry(2, script_key="a", attempt=10),
        entry(3, script_key="a", attempt=9),
        entry(4, script_key=None),
    ]
    assert [one.seq for one in sorted(mixed, key=stable_order)] == [4, 3, 2, 1]
