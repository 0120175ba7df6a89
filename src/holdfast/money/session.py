"""A session: what one key does under one name, for a limited time and for limited money.

=========  ==========================================================================
active     requests pass
exhausted  its money is spent. Its budget refuses what costs anything, and says so
ended      its caller, or an operator, said that it is over
expired    its time is over
=========  ==========================================================================

The last three are for good: whichever came first stays, and a bill that arrives later changes only what was spent. Nothing
here counts money: that is its budget's (:mod:`holdfast.money.account`), and survives with it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Self

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from holdfast.money.cost import NANO
from holdfast.money.rules import MOST_NANO, BudgetRule
from holdfast.resilience.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BUDGET",
    "COLUMNS",
    "SOURCES",
    "TABLE",
    "Session",
    "SessionEvent",
    "SessionSettings",
    "SessionState",
    "is_session_id",
    "of_its_time",
]

BUDGET: Final = "cost_protection.session"
"""The name of the budget that every session has."""

SOURCES: Final = ("claude-code", "openai-user", "safety-identifier", "prompt-cache-key")
"""Where a session's id may come from when its caller names none for us."""

COLUMNS: Final = ("id", "key", "started_ns", "ends_ns", "ended_ns", "state", "warned_ns")
"""Of a session's row, in the order of :meth:`Session.to_row`."""

_ID: Final = re.compile(r"[A-Za-z0-9.:/_-]{1,64}")
_SECOND_NS: Final = 10**9


class SessionState(StrEnum):
    ACTIVE = "active"
    EXHAUSTED = "exhausted"
    ENDED = "ended"
    EXPIRED = "expired"


class SessionEvent(StrEnum):
    SPENT = "spent"
    """All of its money."""
    CLOSED = "closed"
    """By its caller or an operator."""
    TIMED_OUT = "timed_out"


TABLE: Final[Mapping[SessionState, Mapping[SessionEvent, SessionState]]] = {
    SessionState.ACTIVE: {
        SessionEvent.SPENT: SessionState.EXHAUSTED,
        SessionEvent.CLOSED: SessionState.ENDED,
        SessionEvent.TIMED_OUT: SessionState.EXPIRED,
    },
    SessionState.EXHAUSTED: {},
    SessionState.ENDED: {},
    SessionState.EXPIRED: {},
}


class SessionSettings(Settings, frozen=True, kw_only=True):
    """How long a session lasts, and what it may cost."""

    length_s: Annotated[float, Meta(ge=1, le=31 * 86_400)] = 1800.0
    """From its start. It isn't made longer by using it."""
    limit_nano: Annotated[int, Meta(ge=1, le=MOST_NANO)] = 5 * NANO
    """What it may spend, in nano-dollars."""
    warn_at: Annotated[float, Meta(ge=0.01, le=1)] = 0.8
    """The share of it from which the caller is warned, once."""
    most: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    """Sessions that are remembered at once, of all keys."""
    most_of_key: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    """Sessions of one key that are active at once: one key can't take all places."""

    @property
    def length_ns(self) -> int:
        return round(self.length_s * _SECOND_NS)

    @property
    def budget(self) -> BudgetRule:
        """What limits each session, for :class:`~holdfast.money.budgets.Budgets`."""
        return BudgetRule(
            name=BUDGET, scope="session", window="session", limit_nano=self.limit_nano, warn_at=self.warn_at
        )


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One session. Times are nanoseconds since 1970 UTC."""

    id: str
    key: str
    """The caller's key that it belongs to; another key's session of the same id is another session."""
    started_ns: int
    ends_ns: int
    """When its time is over."""
    ended_ns: int | None = None
    """When it was over, for whatever reason; None: it isn't."""
    state: SessionState = SessionState.ACTIVE
    warned_ns: int | None = None
    """When its caller was warned of what it spent; None: not yet."""

    @property
    def active(self) -> bool:
        return self.state is SessionState.ACTIVE

    def left_s(self, now_ns: int) -> float:
        """Seconds until its time is over; 0 where it is over already."""
        return max(0, self.ends_ns - now_ns) / _SECOND_NS if self.active else 0.0

    def at(self, now_ns: int) -> Self:
        """As of now: expired, if nothing else ended it before its time was over."""
        if self.state is SessionState.ACTIVE and now_ns >= self.ends_ns:
            return self.after(SessionEvent.TIMED_OUT, self.ends_ns)
        return self

    def after(self, event: SessionEvent, at_ns: int) -> Self:
        """With what ``event`` changes: nothing, once it is over."""
        state = TABLE[self.state].get(event)
        return self if state is None else replace(self, state=state, ended_ns=at_ns)

    def to_row(self) -> tuple[str, str, int, int, int | None, str, int | None]:
        """The values of its row, as :data:`COLUMNS` names them. ``key`` and ``id`` together are the row's own."""
        return (
            self.id,
            self.key,
            self.started_ns,
            self.ends_ns,
            self.ended_ns,
            str(self.state),
            self.warned_ns,
        )

    @classmethod
    def from_row(cls, row: tuple[str, str, int, int, int | None, str, int | None]) -> Self:
        """What :meth:`to_row` gave.

        Raises:
            ValueError: no session is like that.
        """
        id_, key, started_ns, ends_ns, ended_ns, word, warned_ns = row
        state = SessionState(word)
        if (state is SessionState.ACTIVE) != (ended_ns is None):
            raise ValueError(f"session {id_!r} is {word}, and ended_ns is {ended_ns}")
        return cls(
            id=id_,
            key=key,
            started_ns=started_ns,
            ends_ns=ends_ns,
            ended_ns=ended_ns,
            state=state,
            warned_ns=warned_ns,
        )


def is_session_id(text: str) -> bool:
    """Whether a caller may name a session so: 1 to 64 letters and digits of ASCII and ``. : / _ -``."""
    return _ID.fullmatch(text) is not None


def of_its_time(name: str, now_ns: int, length_ns: int) -> str:
    """The id of the session that a name has now which outlives sessions, as a user's does.

    Time since 1970 is cut into stretches of ``length_ns``, and each has a session of its own: so who used up one can go on
    in the next, and after a restart it is the same one again without anything that has to be remembered.
    """
    return f"{name}/{now_ns // length_ns}"
