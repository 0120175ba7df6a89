"""Watching a chaos provider from the command line: on a terminal, in a pipe, and where nothing can be watched."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import typer
from rich.console import Console
from tests.e2e.cli_process import HOLDFAST, WAIT_S, environment
from tests.unit.chaos.raw import ask, payload, send

from holdfast.chaos import Chaos, ChaosConfig, run_chaos
from holdfast.cli import chaos_remote
from holdfast.cli.chaos_admin import ChaosAdmin, RemoteError
from holdfast.cli.chaos_rows import count, duration, size
from holdfast.cli.chaos_view import render
from holdfast.cli.chaos_watch import watching

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = [HOLDFAST, "chaos"]


def called(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that ends by itself."""
    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    command = typer.main.get_command(chaos_remote.app)
    with redirect_stdout(out), redirect_stderr(errors):
        try:
            code = command.main(list(arguments), standalone_mode=True)
        except SystemExit as end:
            code = end.code
    said, complained = (stream.buffer.getvalue().decode() for stream in (out, errors))  # type: ignore[attr-defined]  # a BytesIO
    return code, said, complained


@pytest.fixture(scope="module")
def several() -> Iterator[Chaos]:
    """Four attempts: ok, 503, cut off, ok."""
    config = ChaosConfig(scripts={"m": "ok; 503; tokens=9 cut=reset after=5; ok"}, admin_token="t")
    with run_chaos(config) as chaos:
        for i in range(4):
            ask(chaos.port, payload(stream=i == 2))
        chaos.wait_for(lambda journal: len(journal) == 4 and all(one.end for one in journal))
        yield chaos


def test_the_journal_as_a_table(several: Chaos) -> None:
    code, said, _ = called("journal", several.base_url, "--token", "t")
    rows = [line.split() for line in said.splitlines()[2:]]
    assert (code, [row[0] for row in rows]) == (0, ["1", "2", "3", "4"])
    assert rows[1][1:7] == ["2", "openai_chat", "m", "status", "503", "0"]
    assert (rows[2][4], rows[2][6], rows[2][-1]) == ("cut", "5", "reset")
    code, said, _ = called(
        "journal", several.url, "--token", "t", "-n", "1", "--status", "2xx", "--fault", "none"
    )
    assert [line.split()[0] for line in said.splitlines()[2:]] == ["4"]


def test_the_journal_as_json(several: Chaos) -> None:
    def numbers(*more: str) -> list[int]:
        code, said, _ = called("journal", several.admin_url, "--token", "t", "--json", *more)
        assert code == 0
        return [json.loads(line)["seq"] for line in said.splitlines()]

    assert numbers() == [1, 2, 3, 4]
    assert numbers("-n", "2") == [3, 4]
    assert numbers("--end", "reset_by_us") == [3]
    assert numbers("-n", "5", "--model", "none") == []
    code, said, _ = called("journal", several.url, "--token", "t", "--json", "--stable")
    assert code == 0
    assert "seq" not in json.loads(said.splitlines()[0])
    assert called("journal", several.url, "--stable")[0] == 2
    assert called("journal", several.url, "--follow", "--since", "3")[0] == 2


def test_the_counts(several: Chaos) -> None:
    code, said, _ = called("stats", several.url.removeprefix("http://"), "--token", "t")
    assert (code, "4 attempts in" in said) == (0, True)
    shares = [line.split() for line in said.splitlines() if line.startswith("(all)")]
    assert ["(all)", "cut", "1", "4", "25.000", "%", "0.631–80.588", "%"] in shares
    code, said, _ = called("stats", several.url, "--token", "t", "--json")
    assert json.loads(said)["by_status"] == {"200": 3, "503": 1}


def test_where_nothing_can_be_asked(several: Chaos) -> None:
    with _other_server() as other:
        for url, says in (
            ("http://127.0.0.1:1", "holdfast chaos serve"),
            (several.url, "HOLDFAST_CHAOS_ADMIN_TOKEN"),
            (f"http://127.0.0.1:{other}", "is no chaos provider"),
            ("ftp://127.0.0.1", "is no URL of a chaos provider"),
            ("http://127.0.0.1:x", "is no URL of a chaos provider"),
        ):
            for command in ("watch", "stats", "journal"):
                code, said, complained = called(command, url)
                assert (code, said) == (1, "")
                assert says in complained
    code, _, complained = called("journal", several.url, "--token", "t", "--fault", "rest")
    assert (code, "did you mean 'reset'" in complained) == (1, True)


