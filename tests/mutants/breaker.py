"""The circuit breaker's guards, each taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_FILE = "resilience/breaker.py"
_UNIT = "tests/unit/resilience/test_breaker.py"

MUTANTS = [
    Mutant(
        "CB1: too few calls open it",
        _FILE,
        "            and self._calls >= settings.least\n",
        "",
        f"{_UNIT}::TestOpens::test_not_below_the_least_number_of_calls",
    ),
    Mutant(
        "CB1: any share of failures opens it",
        _FILE,
        "            and self._failures / self._calls >= settings.failure_ratio\n",
        "",
        f"{_UNIT}::TestOpens::test_not_below_the_ratio",
    ),
    Mutant(
        "CB1: nothing is ever forgotten",
        _FILE,
        "while slots and slots[0].number <= number - SLOTS:",
        "while False:",
        f"{_UNIT}::TestOpens::test_what_is_older_than_the_window_does_not_count",
    ),
    Mutant(
        "CB1: an open one stays open",
        _FILE,
        "        if now >= self._until:\n",
        "        if now < 0:\n",
        f"{_UNIT}::TestOpen::test_longer_each_time_up_to_a_cap_until_it_has_closed",
    ),
    Mutant(
        "CB2: any number of probes",
        _FILE,
        "if self._probes + self._successes < self.settings.success_threshold:",
        "if True:",
        f"{_UNIT}::TestHalfOpen::test_a_thousand_callers_at_once_are_two_probes",
    ),
    Mutant(
        "CB2: successes don't count towards the probes",
        _FILE,
        "if self._probes + self._successes <",
        "if self._probes <",
        f"{_UNIT}::TestHalfOpen::test_as_many_probes_as_successes_are_missing",
    ),
    Mutant(
        "CB3: a stale outcome is accepted",
        _FILE,
        "        self._tick()\n        if epoch != self._epoch:\n            return\n",
        "        self._tick()\n",
        f"{_UNIT}::TestEpochs::test_a_probe_of_an_earlier_half_open_state_is_stale_too",
    ),
    Mutant(
        "CB3: a stale failure counts in a closed one",
        _FILE,
        "if epoch == self._epoch and (failed or outcome is Outcome.SUCCESS):",
        "if failed or outcome is Outcome.SUCCESS:",
        f"{_UNIT}::TestEpochs::test_a_late_failure_does_not_open_a_closed_one",
    ),
    Mutant(
        "CB4: a cancelled probe keeps its place",
        _FILE,
        "        if not proved:\n            self._back()\n",
        "        if not proved and (failed or outcome is Outcome.SUCCESS):\n            self._back()\n",
        f"{_UNIT}::TestHalfOpen::test_neither_good_nor_bad_only_gives_the_place_back",
    ),
    Mutant(
        "CB4: a limit is a failure",
        _FILE,
        "failed = outcome is Outcome.FAILURE or outcome is Outcome.OVERLOAD",
        "failed = outcome is not Outcome.SUCCESS and outcome is not Outcome.NEUTRAL",
        f"{_UNIT}::TestOpens::test_overload_is_a_failure_and_a_limit_is_none",
    ),
    Mutant(
        "CB4: hung probes hold it half-open for ever",
        _FILE,
        "                if not self._probes:\n                    self._until = self._now + self.settings.half_open_s\n",
        "",
        f"{_UNIT}::TestHalfOpen::test_probes_that_say_nothing_are_given_up",
    ),
    Mutant(
        "CB4: it ends though nobody tried",
        _FILE,
        "        if not self._probes:\n            self._until = math.inf\n",
        "",
        f"{_UNIT}::TestHalfOpen::test_without_a_probe_out_it_has_no_end",
    ),
    Mutant(
        "CB4: jitter passes the cap of the open time",
        _FILE,
        "return spread(base, settings.jitter, settings.max_open_s, self._random)",
        "return spread(base, settings.jitter, 10 * settings.max_open_s, self._random)",
        f"{_UNIT}::TestOpen::test_the_cap_holds_with_jitter",
    ),
]
