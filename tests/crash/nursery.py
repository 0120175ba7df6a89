"""Where gateways start quickly: a process that has imported all that ``holdfast serve`` needs, and forks for each start.

What it forks is the real command, ``holdfast serve``, in a process of its own that dies by the same signals: only the second
that Python takes to import it is saved. The nursery has no thread and no event loop, and opens nothing, so that a fork of it
is as good as a new interpreter. It leaves its dead unburied until it is asked for their status: until then their process
ids are nobody else's.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import os
import pkgutil
import re
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

__all__ = ["Gateway", "Nursery"]

_ROOT: Final = Path(__file__).parents[2]
_USED: Final = ("holdfast.cli", "holdfast.gateway", "holdfast.ledger", "holdfast.transport")
"""Packages whose modules a start imports, the rest comes with them."""
_LARGEST: Final = 65_536
_UP: Final = re.compile(rb"http://127\.0\.0\.1:(\d+)")
_START_S: Final = 60.0
"""How long a start may take on a machine that has other work."""
_PR_SET_PDEATHSIG: Final = 1


class _Order(msgspec.Struct):
    """What the nursery is asked for: a start, or (``bury``) the status of one that is over."""

    argv: tuple[str, ...] = ()
    env: dict[str, str] = {}
    bury: int = 0


# In the nursery.


def _main(control: socket.socket) -> None:
    """Serves orders until the driver is gone."""
    _die_with_parent()
    for package in _USED:
        found = importlib.import_module(package)
        for each in pkgutil.iter_modules(found.__path__, f"{package}."):
            importlib.import_module(each.name)
    from holdfast.providers import snapshot

    snapshot.load()
    gc.collect()
    gc.freeze()
    while True:
        data, fds, _, _ = socket.recv_fds(control, _LARGEST, 2)
        if not data:
            return
        order = msgspec.json.decode(data, type=_Order)
        if order.bury:
            _, status = os.waitpid(order.bury, 0)
            control.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        pid = os.fork()
        if not pid:
            control.close()
            _become(order, *fds)
        for fd in fds:
            os.close(fd)
        control.send(str(pid).encode())


def _become(order: _Order, out: int, err: int) -> NoReturn:
    """The command, in the forked process."""
    _die_with_parent()
    os.dup2(out, 1)
    os.dup2(err, 2)
    # New ones: the nursery's may have been made for a file, which can do more than a pipe.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(order.env)
    code = 70
    try:
        from holdfast.cli.commands import run

        run(order.argv)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  # as the interpreter does with what nobody caught
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_with_parent() -> None:
    """Whoever made this process may be killed: nothing of it is to stay."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


# In the driver.


@dataclass
class Gateway:
    """One start of ``holdfast serve``. It is over when :attr:`exited` is set."""

    pid: int
    out: asyncio.StreamReader
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    """It is dead, and about to be buried: its number may be another's soon."""
    status: int | None = None
    """As :mod:`subprocess` tells it: -9 was killed."""

    async def port(self) -> int | None:
        """Where it serves, once it does; None: it ended before."""
        async with asyncio.timeout(_START_S):
            while line := await self.out.readline():
                if (found := _UP.search(line)) is not None:
                    return int(found[1])
        return None

    def signal(self, number: signal.Signals) -> None:
        """Does nothing to one that is over."""
        if not self.gone:
            os.kill(self.pid, number)

    async def over(self, timeout: float = 60.0) -> int:
        async with asyncio.timeout(timeout):
            await self.exited.wait()
        assert self.status is not None
        return self.status


class Nursery:
    """The nursery as its driver sees it. ``async with``; leaving it ends every gateway that still runs."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            code = f"from tests.crash import nursery; import socket; nursery._main(socket.socket(fileno={theirs.fileno()}))"
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, cwd=_ROOT, pass_fds=(theirs.fileno(),)
            )
        ours.settimeout(0)
        self._control = ours
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._control is not None
        assert self._process is not None
        self._control.close()
        await self._process.wait()

    async def start(self, argv: tuple[str, ...], env: Mapping[str, str], log: Path) -> Gateway:
        """Starts ``holdfast`` with these arguments; its stderr is appended to ``log``."""
        reading, writing = os.pipe()
        err = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            pid = int(await self._ask(_Order(argv=argv, env=dict(env)), (writing, err)))
        finally:
            os.close(writing)
            os.close(err)
        loop = asyncio.get_running_loop()
        out = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(out), os.fdopen(reading, "rb", 0))
        gateway = Gateway(pid, out)
        watch = os.pidfd_open(pid)  # it can't be another's: the nursery hasn't buried it

        def ended() -> None:
            gateway.gone = True
            loop.remove_reader(watch)
            os.close(watch)
            self._burying = asyncio.ensure_future(self._bury(gateway))

        loop.add_reader(watch, ended)
        return gateway

    async def _bury(self, gateway: Gateway) -> None:
        gateway.status = int(await self._ask(_Order(bury=gateway.pid)))
        gateway.exited.set()

    async def _ask(self, order: _Order, fds: tuple[int, ...] = ()) -> bytes:
        assert self._control is not None
        async with self._turn:
            socket.send_fds(self._control, [msgspec.json.encode(order)], fds)
            said = await asyncio.get_running_loop().sock_recv(self._control, _LARGEST)
        if not said:
            raise RuntimeError("the nursery has ended: what it said stands above")
        return said
