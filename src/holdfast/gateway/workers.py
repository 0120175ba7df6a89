"""Several processes that serve one address: a supervisor that starts, watches and ends them, and serves nothing itself.

Each worker listens at the same port (:mod:`holdfast.gateway.workers_port`). Workers are started afresh, never forked: this
process may have threads.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from holdfast.errors import HoldfastError
from holdfast.gateway.terminal import Terminal
from holdfast.gateway.workers_link import (
    Ask,
    Begin,
    Counted,
    Failed,
    Link,
    Reload,
    Scraped,
    Serving,
    Sums,
)
from holdfast.gateway.workers_restarts import Restarts
from holdfast.gateway.workers_sums import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from holdfast.gateway.workers_link import FromWorker
    from holdfast.gateway.workers_port import Port

__all__ = ["AFTER_DRAIN_S", "Reread", "Supervisor", "WorkersFailed"]

_log = structlog.get_logger("holdfast.workers")

AFTER_DRAIN_S: Final = 15.0
"""After the drain a worker cuts what still runs and writes the ledger down. One that isn't over by then is killed."""
_ASK_S: Final = 0.5
"""A worker that doesn't tell its numbers so soon hangs: those that it told last are taken."""


class WorkersFailed(HoldfastError):
    """No worker can serve; the message says why."""

    label = "workers_failed"


class Reread(msgspec.Struct, frozen=True):
    """Of a configuration that was read again."""

    text: bytes
    drain_s: float


