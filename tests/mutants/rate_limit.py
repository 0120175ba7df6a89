"""The rate limit's guards, each taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_UNIT = "tests/unit/resilience/test_rate_limit.py"
_WINDOW = "tests/unit/resilience/test_rate_window.py"
_LIMITS = "tests/unit/resilience/test_rate_limits.py"
_SIGNALS = "tests/unit/resilience/test_rate_signals.py"
_LAWS = "tests/property_tests/resilience/test_rate_limit_invariants.py"
_LOAD = "tests/reliability/test_rate_limit.py"
_RACES = f"{_UNIT}::TestQueue"

MUTANTS = [
    # The window.
    Mutant("RL1: an admission counts a tick less than the window", "resilience/rate_window.py",
           "        until = now - self.length\n", "        until = now - self.length + 1\n",
           f"{_WINDOW}::test_what_was_admitted_counts_for_the_length_and_not_a_tick_longer"),
    Mutant("RL1: an admission counts a tick longer than the window", "resilience/rate_window.py",
           "        until = now - self.length\n", "        until = now - self.length - 1\n",
           f"{_WINDOW}::test_what_was_admitted_counts_for_the_length_and_not_a_tick_longer"),
    Mutant("RL1: a crowd counts from its first and not its last", "resilience/rate_window.py",
           "                if at > newest.stamp:\n                    newest.stamp = at\n", "",
           f"{_WINDOW}::TestCrowds::test_nothing_is_let_go_early_and_nothing_much_late"),
    Mutant("RL1: an entry for each admission, however many", "resilience/rate_window.py",
           "len(entries) >= OWN_ENTRIES and", "False and",
           f"{_WINDOW}::TestCrowds::test_memory_is_bounded"),
    Mutant("RL1: what has left the window is given back again", "resilience/rate_window.py",
           "        if entry.stamp == _GONE:\n            return\n", "",
           f"{_UNIT}::TestSettlement::test_a_late_settlement_gives_nothing_back_twice"),
    # What is admitted.
    Mutant("RL1: one request too many", "resilience/rate_meter.py",
           "window.requests >= settings.requests", "window.requests > settings.requests",
           f"{_LAWS}::test_no_window_anywhere_holds_more_than_the_limit"),
    Mutant("RL1: tokens are looked at and not what is asked of them", "resilience/rate_meter.py",
           "window.tokens + tokens > settings.tokens", "window.tokens > settings.tokens",
           f"{_LAWS}::test_pyrate_limiter_decides_the_same"),
    Mutant("RL1: an admission's time is rounded down", "resilience/rate_meter.py",
           "window.add(ceil(time), 1, tokens)", "window.add(floor(time), 1, tokens)",
           f"{_LAWS}::test_no_window_of_real_numbers_holds_more_than_the_limit"),
    Mutant("RL1: a clock that goes back makes old admissions younger than they are", "resilience/rate_meter.py",
           "            time = now = self._now\n", "            self._now = now\n",
           f"{_UNIT}::TestAdmission::test_what_was_let_in_while_the_clock_was_back_counts_from_where_it_had_been"),
    Mutant("RL1: tokens beyond the reservation are forgotten", "resilience/rate_limit.py",
           "            self._meter.book(-unused)\n", "",
           f"{_UNIT}::TestSettlement::test_what_was_used_beyond_it_blocks_from_then_on"),
    Mutant("RL1: tokens beyond the reservation are booked into a past that may be over", "resilience/rate_limit.py",
           "            self._meter.book(-unused)\n", "            self._window.give_back(entry, 0, unused)\n",
           f"{_LOAD}::TestRateLimits::test_a_stream_longer_than_the_window_still_counts_what_it_used"),
    Mutant("RL1: a permit settles as often as it is told", "resilience/rate_limit.py",
           "        entry, self._entry = self._entry, None\n        if entry is not None and tokens",
           "        entry = self._entry\n        if entry is not None and tokens",
           f"{_UNIT}::TestSettlement::test_only_the_first_settlement_counts"),
    Mutant("RL1: the time to come again is a rounding short", "resilience/rate_meter.py",
           "in_seconds(moment - floor(self._monotonic() * TICKS_PER_S))",
           "in_seconds(moment) - self._monotonic() - 1e-9",
           f"{_UNIT}::TestAdmission::test_retry_after_is_the_soonest_moment"),
    Mutant("RL1: larger than the limit is told to come again", "resilience/rate_meter.py",
           "        if limit is None or tokens <= limit:\n", "        if True:\n",
           f"{_UNIT}::TestAnswers::test_larger_than_the_whole_limit_is_refused_for_good"),
    # The queue.
    Mutant("RL2: who comes now overtakes who waits", "resilience/rate_limit.py",
           "if self._first is not None or (entry :=", "if (entry :=",
           f"{_RACES}::test_nobody_overtakes"),
    Mutant("RL2: a request costs one turn, however many tokens it takes", "resilience/rate_limit.py",
           "self._queue.push(waiter, key, self._cost(tokens))", "self._queue.push(waiter, key, 1)",
           f"{_LOAD}::TestFairness::test_two_backlogged_keys_get_the_same_tokens"),
    Mutant("RL2: all keys stand in one line", "resilience/rate_limit.py",
           "self._queue.push(waiter, key, self._cost(tokens))", 'self._queue.push(waiter, "", self._cost(tokens))',
           f"{_LOAD}::TestFairness::test_two_backlogged_keys_get_the_same"),
    Mutant("RL1: let in and cancelled, and nobody hands the place on", "resilience/rate_limit.py",
           "                future.result().give_back()\n", "                pass\n",
           f"{_RACES}::test_let_in_and_cancelled_in_the_same_turn_hands_the_place_on"),
    Mutant("RL1: a cancelled waiter stays in the line", "resilience/rate_limit.py",
           "            if waiter.waits:\n                self._dismiss(waiter)\n                self._serve()\n", "",
           f"{_RACES}::test_a_cancelled_waiter_takes_nothing_and_holds_up_nobody"),
    Mutant("RL1: who has gone and stands first is let in", "resilience/rate_limit.py",
           "            if first.future.done():  # cancelled, and its task has not run since\n"
           "                self._dismiss(first)\n            elif (entry",
           "            if (entry",
           f"{_RACES}::test_cancelled_and_served_in_the_same_turn_the_other_way_round"),
    Mutant("RL1: what is given back wakes nobody", "resilience/rate_limit.py",
           "        self._window.give_back(entry, 0, unused)\n        if self._first is not None:\n",
           "        self._window.give_back(entry, 0, unused)\n        if False:\n",
           f"{_RACES}::test_a_settlement_wakes_who_waits"),
    Mutant("DL1: who can't pass in time waits in vain", "resilience/rate_limit.py",
           "or not self._passes_by(latest, tokens):", "or self._meter.too_large(tokens):",
           f"{_RACES}::test_a_wait_in_vain_is_refused_at_once"),
    Mutant("DL1: behind others nobody's time runs out", "resilience/rate_limit.py",
           "        if waiter.waits and not waiter.future.done():\n            self._refuse(waiter)\n",
           "        if waiter is self._first:\n            self._refuse(waiter)\n",
           f"{_RACES}::test_the_last_in_a_long_line_is_refused_at_its_deadline"),
    # Many of them.
    Mutant("RL1: a name in use is forgotten", "resilience/rate_limits.py",
           "            if not limit.idle:\n                self._held[name] = limit\n", "",
           f"{_LIMITS}::test_who_is_in_use_is_not_dropped"),
    Mutant("RL1: a name is let in by the shared limit and by its own", "resilience/rate_limits.py",
           "len(self._held) >= self._max_names or not self._shared.idle", "len(self._held) >= self._max_names",
           f"{_LIMITS}::TestTooManyNames::test_they_share_until_it_is_idle"),
    Mutant("RL1: names without end take memory without end", "resilience/rate_limits.py",
           "len(self._held) >= self._max_names or not self._shared.idle", "not self._shared.idle",
           f"{_LIMITS}::TestTooManyNames::test_they_share_one_limit"),
    Mutant("RL1: a name has a new limit while a permit of its old one is out", "resilience/rate_limits.py",
           "        limit = self._known.get(name)\n", "        limit = None\n",
           f"{_LIMITS}::TestTooManyNames::test_a_name_that_somebody_still_holds_keeps_its_own"),
    # The other side's headers.
    Mutant("A13: a reset that was said long ago still blocks", "resilience/rate_signals.py",
           "            if now >= ends:\n", "            if now >= ends + 1:\n",
           f"{_SIGNALS}::test_it_is_forgotten_at_its_reset"),
    Mutant("A13: a reset further away than a day is believed", "resilience/rate_signals.py",
           "    return seconds if seconds <= MAX_RESET_S else None\n", "    return seconds\n",
           f"{_SIGNALS}::test_nonsense_is_no_reset"),
]  # fmt: skip  # a table reads better packed
