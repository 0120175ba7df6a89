"""The journal tells the truth, within bounds; the admin API shows it."""

import asyncio
import hashlib
import os
import signal
import socket
import subprocess
import sys

import httpx2
import pytest
from tests.unit.chaos.raw import ask, payload, receive, send

from holdfast.chaos import ChaosConfig, ChaosError, ChaosServer, run_chaos


def test_an_entry_holds_what_came_and_no_secret():
    body = payload("gpt", user="x" * 100)
    with run_chaos(ChaosConfig(body_keep=50)) as chaos:
        ask(chaos.port, body, authorization="Bearer sk-secret", cookie="sk-secret", **{"x-a": "1"})
        [entry] = chaos.wait_for(lambda journal: journal and journal[0].end)
    assert (entry.method, entry.path, entry.model, entry.script_key, entry.attempt) == (
        "POST", "/v1/chat/completions", "gpt", "gpt", 1,
    )  # fmt: skip  # one row
    assert (entry.body, entry.body_size) == (body[:50], len(body))
    assert entry.body_sha256 == hashlib.sha256(body).hexdigest()
    assert entry.key_sha256 == hashlib.sha256(b"sk-secret").hexdigest()
    assert entry.headers["x-a"] == "1"
    assert "sk-secret" not in repr(entry)
    assert entry.arrived_ns <= entry.first_token_ns <= entry.ended_ns


def test_refused_requests_are_attempts_too():
    with run_chaos(ChaosConfig(api_keys=("k",), max_body=1000)) as chaos:
        assert ask(chaos.port, payload()).status == 401
        assert ask(chaos.port, b"{", authorization="Bearer k").status == 400
        assert ask(chaos.port, b" " * 1001, authorization="Bearer k").status == 413
        entries = chaos.wait_for(lambda journal: len(journal) == 3 and all(entry.end for entry in journal))
    assert [(entry.status, entry.end, entry.usage.total_tokens) for entry in entries] == [
        (401, "complete", 0), (400, "complete", 0), (413, "complete", 0),
    ]  # fmt: skip  # one row each


def test_the_journal_keeps_to_its_bounds():
    with run_chaos(ChaosConfig(journal_entries=3)) as chaos:
        for _ in range(5):
            ask(chaos.port, payload())
        assert [entry.seq for entry in chaos.journal()] == [3, 4, 5]
    with run_chaos(ChaosConfig(journal_bytes=20_000, text_keep=10)) as chaos:
        for _ in range(5):
            ask(chaos.port, payload(user="x" * 7000))
        entries = chaos.wait_for(lambda journal: journal[-1].end)
    assert [entry.seq for entry in entries] == [4, 5]
    assert len(entries[-1].text) == 10


def test_tokens_in_the_process_when_the_client_left_dont_count_as_served():
    with run_chaos(ChaosConfig(scripts={"m": "tokens=1000000"})) as chaos:
        with send(chaos.port, payload(stream=True)) as sock:
            sock.recv(1)
        [entry] = chaos.wait_for(lambda journal: journal and journal[0].end)
    assert entry.end == "client_left"
    assert 0 < entry.tokens < 1_000_000
    assert entry.usage.completion_tokens == entry.tokens
    assert entry.bytes_sent >= entry.body_bytes_sent > entry.tokens * 100


def _slow_reader(port: int, body: bytes) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    sock.settimeout(10)
    sock.connect(("127.0.0.1", port))
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    return sock


@pytest.mark.parametrize("script", ["huge=100", "tokens=1000000 batch=200"])
def test_bytes_sent_are_exactly_those_that_a_leaving_client_could_still_read(script):
    with (
        run_chaos(ChaosConfig(default=script)) as chaos,
        _slow_reader(chaos.port, payload(stream=True)) as sock,
    ):
        received = bytearray(sock.recv(1))
        sock.shutdown(socket.SHUT_WR)
        [entry] = chaos.wait_for(lambda journal: journal and journal[0].end)
        while piece := sock.recv(1 << 20):
            received += piece
    whole_events = received.count(b'"finish_reason":null}]}\n\n') - 1  # less the role event
    assert entry.end == "client_left"
    assert entry.bytes_sent == len(received)
    assert entry.tokens <= max(0, whole_events) < entry.tokens + 200, "a write counts when all of it went"


def test_a_reset_doesnt_overtake_what_was_served():
    with run_chaos(ChaosConfig(default="tokens=20000 batch=500 cut=reset")) as chaos:
        with _slow_reader(chaos.port, payload(stream=True)) as sock:
            seen = receive(sock)
        [entry] = chaos.wait_for(lambda journal: journal and journal[0].end)
    assert seen.end == "reset"
    assert (entry.bytes_sent, entry.tokens) == (len(seen.data), 20_000)


def test_a_head_without_end_is_refused():
    with run_chaos() as chaos:
        assert ask(chaos.port, payload(), **{"x-long": "x" * 70_000}).status == 413


