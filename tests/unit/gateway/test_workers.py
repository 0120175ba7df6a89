"""Who starts, watches and ends workers, with workers that serve nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.workers import Reread, Supervisor, WorkersFailed
from holdfast.gateway.workers_link import Begin
from holdfast.gateway.workers_port import Port

PATIENCE_S = 30
ROOT = Path(__file__).parents[3]


class Crowd:
    """A supervisor under test, in this process."""

    def __init__(self, folder: Path, port: Port, patience_s: float, does: dict[str, str]) -> None:
        self.folder = folder
        self.does = does
        self.announced = asyncio.Event()
        self.rereads = 0
        begin = Begin(number=0, workers=len(does), listener=-1, file="f.toml", text=self._text(does))
        self.supervisor = Supervisor(
            begin,
            port,
            command=(sys.executable, str(ROOT / "tests" / "support" / "worker.py")),
            drain_s=0.0,
            after_drain_s=patience_s,
            announce=lambda _url, _keyed: self.announced.set(),
            reread=self._reread,
        )
        self.run = asyncio.create_task(self.supervisor.run())

    def _text(self, does: dict[str, str]) -> bytes:
        return json.dumps({**does, "folder": str(self.folder)}).encode()

    def _reread(self) -> Reread | None:
        self.rereads += 1
        return Reread(self._text(self.does), 0.0)

    def noted(self, place: int) -> list[str]:
        file = self.folder / f"{place}.log"
        return file.read_text().splitlines() if file.exists() else []

    async def until(self, place: int, what: str, times: int = 1) -> list[str]:
        """What a worker noted, once it has noted ``what`` so often."""
        async with asyncio.timeout(PATIENCE_S):
            while sum(line.startswith(what) for line in self.noted(place)) < times:
                assert not self.run.done()
                await asyncio.sleep(0.01)  # another process writes it: nothing here could be awaited
        return self.noted(place)

    def pid(self, place: int) -> int:
        return int([line for line in self.noted(place) if line.startswith("began ")][-1].split()[1])

    async def serving(self) -> None:
        waiting = asyncio.create_task(self.announced.wait())
        done, _ = await asyncio.wait(
            (waiting, self.run), timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
        )
        assert waiting in done

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.run


def crowd(tmp_path: Path, body: Any, *does: str, patience_s: float = 20.0) -> None:
    async def main() -> None:
        with Port("127.0.0.1", 0) as port:
            made = Crowd(tmp_path, port, patience_s, {str(at): each for at, each in enumerate(does, 1)})
            try:
                await body(made)
            finally:
                made.run.cancel()
                await asyncio.wait((made.run,))

    asyncio.run(main())


def test_it_announces_once_when_all_serve_and_ends_when_all_have(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        await made.serving()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await made.ended() == 0
        assert made.noted(1)[-1] == made.noted(2)[-1] == "ended"

    crowd(tmp_path, body, "serves", "serves")


def test_a_worker_that_dies_is_replaced_and_the_other_goes_on(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        await made.serving()
        one, two = made.pid(1), made.pid(2)
        os.kill(one, signal.SIGKILL)
        await made.until(1, "began", 2)
        assert made.pid(1) != one
        assert made.pid(2) == two
        os.kill(two, 0)

    crowd(tmp_path, body, "serves", "serves")


def test_a_start_that_fails_is_told_in_the_workers_words_and_ends_the_others(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        with pytest.raises(WorkersFailed, match=r"^there is no database$"):
            await made.ended()
        with pytest.raises(ProcessLookupError):
            os.kill(made.pid(1), 0)
        assert not made.announced.is_set()

    crowd(tmp_path, body, "serves", "fails second")


def test_a_start_that_dies_without_a_word_is_told_by_its_code(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        with pytest.raises(WorkersFailed, match="worker 1 ended with exit code 3; its log says why"):
            await made.ended()

    crowd(tmp_path, body, "dies")


def test_a_worker_that_does_not_drain_in_time_is_killed_and_the_end_is_not_clean(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        await made.serving()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await made.ended() == 1
        assert made.noted(1)[-1] == "deaf"

    crowd(tmp_path, body, "deaf", patience_s=0.1)


def test_a_worker_that_ends_badly_makes_the_end_unclean(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        await made.serving()
        os.kill(os.getpid(), signal.SIGINT)
        assert await made.ended() == 1

    crowd(tmp_path, body, "serves", "ends badly")


def test_a_reload_reaches_each_and_a_later_worker_begins_with_the_new_text(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        await made.serving()
        made.does = {"1": "serves", "2": "ends badly"}
        os.kill(os.getpid(), signal.SIGHUP)
        for place in (1, 2):
            await made.until(place, "reload")
        assert made.rereads == 1
        os.kill(made.pid(2), signal.SIGKILL)
        await made.until(2, "began", 2)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await made.ended() in (0, 1)  # 1 if it served already
        assert "reload" not in made.noted(2)[-2:]  # it has the new one, and need not read it

    crowd(tmp_path, body, "serves", "serves")


def test_what_cannot_be_served_is_not_begun_with_again(tmp_path: Path) -> None:
    """A file that reads well, and that a worker can't start with, must not take the workers away one by one."""

    async def body(made: Crowd) -> None:
        await made.serving()
        made.does = {"1": "serves", "2": "fails"}
        made.supervisor.reload()
        os.kill(made.pid(2), signal.SIGKILL)
        await made.until(2, "began", 3)  # the first, one that failed, one with what was served before
        pid = made.pid(2)
        made.does = {"1": "serves", "2": "serves"}
        made.supervisor.reload()
        await made.until(2, "reload")
        assert made.pid(2) == pid

    crowd(tmp_path, body, "serves", "serves")


def test_numbers_are_everyones_as_they_are_now(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        await made.serving()
        os.kill(made.pid(3), signal.SIGHUP)
        assert "sums 60" in await made.until(3, "sums")

    crowd(tmp_path, body, "serves", "serves", "scrapes")


def test_who_does_not_answer_counts_with_what_it_said_last(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        await made.serving()
        os.kill(made.pid(2), signal.SIGHUP)
        assert "sums 21" in await made.until(2, "sums")

    crowd(tmp_path, body, "mute", "scrapes")


def test_workers_end_when_their_supervisor_is_gone(tmp_path: Path) -> None:
    async def body(made: Crowd) -> None:
        await made.serving()
        pid = made.pid(1)
        made.run.cancel()
        await asyncio.wait((made.run,))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    os.kill(pid, 0)
                except ProcessLookupError:
                    return
                await asyncio.sleep(0.01)

    crowd(tmp_path, body, "serves")


class TestPort:
    def test_is_shared_with_its_workers_and_nobody_else(self) -> None:
        with Port("127.0.0.1", 0) as port, port.open() as one, port.open() as two:
            assert one.getsockname() == two.getsockname()
            one.listen()
            with pytest.raises(OSError, match="in use"):
                Port(*one.getsockname())

    def test_a_worker_that_does_not_listen_gets_no_connections(self) -> None:
        with Port("127.0.0.1", 0) as port, port.open() as ready, port.open() as starting:
            ready.listen()
            starting.settimeout(0)
            for _ in range(20):
                with socket.create_connection(ready.getsockname(), timeout=PATIENCE_S):
                    ready.accept()[0].close()
