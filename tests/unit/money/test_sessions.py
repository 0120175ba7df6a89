"""Sessions, with the clock in hand: their table, their time, their one warning, their rows."""

from __future__ import annotations

import random
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.spenders import NOON_NS, USD, HandClock, S, usd

from holdfast.errors import InvalidRequest, NoPlace, RateExceeded, SessionEnded
from holdfast.money.budgets import Budgets, Hold, Overdrawn
from holdfast.money.rules import Amount, Subject
from holdfast.money.session import (
    BUDGET,
    COLUMNS,
    TABLE,
    Session,
    SessionEvent,
    SessionSettings,
    SessionState,
    is_session_id,
    of_its_time,
)
from holdfast.money.sessions import Sessions

ACTIVE, EXHAUSTED, ENDED, EXPIRED = SessionState


@pytest.fixture
def clock():
    return HandClock()


def sessions_of(clock, **settings):
    return Sessions(SessionSettings(**settings), clock=clock, rng=random.Random(7))


@pytest.fixture
def sessions(clock):
    return sessions_of(clock)


class TestTime:
    def test_half_an_hour_from_its_start_however_much_it_is_used(self, sessions, clock):
        session = sessions.start("a", "x")
        assert session.left_s(clock.wall) == 1800
        for _ in range(1799):
            clock.passes(1)
            assert sessions.touch("a", "x") is session
        assert session.left_s(clock.wall) == 1
        clock.passes(1)
        with pytest.raises(SessionEnded, match="its time is up") as refused:
            sessions.touch("a", "x")
        assert refused.value.status == 410
        assert sessions.get("a", "x").ended_ns == session.ends_ns == NOON_NS + 1800 * S
        assert sessions.get("a", "x").left_s(clock.wall) == 0

    def test_the_sweep_tells_each_expired_one_once(self, sessions, clock):
        sessions.start("a", "x")
        clock.passes(600)
        sessions.start("a", "y")
        clock.passes(1199)
        assert sessions.sweep() == []
        clock.passes(1)
        assert [(session.id, session.state) for session in sessions.sweep()] == [("x", EXPIRED)]
        assert sessions.sweep() == []
        assert [session.state for session in sessions] == [EXPIRED, ACTIVE]

    def test_one_that_was_ended_does_not_expire(self, sessions, clock):
        sessions.start("a", "x")
        clock.passes(10)
        sessions.end("a", "x")
        clock.passes(3600)
        assert sessions.sweep() == []
        assert sessions.get("a", "x").state is ENDED
        assert sessions.get("a", "x").ended_ns == NOON_NS + 10 * S

    def test_other_settings_leave_those_that_run_their_time(self, sessions, clock):
        sessions.start("a", "x")
        sessions.apply(SessionSettings(length_s=60))
        sessions.start("a", "y")
        clock.passes(60)
        assert sessions.get("a", "x").active
        assert not sessions.get("a", "y").active


