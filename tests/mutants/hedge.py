"""The guards of hedges, of the race under them, and of the percentile that they wait for."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_HEDGE = "resilience/hedge.py"
_RACE = "resilience/race.py"
_PERCENTILE = "resilience/percentile.py"
_OF_HEDGE = "tests/unit/resilience/test_hedge.py::test"
_OF_RACE = "tests/unit/resilience/test_race.py::test"
_OF_PERCENTILE = "tests/unit/resilience/test_percentile.py::test"
_STRETCH = (
    "tests/property_tests/resilience/test_hedge_invariants.py"
    "::test_in_every_stretch_hedges_are_at_most_the_ratio_of_its_requests_and_the_burst"
)
_RELIABILITY = "tests/reliability/test_hedge.py::test"

MUTANTS = [
    Mutant("RT4: hedges ask no budget", _HEDGE,
           "return cause is Cause.SLOW and self.budget.allow()", "return cause is Cause.SLOW",
           f"{_RELIABILITY}_when_everything_grows_slow_the_calls_grow_by_no_more_than_the_ratio[0.1]"),
    Mutant("RT4: a failure is hedged", _HEDGE,
           "return cause is Cause.SLOW and self.budget.allow()", "return self.budget.allow()",
           f"{_RELIABILITY}_in_an_outage_hedging_adds_no_call"),
    Mutant("RT4: a hedge spends nothing", _HEDGE, "        self._credit -= _HEDGE\n", "", _STRETCH),
    Mutant("RT4: hedges are saved up without end", _HEDGE,
           "min(self._credit + self._earned, self._most)", "self._credit + self._earned", _STRETCH),
    Mutant("RT4: hedges without end for one request", _HEDGE, "start, 1 + hedges, repeat", "start, 9, repeat",
           f"{_OF_HEDGE}_max_hedges_are_started_a_delay_apart"),
    Mutant("RT4: the percentile of a single answer counts", _HEDGE,
           "len(self._times) < settings.min_samples", "len(self._times) < 1",
           f"{_OF_HEDGE}_without_enough_answers_there_is_no_hedge"),
    Mutant("RT4: a call that lost to its hedge is no sample, and the delay sinks", _HEDGE,
           "if delay is not None and took >= delay:", "if False:",
           f"{_OF_HEDGE}_a_call_that_lost_to_its_hedge_counts_as_slow"),
    Mutant("RT4: a caller that left at once makes the target look fast", _HEDGE,
           "if delay is not None and took >= delay:", "if True:",
           f"{_OF_HEDGE}_a_call_that_was_given_up_before_the_delay_counts_for_nothing"),
    Mutant("RT4: an old time counts for ever", _PERCENTILE,
           "            del by_size[bisect_left(by_size, by_age.popleft())]\n", "            by_age.popleft()\n",
           f"{_OF_PERCENTILE}_old_values_make_room"),
    Mutant("RT4: the percentile's rank is rounded down", _PERCENTILE, "math.ceil(", "math.floor(",
           f"{_OF_PERCENTILE}_of_four"),
    Mutant("RT4: a time that is no number puts the others out of order", _PERCENTILE,
           "if not 0 <= value < math.inf:", "if value < 0 or value == math.inf:",
           f"{_OF_PERCENTILE}_what_has_no_place_in_an_order_is_refused_and_changes_nothing[nan]"),
    Mutant("RT4: time starts calls after a no", _RACE,
           "                    self._due = math.inf\n", "                    self._due += 1\n",
           f"{_OF_RACE}_after_a_no_time_starts_nothing_and_failure_still_may"),
    Mutant("DL2: losers go on", _RACE, "                task.cancel()\n", "                pass\n",
           f"{_OF_RACE}_after_the_delay_another_one_starts_and_may_win"),
    Mutant("DL2: a caller that leaves leaves its calls behind", _RACE,
           "        await run.stop()\n        raise", "        raise",
           f"{_OF_RACE}_a_caller_that_leaves_ends_all_of_them"),
    Mutant("DL2: losers are not waited for", _RACE,
           "            await asyncio.wait(running, timeout=self._until - now)", "            pass",
           f"{_OF_RACE}_the_winner_waits_for_the_losers_last_words"),
    Mutant("DL2: a second cancel cuts last words short", _RACE,
           "        if self._until is None:\n", "        if True:\n",
           f"{_OF_RACE}_last_words_are_not_cut_short_by_a_second_cancel"),
    Mutant("DL1: a loser that does not end holds up the winner", _RACE,
           "await asyncio.wait(running, timeout=self._until - now)", "await asyncio.wait(running)",
           f"{_OF_RACE}_it_waits_for_them_no_longer_than_grace"),
    Mutant("BU2: the winner's answer is told to nobody when the caller leaves", _RACE,
           "        await run.stop()\n        winner = first\n", "        winner = first\n        await run.stop()\n",
           f"{_OF_RACE}_the_winner_is_handed_over_if_the_caller_leaves_while_the_losers_end"),
    Mutant("BU2: a straggler's end is told to nobody", _RACE,
           "        task.add_done_callback(partial(_ended, index, on_loser))\n", "",
           f"{_OF_RACE}_it_waits_for_them_no_longer_than_grace"),
    Mutant("A7: the first error ends the race", _RACE,
           "            if not running:\n", "            if len(running) < len(self.tasks):\n",
           f"{_OF_RACE}_while_another_runs_an_error_waits_for_it"),
    Mutant("A7: an error wins the race", _RACE, "if task in done and _error(task) is None:", "if task in done:",
           f"{_OF_RACE}_while_another_runs_an_error_waits_for_it"),
]  # fmt: skip  # a table reads better packed
