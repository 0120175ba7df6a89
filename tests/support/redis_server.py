"""A real Redis for tests, in a temporary folder on a free port: killed, frozen, flushed, restarted, made read-only at will.

It dies with the process that started it. It shares no code with the product: commands go out by ``redis-cli``'s protocol,
written by hand.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

__all__ = ["BINARY", "RedisServer", "running_redis"]

BINARY: Final = os.environ.get("HOLDFAST_TEST_REDIS", "redis-server")
"""Which one tests start: a name or a path, of another Redis or of a Valkey."""

_PR_SET_PDEATHSIG: Final = 1
_PATIENCE_S: Final = 30.0
_libc: Final = ctypes.CDLL(None, use_errno=True)


class RedisServer:
    """One ``redis-server``.

    Args:
        options: of its configuration, such as ``{"requirepass": "x"}``; in the place of ours.
        binary: another one than :data:`BINARY`.
        within: a command that runs it, such as ``("ip", "netns", "exec", "x")``.
    """

    def __init__(self, *, binary: str = BINARY, within: Sequence[str] = (), **options: str) -> None:
        found = shutil.which(binary)
        assert found is not None, f"{binary} isn't installed: make servers"
        self._command = [*within, found]
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-redis-"))
        self.socket_path = str(self.folder / "redis.sock")
        self.port = _free_port()
        self.options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": self.socket_path,
            "save": "",
            "appendonly": "no",
            "loglevel": "warning",
            "dir": str(self.folder),
            **options,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it isn't running"
        return self._process.pid

    def start(self) -> Self:
        """Starts it, on the same port each time; returns when it answers."""
        self._started += 1
        arguments = [part for name, value in self.options.items() for part in (f"--{name}", value)]
        parent = os.getpid()

        def die_with_us() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it was too late for that
                os._exit(1)

        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_us,  # one call of libc's, which takes no lock
            )
        self._await_answer()
        return self

    def kill(self) -> None:
        """kill -9, and it is gone when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # it has stopped, and not only been told to

    def thaw(self) -> None:
        """SIGCONT: it answers everything that has come in meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def flush(self) -> None:
        """FLUSHALL: it forgets everything."""
        self.command("FLUSHALL")

    def make_read_only(self) -> None:
        """A replica of a server that isn't there, as after a failover: it answers, and refuses to write."""
        self.command("REPLICAOF", "127.0.0.1", "1")

    def make_writable(self) -> None:
        self.command("REPLICAOF", "NO", "ONE")

    def command(self, *parts: str | bytes | int) -> Any:
        """Runs one command, on a connection of its own.

        Raises:
            RuntimeError: it answered with an error.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.connect(self.socket_path)
            if "requirepass" in self.options:
                _talk(connection, "AUTH", self.options["requirepass"])
            return _talk(connection, *parts)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _await_answer(self) -> None:
        assert self._process is not None
        for _ in range(int(_PATIENCE_S * 100)):
            if self._process.poll() is not None:
                raise RuntimeError(f"redis-server ended: {(self.folder / 'log').read_text()[-2000:]}")
            try:
                if self.command("PING") == b"PONG":
                    return
            except (OSError, RuntimeError):  # not yet there, or still loading
                _pause()
        raise RuntimeError("redis-server doesn't answer")


@contextmanager
def running_redis(**options: str) -> Iterator[RedisServer]:
    """A server for the block."""
    with RedisServer(**options) as server:
        yield server


def _talk(connection: socket.socket, *parts: str | bytes | int) -> Any:
    said = [
        str(part).encode() if isinstance(part, int) else part.encode() if isinstance(part, str) else part
        for part in parts
    ]
    connection.sendall(
        b"*%d\r\n" % len(said) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in said)
    )
    with connection.makefile("rb") as stream:
        return _read(stream)


def _read(stream: Any) -> Any:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server hung up")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"+":
        return rest
    count = int(rest)
    if kind == b"$":
        return None if count < 0 else stream.read(count + 2)[:-2]
    return None if count < 0 else [_read(stream) for _ in range(count)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _pause() -> None:
    """A hundredth of a second: a process tells nobody that it has begun to listen."""
    select.select([], [], [], 0.01)
