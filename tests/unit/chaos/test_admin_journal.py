"""The journal over HTTP: lists, exports in blocks, attempts as they end, and two runs of a seed compared."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager

import httpx2
import pytest
from tests.unit.chaos.entries import entry
from tests.unit.chaos.raw import arrived, ask, payload, send

from holdfast.chaos import ChaosConfig, ChaosServer, run_chaos
from holdfast.chaos.admin import Admin
from holdfast.chaos.admin.follow import Follower
from holdfast.chaos.answer import Usage
from holdfast.chaos.journal import Journal, Texts
from holdfast.chaos.journal_filter import ALL, Filter
from holdfast.chaos.plan import FOREVER


def get(chaos, path: str):
    return httpx2.get(chaos.admin_url + path)


def seqs(chaos, query: str) -> list[int]:
    return [row["seq"] for row in get(chaos, f"/journal?{query}").json()]


@pytest.fixture(scope="module")
def several():
    """Five attempts, all ended: a, b, a (503), c (cut off after 5 tokens), a."""
    config = ChaosConfig(scripts={"a": "ok; 503; ok", "c": "tokens=9 cut=reset after=5"})
    with run_chaos(config) as chaos:
        for model in "abaca":
            ask(chaos.port, payload(model, stream=model == "c"))
        chaos.wait_for(lambda journal: len(journal) == 5 and all(one.end for one in journal))
        yield chaos


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("model=a", [1, 3, 5]),
        ("model=a&attempt=2", [3]),
        ("key=b", [2]),
        ("wire=openai_chat&operation=answer", [1, 2, 3, 4, 5]),
        ("wire=gemini", []),
        ("status=503", [3]),
        ("status=2xx", [1, 2, 4, 5]),
        ("fault=cut", [4]),
        ("fault=none", [1, 2, 5]),
        ("end=reset_by_us", [4]),
        ("since=2&until=4", [3, 4]),
        ("text=%3A4", [1, 2, 4, 5]),
        ("text=hello", [1, 2, 3, 4, 5]),
        ("rule=model%20c", [4]),
        ("limit=2", [1, 2]),
        ("limit=0", []),
        ("order=newest&limit=2", [5, 4]),
        ("order=newest&model=a&limit=2", [5, 3]),
        ("order=newest&since=3", [5, 4]),
        ("since=99", []),
    ],
)
def test_filters(several, query, numbers):
    assert seqs(several, query) == numbers
    lines = get(several, f"/journal.jsonl?{query}").text.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == numbers


def test_one_attempt(several):
    told = get(several, "/journal/4").json()
    assert (told["seq"], told["faults"], told["tokens"]) == (4, ["cut"], 5)
    assert json.loads(told["body"])["model"] == "c"
    answer = get(several, "/journal/6")
    assert (answer.status_code, "isn't there yet" in answer.text) == (404, True)
    several_small = get(several, "/journal/0")
    assert (several_small.status_code, "given up" in several_small.text) == (404, True)
    assert get(several, "/journal/x").status_code == 404


def test_an_export_has_every_field(several):
    rows = [json.loads(line) for line in get(several, "/journal.jsonl").text.splitlines()]
    assert rows == get(several, "/journal").json()
    known = {name for one in several.journal() for name in one.__struct_fields__}
    assert set(rows[0]) == known
    assert rows[0]["usage"]["total_tokens"] == sum(
        rows[0]["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    )


class _Administered:
    """As much of a server as the journal's endpoints ask for."""

    def __init__(self, journal: Journal) -> None:
        self.config = ChaosConfig()
        self.journal = journal


def reply(journal: Journal, path: str):
    request = arrived(path, b"")
    request.method = "GET"
    return Admin(_Administered(journal)).handle(request)


def filled(count: int, size: int = 0) -> Journal:
    journal = Journal(ChaosConfig(journal_bytes=1 << 30))
    for _ in range(count):
        one = entry(journal.next_seq(), end=None)
        one.body, one.body_size = b"x" * size, size
        journal.add(one)
    return journal


@pytest.mark.parametrize(
    "path", ["/admin/journal", "/admin/journal.jsonl", "/admin/journal.jsonl?stable=true"]
)
def test_exports_are_made_in_blocks_as_they_are_read(path):
    journal = filled(300, size=20_000)
    sizes = [len(part.data) for part in reply(journal, path).parts]
    assert sum(sizes) > 300 * 20_000
    assert max(sizes) < 65_536 + 25_000


