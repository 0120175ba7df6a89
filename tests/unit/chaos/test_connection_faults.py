"""Faults of the connection, as a bare socket sees them."""

import errno
import socket
import time

import pytest
from tests.unit.chaos.raw import ask, is_silent, payload, receive, send

from holdfast.chaos import Chaos, ChaosConfig, run_chaos


@pytest.fixture(scope="module")
def server():
    with run_chaos(ChaosConfig(tokens=5)) as chaos:
        yield chaos


@pytest.fixture
def chaos(server: Chaos):
    server.reset()
    return server


def last(chaos: Chaos):
    return chaos.wait_for(lambda journal: journal and journal[-1].end)[-1]


both = pytest.mark.parametrize("stream", [False, True])


@both
def test_close_is_a_fin_and_not_one_byte(chaos, stream):
    chaos.script("m", "close")
    answer = ask(chaos.port, payload(stream=stream))
    assert (answer.end, answer.data) == ("fin", b"")
    entry = last(chaos)
    assert (entry.end, entry.status, entry.bytes_sent) == ("closed_by_us", None, 0)


@both
def test_half_close_is_a_fin_without_data_on_a_connection_that_goes_on(chaos, stream):
    chaos.script("m", "half_close")
    with send(chaos.port, payload(stream=stream)) as sock:
        assert sock.recv(65536) == b""  # their FIN
        entry = last(chaos)
        assert (entry.end, entry.status, entry.bytes_sent) == ("half_closed_by_us", None, 0)
        # A connection that was closed would answer what comes now with RST.
        for _ in range(3):
            sock.sendall(b"are you there?")
            assert chaos.get_stats()  # a turn of the server's loop, so that an RST would be here
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert sock.recv(65536) == b""


@both
def test_half_close_may_come_after_some_tokens(chaos, stream):
    chaos.script("m", "half_close=2")
    with send(chaos.port, payload(stream=stream)) as sock:
        answer = receive(sock)
        assert answer.end == "fin"
        entry = last(chaos)
        assert (entry.end, entry.tokens, entry.bytes_sent) == ("half_closed_by_us", 2, len(answer.data))
        assert not answer.terminated
        sock.sendall(b"still open")
        assert chaos.get_stats()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_half_close_ends_when_the_client_leaves(chaos):
    chaos.script("m", "half_close")
    send(chaos.port, payload()).close()
    assert last(chaos).end == "half_closed_by_us"


@both
@pytest.mark.parametrize("sent", [1, 12, 40])
def test_hang_headers_sends_so_many_bytes_and_then_none(chaos, stream, sent):
    chaos.script("m", f"hang_headers={sent}")
    with send(chaos.port, payload(stream=stream)) as sock:
        head = b""
        while len(head) < sent:
            head += sock.recv(sent - len(head))
        assert head == b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"[:sent] or stream
        assert is_silent(sock)
    entry = last(chaos)
    assert (entry.end, entry.status, entry.bytes_sent) == ("client_left", None, sent)


@both
def test_slow_headers_drip_and_the_answer_follows(stream):
    with run_chaos(ChaosConfig(tokens=5, clock="hand", default="slow_headers=1 step=64")) as chaos:
        with send(chaos.port, payload(stream=stream)) as sock:
            chaos.wait_for_requests(1)
            head = sock.recv(65536)
            assert len(head) == 64
            steps = 1
            while b"\r\n\r\n" not in head:
                assert is_silent(sock)
                chaos.advance(0.999)
                assert is_silent(sock)
                chaos.advance(0.001)
                piece = sock.recv(65536)
                assert len(piece) <= 64
                head += piece
                steps += 1
            assert steps == -(-len(head) // 64) > 2
            chaos.advance(1)
            answer = receive(sock, head)
        assert (answer.end, answer.status) == ("complete", 200)
        entry = last(chaos)
        assert (entry.end, entry.bytes_sent) == ("complete", len(answer.data))


@pytest.mark.parametrize("word", ["refuse", "deaf"])
def test_a_server_that_goes_down_resets_and_then_shuts_its_door(word):
    with run_chaos(ChaosConfig(tokens=5, clock="hand", scripts={"m": f"{word}=10; ok"})) as chaos:
        with send(chaos.port, payload("open")) as open_before:
            assert receive(open_before).end == "complete"
            answer = ask(chaos.port, payload())
            assert (answer.end, answer.data) == ("reset", b"")
            for _ in range(3):
                assert not connects(chaos.port, word)
            again(open_before, payload("open"))
            assert receive(open_before).status == 200  # who was connected is served on
        chaos.advance(9.9)
        assert not connects(chaos.port, word)
        chaos.advance(0.2)
        assert ask_when_open(chaos, payload()).status == 200
        assert [entry.end for entry in chaos.journal(model="m")] == ["reset_by_us", "complete"]


def again(sock: socket.socket, body: bytes) -> None:
    """Another request on the same connection."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-length: {len(body)}\r\n\r\n"
    sock.sendall(head.encode() + body)


def connects(port: int, word: str) -> bool:
    """Whether a connection can be had; if not, it fails as that fault says."""
    with socket.socket() as sock:
        if word == "refuse":
            error = sock.connect_ex(("127.0.0.1", port))
            assert error in (0, errno.ECONNREFUSED)
            return error == 0
        sock.settimeout(0.05)
        try:
            sock.connect(("127.0.0.1", port))
        except TimeoutError:
            return False
        return True


def ask_when_open(chaos: Chaos, body: bytes):
    """The door opens in one of the loop's next turns."""
    until = time.monotonic() + 5
    while True:
        try:
            return ask(chaos.port, body)
        except ConnectionRefusedError:
            assert time.monotonic() < until


def test_an_outage_of_the_timeline_refuses_connections_and_ends():
    outage = {"timeline": [{"at": 5, "for": 5, "door": "refused"}], "clock": "hand"}
    with run_chaos(ChaosConfig.from_dict(outage)) as chaos:
        assert connects(chaos.port, "refuse")
        chaos.advance(5)
        assert not connects(chaos.port, "refuse")
        chaos.advance(5)
        assert ask_when_open(chaos, payload()).status == 200
