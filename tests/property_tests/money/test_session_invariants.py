"""Sessions beside a database, against a model that never forgets (WS1, D4, D9, D11).

The model keeps what happened to each session, in order, and looks it through each time. The product has few places in
memory, writes when it is told to, forgets, and starts anew from its rows: nothing of that may be seen from outside.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.spenders import HandClock, S

from holdfast.errors import NoPlace, SessionEnded
from holdfast.money.session import Session, SessionSettings, SessionState
from holdfast.money.sessions import Sessions

ACTIVE, EXHAUSTED, ENDED, EXPIRED = SessionState
SETTINGS = SessionSettings(length_s=100.0, limit_nano=500, warn_at=0.8, most=3)
KEYS = st.sampled_from(["a", "b"])
IDS = st.sampled_from(["x", "y", "z"])


class Model:
    """One session."""

    def __init__(self, started_ns: int) -> None:
        self.started_ns = started_ns
        self.spent = 0
        self.said: list[tuple[int, SessionState]] = []
        self.warned = False

    def over(self, now_ns: int) -> tuple[int, SessionState] | None:
        """When and by what it ended: what came first."""
        ends_ns = self.started_ns + 100 * S
        time = [(ends_ns, EXPIRED)] if now_ns >= ends_ns else []
        before = [event for event in self.said if event[0] < ends_ns]
        return min(before + time, key=lambda event: event[0], default=None)


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.rows: dict[tuple[str, str], tuple] = {}
        self.model: dict[tuple[str, str], Model] = {}
        self.sessions = self.fresh()

    def fresh(self) -> Sessions:
        return Sessions(SETTINGS, clock=self.clock, rng=random.Random(1), forgotten=self.leaves)

    def leaves(self, gone: Session) -> None:
        """What is forgotten is over for good, and its row says all of it."""
        assert gone.state in (ENDED, EXPIRED) or gone.ends_ns <= self.clock.wall
        assert self.rows[gone.key, gone.id] == gone.to_row()

    def look_up(self, key: str, name: str) -> None:
        """As who keeps rows does before each use."""
        if not self.sessions.known(key, name) and (key, name) in self.rows:
            self.sessions.load([Session.from_row(self.rows[key, name])])

    @rule(seconds=st.sampled_from([0.001, 1.0, 50.0, 99.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.passes(seconds)

    @rule(key=KEYS, name=IDS)
    def a_request_comes(self, key: str, name: str) -> None:
        now_ns = self.clock.wall
        self.look_up(key, name)
        model = self.model.get((key, name))
        over = None if model is None else model.over(now_ns)
        if over is not None and (over[1] in (ENDED, EXPIRED) or now_ns >= model.started_ns + 100 * S):
            with pytest.raises((SessionEnded, NoPlace)) as refused:
                self.sessions.touch(key, name)
            assert refused.type is SessionEnded or self.full()
            return
        try:
            session = self.sessions.touch(key, name)
        except NoPlace:
            assert self.full()
            return
        if model is None:
            model = self.model[key, name] = Model(now_ns)
        assert session.started_ns == model.started_ns
        assert session.ends_ns == model.started_ns + 100 * S
        if over is None:
            assert session.left_s(now_ns) == pytest.approx((session.ends_ns - now_ns) / S)
        self.write()  # its start, before anything is sent

    def full(self) -> bool:
        """Nobody can be forgotten: three are there, and each isn't over for good or isn't written."""
        unsaved = {(session.key, session.id) for session in self.sessions.unsaved()}
        held = [
            each
            for each in self.sessions
            if each.active
            or (each.state is EXHAUSTED and self.clock.wall < each.ends_ns)
            or (each.key, each.id) in unsaved
        ]
        return len(held) == len(self.sessions) == 3

    @rule(key=KEYS, name=IDS, nano=st.sampled_from([0, 1, 100, 399, 400, 500]))
    def something_is_charged(self, key: str, name: str, nano: int) -> None:
        """Also after its end: a bill is a bill."""
        model = self.model.get((key, name))
        if model is None:
            return
        self.look_up(key, name)
        if not self.sessions.known(key, name):
            return
        model.spent += nano
        warns = self.sessions.spent(key, name, model.spent)
        assert warns == (model.spent >= 400 and not model.warned)
        model.warned = model.warned or warns
        if model.spent >= 500:
            model.said.append((self.clock.wall, EXHAUSTED))

    @rule(key=KEYS, name=IDS)
    def its_caller_ends_it(self, key: str, name: str) -> None:
        self.look_up(key, name)
        session = self.sessions.end(key, name)
        model = self.model.get((key, name))
        if session is None:
            assert model is None or self.full()
            return
        assert model is not None
        model.said.append((self.clock.wall, ENDED))

    @rule()
    def write(self) -> None:
        unsaved = self.sessions.unsaved()
        for session in unsaved:
            self.rows[session.key, session.id] = session.to_row()
        self.sessions.saved(unsaved)
        assert self.sessions.unsaved() == ()

    @precondition(lambda self: not self.sessions.unsaved())
    @rule()
    def restart(self) -> None:
        self.sessions = self.fresh()
        self.sessions.load(
            session
            for row in self.rows.values()
            if (session := Session.from_row(row)).active and session.ends_ns > self.clock.wall
        )

    @rule()
    def look_who_expired(self) -> None:
        for session in self.sessions.sweep():
            assert self.model[session.key, session.id].over(self.clock.wall)[1] is EXPIRED

    @invariant()
    def each_stands_as_the_model_says(self) -> None:
        now_ns = self.clock.wall
        for session in self.sessions:
            model = self.model[session.key, session.id]
            over = model.over(now_ns)
            assert (session.ended_ns, session.state) == (over or (None, ACTIVE))
            assert (session.warned_ns is not None) == model.warned

    @invariant()
    def memory_is_bounded(self) -> None:
        assert len(self.sessions) <= 3
        active = [session for session in self.sessions if session.active]
        assert self.sessions.snapshot().active == len(active)


TestSessions = SessionMachine.TestCase