def test_what_comes_during_a_slow_export_isnt_in_it():
    journal = filled(100)
    parts = iter(reply(journal, "/admin/journal.jsonl").parts)
    data = next(parts).data
    for _ in range(100):
        journal.add(entry(journal.next_seq()))
    data += b"".join(part.data for part in parts)
    assert [json.loads(line)["seq"] for line in data.splitlines()] == list(range(1, 101))


def test_what_is_given_up_during_a_slow_export_is_missing_and_the_rest_is_there():
    journal = Journal(ChaosConfig(journal_entries=100))
    for _ in range(100):
        journal.add(entry(journal.next_seq()))
    parts = iter(reply(journal, "/admin/journal").parts)
    data = next(parts).data
    for _ in range(90):
        journal.add(entry(journal.next_seq()))
    data += b"".join(part.data for part in parts)
    numbers = [row["seq"] for row in json.loads(data)]
    assert numbers[:64] == list(range(1, 65))
    assert numbers[64:] == list(range(91, 101))


def test_a_search_that_finds_nothing_lets_others_have_their_turn():
    journal = filled(5000)
    parts = list(reply(journal, "/admin/journal.jsonl?model=none").parts)
    assert len(parts) > 5000 / 1000
    assert all(part.data == b"" for part in parts)


def run(callers: int) -> bytes:
    """The stable export of one run: 40 attempts of four models, by so many callers at once."""
    config = ChaosConfig(seed=5, rates={"429": 20, "cut": 20}, scripts={"d": "503; ok"})
    with run_chaos(config) as chaos:

        def call(models: str) -> None:
            for model in models:
                ask(chaos.port, payload(model, stream=True), **{"user-agent": "test"})

        work = "abcd" * 10
        threads = [threading.Thread(target=call, args=(work[i::callers],)) for i in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        chaos.wait_for(lambda journal: len(journal) == 40 and all(one.end for one in journal))
        return get(chaos, "/journal.jsonl?stable=true").content


def test_two_runs_of_a_seed_compare_byte_for_byte():
    first = run(1)
    assert first == run(8)
    assert len(first.splitlines()) == 40
    assert {json.loads(line)["status"] for line in first.splitlines()} == {200, 429, 503}


# As they end.


@contextmanager
def following(chaos, query: str = "", **headers: str):
    """Lines of the body, read as they come."""
    with (
        httpx2.Client(timeout=10) as client,
        client.stream("GET", f"{chaos.admin_url}/journal?follow=true{query}", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        yield answer.headers["content-type"], answer.iter_lines()


def test_attempts_are_told_once_as_they_end():
    with run_chaos(ChaosConfig(scripts={"slow": "hang"})) as chaos:
        ask(chaos.port, payload("first"))
        slow = send(chaos.port, payload("slow"))
        chaos.wait_for(lambda journal: len(journal) == 2 and journal[1].rule)
        with following(chaos) as (kind, lines):
            assert kind == "application/x-ndjson"
            assert json.loads(next(lines))["model"] == "first"
            ask(chaos.port, payload("third"))
            assert json.loads(next(lines))["model"] == "third"
            slow.close()
            told = json.loads(next(lines))
            assert (told["seq"], told["end"]) == (2, "client_left")
            ask(chaos.port, payload("fourth"))
            assert json.loads(next(lines))["model"] == "fourth"


def test_what_arrived_before_is_told_when_it_ends_whatever_since_says():
    with run_chaos(ChaosConfig(scripts={"slow": "hang"})) as chaos:
        slow = send(chaos.port, payload("slow"))
        chaos.wait_for(lambda journal: journal and journal[0].rule)
        ask(chaos.port, payload())
        ask(chaos.port, payload())
        with following(chaos, "&since=2") as (_, lines):
            assert json.loads(next(lines))["seq"] == 3
            slow.close()
            assert json.loads(next(lines))["seq"] == 1


def test_following_with_filters_and_a_limit_ends():
    with run_chaos(ChaosConfig(scripts={"b": "503"})) as chaos:
        for model in "ab":
            ask(chaos.port, payload(model))
        with following(chaos, "&status=503&limit=2") as (_, lines):
            assert json.loads(next(lines))["seq"] == 2
            for model in "aab":
                ask(chaos.port, payload(model))
            assert [json.loads(line)["seq"] for line in lines] == [5]


def test_following_as_server_sent_events():
    with (
        run_chaos() as chaos,
        following(chaos, "&limit=1&model=b", accept="text/event-stream") as (kind, lines),
    ):
        assert kind == "text/event-stream"
        ask(chaos.port, payload("a"))
        ask(chaos.port, payload("b"))
        data, empty = lines
        assert data.startswith("data: ")
        assert (json.loads(data[6:])["seq"], empty) == (2, "")


def test_a_reader_that_stalls_gets_every_line_once_it_reads():
    """Its socket is full while attempts end: what it then has in hand must not keep it asleep."""
    with run_chaos(ChaosConfig(text_keep=0)) as chaos, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(10)
        sock.connect(("127.0.0.1", chaos.port))
        sock.sendall(b"GET /admin/journal?follow=true&limit=120 HTTP/1.0\r\n\r\n")
        data = sock.recv(100)
        with httpx2.Client() as client:
            for _ in range(120):  # 7 MB: more than the kernel holds
                client.post(chaos.base_url + "/chat/completions", content=payload(user="x" * 60_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        while piece := sock.recv(1 << 20):
            data += piece
    rows = data.partition(b"\r\n\r\n")[2].splitlines()
    assert [json.loads(line)["seq"] for line in rows] == list(range(1, 121))


def ended(journal: Journal) -> int:
    one = entry(journal.next_seq(), end=None)
    journal.add(one)
    journal.close(one, "complete", Usage(), Texts(0), 1)
    return one.seq


def test_a_part_in_hand_becomes_due_where_no_call_wakes_its_player():
    journal = Journal(ChaosConfig())
    reply = Follower(journal, ALL, None, events=False).reply()
    woken: list[int] = []
    stop = reply.live(lambda: woken.append(1))
    parts = iter(reply.parts)
    idle = next(parts)
    assert idle.hold == FOREVER
    ended(journal)
    ended(journal)
    assert (idle.hold, len(woken)) == (0.0, 1), "one call is enough"
    assert len(next(parts).data.splitlines()) == 2
    stop()
    ended(journal)
    assert len(woken) == 1


def test_what_ends_between_the_start_and_the_first_look_is_told_once():
    journal = Journal(ChaosConfig())
    one = entry(journal.next_seq(), end=None)
    journal.add(one)
    reply = Follower(journal, ALL, None, events=False).reply()
    reply.live(lambda: None)
    journal.close(one, "complete", Usage(), Texts(0), 1)
    parts = iter(reply.parts)
    data = b""
    while (part := next(parts)).hold != FOREVER:
        data += part.data
    assert len(data.splitlines()) == 1


def test_a_limit_holds_where_several_end_at_once():
    journal = Journal(ChaosConfig())
    reply = Follower(journal, ALL, 2, events=False).reply()
    reply.live(lambda: None)
    parts = iter(reply.parts)
    assert next(parts).hold == FOREVER
    for _ in range(3):
        ended(journal)
    assert len(b"".join(part.data for part in parts).splitlines()) == 2


def test_a_slow_reader_is_told_what_it_missed():
    journal = Journal(ChaosConfig(journal_entries=3))
    reply = Follower(journal, Filter(since=2), None, events=True).reply()
    reply.live(lambda: None)
    parts = iter(reply.parts)
    assert next(parts).hold == FOREVER
    for _ in range(10):
        ended(journal)
    *events, missed = next(parts).data.decode().split("\n\n")[:-1]
    assert [json.loads(event.removeprefix("data: "))["seq"] for event in events] == [8, 9, 10]
    assert missed == 'event: missed\ndata: {"missed":7}'
    assert next(parts).hold == FOREVER


def test_a_reader_that_never_reads_holds_a_bounded_number_of_numbers():
    journal = Journal(ChaosConfig(journal_entries=1))
    follower = Follower(journal, ALL, None, events=False)
    follower.reply().live(lambda: None)
    for _ in range(70_000):
        follower._end(1)
    assert len(follower._ended) == 65_536
    assert follower._missed == 70_000 - 65_536


def test_a_follower_that_left_is_forgotten_and_the_server_stops_beside_one_that_stays():
    async def main() -> None:
        server = ChaosServer()
        await server.start()
        pairs = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /admin/journal?follow=true HTTP/1.1\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            pairs.append((reader, writer))
        assert len(server.journal._followers) == 2
        reader, writer = pairs[0]
        writer.write_eof()
        assert await reader.read() == b"", "closed in answer"
        assert len(server.journal._followers) == 1
        await server.stop()
        assert server.journal._followers == []
        for _, writer in pairs:
            writer.close()

    asyncio.run(main())
