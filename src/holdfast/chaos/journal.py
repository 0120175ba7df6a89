"""What was truly served: one entry per attempt, kept within bounds, readable from any thread.

A token counts as served when all bytes up to it were handed to the kernel; what still waited in this process when the
client left doesn't. Billing: an error status bills nothing; a plain answer is billed whole, since it was made before it
was sent; a stream bills its prompt and the tokens served; silence or a reset before the headers bills the prompt.
"""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.chaos.answer import Usage
from holdfast.chaos.journal_file import JournalFile
from holdfast.chaos.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.chaos.config import ChaosConfig
    from holdfast.chaos.journal_filter import Filter

__all__ = ["End", "Entry", "Journal", "Texts"]

End = Literal["complete", "reset_by_us", "closed_by_us", "half_closed_by_us", "client_left"]
_ALIKE = 1024  # bytes that an entry takes beside its texts, about


class Entry(msgspec.Struct, gc=False):
    """One attempt. Times ending in ``_wall_ns`` are since 1970, in ``_ns`` on the monotonic clock."""

    # Without gc: it holds no cycles, and a full journal would be walked through at each collection.

    seq: int
    arrived_wall_ns: int
    arrived_ns: int
    method: str
    path: str
    query: str
    """Without the key that may stand there."""
    wire: str
    """The format that it was understood as."""
    operation: str
    """answer, count or embed."""
    headers: dict[str, str]
    """Lower-case names; credentials are masked."""
    key_sha256: str | None
    """SHA-256 of the key that came with it, in hex."""
    body: bytes
    """Its first ``body_keep`` bytes."""
    body_size: int
    head_size: int
    """Bytes of its header names and values."""
    body_sha256: str
    model: str | None = None
    stream: bool = False
    script_key: str | None = None
    attempt: int | None = None
    nonce: str | None = None
    rule: str | None = None
    """What decided about it: ``model gpt-*``, ``default``, ``timeline 0``, ``prompt`` …; or ``limits``, ``capacity``."""
    faults: list[str] = []
    """The faults that were played."""
    skipped: list[str] = []
    """Those that the script asked for but this kind of answer can't have, or chance spared."""
    status: int | None = None
    """None: no head was sent."""
    bytes_sent: int = 0
    """All bytes handed to the kernel, head and chunk sizes included."""
    body_bytes_sent: int = 0
    """Of those, the body's."""
    tokens: int = 0
    text: str = ""
    """The text that was served (of the first choice)."""
    reasoning: str = ""
    arguments: str = ""
    """The tool arguments that were served, one call after the other."""
    usage: Usage = Usage()
    """As billed; final with ``end``."""
    first_token_ns: int | None = None
    end: End | None = None
    """None: still running."""
    ended_ns: int | None = None
    ended_wall_ns: int | None = None
    client_closed_ns: int | None = None
    """When the client was seen to leave."""
    arrived_s: float = 0.0
    """Seconds since the start (or the last reset) on the server's clock, which may be moved by hand."""
    client: str | None = None
    """Address and port that it came from: the same for all requests of a connection."""
    content_type: str | None = None
    """Of the reply; None: it has none."""

    @property
    def weight(self) -> int:
        """About what it takes in memory, in bytes."""
        return (
            _ALIKE
            + self.head_size
            + len(self.body)
            + len(self.text)
            + len(self.reasoning)
            + len(self.arguments)
        )


class Texts:
    """What was said so far, by channel; of each only its first ``keep`` characters."""

    __slots__ = ("_keep", "_pieces", "_sizes")

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._pieces: dict[str, list[str]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, channel: str, piece: str) -> None:
        size = self._sizes.get(channel, 0)
        if size < self._keep:
            self._pieces.setdefault(channel, []).append(piece[: self._keep - size])
            self._sizes[channel] = size + len(piece)

    def said(self, channel: str) -> str:
        return "".join(self._pieces.get(channel, ()))


