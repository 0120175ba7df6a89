"""Places: never more at work than there are, first come first served, and no turn is lost."""

import asyncio
import json
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.chaos.raw import ask, is_silent, payload, receive, send
from tests.unit.chaos.speaking import SPEAKERS

from holdfast.chaos import ChaosConfig, ChaosError, run_chaos
from holdfast.chaos.capacity import Capacity, Places

_SCOPES = st.sampled_from(["a", "b"])


class PlacesMachine(RuleBasedStateMachine):
    """Beside a model that is nothing but lists."""

    def __init__(self):
        super().__init__()
        self.capacity = Capacity(2, 2, per="model")
        self.places = Places()
        self.places.set(self.capacity)
        self.running = {"a": [], "b": []}
        self.queue = {"a": deque(), "b": deque()}
        self.called = []

    def _expect_moves(self):
        """Who the model lets in, in order, after any change; compared with who was called."""
        expected = []
        for scope, queue in self.queue.items():
            while queue and (self.capacity is None or len(self.running[scope]) < self.capacity.concurrent):
                ticket = queue.popleft()
                self.running[scope].append(ticket)
                expected.append(ticket)
        assert sorted(map(id, self.called)) == sorted(map(id, expected))
        for scope in self.queue:
            assert [t for t in self.called if t in self.running[scope]] == [
                t for t in expected if t in self.running[scope]
            ]
        self.called.clear()

    @precondition(lambda self: self.capacity is not None)
    @rule(scope=_SCOPES)
    def ask(self, scope):
        ticket = self.places.ask(scope, "key")
        room = len(self.running[scope]) < self.capacity.concurrent
        if room:
            assert ticket is not None
            assert ticket.wait(lambda: self.called.append(ticket))
            self.running[scope].append(ticket)
        elif len(self.queue[scope]) < self.capacity.queue:
            assert ticket is not None
            assert not ticket.wait(lambda: self.called.append(ticket))
            self.queue[scope].append(ticket)
        else:
            assert ticket is None
        self._expect_moves()

    @rule(scope=_SCOPES, data=st.data())
    def leave(self, scope, data):
        known = [*self.running[scope], *self.queue[scope]]
        if not known:
            return
        ticket = data.draw(st.sampled_from(known))
        (self.running if ticket in self.running[scope] else self.queue)[scope].remove(ticket)
        ticket.leave()
        self._expect_moves()
        if data.draw(st.booleans()):
            ticket.leave()  # twice is once
            self._expect_moves()

    @rule(concurrent=st.integers(1, 4), queue=st.integers(0, 3))
    def step(self, concurrent, queue):
        self.capacity = Capacity(concurrent, queue, per="model")
        self.places.set(self.capacity)
        self._expect_moves()

    @rule()
    def lift(self):
        self.capacity = None
        self.places.set(None)
        self._expect_moves()

    @invariant()
    def the_same_run(self):
        for scope, tickets in self.running.items():
            assert all(ticket.running for ticket in tickets)
            assert not any(ticket.running for ticket in self.queue[scope])
            if self.capacity is not None and self.queue[scope]:
                assert len(tickets) >= self.capacity.concurrent  # nobody waits beside a free place


TestPlaces = PlacesMachine.TestCase
TestPlaces.settings = settings(max_examples=60, stateful_step_count=40)  # each example is a run of many steps


def test_a_long_queue_of_answers_that_are_over_at_once():
    """Each leaves before the call that let it in returns: ten thousand in a row aren't ten thousand calls deep."""
    places = Places()
    places.set(Capacity(1, 10_000))
    first = places.ask("m", "k")
    served = []
    for number in range(10_000):
        ticket = places.ask("m", "k")

        def serve(ticket=ticket, number=number):
            served.append(number)
            ticket.leave()

        ticket.wait(serve)
    assert places.ask("m", "k") is None
    first.leave()
    assert served == list(range(10_000))
    assert places.ask("m", "k").running


