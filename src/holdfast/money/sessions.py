"""All sessions that are remembered, by key and id.

Everything is synchronous and in memory. Who keeps rows does so around it::

    unsaved() → written → saved()     a change; the start before the session's first request is sent
    known()? → load()                 an id that isn't in memory may be in the database: ended there, or half spent

Memory is bounded: there are never more than ``most`` sessions. To make room, those are forgotten that are over for good and
whose end is written, the oldest first. Who names one of these again finds its row, so that an ended session stays ended. An
exhausted one is over for good with its time: until then its budget is asked, which so has to be kept no longer than it.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

import msgspec

from holdfast.clock import new_id
from holdfast.errors import InvalidRequest, NoPlace, RateExceeded, SessionEnded
from holdfast.money.session import (
    Session,
    SessionEvent,
    SessionSettings,
    SessionState,
    is_session_id,
    of_its_time,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from holdfast.clock import Clock, Rng

__all__ = ["Sessions", "SessionsSnapshot"]

_Name = tuple[str, str]
_OVER: Final = (SessionState.ENDED, SessionState.EXPIRED)
"""For good, whatever the time."""
_FULL_RETRY_S: Final = 5.0
"""When to come back while all places are taken: ends are written within a second, if the disk can."""


class SessionsSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are, and were."""

    active: int
    """Whose time isn't over, and nothing else ended."""
    remembered: int
    unsaved: int
    started: int
    """Since this process began; so are the following."""
    over: dict[SessionState, int]
    """By what ended them."""
    warned: int
    refused: int
    """Uses after the end, and starts that found no place."""


