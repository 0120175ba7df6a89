"""The guards of the cost breaker, of sessions and of their settings, each taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_BREAKER = "money/cost_breaker.py"
_SESSION = "money/session.py"
_SESSIONS = "money/sessions.py"
_CONFIG = "config/cost_protection.py"
_IDS = "gateway/session_id.py"
_OF_BREAKER = "tests/unit/money/test_cost_breaker.py"
_OF_SESSIONS = "tests/unit/money/test_sessions.py"
_OF_CONFIG = "tests/unit/config/test_cost_protection.py"
_OF_IDS = "tests/unit/gateway/test_session_id.py"

MUTANTS = [
    Mutant(
        "D2: the threshold may be passed before it opens",
        _BREAKER,
        "self.account.spending.total(self._clock.wall_ns()) >= self.settings.threshold_nano",
        "self.account.spending.total(self._clock.wall_ns()) > self.settings.threshold_nano",
        f"{_OF_BREAKER}::TestOpens::test_twenty_sessions_of_three_keys_that_spent_five_dollars_each",
    ),
    Mutant(
        "D2: it closes as soon as the cool-down is over, whatever the window holds",
        _BREAKER,
        "            if not full and self._clock.monotonic() >= self._until:\n",
        "            if self._clock.monotonic() >= self._until:\n",
        f"{_OF_BREAKER}::TestOpen::test_the_wait_is_until_enough_has_left_the_window",
    ),
    Mutant(
        "D2: no cool-down",
        _BREAKER,
        "            if not full and self._clock.monotonic() >= self._until:\n",
        "            if not full:\n",
        f"{_OF_BREAKER}::TestOpen::test_the_wait_is_never_less_than_the_cool_down",
    ),
    Mutant(
        "D2: the cool-down is the wall clock's",
        _BREAKER,
        "            if not full and self._clock.monotonic() >= self._until:\n",
        "            if not full and self._wall_ns() / 1e9 - 1_790_000_000 >= self._until:\n",
        f"{_OF_BREAKER}::TestOpen::test_a_clock_that_is_set_changes_no_cool_down",
    ),
    Mutant(
        "D2: any number of probes",
        _BREAKER,
        "if self._state is CostState.OPEN or self._probes >= self.settings.probes:",
        "if self._state is CostState.OPEN:",
        f"{_OF_BREAKER}::TestHalfOpen::test_one_at_a_time",
    ),
    Mutant(
        "D2: a probe that failed keeps its place",
        _BREAKER,
        "        self._probes -= 1\n        if ok:\n",
        "        if ok:\n            self._probes -= 1\n",
        f"{_OF_BREAKER}::TestHalfOpen::test_a_probe_that_failed_gives_its_place_back",
    ),
    Mutant(
        "D2: a failed probe closes it",
        _BREAKER,
        "        if ok:\n            self._move(Event.PROVED)",
        "        self._move(Event.PROVED)",
        f"{_OF_BREAKER}::TestHalfOpen::test_a_probe_that_failed_gives_its_place_back",
    ),
    Mutant(
        "D2: requests of an older state count",
        _BREAKER,
        "if self._state is not CostState.HALF_OPEN or epoch != self._epoch:",
        "if self._state is not CostState.HALF_OPEN:",
        f"{_OF_BREAKER}::TestHalfOpen::test_requests_of_before_change_only_the_sum",
    ),
    Mutant(
        "D2: what is only set aside opens it",
        _BREAKER,
        "if settled and error.spent * 100 >= limit * _NEARLY_PERCENT and",
        "if error.spent * 100 >= limit * _NEARLY_PERCENT and",
        f"{_OF_BREAKER}::TestOpens::test_not_by_what_is_only_set_aside",
    ),
    Mutant(
        "D2: one caller who asks for the moon stops all",
        _BREAKER,
        "if settled and error.spent * 100 >= limit * _NEARLY_PERCENT and",
        "if settled and",
        f"{_OF_BREAKER}::TestOpens::test_not_by_a_request_that_asks_for_the_moon",
    ),
    Mutant(
        "D2: a restart forgets what was spent",
        _BREAKER,
        "for each in spent if each.account == ACCOUNT)",
        "for each in () if each.account == ACCOUNT)",
        f"{_OF_BREAKER}::TestRestart::test_what_the_ledger_has_counts",
    ),
    Mutant(
        "D2: a reset keeps what was spent",
        _BREAKER,
        "        self.account.spending.clear()\n",
        "",
        f"{_OF_BREAKER}::TestReset::test_what_was_spent_counts_no_more",
    ),
    Mutant(
        "WS1: a session begins anew with each use",
        _SESSIONS,
        "        if session is None:\n            return self._start(key, id, now_ns)\n",
        "        if session is None or session.active:\n            return self._start(key, id, now_ns)\n",
        f"{_OF_SESSIONS}::TestTime::test_half_an_hour_from_its_start_however_much_it_is_used",
    ),
    Mutant(
        "D4: time ends no session",
        _SESSION,
        "        if self.state is SessionState.ACTIVE and now_ns >= self.ends_ns:\n",
        "        if self.state is SessionState.ACTIVE and now_ns < 0:\n",
        f"{_OF_SESSIONS}::TestMoney::test_a_bill_after_its_end_changes_only_what_was_spent",
    ),
    Mutant(
        "D11: a session is used after its end",
        _SESSIONS,
        "return session.state in _OVER or now_ns >= session.ends_ns",
        "return now_ns >= session.ends_ns",
        f"{_OF_SESSIONS}::TestUse::test_after_the_end",
    ),
    Mutant(
        "D9: keys share their sessions",
        _SESSIONS,
        "        session = self._sessions.get((key, id))\n        if session is None:\n            return self._start",
        '        key = ""\n        session = self._sessions.get((key, id))\n        if session is None:\n'
        "            return self._start",
        f"{_OF_SESSIONS}::TestNames::test_belong_to_their_key",
    ),
    Mutant(
        "WS1: warned at each request",
        _SESSIONS,
        "warns = nano >= self._budget.warn_from and session.warned_ns is None",
        "warns = nano >= self._budget.warn_from",
        f"{_OF_SESSIONS}::TestMoney::test_warned_at_four_dollars_once",
    ),
    Mutant(
        "WS1: a restart warns again",
        _SESSION,
        "            warned_ns=warned_ns,\n        )\n\n\ndef",
        "        )\n\n\ndef",
        f"{_OF_SESSIONS}::TestRows::test_a_restart_changes_nothing",
    ),
    Mutant(
        "D11: a session is forgotten before its end is durable",
        _SESSIONS,
        "        self._done.pop(name, None)  # warned after its end, for one: its row is old again\n",
        "        if not session.active:\n            self._done[name] = None\n",
        f"{_OF_SESSIONS}::TestBounds::test_only_those_are_forgotten_whose_end_is_written",
    ),
    Mutant(
        "D1: an exhausted session is forgotten, and has all its money again",
        _SESSIONS,
        "                if not session.active and _is_over(session, now_ns):\n",
        "                if not session.active:\n",
        f"{_OF_SESSIONS}::TestBounds::test_an_exhausted_one_is_remembered_until_its_time_is_over",
    ),
    Mutant(
        "WS1: what changed while it was written is never written",
        _SESSIONS,
        "if self._sessions.get(name) == session and name in self._unsaved:",
        "if name in self._unsaved:",
        f"{_OF_SESSIONS}::TestRows::test_one_that_changed_while_it_was_written_is_written_again",
    ),
    Mutant(
        "D9: one key takes all places",
        _SESSIONS,
        "        if self._of_key.get(key, 0) >= self.settings.most_of_key:\n",
        "        if self._of_key.get(key, 0) < 0:\n",
        f"{_OF_SESSIONS}::TestBounds::test_one_key_does_not_take_all_places",
    ),
    Mutant(
        "D9: any number of sessions in memory",
        _SESSIONS,
        "        while len(self._sessions) >= self.settings.most:\n",
        "        while len(self._sessions) < 0:\n",
        f"{_OF_SESSIONS}::TestBounds::test_sessions_that_are_ended_at_once_leave_nothing",
    ),
    Mutant(
        "D10: the file goes over the environment",
        _CONFIG,
        "_TABLE: {**table, **over}",
        "_TABLE: {**over, **table}",
        f"{_OF_CONFIG}::TestEnvironment::test_goes_over_the_file",
    ),
    Mutant(
        "D10: a limit in the environment switches nothing on",
        _CONFIG,
        "if found[0].path is None and (wanted := next(_limits(env), None)) is not None:",
        "if found[0].path is None and (wanted := None) is not None:",
        f"{_OF_CONFIG}::TestEnvironment::test_any_limit_switches_it_on",
    ),
    Mutant(
        "D10: the hourly limit is everybody's together",
        _CONFIG,
        '        scope="key",\n',
        '        scope="all",\n',
        f"{_OF_CONFIG}::TestDefaults::test_on_it_makes_a_budget_of_each_session_and_of_each_key",
    ),
    Mutant(
        "D1: a session takes its name from what isn't configured",
        _IDS,
        "self._readers = tuple(_READERS[source] for source in sources)",
        "self._readers = tuple(_READERS.values())",
        f"{_OF_IDS}::TestConfigured::test_nothing_else_is_read_by_default",
    ),
    Mutant(
        "D9: names that don't fit are cut, and become one",
        _IDS,
        "        return SessionName(name if fits else _hashed(prefix, text), lasting=True)",
        '        return SessionName(name if fits else prefix + text.partition("@")[0], lasting=True)',
        f"{_OF_IDS}::TestLasting::test_two_are_told_apart",
    ),
]