@contextmanager
def _other_server() -> Iterator[int]:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if "health" in self.path else 200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("command", [["watch"], ["journal", "--follow", "-n", "0"]])
def test_in_a_pipe_each_attempt_is_a_line_until_ctrl_c(command: list[str]) -> None:
    with run_chaos(ChaosConfig(scripts={"b": "429"})) as chaos:
        ask(chaos.port, payload("before"))
        with subprocess.Popen(
            [*PROGRAM, *command, chaos.url], env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            said = ""
            while not said:  # until it follows: what comes before that isn't told
                ask(chaos.port, payload("b"))
                said = _ready(process.stdout)
            assert said.split()[3:6] == ["b", "status", "429"]
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 0


def _ready(stream: Any) -> str:
    """A line, where one comes soon."""
    import select

    return stream.readline() if select.select([stream], [], [], 0.2)[0] else ""


def test_following_tells_the_last_ones_first_and_the_end_of_the_provider() -> None:
    with run_chaos() as chaos:
        for model in "abc":
            ask(chaos.port, payload(model))
        with subprocess.Popen(
            [*PROGRAM, "journal", chaos.url, "--follow", "-n", "2", "--json"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert [json.loads(process.stdout.readline())["model"] for _ in range(2)] == ["b", "c"]
            ask(chaos.port, payload("d"))
            assert json.loads(process.stdout.readline())["model"] == "d"
            ended = chaos.url
            chaos._call(lambda: [one.abort() for one in tuple(chaos._server._connections)])
            _, complained = process.communicate(timeout=WAIT_S)
        assert (process.returncode, ended in complained) == (1, True)


class Terminal:
    """A terminal of a size, with a program on it."""

    def __init__(self, *command: str, columns: int = 120, rows: int = 40) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._fd = ours
        self.seen = b""
        self.process = subprocess.Popen(
            [*PROGRAM, *command],
            env=environment({"TERM": "xterm-256color"}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def until(self, text: str) -> None:
        """Read until it has shown that (the test's time limit ends this)."""
        while text.encode() not in self.seen:
            self.seen += os.read(self._fd, 65_536)

    def to_its_end(self) -> int:
        while True:
            try:
                data = os.read(self._fd, 65_536)
            except OSError:  # how a terminal says that nobody is left on it
                break
            if not data:
                break
            self.seen += data
        os.close(self._fd)
        return self.process.wait(WAIT_S)


def test_on_a_terminal_it_is_live_and_leaves_it_as_it_was() -> None:
    with run_chaos(ChaosConfig(scripts={"stays": "hang"})) as chaos:
        terminal = Terminal("watch", chaos.url)
        terminal.until("0 attempts")
        ask(chaos.port, payload("some-model"))
        terminal.until("some-model")
        with send(chaos.port, payload("stays")):
            terminal.until("1 running")
        terminal.until("client left")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.to_its_end() == 0
    assert b"\x1b[?1049h" in terminal.seen, "the alternate screen"
    assert terminal.seen.rindex(b"\x1b[?1049l") > terminal.seen.rindex(b"\x1b[?1049h")
    assert terminal.seen.rindex(b"\x1b[?25h") > terminal.seen.rindex(b"\x1b[?25l"), "the cursor is back"
    assert b"Traceback" not in terminal.seen


def test_a_provider_that_ends_is_told_and_waited_for() -> None:
    with run_chaos() as chaos:
        terminal = Terminal("watch", chaos.url)
        terminal.until("0 attempts")
        port = chaos.port
    terminal.until("nothing listens")
    with run_chaos(port=port) as chaos:
        ask(chaos.port, payload("again"))
        terminal.until("again")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.to_its_end() == 0


def test_beside_a_server_in_this_process(capfd: pytest.CaptureFixture[str]) -> None:
    """No terminal here: its line, and then a line for each attempt, until the server's end."""
    with run_chaos() as chaos:
        with watching() as listens:
            listens(f"chaos provider on {chaos.url} (OpenAI base URL {chaos.base_url})")
            chaos.wait_for_requests(0)
            said = ""
            while "some-model" not in said:
                ask(chaos.port, payload("some-model"))
                said += capfd.readouterr().out
        assert said.startswith("chaos provider on http://")
    assert capfd.readouterr().err == ""


# The picture.


def shown(stats: Any, entries: Any, **size: Any) -> list[str]:
    on = Console(width=size.get("width", 120), file=io.StringIO(), force_terminal=False)
    on.print(render(stats, entries, **size))
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def told(several: Chaos) -> tuple[Any, Any]:
    admin = ChaosAdmin(several.url, "t")
    return admin.read("stats", shares="false"), admin.read("journal", order="newest")


@pytest.mark.parametrize(("width", "height"), [(200, 60), (120, 40), (80, 24)])
def test_the_picture_fits_the_terminal(told: tuple[Any, Any], width: int, height: int) -> None:
    stats, entries = told
    longer = [{**one, "seq": one["seq"] + 100_000, "model": "m" * 21, "attempt": 1000} for one in entries]
    lines = shown(stats, longer * 100, width=width, height=height, title="http://127.0.0.1:1")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert "http://127.0.0.1:1   4 attempts in" in lines[0]
    text = "\n".join(lines)
    for part in ("arrived", "first token", "200 3", "503 1", "reset_by_us 1", "cut 25.00 % (0.63–80.59)"):
        assert part in text
    assert "…" not in text, "there is less of it where there is less room, but nothing is cut"
    attempts = [line.split()[0] for line in lines if line.startswith("1000")]
    assert attempts[:4] == ["100004", "100003", "100002", "100001"]
    assert len(attempts) >= height - 20 + (5 if height < 30 else 0)


def test_the_picture_obeys_nobody_else(told: tuple[Any, Any]) -> None:
    stats, entries = told
    hostile = "\x1b[2J[red]\n"
    entries = [{**entries[0], "model": hostile, "script_key": hostile, "faults": ["x"] * 50}]
    text = "\n".join(shown({**stats, "by_model": {hostile: 1}}, entries))
    assert "\x1b" not in text
    assert r"\x1b[2J[red]\n" in text


def test_the_picture_tells_what_is_wrong(told: tuple[Any, Any]) -> None:
    stats, _ = told
    file = {"path": "j", "written": 1, "lost": 7, "error": "No space left on device"}
    text = "\n".join(
        shown({**stats, "dropped": 5, "journal": {**stats["journal"], "file": file}}, [], width=200)
    )
    assert "No space left on device, 7 lost" in text
    assert "5 no longer in the journal" in text
    assert "nothing listens" in shown(stats, [], trouble="nothing listens", width=200)[0]
    assert shown({}, [], title="http://x") == ["waiting for http://x …"]
    assert shown({}, [], trouble="refused") == ["refused"]


def test_more_than_there_is_room_for_is_counted(told: tuple[Any, Any]) -> None:
    stats, _ = told
    text = "\n".join(shown({**stats, "by_status": {str(400 + i): 1 for i in range(20)}}, [], width=200))
    assert "and 14 more" in text


def test_numbers_for_people() -> None:
    seconds = [0.00084, 0.0123, 0.123, 1.239, 64, 119, 125, 7384, None]
    assert [duration(s) for s in seconds] == [
        "840 µs", "12.3 ms", "123 ms", "1.24 s", "64.0 s", "119 s", "2 m 05 s", "2 h 03 m", "–",
    ]  # fmt: skip  # one row
    assert [count(n) for n in (0, 7, 0.44, 12.0, 12_345.6)] == ["0", "7", "0.4", "12", "12,346"]
    assert [size(n) for n in (0, 999, 1234, 56_700_000, 1e15)] == [
        "0 B",
        "999 B",
        "1.23 kB",
        "56.7 MB",
        "1,000.0 TB",
    ]


def test_a_url_may_be_what_an_sdk_takes() -> None:
    for url in (
        "127.0.0.1:8401",
        "http://127.0.0.1:8401/",
        "http://127.0.0.1:8401/v1",
        "http://127.0.0.1:8401/admin/",
    ):
        assert ChaosAdmin(url).url == "http://127.0.0.1:8401"
    with pytest.raises(RemoteError):
        ChaosAdmin("")
