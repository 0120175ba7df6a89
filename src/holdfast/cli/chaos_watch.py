"""Watching a chaos provider: a live picture on a terminal, a line for each attempt elsewhere."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from rich.live import Live

from holdfast.cli.chaos_admin import ChaosAdmin, RemoteError
from holdfast.cli.chaos_rows import line
from holdfast.cli.chaos_view import render
from holdfast.cli.output import clean, console, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

__all__ = ["follow_lines", "watch", "watching"]

_EVERY_S = 0.5
_MOST = 200  # attempts that a very tall terminal shows
_URL = re.compile(r"https?://[^\s()]+")


class _Seen(NamedTuple):
    """What was read last."""

    stats: dict[str, Any]
    entries: list[dict[str, Any]]
    trouble: str = ""


class _Reader(threading.Thread):
    """Reads the admin API twice a second, so that a slow answer doesn't freeze the picture, or Ctrl-C."""

    def __init__(self, admin: ChaosAdmin, stop: threading.Event) -> None:
        super().__init__(name="chaos watch", daemon=True)
        self.seen = _Seen({}, [])
        self.fresh = threading.Event()
        self._admin = admin
        self._stop_asked = stop

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                self.seen = _Seen(
                    # Intervals are worked out here, not on the loop of what is watched.
                    self._admin.read("stats", shares="false"),
                    self._admin.read("journal", order="newest", limit=_MOST),
                )
            except RemoteError as error:  # it may come back
                self.seen = self.seen._replace(trouble=str(error))
            self.fresh.set()
            self._stop_asked.wait(_EVERY_S)


def watch(
    url: str, token: str | None = None, *, stop: threading.Event | None = None, on: Console | None = None
) -> None:
    """Show what the provider at ``url`` does until Ctrl-C, or until ``stop`` is set.

    Raises RemoteError where it can't be asked at the start; one that goes away later is waited for. Where stdout is no
    terminal: :func:`follow_lines`.
    """
    admin = ChaosAdmin(url, token)
    on = on or console()
    if not on.is_terminal:
        follow_lines(admin)
        return
    admin.read("health")
    admin.read("stats", shares="false")  # the token is right
    stop = stop or threading.Event()
    reader = _Reader(admin, stop)
    reader.start()
    try:
        with Live(console=on, screen=True, auto_refresh=False, transient=True) as live:
            while not stop.is_set():
                reader.fresh.wait(_EVERY_S)
                reader.fresh.clear()
                live.update(_picture(reader.seen, admin.url, on), refresh=True)
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()


def _picture(seen: _Seen, url: str, on: Console) -> Any:
    width, height = on.size
    return render(seen.stats, seen.entries, title=url, trouble=seen.trouble, width=width, height=height)


def follow_lines(
    admin: ChaosAdmin,
    *,
    recent: int = 0,
    say_line: Callable[[bytes], None] | None = None,
    **filters: Any,
) -> None:
    """A line for each attempt as it ends, after the ``recent`` last ones. Raises RemoteError, also at the provider's end."""
    say_line = say_line or _say_line
    last = admin.read("journal", order="newest", limit=max(recent, 1), **filters)
    since = (last[-1]["seq"] - 1 if recent else last[0]["seq"]) if last else 0
    for data in admin.lines("journal", follow="true", **{**filters, "since": since}):
        say_line(data)


def _say_line(data: bytes) -> None:
    told = msgspec.json.decode(data)
    say(f"({told['missed']} attempts came too fast to be told)" if "missed" in told else clean(line(told)))


@contextmanager
def watching(token: str | None = None) -> Iterator[Callable[[str], None]]:
    """For a server in this process: gives what to call with the line that says where it listens; watches from then on.

    The block's end ends the watch. On a terminal that line is in the picture's title instead.
    """
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def listens(said: str) -> None:
        found = _URL.search(said)
        if found is None or not console().is_terminal:
            say(said)
        if found is not None:
            threads.append(threading.Thread(target=show, args=(found[0],), name="chaos view", daemon=True))
            threads[0].start()

    def show(url: str) -> None:
        with suppress(RemoteError):  # it is the server's end, which this process sees anyway
            watch(url, token, stop=stop)

    try:
        yield listens
    finally:
        stop.set()
        for thread in threads:
            thread.join(2 * _EVERY_S)