def test_names_that_come_once_arent_kept():
    places = Places()
    places.set(Capacity(1, per="key"))
    for number in range(1000):
        places.ask("m", f"key {number}").leave()
    assert len(places._by) == 1


# On a real socket.

SLOW = "stall=0 seconds=1000"  # the head, and then nothing until the clock is moved


def config(**capacity):
    scripts = {"slow*": SLOW, "*": "ok"}
    return ChaosConfig.from_dict({"clock": "hand", "tokens": 2, "scripts": scripts, "capacity": capacity})


def arrived(chaos, count):
    """The journal once so many have arrived, and what could be done for them at once is done."""
    chaos.wait_for_requests(count)
    return chaos.journal()


def test_a_place_is_held_to_the_last_byte_and_then_given_to_the_first_who_waits():
    with run_chaos(config(concurrent=1, queue=2)) as chaos:
        first = send(chaos.port, payload("slow", stream=True))
        assert arrived(chaos, 1)[0].status == 200  # its head is out: not its last byte
        second = send(chaos.port, payload("two"))
        arrived(chaos, 2)
        third = send(chaos.port, payload("three"))
        arrived(chaos, 3)
        refused = ask(chaos.port, payload("four"))
        assert refused.status == 529
        assert [entry.rule for entry in chaos.journal()] == ["model slow*", "model *", "model *", "capacity"]
        assert is_silent(second)
        assert is_silent(third)
        chaos.advance(1000)
        assert receive(first).terminated
        assert receive(second).status == receive(third).status == 200
        entries = chaos.wait_for(lambda journal: all(entry.end for entry in journal))
        by_end = sorted(entries[:3], key=lambda entry: entry.ended_ns)
        assert [entry.model for entry in by_end] == ["slow", "two", "three"]
        for sock in (first, second, third):
            sock.close()


def test_who_leaves_while_waiting_gives_up_the_turn():
    with (
        run_chaos(config(concurrent=1, queue=1)) as chaos,
        send(chaos.port, payload("slow", stream=True)) as first,
    ):
        assert arrived(chaos, 1)[0].status == 200
        with send(chaos.port, payload("two")):
            arrived(chaos, 2)
            assert ask(chaos.port, payload()).status == 529
        [gone] = [e for e in chaos.wait_for(lambda j: j[1].end) if e.model == "two"]
        assert (gone.end, gone.status, gone.bytes_sent, gone.usage.total_tokens) == (
            "client_left",
            None,
            0,
            0,
        )
        with send(chaos.port, payload("four")) as fourth:
            arrived(chaos, 4)
            assert is_silent(fourth)
            chaos.advance(1000)
            assert receive(fourth).status == 200
        assert receive(first).terminated


@pytest.mark.parametrize("how", ["client", "reset", "fin"])
def test_a_place_is_free_however_its_answer_ends(how):
    config = {"scripts": {"first": {"client": "hang", "reset": "tokens=5 cut=reset", "fin": "cut=fin"}[how]}}
    with run_chaos(ChaosConfig.from_dict({**config, "capacity": {"concurrent": 1}})) as chaos:
        for turn in range(3):
            with send(chaos.port, payload("first", stream=True)) as sock:
                assert arrived(chaos, 2 * turn + 1)[-1].model == "first"
                if how != "client":
                    receive(sock)
            chaos.wait_for(lambda journal: journal[-1].end)
            assert ask(chaos.port, payload()).status == 200


def test_what_is_refused_anyway_takes_no_place():
    scripts = {"bad": "429", "slow": SLOW}
    settings = {"clock": "hand", "scripts": scripts, "capacity": {"concurrent": 1}}
    with run_chaos(ChaosConfig.from_dict(settings)) as chaos, send(chaos.port, payload("slow", stream=True)):
        assert arrived(chaos, 1)[0].status == 200
        assert ask(chaos.port, payload("bad")).status == 429
        assert ask(chaos.port, payload("good")).status == 529


