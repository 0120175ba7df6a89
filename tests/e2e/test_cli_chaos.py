"""``holdfast chaos serve`` as a process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

from tests.e2e.cli_process import HOLDFAST, WAIT_S, called, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def chaos(folder: Path, *arguments: str) -> Iterator[int]:
    """Its port, once it listens; ended by SIGTERM, with exit code 0."""
    process = subprocess.Popen(
        [HOLDFAST, "chaos", "serve", "--port", "0", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:(\d+) ", process.stdout.readline())
        assert found
        yield int(found[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait(WAIT_S)
        process.stdout.close()


def ask(
    port: int, method: str, path: str, body: Any = None, token: str = "x", **headers: str
) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.request(
            method,
            path,
            None if body is None else json.dumps(body),
            {"authorization": f"Bearer {token}", **headers},
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def completed(port: int, model: str) -> tuple[int, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return ask(port, "POST", "/v1/chat/completions", body)


def test_scripts_seed_and_token_are_taken_from_file_and_command_line(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[chaos]\nseed = 1\ntokens = 3\n[chaos.scripts]\n"a*" = "503"\n"b" = "418"\n'
    )
    options = ("--config", "c.toml", "--script", "b=429; ok", "--seed", "7", "--admin-token", "t0ken")
    with chaos(tmp_path, *options) as port:
        assert completed(port, "abc")[0] == 503
        assert completed(port, "b")[0] == 429
        status, answer = completed(port, "b")
        assert (status, answer["usage"]["completion_tokens"]) == (200, 3)
        assert ask(port, "GET", "/admin/journal")[0] == 401
        status, config = ask(port, "GET", "/admin/config", token="t0ken")
        assert (status, config["seed"], config["tokens"]) == (200, 7, 3)
        text = answer["choices"][0]["message"]["content"]
    with chaos(tmp_path, "--script", "b=429; ok", "--seed", "7") as port:
        completed(port, "b")
        again = completed(port, "b")[1]["choices"][0]["message"]["content"]
    assert again.startswith(text)  # the same seed, the same bytes; only the count of tokens differs


def test_three_formats_are_served_by_one_process(tmp_path: Path) -> None:
    with chaos(tmp_path, "--script", "m=overloaded; ok") as port:
        message = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
        content = {"contents": [{"parts": [{"text": "hi"}]}]}
        version = {"anthropic-version": "2023-06-01"}
        status, error = ask(port, "POST", "/v1/messages", message, **version)
        assert (status, error["error"]["type"]) == (529, "overloaded_error")
        assert ask(port, "POST", "/v1/messages", message, **version)[1]["stop_reason"] == "end_turn"
        answer = ask(port, "POST", "/v1beta/models/m:generateContent", content)[1]
        assert answer["candidates"][0]["finishReason"] == "STOP"
        assert completed(port, "m")[0] == 200
        stats = ask(port, "GET", "/admin/stats")[1]
        assert stats["by_wire"] == {"anthropic": 2, "gemini": 1, "openai_chat": 1}


def test_what_cant_be_meant_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("sed = 1\n")
    for arguments, says in (
        (["--script", "m=40 tokenz=3"], "tokenz"),
        (["--config", "bad.toml"], "seed"),
        (["--config", "none.toml"], "none.toml"),
        (["--host", "0.0.0.0"], "--admin-token"),
    ):
        done = called(tmp_path, "chaos", "serve", "--port", "0", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr
        assert "Traceback" not in done.stderr