class Journal:
    """Entries in order of arrival. Written on the server's loop, read from anywhere: copies, never the live ones."""

    def __init__(self, config: ChaosConfig) -> None:
        self._entries: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._listeners: list[Callable[[], None]] = []
        self._followers: list[Callable[[int], None]] = []
        self._most = config.journal_entries
        self._most_bytes = config.journal_bytes
        self._bytes = 0
        self._seq = 0
        self._stats = Stats(time.monotonic_ns())
        self._file = None if config.journal_file is None else JournalFile(config.journal_file)
        self.dropped = 0
        """Entries given up to stay within the bounds, since the last reset."""

    def open(self) -> None:
        """Open the file that attempts are appended to, if there is to be one. Raises OSError with its name."""
        if self._file is not None:
            self._file.open()

    def close_file(self) -> None:
        """What ends from now on isn't written to the file."""
        if self._file is not None:
            self._file.close()

    # Written by the server, on its loop.

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    @property
    def last_seq(self) -> int:
        """The number of the newest attempt, whether it is still here or not; 0: there was none."""
        return self._seq

    def add(self, entry: Entry) -> None:
        """A new attempt has arrived."""
        with self._changed:
            self._entries.append(entry)
            self._bytes += entry.weight
            self._stats.arrived(entry)
            self._trim()
            self._tell()

    def close(self, entry: Entry, end: End, usage: Usage, texts: Texts, now_ns: int) -> None:
        """The exchange is over. Readers see all of this change or nothing of it."""
        with self._changed:
            entry.usage = usage
            entry.text, entry.reasoning, entry.arguments = (
                texts.said("text"),
                texts.said("reasoning"),
                texts.said("tool"),
            )
            entry.ended_ns, entry.ended_wall_ns = now_ns, time.time_ns()
            if end == "client_left":
                entry.client_closed_ns = now_ns
            entry.end = end
            if self._entries and entry.seq >= self._entries[0].seq:  # else it was given up, or reset away
                self._bytes += len(entry.text) + len(entry.reasoning) + len(entry.arguments)
                self._trim()
            self._stats.ended(entry, now_ns)
            if self._file is not None:
                self._file.append(entry)
            for follower in self._followers:
                follower(entry.seq)
            self._tell()

    def reset(self) -> None:
        """Forget all entries and counts. Running attempts go on unseen."""
        with self._changed:
            self._entries.clear()
            self._bytes = 0
            self.dropped = 0
            self._stats.reset(time.monotonic_ns())
            self._tell()

    # Read on the server's loop, without copies.

    def scan(
        self, where: Filter, at: int, *, newest: bool = False, most: int = 64, look_at: int = 512
    ) -> tuple[list[Entry], int | None]:
        """Up to ``most`` entries that fit, from number ``at`` on (``newest``: downward), after a look at so many.

        Also returns the number to go on from; None: that were all. The entries are the journal's own.
        """
        found: list[Entry] = []
        entries = self._entries
        index = bisect_right(entries, at, key=_seq) - 1 if newest else bisect_left(entries, at, key=_seq)
        stop, step = (-1, -1) if newest else (len(entries), 1)
        for i in range(index, stop, step):
            entry = entries[i]
            if len(found) >= most or look_at <= 0:
                return found, entry.seq
            look_at -= 1
            if where.fits(entry):
                found.append(entry)
        return found, None

    def find(self, seq: int) -> Entry | None:
        """The entry with that number, the journal's own; None: it isn't here (any more)."""
        index = bisect_left(self._entries, seq, key=_seq)
        if index == len(self._entries) or self._entries[index].seq != seq:
            return None
        return self._entries[index]

    def running(self) -> frozenset[int]:
        """The numbers of the attempts that run now (less those from before the last reset)."""
        return frozenset(self._stats.running)

    def follow(self, ended: Callable[[int], None]) -> Callable[[], None]:
        """``ended`` is called with the number of each attempt that ends from now on. Returns what stops it."""
        self._followers.append(ended)
        return lambda: self._followers.remove(ended)

    # Read from anywhere.

    def stats(self, *, shares: bool = True) -> dict[str, Any]:
        """What was counted since the last reset; see :meth:`Stats.told`."""
        with self._changed:
            told = self._stats.told(time.monotonic_ns(), shares=shares)
            told["journal"] = {"entries": len(self._entries), "bytes": self._bytes, "dropped": self.dropped}
            told["dropped"] = self.dropped
            if self._file is not None:
                told["journal"]["file"] = self._file.told()
            return told

    def entries(self, *, model: str | None = None, key: str | None = None, since: int = 0) -> list[Entry]:
        """Copies of the entries with ``seq`` > ``since``, of that model and script key."""
        with self._changed:
            return [
                copy.copy(entry)
                for entry in self._entries
                if entry.seq > since
                and (model is None or entry.model == model)
                and (key is None or entry.script_key == key)
            ]

    def wait_for(self, predicate: Callable[[list[Entry]], Any], timeout: float = 5.0) -> list[Entry]:
        """Block this thread until ``predicate(entries)`` holds; then those entries. Raises TimeoutError.

        It is asked again at every arrival, end and departure, not at every token. Not for the server's own thread.
        """
        until = time.monotonic() + timeout
        with self._changed:
            self._waiting += 1
            try:
                while not predicate(entries := self.entries()):
                    if not self._changed.wait(max(0.0, until - time.monotonic())):
                        raise TimeoutError(
                            f"the journal did not get there in {timeout} s; it holds {entries!r}"
                        )
            finally:
                self._waiting -= 1
            return entries

    async def until(self, predicate: Callable[[list[Entry]], Any], timeout: float = 5.0) -> list[Entry]:
        """:meth:`wait_for` for coroutines, on the server's own loop or any other."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def listener() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._changed:
            self._listeners.append(listener)
        try:
            async with asyncio.timeout(timeout):
                while not predicate(entries := self.entries()):
                    await changed.wait()
                    changed.clear()
                return entries
        finally:
            with self._changed:
                self._listeners.remove(listener)

    def _tell(self) -> None:
        if self._waiting:  # notifying nobody costs a microsecond
            self._changed.notify_all()
        for listener in self._listeners:
            listener()

    def _trim(self) -> None:
        while (len(self._entries) > self._most or self._bytes > self._most_bytes) and self._entries:
            self._bytes -= self._entries.popleft().weight
            self.dropped += 1


def _seq(entry: Entry) -> int:
    return entry.seq