class Supervisor:
    """Runs workers until it is told to stop, or none of them can serve.

    Args:
        begin: what each worker is told; its number and descriptor are filled in here.
        port: where all of them listen.
        command: starts a worker; its end of the link is added as the last argument.
        drain_s: how long a worker may drain, as far as no later configuration says.
        announce: told the URL and whether callers need keys, once all workers serve.
        reread: called when workers are to read the configuration again: what counts for workers that are started later, if
            it can be served; else None.
        after_drain_s: how long it may take after that to end.
    """

    def __init__(
        self,
        begin: Begin,
        port: Port,
        *,
        command: Sequence[str],
        drain_s: float,
        announce: Callable[[str, bool], None],
        reread: Callable[[], Reread | None],
        after_drain_s: float = AFTER_DRAIN_S,
    ) -> None:
        self._begin = begin
        self._port = port
        self._command = tuple(command)
        self._drain_s = drain_s
        self._after_drain_s = after_drain_s
        self._announce = announce
        self._reread = reread
        self._terminal = Terminal()
        self._tally = Tally()
        self._workers: dict[int, _Worker] = {}
        self._stopping = asyncio.Event()
        self._announced = False
        self._failure: str | None = None
        self._unclean = False
        self._text = self._good = begin.text
        self._reloads = 0
        self._scrapes: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """The exit code: 0 if all workers ended in order, 1 if one had to be killed, or died while it drained.

        Raises:
            WorkersFailed: a worker could not start, or none serves any more.
        """
        loop = asyncio.get_running_loop()
        handled: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._stop(signal.SIGTERM),
            signal.SIGINT: lambda: self._stop(signal.SIGINT),
            signal.SIGHUP: self._hung_up,
        }
        for number, handler in handled.items():
            loop.add_signal_handler(number, handler)
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in range(1, self._begin.workers + 1):
                    tasks.create_task(self._keep(place))
        finally:
            for number in handled:
                loop.remove_signal_handler(number)
        if self._failure is not None:
            raise WorkersFailed(self._failure)
        return int(self._unclean)

    def reload(self, *, but: _Worker | None = None) -> None:
        """Has every worker read the configuration again. One that comes later begins with what could be served.

        Args:
            but: has done so already.
        """
        if (read := self._reread()) is not None:
            self._text, self._drain_s = read.text, read.drain_s
        self._reloads += 1
        if but is not None:
            but.reloads = self._reloads
        for worker in self._workers.values():
            if worker.serving:
                worker.reload(self._reloads)

    def _hung_up(self) -> None:
        if self._terminal.gone:
            self._stop(signal.SIGTERM)
        else:
            self.reload()

    def _stop(self, number: signal.Signals) -> None:
        if not self._stopping.is_set():
            _log.info("stopping", workers=len(self._workers))
            self._stopping.set()
        for worker in self._workers.values():
            worker.signal(number)

    def _fail(self, reason: str) -> None:
        if self._failure is None and not self._stopping.is_set():
            self._failure = reason
            self._stop(signal.SIGTERM)

    async def _keep(self, place: int) -> None:
        """One worker after another in ``place``, until the stop."""
        loop = asyncio.get_running_loop()
        restarts = Restarts()
        while not self._stopping.is_set():
            began = loop.time()
            try:
                worker = await self._start(place)
                how = await self._attend(worker)
            except OSError as error:  # no process, no memory, no descriptor
                how = f"it can't be started: {error.strerror or error}"
            if self._stopping.is_set():
                return
            if not self._announced:
                self._fail(how)
                return
            pause_s = restarts.died(lived_s=loop.time() - began)
            if restarts.hopeless and not any(worker.serving for worker in self._workers.values()):
                self._fail(
                    f"no worker serves any more; worker {place} died {restarts.young} times in a row: {how}"
                )
                return
            _log.error("a worker died", dead=place, reason=how, again_in_s=pause_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()

    async def _start(self, place: int) -> _Worker:
        ours, theirs = socket.socketpair()
        link = await Link.over(ours)
        with theirs, self._port.open() as listener:
            number = listener.fileno()
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), number),
                    process_group=0,  # Ctrl-C is for the supervisor, who tells them
                )
            except BaseException:
                link.close()
                raise
        worker = _Worker(place, process, link, self._text, self._reloads)
        self._workers[place] = worker
        worker.link.send(msgspec.structs.replace(self._begin, number=place, listener=number, text=self._text))
        if self._stopping.is_set():  # it was told to stop between
            worker.signal(signal.SIGTERM)
        return worker

    async def _attend(self, worker: _Worker) -> str:
        """Listens to a worker until it is gone. How it died, for people."""
        ended = asyncio.create_task(worker.process.wait())
        listening = asyncio.create_task(self._listen(worker))
        try:
            await self._ended(worker, ended)
            # What it said before it died: its last numbers, and why.
            await asyncio.wait((listening,), timeout=_ASK_S)
        finally:
            if not ended.done():  # a fault of our own: nobody is left behind
                worker.signal(signal.SIGKILL)
                await asyncio.wait((ended,), timeout=_ASK_S)
            worker.link.close()
            listening.cancel()
            self._tally.leave(worker.place)
            del self._workers[worker.place]
        code = ended.result()
        if self._stopping.is_set() and code != 0 and worker.serving:
            self._unclean = True
            _log.error("a worker didn't end in order", dead=worker.place, code=code)
        return worker.reason or _told(worker, code)

    async def _ended(self, worker: _Worker, ended: asyncio.Task[int]) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait((ended,), timeout=self._drain_s + self._after_drain_s)
            if not ended.done():
                _log.error("a worker doesn't end: it is killed", dead=worker.place)
                worker.signal(signal.SIGKILL)
                await ended
        finally:
            stopping.cancel()

    async def _listen(self, worker: _Worker) -> None:
        while (said := await worker.link.next_from_worker()) is not None:
            self._hear(worker, said)

    def _hear(self, worker: _Worker, said: FromWorker) -> None:
        match said:
            case Counted():
                self._tally.note(worker.place, said.families)
                worker.told(said.id)
            case Scraped():
                self._spawn(self._sum_for(worker, said.id))
            case Serving():
                worker.serving = True
                self._good = worker.text
                worker.reload(self._reloads)  # it may have begun with what was there before
                self._serves(said)
            case Failed():
                worker.reason = said.message
                self._text = self._good  # it may read well, and be wrong all the same
            case Reload():
                self.reload(but=worker)

    def _serves(self, said: Serving) -> None:
        serving = sum(worker.serving for worker in self._workers.values())
        if self._announced:
            _log.info("a worker serves again", serving=serving)
        elif serving == self._begin.workers and not self._stopping.is_set():
            self._announced = True
            self._announce(said.url, said.keyed)

    async def _sum_for(self, asker: _Worker, number: int) -> None:
        asked = [worker.ask() for worker in self._workers.values() if worker.serving]
        if asked:
            await asyncio.wait(asked, timeout=_ASK_S)
        asker.link.send(Sums(number, self._tally.total()))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._scrapes.add(task)
        task.add_done_callback(self._scrapes.discard)


class _Worker:
    """One process, and what was heard of it."""

    def __init__(
        self, place: int, process: asyncio.subprocess.Process, link: Link, text: bytes | None, reloads: int
    ) -> None:
        self.place = place
        self.process = process
        self.link = link
        self.serving = False
        self.reason: str | None = None
        """Why it can't serve, as it says itself."""
        self.text = text
        """Of the configuration that it began with."""
        self.reloads = reloads
        """As many as there had been when it read its configuration."""
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._asks = 0

    def ask(self) -> asyncio.Future[None]:
        """Done when it has told its numbers, as they are now."""
        self._asks += 1
        told = self._asked[self._asks] = asyncio.get_running_loop().create_future()
        self.link.send(Ask(self._asks))
        return told

    def told(self, number: int | None) -> None:
        # It answers in order: what was asked before and isn't answered won't be.
        for each in [asked for asked in self._asked if number is not None and asked <= number]:
            future = self._asked.pop(each)
            if not future.done():
                future.set_result(None)

    def reload(self, reloads: int) -> None:
        """Has it read the configuration again, if it hasn't since."""
        if self.reloads != reloads:
            self.reloads = reloads
            self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


def _told(worker: _Worker, code: int) -> str:
    if code < 0:
        return f"worker {worker.place} was ended by {_name(-code)}"
    return f"worker {worker.place} ended with exit code {code}; its log says why"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
