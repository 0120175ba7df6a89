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


def test_the_command_line_goes_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'preset = "gentle"\nseed = 5\n[pace]\nttft = 0.5\n[rates]\nrate_limit = 2\n[scripts]\n"a*" = "500"\n'
    )
    options = ("--config", "c.toml", "-r", "service_unavailable=7", "-s", "ab=503", "--set", "pace.tps=9")
    done = called(tmp_path, "chaos", "show-config", *options)
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()[2:] if line}
    shown = {name: " ".join(rest.split()) for name, rest in rows.items()}
    assert shown["seed"] == "5 file c.toml"
    assert shown["pace.ttft"] == "0.5 file c.toml"
    assert shown["pace.tps"] == "9.0 command line"
    assert shown["pace.jitter"] == "0.3 preset gentle"
    assert shown["pace.batch"] == "1 default"
    assert shown["rates.rate_limit"] == '{"pct":2,"with":"retry-after=1"} file c.toml'
    assert shown["rates.service_unavailable"] == '{"pct":7.0} command line'
    effective = json.loads(called(tmp_path, "chaos", "show-config", *options, "--json").stdout)
    assert list(effective["scripts"]) == ["ab", "a*"]  # what is said last is looked at first
    (tmp_path / "again.toml").write_text(called(tmp_path, "chaos", "show-config", *options, "--toml").stdout)
    again = called(tmp_path, "chaos", "show-config", "--config", "again.toml", "--json")
    assert json.loads(again.stdout) == effective


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('admin_token = "t0ken"\napi_keys = ["sk-1"]\n[keys]\n"sk-2" = "429"\n')
    for form in ([], ["--json"], ["--toml"]):
        done = called(tmp_path, "chaos", "show-config", "--config", "c.toml", *form)
        assert done.returncode == 0
        assert "429" in done.stdout
        for secret in ("t0ken", "sk-1", "sk-2"):
            assert secret not in done.stdout


def test_every_preset_is_listed_and_can_be_shown(tmp_path: Path) -> None:
    listed = json.loads(called(tmp_path, "chaos", "presets", "--json").stdout)
    assert list(listed) == ["silent", "gentle", "realistic", "stress_aimd", "stress_extreme", "chaos"]
    table = called(tmp_path, "chaos", "presets").stdout
    for name in listed:
        assert name in table
        assert called(tmp_path, "chaos", "show-config", "--preset", name).returncode == 0


def test_options_make_the_server(tmp_path: Path) -> None:
    options = ("--preset", "silent", "-r", "429 retry-after=1=100", "--set", "limits.requests_per_minute=2")
    with chaos(tmp_path, *options, "--journal", "j.jsonl") as port:
        assert completed(port, "any")[0] == 429
        assert ask(port, "GET", "/admin/config")[1]["preset"] == "silent"


def test_settings_that_cant_be_meant_are_named(tmp_path: Path) -> None:
    for arguments, says in (
        (["--preset", "gentl"], "unknown preset 'gentl': did you mean 'gentle'?"),
        (["--rate", "429=60", "--rate", "reset=50"], "rates: the shares add up to 110 %"),
        (["--rate", "rate_limt=1"], "rates.rate_limt: unknown word 'rate_limt': did you mean 'rate_limit'?"),
        (["--set", "pace.tttf=1"], "pace.tttf: unknown setting"),
        (["--set", "limits.requests_per_minute=0"], "limits.requests_per_minute: Expected `int` >= 1"),
        (["--set", 'timeline=[{door="refused", models="a"}]'], "timeline[0]: a door has no model or route"),
        (["--set", 'capacity={concurrent=1, beyond="x0"}'], "capacity.beyond: step 1: unknown word 'x0'"),
    ):
        for command in (["serve", "--port", "0"], ["show-config"]):
            done = called(tmp_path, "chaos", *command, *arguments)
            assert (done.returncode, done.stdout) == (1, "")
            assert says in done.stderr
    for arguments in (
        ["--rate", "5"],
        ["--rate", "429=x"],
        ["--set", "a"],
        ["--set", "a b=1"],
        ["--script", "x"],
    ):
        assert called(tmp_path, "chaos", "show-config", *arguments).returncode == 2


def test_serving_can_be_watched_and_asked(tmp_path: Path) -> None:
    with chaos(tmp_path, "--watch", "-s", "m=503") as port:
        completed(port, "m")
        url = f"http://127.0.0.1:{port}"
        stats = json.loads(called(tmp_path, "chaos", "stats", url, "--json").stdout)
        assert stats["by_status"] == {"503": 1}
        assert "503" in called(tmp_path, "chaos", "journal", url).stdout


def test_the_journal_is_kept_in_a_file(tmp_path: Path) -> None:
    with chaos(tmp_path, "--journal", "j.jsonl", "-s", "m=503; ok") as port:
        assert [completed(port, "m")[0] for _ in range(2)] == [503, 200]
    rows = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert [(row["status"], row["attempt"], row["content_type"]) for row in rows] == [
        (503, 1, "application/json"),
        (200, 2, "application/json"),
    ]
    assert rows[0]["client"].startswith("127.0.0.1:")
    assert 0 < rows[0]["arrived_s"] <= rows[1]["arrived_s"]
    for where in (".", "none/j.jsonl"):
        done = called(tmp_path, "chaos", "serve", "--port", "0", "--journal", where)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith(f"error: journal_file: {where}: ")
