"""The examples for policies in people's own programs do what their page says, each as a program against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from tests.docs.pages import ROOT, text_of

import holdfast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = ROOT / "examples" / "resilience"
PAGE = ROOT / "docs" / "policies" / "direct-use.md"


class Server:
    """Answers 503 so many times, then 200; counts who asked."""

    def __init__(self, failures: int) -> None:
        self.asked = 0
        self.failures = failures
        self.url = ""


@contextmanager
def serving(failures: int) -> Iterator[Server]:
    server = Server(failures)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that the base class calls
            with lock:
                server.asked += 1
                failed = server.asked <= failures
            self.send_response(503 if failed else 200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Nothing: a failing test shows what the program said."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.url = f"http://127.0.0.1:{listening.server_port}/"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def run(folder: Path, example: str, *words: str) -> list[str]:
    """What the program says, line by line."""
    done = subprocess.run(
        [sys.executable, FOLDER / example, *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_breaker_leaves_a_failing_server_alone_until_it_answers(tmp_path):
    with serving(failures=3) as server:
        said = run(tmp_path, "breaker_around_http.py", server.url)
    refused = [line for line in said if "not asked, for 0." in line]
    assert said[:3] == [f"{number}: status 503" for number in (1, 2, 3)]
    assert said[3] in refused
    assert server.asked == 12 - len(refused)
    assert said[11] == "12: 2 bytes"
    assert "'current_state': 'CLOSED'" in said[12]


def test_a_server_that_fails_for_a_moment_answers_everybody_in_the_end(tmp_path):
    with serving(failures=3) as server:
        said = run(tmp_path, "retry_within_limits.py", server.url)
    assert said == ["30 × answered", "33 requests sent for 30, 3 of them retries"]
    assert server.asked == 33


def test_a_server_that_fails_for_long_gets_few_retries(tmp_path):
    with serving(failures=1000) as server:
        said = run(tmp_path, "retry_within_limits.py", server.url)
    assert said[-1] == "36 requests sent for 30, 6 of them retries"  # a tenth of the requests, and 3
    assert server.asked == 36
    assert "30 × RetryBudgetExhaustedError: status 503" in said


@pytest.mark.parametrize("file", ["orders.db", "{folder}/orders.db"], ids=["relative", "absolute"])
def test_a_card_is_charged_once_whoever_asks_and_however_often(file, tmp_path):
    file = file.format(folder=tmp_path)
    first = run(tmp_path, "charge_once.py", file, "order-7", "12")
    again = run(tmp_path, "charge_once.py", file, "order-7", "12")
    other_amount = run(tmp_path, "charge_once.py", file, "order-7", "13")
    other_order = run(tmp_path, "charge_once.py", file, "order-8", "13")
    receipt = {"order": "order-7", "dollars": 12}
    assert first == ["charging 12 dollars", f"receipts: {[receipt] * 5}"]
    assert again == first[1:]
    assert other_amount[0].startswith("IdempotencyConflict: ")
    assert len(other_amount) == 1
    assert other_order[0] == "charging 13 dollars"


def test_each_example_is_on_the_page():
    examples = sorted(FOLDER.glob("*.py"))
    assert len(examples) == 3
    page = text_of(PAGE)
    for example in examples:
        assert f"](../../examples/resilience/{example.name})" in page


def test_the_page_names_what_the_package_exports():
    table = text_of(PAGE).partition("\n## Names\n")[2].partition("\n\nEach is imported")[0]
    named = re.findall(r"`(\w+)`", table.partition("|---|")[2])
    exported = [name for module, names in holdfast._MODULES.items() if module != "client" for name in names]
    assert sorted(named) == sorted(exported)