@pytest.mark.parametrize("name", sorted(SPEAKERS))
@pytest.mark.parametrize("stream", [False, True])
def test_the_refusal_is_in_the_providers_words(name, stream):
    speaker = SPEAKERS[name]
    settings = {
        "clock": "hand",
        "scripts": {"slow": SLOW},
        "capacity": {"concurrent": 1, "beyond": "429 retry-after=7"},
    }
    with run_chaos(ChaosConfig.from_dict(settings)) as chaos, send(chaos.port, payload("slow", stream=True)):
        assert arrived(chaos, 1)[0].status == 200
        refused = speaker.ask(chaos.port, stream=stream)
        assert (refused.status, refused.header("retry-after")) == (429, "7")
        said = refused.body.decode()
        word = {"anthropic": "rate_limit_error"}.get(name, "rate_limit_exceeded")
        assert ("RESOURCE_EXHAUSTED" if name.startswith("gemini") else word) in said


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
        ("/v1/embeddings", {"model": "m", "input": "hi"}),
    ],
)
def test_what_isnt_an_answer_needs_a_place_too(path, body):
    with run_chaos(config(concurrent=1)) as chaos, send(chaos.port, payload("slow", stream=True)) as first:
        assert arrived(chaos, 1)[0].status == 200
        version = {"anthropic-version": "2023-06-01"}
        with send(chaos.port, json.dumps(body).encode(), path=path, **version) as sock:
            assert receive(sock).status == 529
        chaos.advance(1000)
        assert receive(first).terminated
        with send(chaos.port, json.dumps(body).encode(), path=path, **version) as sock:
            assert receive(sock).status == 200


def test_beyond_may_be_left_to_chance():
    settings = {
        "clock": "hand",
        "scripts": {"slow": SLOW},
        "capacity": {"concurrent": 1, "beyond": "50% 429 | 503"},
    }
    with run_chaos(ChaosConfig.from_dict(settings)) as chaos, send(chaos.port, payload("slow", stream=True)):
        assert arrived(chaos, 1)[0].status == 200
        assert {ask(chaos.port, payload()).status for _ in range(40)} == {429, 503}


def test_the_journal_names_the_refusal_and_not_the_scripts_fault():
    settings = {"clock": "hand", "scripts": {"slow": SLOW, "cut": "cut=fin"}, "capacity": {"concurrent": 1}}
    with run_chaos(ChaosConfig.from_dict(settings)) as chaos, send(chaos.port, payload("slow", stream=True)):
        arrived(chaos, 1)
        assert ask(chaos.port, payload("cut", stream=True)).status == 529
        entry = chaos.wait_for(lambda journal: journal[1].end)[1]
        assert (entry.rule, entry.faults, entry.usage.total_tokens) == ("capacity", ["status"], 0)


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        ("server", ("slow", "k1"), None),
        ("model", ("slow", "k2"), ("slow2", "k1")),
        ("key", ("slow2", "k1"), ("slow", "k2")),
    ],
)
def test_places_of_each_model_or_key(per, same, other):
    def begin(model, key):
        return send(chaos.port, payload(model, stream=True), authorization=f"Bearer {key}")

    with run_chaos(config(concurrent=1, per=per)) as chaos, begin("slow", "k1"):
        assert arrived(chaos, 1)[0].status == 200
        with begin(*same) as sock:
            assert receive(sock).status == 529
        if other is not None:
            with begin(*other):
                assert arrived(chaos, 3)[2].status == 200