class TestMoney:
    def spend(self, sessions, budgets, nano, session="x"):
        """One request in a session: whether its caller is warned."""
        sessions.touch("a", session)
        hold = Hold(budgets.accounts(Subject(key="a", model="m", session=session)), budgets)
        hold.cover(1, Amount(nano, 1))
        hold.settle(1, Amount(nano, 1))
        hold.close()
        (account,) = hold.accounts
        assert account.rule.name == BUDGET
        return sessions.spent("a", session, account.spent(0))

    @pytest.fixture
    def budgets(self, clock):
        return Budgets([SessionSettings().budget], now_ns=clock.wall_ns)

    def test_two_and_two_and_one_and_a_half_refuses_the_third(self, sessions, budgets):
        self.spend(sessions, budgets, usd(2))
        self.spend(sessions, budgets, usd(2))
        with pytest.raises(Overdrawn) as refused:
            self.spend(sessions, budgets, usd(1.50))
        assert (refused.value.spent, refused.value.needed) == (usd(4), usd(1.50))
        assert sessions.get("a", "x").active
        self.spend(sessions, budgets, usd(1))
        assert sessions.get("a", "x").state is EXHAUSTED

    def test_warned_at_four_dollars_once(self, sessions, budgets):
        assert [self.spend(sessions, budgets, usd(cents / 100)) for cents in (399, 1, 1, 99)] == [
            False,
            True,
            False,
            False,
        ]
        assert sessions.get("a", "x").warned_ns == NOON_NS
        assert sessions.snapshot().warned == 1

    def test_one_request_may_do_both(self, sessions, budgets):
        assert self.spend(sessions, budgets, usd(5))
        session = sessions.get("a", "x")
        assert (session.state, session.ended_ns, session.warned_ns) == (EXHAUSTED, NOON_NS, NOON_NS)

    def test_an_exhausted_one_is_refused_by_its_budget(self, sessions, budgets):
        """With the figures that only it has; what costs nothing passes."""
        self.spend(sessions, budgets, usd(5))
        assert sessions.touch("a", "x").state is EXHAUSTED
        with pytest.raises(Overdrawn):
            self.spend(sessions, budgets, 1)

    def test_an_exhausted_one_is_over_with_its_time(self, sessions, clock):
        sessions.start("a", "x")
        sessions.spent("a", "x", usd(5))
        clock.passes(1799)
        sessions.touch("a", "x")
        clock.passes(1)
        with pytest.raises(SessionEnded, match="its time is up"):
            sessions.touch("a", "x")
        assert sessions.get("a", "x").state is EXHAUSTED

    def test_a_bill_after_its_end_changes_only_what_was_spent(self, sessions, clock):
        sessions.start("a", "x")
        sessions.end("a", "x")
        assert sessions.spent("a", "x", usd(6))
        assert sessions.get("a", "x").state is ENDED
        sessions.start("a", "y")
        clock.passes(1800)
        sessions.spent("a", "y", usd(6))
        assert sessions.get("a", "y").state is EXPIRED

    def test_of_one_that_nobody_remembers(self, sessions):
        assert not sessions.spent("a", "x", usd(6))
        assert len(sessions) == 0

    def test_a_higher_limit_counts_from_now_on(self, sessions):
        sessions.start("a", "x")
        sessions.apply(SessionSettings(limit_nano=10 * USD))
        assert not sessions.spent("a", "x", usd(7.99))
        assert sessions.spent("a", "x", usd(8))
        assert sessions.get("a", "x").active


class TestNames:
    def test_ours_are_uuids(self, sessions):
        made = {sessions.start("a").id for _ in range(100)}
        assert len(made) == 100
        assert {UUID(each).version for each in made} == {7}
        assert all(is_session_id(each) for each in made)

    @given(st.from_regex(re.compile(r"[A-Za-z0-9.:/_-]{1,64}"), fullmatch=True))
    def test_callers_are_kept(self, name):
        assert sessions_of(HandClock()).start("a", name).id == name

    @pytest.mark.parametrize("name", ["", "x" * 65, "a b", "ä", "a\n", "²", "a,b", "a@b"])
    def test_others_are_refused(self, sessions, name):
        with pytest.raises(InvalidRequest, match="1 to 64 letters"):
            sessions.start("a", name)
        assert not is_session_id(name)

    def test_belong_to_their_key(self, sessions):
        theirs = sessions.start("a", "x")
        mine = sessions.start("b", "x")
        assert (theirs.key, mine.key) == ("a", "b")
        sessions.end("a", "x")
        sessions.spent("a", "x", usd(4))
        assert sessions.touch("b", "x") is mine
        assert mine.warned_ns is None
        assert not sessions.known("c", "x")

    def test_a_name_that_outlives_sessions_has_another_one_in_each_half_hour(self, sessions, clock):
        clock.wall -= clock.wall % (1800 * S)
        first = sessions.id_now("user:me")
        clock.passes(1799)
        assert sessions.id_now("user:me") == first
        clock.passes(1)
        second = sessions.id_now("user:me")
        assert first != second
        assert of_its_time("user:me", clock.wall, 1800 * S) == second
        assert is_session_id(second)