def test_pipelined_requests_are_answered_in_order():
    with run_chaos(ChaosConfig(scripts={"m": "ttft=0.02; ok"})) as chaos, send(chaos.port, payload()) as sock:
        body = payload("other")
        sock.sendall(
            b"POST /chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )
        data = b""
        while piece := sock.recv(65536):
            data += piece
        assert data.count(b"HTTP/1.1 200 OK") == 2
        assert data.index(b'"model":"m"') < data.index(b'"model":"other"')
        assert [entry.path for entry in chaos.journal()] == ["/v1/chat/completions", "/chat/completions"]


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"],
)
def test_no_http_is_refused_and_the_server_lives(garbage):
    with run_chaos() as chaos:
        with socket.create_connection(("127.0.0.1", chaos.port), timeout=10) as sock:
            sock.sendall(garbage)
            assert receive(sock).status == 400
        assert ask(chaos.port, payload()).status == 200


def test_admin():
    with run_chaos(ChaosConfig(admin_token="t", api_keys=("secret-key",), seed=9)) as chaos:
        ask(chaos.port, payload("a"), authorization="Bearer secret-key")
        ask(chaos.port, payload("b", stream=True), authorization="Bearer secret-key")
        chaos.wait_for(lambda journal: len(journal) == 2 and all(entry.end for entry in journal))
        assert httpx2.get(chaos.url + "/admin/journal").status_code == 401
        with httpx2.Client(base_url=chaos.url, headers={"authorization": "Bearer t"}) as admin:
            assert [row["model"] for row in admin.get("/admin/journal").json()] == ["a", "b"]
            assert [row["seq"] for row in admin.get("/admin/journal?model=b").json()] == [2]
            assert [row["seq"] for row in admin.get("/admin/journal?key=a").json()] == [1]
            assert [row["seq"] for row in admin.get("/admin/journal?since=1").json()] == [2]
            assert admin.get("/admin/journal?since=x").status_code == 400
            stats = admin.get("/admin/stats").json()
            assert (stats["attempts"], stats["by_end"], stats["tokens_served"]) == (2, {"complete": 2}, 40)
            config = admin.get("/admin/config").text
            assert '"seed":9' in config
            assert "secret-key" not in config
            bad = admin.post("/admin/script", json={"scripts": {"a": "503", "b": "hng"}})
            assert (bad.status_code, "did you mean 'hang'?" in bad.text) == (400, True)
            assert ask(chaos.port, payload("a"), authorization="Bearer secret-key").status == 200, (
                "all or none"
            )
            assert admin.post("/admin/script", json={"model": "a", "script": "503"}).status_code == 200
            assert ask(chaos.port, payload("a"), authorization="Bearer secret-key").status == 503
            assert admin.post("/admin/script", json={"model": "a"}).status_code == 400
            assert admin.post("/admin/reset").status_code == 200
            assert admin.get("/admin/journal").json() == []
            assert admin.get("/admin/reset").status_code == 405
            assert admin.get("/admin/nothing").status_code == 404


def test_other_paths():
    with run_chaos() as chaos:
        assert httpx2.get(chaos.url + "/health").json() == {"status": "ok"}
        assert httpx2.head(chaos.url + "/health").status_code == 200
        assert httpx2.get(chaos.url + "/nothing").json()["error"]["code"] == "unknown_url"
        assert httpx2.get(chaos.base_url + "/chat/completions").status_code == 405
        assert httpx2.post(chaos.url + "/api/v1/chat/completions", content=payload()).status_code == 200
        assert len(chaos.journal()) == 1


def test_stopping_ends_what_runs_as_closed_by_us():
    with run_chaos(ChaosConfig(default="hang")) as chaos:
        sock = send(chaos.port, payload())
        chaos.wait_for(lambda journal: journal and journal[0].attempt)
    [entry] = chaos.journal()
    assert entry.end == "closed_by_us"
    sock.close()


def test_waiting_in_coroutines_and_its_time_limit():
    async def main():
        server = ChaosServer(ChaosConfig(default="hang"))
        await server.start()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            body = payload()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
            await server.journal.until(lambda journal: journal)
            writer.close()
            [entry] = await server.journal.until(lambda journal: journal[0].end)
            assert entry.end == "client_left"
            with pytest.raises(TimeoutError):
                await server.journal.until(lambda journal: len(journal) == 2, timeout=0.01)
        finally:
            await server.stop()

    asyncio.run(main())


def test_a_live_script_that_cant_be_meant_changes_nothing():
    with run_chaos() as chaos:
        with pytest.raises(ChaosError, match="did you mean 'reset'"):
            chaos.script("m", "rest")
        assert ask(chaos.port, payload()).status == 200
        with pytest.raises(TimeoutError):
            chaos.wait_for(lambda journal: len(journal) == 2, timeout=0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_its_address_and_stops_cleanly(number):
    code = "from holdfast.chaos import serve; serve(port=0, say=lambda line: print(line, flush=True))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        line = process.stdout.readline().decode()
        url = line.split("base URL ")[1].strip(" )\n")
        assert httpx2.get(url + "/models").status_code == 200
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, b"")
