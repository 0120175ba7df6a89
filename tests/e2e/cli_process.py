"""The command as a user runs it: a process of its own, in a folder of its own, with an environment of its own.

:func:`called` runs it in this process, for the many cases where only arguments, exit code and output matter.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOLDFAST = Path(sys.executable).with_name("holdfast")
READY = "ledger tail"  # in the last line of what serve says
WAIT_S = 30


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the test's own environment gets in but what a program needs to run."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
        **(extra or {}),
    }


def holdfast(
    folder: Path, *arguments: str | Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [HOLDFAST, *arguments],
        cwd=folder,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def holdfast_json(folder: Path, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Any:
    """What a command that succeeds says with ``--json``."""
    done = holdfast(folder, *arguments, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def called(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As :func:`holdfast`, without the cost of a process: for commands that don't look at the environment."""
    out, errors = (TextIOWrapper(BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    given = [str(argument) for argument in arguments]
    with chdir(folder), redirect_stdout(out), redirect_stderr(errors):
        try:
            run(given)
        except SystemExit as end:
            code = end.code
    said, complained = (stream.buffer.getvalue().decode() for stream in (out, errors))  # type: ignore[attr-defined]  # a BytesIO
    assert isinstance(code, int)
    return subprocess.CompletedProcess(given, code, said, complained)


def called_json(folder: Path, *arguments: str | Path) -> Any:
    """What a command that succeeds says with ``--json``."""
    done = called(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Serving:
    """A running ``holdfast serve``."""

    def __init__(self, process: subprocess.Popen[str], said: list[str], errors: Path) -> None:
        self.process = process
        self.said = said
        self._errors = errors
        self.url = re.findall(r"http://[^ \n]+", said[0])[0]

    @property
    def stderr(self) -> str:
        return self._errors.read_text()

    @property
    def curls(self) -> list[str]:
        """The lines to paste."""
        return [line.strip() for line in self.said if line.strip().startswith("curl ")]

    @property
    def tail(self) -> str:
        """The last line to paste."""
        return self.said[-1].strip()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@contextmanager
def serving(folder: Path, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """``holdfast serve`` on a free port, once it has said everything; killed at the end of the block, with its workers."""
    errors = folder / f"stderr-{len(list(folder.glob('stderr-*')))}.log"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [HOLDFAST, "serve", "--port", "0", *arguments],
            cwd=folder,
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    assert process.stdout is not None
    try:
        said: list[str] = []
        while not (said and READY in said[-1]):
            line = process.stdout.readline()
            assert line, f"ended before it served:\n{''.join(said)}{errors.read_text()}"
            said.append(line)
        yield Serving(process, said, errors)
    finally:
        process.kill()
        process.wait(WAIT_S)
        with process.stdout:
            _outlived(process.stdout.fileno())


def _outlived(pipe: int) -> None:
    """Waits for the workers of a killed supervisor, who end by themselves: the last process of all closes the pipe."""
    by = time.monotonic() + WAIT_S
    while select.select([pipe], [], [], max(0.0, by - time.monotonic()))[0]:
        if not os.read(pipe, 65_536):
            return
    raise AssertionError("a worker lives on without its supervisor")


def pasted(line: str, folder: Path) -> str:
    """What a line says when it is pasted into a shell in ``folder``."""
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