def test_a_step_down_while_busy_lets_those_at_work_finish():
    timeline = [{"at": 10, "for": 10, "capacity": {"concurrent": 1, "queue": 1, "beyond": "503"}}]
    settings = {
        "clock": "hand",
        "tokens": 2,
        "scripts": {"slow*": "stall=0 seconds=12"},
        "timeline": timeline,
    }
    with run_chaos(ChaosConfig.from_dict({**settings, "capacity": {"concurrent": 3}})) as chaos:
        early = [send(chaos.port, payload("slow", stream=True)) for _ in range(3)]
        assert [entry.status for entry in arrived(chaos, 3)] == [200] * 3
        chaos.advance(10)
        waiting = send(chaos.port, payload("slow", stream=True))
        arrived(chaos, 4)
        assert ask(chaos.port, payload("fast")).status == 503
        assert is_silent(waiting)
        chaos.advance(2)
        assert [receive(sock).terminated for sock in early] == [True] * 3
        assert chaos.journal()[3].status == 200  # its turn; its stall begins now
        chaos.advance(12)
        assert receive(waiting).terminated
        for sock in (*early, waiting):
            sock.close()


def test_a_step_up_lets_in_who_waits():
    settings = {
        "clock": "hand",
        "tokens": 2,
        "scripts": {"slow": SLOW},
        "capacity": {"concurrent": 1, "queue": 5},
        "timeline": [{"at": 10, "capacity": {"concurrent": 3, "queue": 5}}],
    }
    with run_chaos(ChaosConfig.from_dict(settings)) as chaos:
        socks = [send(chaos.port, payload("slow", stream=True))]
        for number in range(2, 6):
            arrived(chaos, number - 1)
            socks.append(send(chaos.port, payload("slow", stream=True)))
        arrived(chaos, 5)
        chaos.advance(10)
        assert [entry.status for entry in chaos.journal()] == [200, 200, 200, None, None]
        for sock in socks:
            sock.close()


def test_many_who_wait_are_all_served():
    """A queue of hundreds behind one place: every one of them is answered, in the order in which they came."""
    count = 300

    async def main(port, release):
        async def call(number, queued):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            body = payload(f"m{number}")
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            queued.set()
            line = await reader.readline()
            writer.close()
            return line.split()[1]

        tasks = []
        for number in range(count):
            queued = asyncio.Event()
            tasks.append(asyncio.create_task(call(number, queued)))
            await queued.wait()
        await asyncio.to_thread(release)
        return await asyncio.gather(*tasks)

    with (
        run_chaos(config(concurrent=1, queue=count)) as chaos,
        send(chaos.port, payload("slow", stream=True)),
    ):
        assert arrived(chaos, 1)[0].status == 200

        def release():
            arrived(chaos, count + 1)
            chaos.advance(1000)

        assert asyncio.run(main(chaos.port, release)) == [b"200"] * count
        entries = chaos.wait_for(lambda journal: all(entry.end for entry in journal))
        ends = [entry.ended_ns for entry in entries]
        assert ends == sorted(ends)


@pytest.mark.parametrize(
    ("where", "path"),
    [
        (
            {"capacity": {"concurrent": 1, "beyond": "nonsense"}},
            "capacity.beyond: step 1: unknown word 'nonsense'",
        ),
        ({"capacity": {"concurrent": 1, "beyond": "429; ok"}}, "capacity.beyond: one step is for all"),
        ({"capacity": {"concurrent": 1, "beyond": "ok"}}, "capacity.beyond: a healthy answer is no refusal"),
        (
            {"capacity": {"concurrent": 1, "beyond": "50% 429"}},
            "capacity.beyond: a healthy answer is no refusal",
        ),
        ({"capacity": {"concurrent": 0}}, "capacity.concurrent: "),
        ({"capacity": {"queue": 5}}, "capacity: Object missing required field `concurrent`"),
        (
            {
                "timeline": [
                    {"capacity": {"concurrent": 1}},
                    {"capacity": {"concurrent": 1, "beyond": "nonsense"}},
                ]
            },
            "timeline[1].capacity.beyond: step 1: unknown word 'nonsense'",
        ),
    ],
)
def test_what_cant_be_meant_is_refused_at_the_start(where, path):
    with pytest.raises(ChaosError) as raised:
        ChaosConfig.from_dict(where)
    assert str(raised.value).startswith(path)