class TestUse:
    def test_begins_with_the_first_request_and_goes_on_with_the_next(self, sessions):
        session = sessions.touch("a", "x")
        assert sessions.touch("a", "x") is session
        assert sessions.start("a", "x") is session
        assert sessions.snapshot().started == 1

    def test_after_the_end(self, sessions):
        sessions.touch("a", "x")
        assert sessions.end("a", "x").state is ENDED
        assert sessions.end("a", "x").state is ENDED
        for use in (sessions.touch, sessions.start):
            with pytest.raises(SessionEnded, match="was ended") as refused:
                use("a", "x")
            assert refused.value.code == "session_ended"
            assert refused.value.retry_after_s is None
        snapshot = sessions.snapshot()
        assert (snapshot.active, snapshot.over[ENDED], snapshot.refused) == (0, 1, 2)

    def test_the_end_of_none(self, sessions):
        assert sessions.end("a", "x") is None

    def test_a_hundred_at_once_are_isolated(self, sessions, clock):
        budgets = Budgets([SessionSettings().budget], now_ns=clock.wall_ns)
        holds = {}
        for number in range(100):
            session = sessions.touch(f"k{number % 7}", f"s{number}")
            subject = Subject(key=session.key, model="m", session=session.id)
            holds[session.key, session.id] = hold = Hold(budgets.accounts(subject), budgets)
            hold.cover(1, Amount(usd(5), 1))  # each has all of its own
        for number, ((key, name), hold) in enumerate(holds.items()):
            hold.settle(1, Amount(usd(5) * number // 99, 1))
            (account,) = hold.accounts
            hold.close()
            assert account.spent(0) == usd(5) * number // 99
            assert sessions.spent(key, name, account.spent(0)) == (account.spent(0) >= usd(4))
        states = [session.state for session in sessions]
        assert states == [ACTIVE] * 99 + [EXHAUSTED]


class TestRows:
    def test_changes_are_to_be_written_until_they_are(self, sessions):
        first = sessions.start("a", "x")
        second = sessions.start("a", "y")
        assert sessions.unsaved() == (first, second)
        sessions.saved([first, second])
        assert sessions.unsaved() == ()
        sessions.end("a", "x")
        (ended,) = sessions.unsaved()
        assert ended.state is ENDED

    def test_one_that_changed_while_it_was_written_is_written_again(self, sessions):
        written = sessions.start("a", "x")
        sessions.end("a", "x")
        sessions.saved([written])
        assert [session.state for session in sessions.unsaved()] == [ENDED]

    def test_a_restart_changes_nothing(self, sessions, clock):
        for name in "abcd":
            sessions.start("k", name)
        sessions.spent("k", "a", usd(4))
        sessions.spent("k", "b", usd(5))
        sessions.end("k", "c")
        clock.passes(600)
        later = sessions_of(clock)
        later.load(Session.from_row(session.to_row()) for session in sessions)
        assert list(later) == list(sessions)
        assert later.unsaved() == ()
        assert not later.spent("k", "a", usd(4.5))  # it was warned
        with pytest.raises(SessionEnded):
            later.touch("k", "c")
        clock.passes(1200)
        assert {session.id for session in later.sweep()} == {"a", "d"}

    def test_memory_is_newer_than_a_row(self, sessions):
        row = sessions.start("a", "x")
        sessions.end("a", "x")
        sessions.load([row])
        assert sessions.get("a", "x").state is ENDED

    def test_the_columns(self, sessions):
        row = dict(zip(COLUMNS, sessions.start("a", "x").to_row(), strict=True))
        assert row == {
            "id": "x",
            "key": "a",
            "started_ns": NOON_NS,
            "ends_ns": NOON_NS + 1800 * S,
            "ended_ns": None,
            "state": "active",
            "warned_ns": None,
        }
        assert type(row["state"]) is str

    @pytest.mark.parametrize(("state", "ended_ns"), [("over", None), ("active", 1), ("ended", None)])
    def test_a_row_that_is_none(self, state, ended_ns):
        with pytest.raises(ValueError, match=state):
            Session.from_row(("x", "a", 0, 1, ended_ns, state, None))


class TestBounds:
    def test_only_those_are_forgotten_whose_end_is_written(self, clock):
        sessions = sessions_of(clock, most=3)
        for name in "abc":
            sessions.start("k", name)
        sessions.saved(sessions.unsaved())
        with pytest.raises(NoPlace) as refused:
            sessions.start("k", "d")
        assert refused.value.retry_after_s == 5
        sessions.end("k", "b")
        with pytest.raises(NoPlace):
            sessions.start("k", "d")
        sessions.saved(sessions.unsaved())
        sessions.start("k", "d")
        assert [session.id for session in sessions] == ["a", "c", "d"]
        assert not sessions.known("k", "b")

    def test_the_oldest_end_goes_first_and_is_told(self, clock):
        gone = []
        sessions = Sessions(SessionSettings(most=2), clock=clock, rng=random.Random(1), forgotten=gone.append)
        for name in "ab":
            sessions.start("k", name)
        for name in "ba":
            sessions.end("k", name)
        sessions.saved(sessions.unsaved())
        sessions.start("k", "c")
        sessions.start("k", "d")
        assert [session.id for session in gone] == ["b", "a"]

    @pytest.mark.parametrize("restarted", [False, True])
    def test_an_exhausted_one_is_remembered_until_its_time_is_over(self, clock, restarted):
        """Its budget may be forgotten with it, and it would have all its money again."""
        gone = []
        settings = SessionSettings(most=1)
        sessions = Sessions(settings, clock=clock, rng=random.Random(1), forgotten=gone.append)
        sessions.start("k", "a")
        sessions.spent("k", "a", usd(5))
        rows = [session.to_row() for session in sessions.unsaved()]
        sessions.saved(sessions.unsaved())
        if restarted:
            sessions = Sessions(settings, clock=clock, rng=random.Random(1), forgotten=gone.append)
            sessions.load(Session.from_row(row) for row in rows)
        clock.passes(1799)
        with pytest.raises(NoPlace):
            sessions.start("k", "b")
        clock.passes(1)
        sessions.start("k", "b")
        assert [session.id for session in gone] == ["a"]

    def test_an_active_row_whose_time_is_over_expires(self, clock):
        sessions = sessions_of(clock, most=1)
        sessions.load([Session(id="a", key="k", started_ns=0, ends_ns=clock.wall)])
        assert sessions.snapshot().active == 0
        assert [session.state for session in sessions.unsaved()] == [EXPIRED]

    def test_a_forgotten_one_comes_back_by_its_row(self, clock):
        sessions = sessions_of(clock, most=1)
        sessions.start("k", "a")
        row = sessions.end("k", "a")
        sessions.saved(sessions.unsaved())
        sessions.start("k", "b")
        sessions.end("k", "b")
        sessions.saved(sessions.unsaved())
        assert not sessions.known("k", "a")
        sessions.load([row])
        with pytest.raises(SessionEnded):
            sessions.touch("k", "a")

    def test_a_change_after_its_end_is_written_before_it_is_forgotten(self, clock):
        sessions = sessions_of(clock, most=1)
        sessions.start("k", "a")
        sessions.end("k", "a")
        sessions.saved(sessions.unsaved())
        sessions.spent("k", "a", usd(4))
        with pytest.raises(NoPlace):
            sessions.start("k", "b")

    def test_rows_beyond_the_bound_are_left_out(self, clock):
        sessions = sessions_of(clock, most=2)
        sessions.load(Session(id=f"{n}", key="k", started_ns=NOON_NS, ends_ns=NOON_NS + S) for n in range(5))
        assert len(sessions) == 2

    def test_one_key_does_not_take_all_places(self, clock):
        sessions = sessions_of(clock, most_of_key=2)
        sessions.start("a", "1")
        sessions.start("a", "2")
        with pytest.raises(RateExceeded, match="2 active sessions"):
            sessions.start("a", "3")
        sessions.start("b", "1")
        sessions.touch("a", "1")
        sessions.end("a", "1")
        sessions.start("a", "3")
        clock.passes(1800)
        sessions.start("a", "4")  # the others' time is over
        assert sessions.snapshot().active == 1

    def test_sessions_that_are_ended_at_once_leave_nothing(self, clock):
        sessions = sessions_of(clock, most=10)
        for number in range(1000):
            sessions.start("k", f"{number}")
            sessions.end("k", f"{number}")
            sessions.saved(sessions.unsaved())
        assert len(sessions) == 10
        assert len(sessions._ends) <= 21  # what is bounded has no other name
        assert not sessions._of_key  # likewise


class TestDefaults:
    def test_five_dollars_and_half_an_hour(self):
        settings = SessionSettings()
        assert settings.length_ns == 1800 * S
        assert settings.budget.limit == 5 * USD
        assert settings.budget.warn_from == 4 * USD
        assert settings.budget.hard

    @pytest.mark.parametrize("wrong", [{"length_s": 0}, {"limit_nano": 0}, {"warn_at": 1.1}, {"most": 0}])
    def test_ranges(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SessionSettings(**wrong)

    def test_the_moves_that_there_are(self):
        assert TABLE[ACTIVE] == {
            SessionEvent.SPENT: EXHAUSTED,
            SessionEvent.CLOSED: ENDED,
            SessionEvent.TIMED_OUT: EXPIRED,
        }
        assert [TABLE[state] for state in (EXHAUSTED, ENDED, EXPIRED)] == [{}, {}, {}]
