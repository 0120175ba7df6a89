"""``holdfast targets``: a running gateway's targets as a table, as JSON, live, and what is said where none can be asked."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from tests.e2e.cli_process import HOLDFAST, WAIT_S, called, called_json, environment, holdfast
from tests.support.gateway import Running, document_of, run_gateway
from tests.support.http import ask, chat

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.cli.gateway_admin import GatewayAdmin
from holdfast.cli.targets import watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "adm-canary-0bd1"


@pytest.fixture(scope="module")
def chaos() -> Iterator[Chaos]:
    with run_chaos(ChaosConfig(scripts={"down": "500"})) as server:
        yield server


def document(chaos: Chaos, folder: Path, **gateway: Any) -> dict[str, Any]:
    return document_of(
        chaos.base_url,
        folder / "ledger.db",
        gateway=gateway,
        breaker={"failure_threshold": 2, "min_requests": 2, "open_s": 500},
        overall={"max_concurrent": 50},
        retry={"max_retries": 0},
        routes={"chat": {"targets": ["one/down", "two/m"], "rate": {"requests": 90}}},
    )


@pytest.fixture(scope="module")
def gateway(chaos: Chaos, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """With an admin key, and one of two targets down."""
    with run_gateway(document(chaos, tmp_path_factory.mktemp("cli-targets"), admin_key=KEY)) as running:
        for _ in range(4):
            asyncio.run(ask(running.port, chat("chat")))
        yield running


def test_the_table(gateway: Running, tmp_path: Path) -> None:
    done = called(tmp_path, "targets", "--url", gateway.base_url, "--admin-key", KEY)
    assert (done.returncode, done.stderr) == (0, "")
    head, _, down, well, shared = [line for line in done.stdout.splitlines() if line.strip()]
    assert head.split()[:5] == ["target", "breaker", "failures", "places", "waiting"]
    assert down.startswith("one/down (route chat)")
    assert any(f"open, {minutes} m" in down for minutes in (7, 8, 9)), "500 s, and a tenth more or less"
    assert "breaker 2" in down
    assert "closed" in well
    assert "0/4" in well
    assert "requests 86/90" in well
    assert shared.strip() == "all providers: 0/50 places, 0 waiting; 0 idempotency runs under way"


def test_one_of_them(gateway: Running, tmp_path: Path) -> None:
    done = called(tmp_path, "targets", "two/m", "--url", gateway.base_url, "--admin-key", KEY)
    assert done.returncode == 0
    assert "two/m" in done.stdout
    assert "one/down" not in done.stdout
    wrong = called(tmp_path, "targets", "two/n", "--url", gateway.base_url, "--admin-key", KEY)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "did you mean two/m?" in wrong.stderr


def test_json_is_what_the_gateway_tells(gateway: Running, tmp_path: Path) -> None:
    told = called_json(tmp_path, "targets", "--url", f"127.0.0.1:{gateway.port}", "--admin-key", KEY)
    answer = asyncio.run(
        ask(gateway.port, method="GET", path="/admin/targets", headers={"x-api-key": KEY})
    ).json
    assert [one["target"] for one in told["targets"]] == ["one/down", "two/m"]
    assert told["targets"][0].keys() == answer["targets"][0].keys()


def test_the_key_from_the_environment(gateway: Running, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{gateway.port}/admin/targets"
    done = holdfast(tmp_path, "targets", "--url", url, env={"HOLDFAST_ADMIN_KEY": KEY})
    assert (done.returncode, "one/down" in done.stdout) == (0, True)
    without = holdfast(tmp_path, "targets", "--url", url)
    assert (without.returncode, without.stdout) == (1, "")
    assert "HOLDFAST_ADMIN_KEY" in without.stderr


@contextmanager
def other_server(answer: bytes) -> Iterator[int]:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def complaint(folder: Path, url: str, *more: str) -> str:
    done = called(folder, "targets", "--url", url, *more)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr
    return done.stderr


def test_where_no_gateway_answers(gateway: Running, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    said = complaint(tmp_path, f"http://127.0.0.1:{free}")
    assert "holdfast serve" in said
    assert "--url" in said
    for url in (
        "ftp://127.0.0.1",
        "http://127.0.0.1:x",
        "http://",
        "http://a b",
        "http://127.0.0.1:0",
        "http://é",
    ):
        assert "is no URL of a gateway" in complaint(tmp_path, url)
    assert "is not the admin key" in complaint(tmp_path, gateway.base_url, "--admin-key", f"{KEY}x")
    assert "no header can carry" in complaint(tmp_path, gateway.base_url, "--admin-key", f"{KEY}\nx: y")
    assert "127.0.0.1" in complaint(tmp_path, f"https://127.0.0.1:{gateway.port}"), "it speaks no TLS"


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"nonsense\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n<html>", b"HTTP/1.0 200 OK\r\n\r\n[]",
        b'HTTP/1.0 200 OK\r\n\r\n{"targets":[{"target":5}]}', b"HTTP/1.0 200 OK\r\ncontent-length: 99\r\n\r\n{",
        b"HTTP/1.0 404 No\r\n\r\n<html>", b"HTTP/1.0 302 Go\r\nlocation: http://evil.test/\r\n\r\n",
        b'HTTP/1.0 500 No\r\n\r\n{"error":"\x1b[2J"}', b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000,
    ],
    ids=range(10),
)  # fmt: skip
def test_where_something_else_answers(answer: bytes, tmp_path: Path) -> None:
    with other_server(answer) as port:
        assert "is no gateway" in complaint(tmp_path, f"http://127.0.0.1:{port}", "--admin-key", KEY)


def test_json_of_something_else_is_refused(tmp_path: Path) -> None:
    with other_server(b"HTTP/1.0 200 OK\r\n\r\n<html>") as port:
        assert "is no gateway" in complaint(tmp_path, f"http://127.0.0.1:{port}", "--json")


def test_what_a_terminal_would_obey_is_shown_as_text(tmp_path: Path) -> None:
    message = json.dumps({"error": {"message": "\x1b[2Jgone"}}).encode()
    with other_server(b"HTTP/1.0 403 No\r\n\r\n" + message) as port:
        assert "\x1b" not in complaint(tmp_path, f"http://127.0.0.1:{port}")


def test_names_that_a_terminal_would_obey(tmp_path: Path) -> None:
    """A gateway takes no such names; what answers may be none."""
    target = {
        "target": "two/\x1b[2J", "route": "", "breaker": None, "bulkhead": None, "adaptive": None, "rate": None,
        "provider_limits": [], "blocked_s": 0, "budget": {"left": 1, "refused": 0}, "refused": {"\x1b]0;x": 1},
    }  # fmt: skip
    told = json.dumps({"targets": [target], "overall": None, "idempotency": {"running": 0}}).encode()
    with other_server(b"HTTP/1.0 200 OK\r\n\r\n" + told) as port:
        done = called(tmp_path, "targets", "--url", f"http://127.0.0.1:{port}")
    assert done.returncode == 0
    assert "two/\\x1b[2J" in done.stdout
    assert "\x1b" not in done.stdout


def test_nothing_was_asked_yet(chaos: Chaos, tmp_path: Path) -> None:
    with run_gateway(document(chaos, tmp_path)) as running:
        done = called(tmp_path, "targets", "--url", running.base_url)
    assert (done.returncode, "No target was asked" in done.stdout) == (0, True)


def test_watching_needs_a_terminal_or_json(tmp_path: Path) -> None:
    done = called(tmp_path, "targets", "--watch")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--json" in done.stderr


def test_a_line_a_second(gateway: Running) -> None:
    command = [HOLDFAST, "targets", "--url", gateway.base_url, "--json", "--watch"]
    with subprocess.Popen(
        command, env=environment({"HOLDFAST_ADMIN_KEY": KEY}), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert len(json.loads(process.stdout.readline())["targets"]) == 2
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0


def test_on_a_terminal_it_is_live_and_leaves_it_as_it_was(chaos: Chaos, tmp_path: Path) -> None:
    with run_gateway(document(chaos, tmp_path)) as running:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        process = subprocess.Popen(
            [HOLDFAST, "targets", "--watch", "--url", running.base_url],
            env=environment({"TERM": "xterm-256color"}),
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        seen = b""

        def until(text: str) -> None:
            nonlocal seen
            while text.encode() not in seen:
                seen += os.read(ours, 65_536)

        until("No target was asked")
        asyncio.run(ask(running.port, chat("chat")))
        until("two/m")
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # how a terminal says that nobody is left on it
                break
            if not data:
                break
            seen += data
        os.close(ours)
    assert b"\x1b[?1049h" in seen, "the alternate screen"
    assert seen.rindex(b"\x1b[?1049l") > seen.rindex(b"\x1b[?1049h")
    assert b"Traceback" not in seen


def test_a_gateway_that_ends_is_told_and_waited_for(chaos: Chaos, tmp_path: Path) -> None:
    stop = threading.Event()
    screen = _Screen()
    with run_gateway(document(chaos, tmp_path)) as running:
        admin = GatewayAdmin(running.base_url)
        watching = threading.Thread(
            target=watch,
            args=(admin,),
            kwargs={"stop": stop, "on": Console(file=screen, force_terminal=True, width=150, height=30)},
        )
        watching.start()
        screen.until("No target was asked")
    screen.until("no gateway answers at")
    stop.set()
    watching.join(WAIT_S)
    assert not watching.is_alive()


class _Screen(io.StringIO):
    """What was written can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def write(self, text: str, /) -> int:
        with self._changed:
            written = super().write(text)
            self._changed.notify_all()
        return written

    def until(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.getvalue(), WAIT_S)
