"""The adaptive limit's guards."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_FILE = "resilience/adaptive.py"
_UNIT = "tests/unit/resilience/test_adaptive.py"
_RL3 = "tests/reliability/test_adaptive.py"

MUTANTS = [
    Mutant("RL3: each refusal of a burst is a decrease", _FILE,
           "        if epoch != self._decreases:\n            return\n        before", "        before",
           f"{_UNIT}::test_a_burst_from_one_moment_is_one_decrease"),
    Mutant("RL3: the limit may fall to 0", _FILE,
           "max(int(before * settings.decrease), settings.min_limit)", "int(before * settings.decrease)",
           f"{_UNIT}::test_never_below_one"),
    Mutant("RL3: the step does not double again after clean round trips", _FILE,
           " or self._clean >= self._settings.restart_after", "",
           f"{_RL3}::test_capacity_that_grows_is_found_within_30_round_trips"),
    Mutant("RL3: a decrease does not end the run of clean round trips", _FILE,
           "        self._clean = 0\n        self._step = settings.increase", "        self._step = settings.increase",
           f"{_UNIT}::test_a_decrease_ends_that_slow_start_too_and_the_count_begins_again"),
    Mutant("RL3: 503 and 529 do not lower the limit", _FILE,
           "outcome is Outcome.OVERLOAD or outcome is Outcome.LIMITED", "outcome is Outcome.LIMITED",
           f"{_UNIT}::test_too_much_is_a_tenth_less[Outcome.OVERLOAD]"),
    Mutant("C2: any failure lowers the limit", _FILE,
           "outcome is Outcome.OVERLOAD or outcome is Outcome.LIMITED", "outcome is not Outcome.NEUTRAL",
           f"{_UNIT}::test_other_errors_leave_it_alone[Outcome.FAILURE]"),
    Mutant("RL3: a limit that nobody uses grows", _FILE,
           " or self._peak * 10 < self._base * 9:", ":",
           f"{_UNIT}::test_a_limit_that_is_not_used_does_not_grow"),
    Mutant("RL3: use is remembered for ever", _FILE,
           "        self._peak = self.in_flight\n\n    def _end_round", "\n    def _end_round",
           f"{_UNIT}::test_use_is_asked_of_each_round_trip_anew"),
    Mutant("RL3: a success from before the decrease counts", _FILE,
           "if epoch != self._decreases or self._peak", "if self._peak",
           f"{_UNIT}::test_a_success_from_before_the_decrease_does_not_raise_it"),
    Mutant("RL3: a call that leaves twice gives back two places", _FILE,
           "        self._running = False\n", "", f"{_UNIT}::test_leaving_twice_counts_once"),
    Mutant("RL3: a stream counts at its first token and again at its end", _FILE,
           "            if not self._heard:\n                limit", "            if True:\n                limit",
           f"{_UNIT}::test_the_first_sign_of_an_answer_is_the_success"),
    Mutant("RL3: a round trip of slow start ends one success late", _FILE,
           "        if counted == self._length:", "        if counted > self._length:",
           f"{_UNIT}::test_slow_start_doubles_the_limit_in_every_round_trip"),
    Mutant("RL3: a limit of one is doubled after each success", _FILE,
           "max(self._base, _LEAST_SUCCESSES) if knows else self._base", "self._base",
           f"{_RL3}::test_small_capacities_are_held_too"),
]  # fmt: skip  # a table reads better packed