class Sessions:
    """One for a process. Not thread-safe: it belongs to one event loop's thread.

    Args:
        settings: limits.
        clock: whose wall time counts: sessions outlive processes.
        rng: chance, for ids.
        forgotten: is told of each session that leaves memory, so that what else is known of it can leave too. Must not
            raise.
    """

    __slots__ = (
        "_active",
        "_budget",
        "_clock",
        "_done",
        "_ends",
        "_forgotten",
        "_of_key",
        "_rng",
        "_sessions",
        "_unsaved",
        "over",
        "refused",
        "settings",
        "started",
        "warned",
    )

    def __init__(
        self,
        settings: SessionSettings | None = None,
        *,
        clock: Clock,
        rng: Rng,
        forgotten: Callable[[Session], None] | None = None,
    ) -> None:
        self.apply(settings if settings is not None else SessionSettings())
        self._clock = clock
        self._rng = rng
        self._forgotten = forgotten
        self._sessions: dict[_Name, Session] = {}
        self._unsaved: dict[_Name, None] = {}
        """Names whose session differs from its row, in the order they changed."""
        self._done: dict[_Name, None] = {}
        """Those that may be forgotten, the oldest end first."""
        self._ends: list[tuple[int, _Name]] = []
        """A heap of when the time of the active and exhausted ones is over; others may be in it as well."""
        self._active = 0
        self._of_key: dict[str, int] = {}
        """Active ones."""
        self.started = 0
        self.over: dict[SessionState, int] = {
            state: 0 for state in SessionState if state is not SessionState.ACTIVE
        }
        self.warned = 0
        self.refused = 0

    def start(self, key: str, id: str | None = None) -> Session:  # noqa: A002  # the field's own name
        """A session of ``key``: a new one, or the active one of that id, for who comes back to it.

        Args:
            key: the caller's key.
            id: the caller's own name for it; None: a new UUID (version 7).

        Raises:
            InvalidRequest: the id can't be one.
            SessionEnded: it was, or its time is over.
            RateExceeded: the key has too many already.
            NoPlace: all keys together have.
        """
        if id is None:
            return self._start(key, new_id(self._clock, self._rng), self._clock.wall_ns())
        if not is_session_id(id):
            raise InvalidRequest(
                "a session's id is 1 to 64 letters, digits and . : / _ -", param="session_id"
            )
        return self.touch(key, id)

    def touch(self, key: str, id: str) -> Session:  # noqa: A002  # the field's own name
        """The session that a request names, which begins with its first one.

        An exhausted one is given until its time is over: what it has left, and the refusal, are its budget's.

        Raises:
            SessionEnded, RateExceeded, NoPlace: as :meth:`start`.
        """
        now_ns = self._clock.wall_ns()
        session = self._sessions.get((key, id))
        if session is None:
            return self._start(key, id, now_ns)
        if session.state is SessionState.ACTIVE:
            if now_ns < session.ends_ns:
                return session
            session = self._move((key, id), SessionEvent.TIMED_OUT, session.ends_ns)
        if _is_over(session, now_ns):
            self.refused += 1
            said = "was ended" if session.state is SessionState.ENDED else "is over: its time is up"
            raise SessionEnded(f"the session {id!r} {said}; begin another one, under another id")
        return session

    def id_now(self, name: str) -> str:
        """The id to :meth:`touch` for a name that outlives sessions (a user's)."""
        return of_its_time(name, self._clock.wall_ns(), self.settings.length_ns)

    def known(self, key: str, id: str) -> bool:  # noqa: A002  # the field's own name
        """Whether it is in memory. If not, it may have a row: :meth:`load` that first."""
        return (key, id) in self._sessions

    def get(self, key: str, id: str) -> Session | None:  # noqa: A002  # the field's own name
        """As of now; None: it isn't in memory."""
        session = self._sessions.get((key, id))
        if session is not None and session.at(self._clock.wall_ns()) is not session:
            return self._move((key, id), SessionEvent.TIMED_OUT, session.ends_ns)
        return session

    def end(self, key: str, id: str) -> Session | None:  # noqa: A002  # the field's own name
        """Its caller is done with it, or an operator ends it. Idempotent; None: it isn't in memory.

        What runs in it goes on, and is charged.
        """
        if self.get(key, id) is None:
            return None
        return self._move((key, id), SessionEvent.CLOSED, self._clock.wall_ns())

    def spent(self, key: str, id: str, nano: int) -> bool:  # noqa: A002  # the field's own name
        """Its budget has now spent ``nano`` in all: exhausted, if that is everything.

        Returns:
            Whether the caller is to be warned now: once in its life, also across restarts.
        """
        name = (key, id)
        session = self.get(key, id)
        if session is None:
            return False
        now_ns = self._clock.wall_ns()
        warns = nano >= self._budget.warn_from and session.warned_ns is None
        if warns:
            self.warned += 1
            self._put(name, msgspec.structs.replace(session, warned_ns=now_ns))
        if nano >= self._budget.limit:
            self._move(name, SessionEvent.SPENT, now_ns)
        return warns

    def sweep(self) -> list[Session]:
        """Those whose time ran out since the last look, now expired. For who has to close something with them."""
        now_ns = self._clock.wall_ns()
        found = []
        while self._ends and self._ends[0][0] <= now_ns:
            ends_ns, name = heapq.heappop(self._ends)
            session = self._sessions.get(name)
            if session is None or session.ends_ns > now_ns:
                continue
            if session.active:
                found.append(self._move(name, SessionEvent.TIMED_OUT, ends_ns))
            elif name not in self._unsaved:
                self._done.setdefault(name)  # exhausted, and now over
        return found

    def unsaved(self) -> tuple[Session, ...]:
        """Those that differ from their rows, in the order they changed."""
        return tuple(self._sessions[name] for name in self._unsaved)

    def saved(self, sessions: Iterable[Session]) -> None:
        """``sessions`` are durable. One that has changed meanwhile is to be written once more."""
        now_ns = self._clock.wall_ns()
        for session in sessions:
            name = (session.key, session.id)
            if self._sessions.get(name) == session and name in self._unsaved:
                del self._unsaved[name]
                if not session.active and _is_over(session, now_ns):
                    self._done[name] = None

    def load(self, sessions: Iterable[Session]) -> None:
        """What the database has. What is in memory already is newer, and stays."""
        for session in sessions:
            name = (session.key, session.id)
            if name in self._sessions or not self._make_room():
                continue
            self._sessions[name] = session
            if session.active:
                self._count(name)
            if session.state in _OVER:
                self._done[name] = None
            else:
                self._awaits_its_end(name, session)

    def merge(self, session: Session) -> None:
        """What the database has, where other processes write too. Whoever began it, warned or ended it first stays so."""
        name = (session.key, session.id)
        mine = self._sessions.get(name)
        if mine is None:
            self.load([session])
            return
        warned_ns = session.warned_ns if session.warned_ns is not None else mine.warned_ns
        merged = msgspec.structs.replace(
            mine, started_ns=session.started_ns, ends_ns=session.ends_ns, warned_ns=warned_ns
        )
        if not session.active:
            merged = msgspec.structs.replace(merged, state=session.state, ended_ns=session.ended_ns)
        if merged == mine:
            return
        if merged.state is not mine.state:
            self.over[merged.state] += 1
            if mine.active:
                self._uncount(name)
        self._put(name, merged)
        if merged == session:  # its row is like that
            self.saved([session])
        if merged.ends_ns != mine.ends_ns and merged.state not in _OVER:
            self._awaits_its_end(name, merged)

    def apply(self, settings: SessionSettings) -> None:
        """Other limits from now on. A session that has begun keeps its time."""
        self.settings = settings
        self._budget = settings.budget

    def snapshot(self) -> SessionsSnapshot:
        self.sweep()
        return SessionsSnapshot(
            active=self._active,
            remembered=len(self._sessions),
            unsaved=len(self._unsaved),
            started=self.started,
            over=dict(self.over),
            warned=self.warned,
            refused=self.refused,
        )

    def __iter__(self) -> Iterator[Session]:
        """All that are remembered, as of now."""
        self.sweep()
        return iter(tuple(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def _start(self, key: str, id: str, started_ns: int) -> Session:  # noqa: A002  # the field's own name
        self.sweep()  # their places are free
        if self._of_key.get(key, 0) >= self.settings.most_of_key:
            self.refused += 1
            raise RateExceeded(
                f"this key has {self.settings.most_of_key} active sessions: end some, or come back later",
                retry_after_s=_FULL_RETRY_S,
            )
        if not self._make_room():
            self.refused += 1
            raise NoPlace("as many sessions as may be are active already", retry_after_s=_FULL_RETRY_S)
        name = (key, id)
        session = Session(id=id, key=key, started_ns=started_ns, ends_ns=started_ns + self.settings.length_ns)
        self.started += 1
        self._put(name, session)
        self._count(name)
        self._awaits_its_end(name, session)
        return session

    def _count(self, name: _Name) -> None:
        self._active += 1
        self._of_key[name[0]] = self._of_key.get(name[0], 0) + 1

    def _awaits_its_end(self, name: _Name, session: Session) -> None:
        heapq.heappush(self._ends, (session.ends_ns, name))
        if len(self._ends) > 2 * self.settings.most:  # mostly of sessions that were ended before their time
            self._ends = [
                (each.ends_ns, other) for other, each in self._sessions.items() if each.state not in _OVER
            ]
            heapq.heapify(self._ends)

    def _move(self, name: _Name, event: SessionEvent, at_ns: int) -> Session:
        before = self._sessions[name]
        after = before.after(event, at_ns)
        if after is not before:
            self.over[after.state] += 1
            self._uncount(name)
            self._put(name, after)
        return after

    def _uncount(self, name: _Name) -> None:
        self._active -= 1
        left = self._of_key.pop(name[0]) - 1
        if left:
            self._of_key[name[0]] = left

    def _put(self, name: _Name, session: Session) -> None:
        self._sessions[name] = session
        self._unsaved.pop(name, None)
        self._unsaved[name] = None
        self._done.pop(name, None)  # warned after its end, for one: its row is old again

    def _make_room(self) -> bool:
        while len(self._sessions) >= self.settings.most:
            name = next(iter(self._done), None)
            if name is None:
                return False
            del self._done[name]
            session = self._sessions.pop(name)
            if self._forgotten is not None:
                self._forgotten(session)
        return True


def _is_over(session: Session, now_ns: int) -> bool:
    """For good: nobody may use it any more."""
    return session.state in _OVER or now_ns >= session.ends_ns
