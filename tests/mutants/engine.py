"""What wires the policies into a request, each guard taken out once: gates, rates, hedges, keys."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_CHAIN = "tests/unit/engine/test_chain.py"
_HEDGE = "tests/simulation/test_hedging.py"
_KEYS = "tests/e2e/test_idempotency.py"
_RATES = "tests/e2e/test_rates.py"
_PACE = "tests/simulation/test_crawling.py"

MUTANTS = [
    Mutant("RT4: the retry budget isn't asked", "engine/chain.py",
           "return place.tries == 0 or self._may_retry is None or self._may_retry(place.target)", "return True",
           f"{_CHAIN}::test_who_asks_is_asked_before_each_retry_and_before_nothing_else"),
    Mutant("RT1: a gate's no is an attempt", "engine/chain.py",
           "        self._left += 1\n        if error is not None:", "        if error is not None:",
           f"{_CHAIN}::test_who_was_refused_here_costs_no_attempt_and_counts_as_failed"),
    Mutant("RT1: hedges aren't attempts", "engine/chain.py",
           "if self.fatal is not None or self._left <= 0 or now >= self._deadline:",
           "if self.fatal is not None or now >= self._deadline:",
           f"{_CHAIN}::test_hedges_are_attempts"),
    Mutant("ST1: both of a hedged pair serve", "engine/exchange.py",
           "        if self._attempt is not None:  # of a hedged pair the other one was faster, in this very turn\n",
           "        if False:\n",
           f"{_HEDGE}::test_both_in_the_same_moment_are_one_answer"),
    Mutant("BU2: who was outrun isn't on record", "engine/exchange.py",
           "for attempt in [each for each in self._open if each is not self._attempt]:", "for attempt in ():",
           f"{_HEDGE}::test_the_faster_one_serves_and_the_other_is_cut"),
    Mutant("DL2: who was outrun runs on", "engine/exchange.py",
           "        for task in running:\n            task.cancel()\n", "",
           f"{_HEDGE}::test_whatever_happens_one_text_one_end_and_nothing_left"),
    Mutant("FB2: a failure of one ends a hedged pair", "engine/exchange.py",
           "if task.done() and not isinstance(task.exception(), _NotThere):", "if task.done():",
           f"{_HEDGE}::test_a_failure_of_one_waits_for_the_other"),
    Mutant("RT4: hedges have no budget", "engine/exchange.py",
           "or not self._chain.may_hedge(now) or not gate.may_hedge(slow):", "or not self._chain.may_hedge(now):",
           f"{_HEDGE}::test_hedges_have_a_budget_and_are_attempts"),
    Mutant("DL1: an attempt starts after the deadline", "engine/exchange.py",
           "if engine.clock.monotonic() >= self._deadline:  # the pause,", "if False:  # the pause,",
           "tests/simulation/test_seams.py::test_a_wait_for_a_place_that_takes_all_the_time_sends_nothing"),
    Mutant("ID1: each caller has a run of its own", "engine/idempotency.py",
           "        if run is None or run.in_vain:\n", "        if True:\n",
           f"{_KEYS}::test_a_hundred_at_once_are_one_run[slow-plain]"),
    Mutant("ID1: who leaves ends the run", "engine/idempotency.py",
           '        """Leaves. The run goes on."""\n', "        self._run.task.cancel()\n",
           f"{_KEYS}::test_who_leaves_does_not_end_the_run"),
    Mutant("ID2: another request joins the run", "engine/idempotency.py",
           "if claim.fingerprint != self.claim.fingerprint:", "if False:",
           f"{_KEYS}::test_a_conflict_is_seen_while_it_runs_too"),
    Mutant("ID2: the gateway keeps a transient failure", "engine/idempotency.py",
           "            if self._transient:\n                await store.forget(claim, now_ns=clock.wall_ns())\n"
           "                if failpoints.armed:\n                    failpoints.hit(\"idempotency.forgotten\")\n"
           "            elif", "            if",
           f"{_KEYS}::test_a_stream_that_broke_is_not_kept"),
    Mutant("ID2: the caller's own fault runs again", "engine/idempotency.py",
           "_DEFINITE: Final = (RequestRefused, ModelMissing, CantExpress)", "_DEFINITE: Final = (ModelMissing,)",
           f"{_KEYS}::test_what_the_caller_got_wrong_is_kept"),
    Mutant("ID2: a key isn't looked at", "ledger/idempotency.py",
           "    def __post_init__(self) -> None:\n        check_key(self.key)\n", "    def __post_init__(self) -> None:\n",
           f"{_KEYS}::test_a_bad_key_is_named[space]"),
    Mutant("RL1: replays take from the rate", "engine/idempotency.py",
           "if await store.get(claim.tenant, claim.key, now_ns=clock.wall_ns()) is not None:\n", "if False:\n",
           f"{_RATES}::test_replays_are_free_when_nothing_is_left"),
    Mutant("RL1: what the model's limit refused stays taken from the key", "engine/rates.py",
           "            for permit in permits:\n                permit.give_back()\n            if isinstance",
           "            if isinstance",
           f"{_RATES}::test_a_models_limit_is_for_all_callers"),
    Mutant("RL1: callers have no limit", "engine/rates.py",
           "        return self._rules.caller is not None or key in self._rules.keys\n",
           "        return key in self._rules.keys\n",
           f"{_RATES}::test_no_more_pass_than_the_limit_lets"),
    Mutant("A7: a stream may crawl", "engine/pace.py", "return came < wanted", "return False",
           f"{_PACE}::test_a_crawling_stream_is_ended_and_told"),
    Mutant("CB4: the caller's own fault is a failure", "engine/outcomes.py",
           "RequestRefused: Outcome.NEUTRAL,", "RequestRefused: Outcome.FAILURE,",
           "tests/unit/engine/test_outcomes.py::test_the_callers_own_faults_say_nothing_of_the_target"),
    Mutant("CB4: a caller's tiny limit is the target's failure", "engine/outcomes.py",
           "if isinstance(error, TimedOut) and error.hasty:", "if False:",
           "tests/unit/engine/test_outcomes.py::test_a_limit_of_the_callers_own_says_nothing_either"),
]  # fmt: skip  # a table reads better packed
