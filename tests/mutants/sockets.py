"""The gates before a target and the policies in pairs, each guard taken out once: what only the composition can notice."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_OUTAGE = "tests/e2e/test_outage.py"
_BREAKER = "tests/e2e/test_breaker.py"
_ISOLATION = "tests/e2e/test_isolation.py"
_BUDGET = "tests/e2e/test_retry_budget.py"
_RATES = "tests/e2e/test_target_rates.py"
_ADAPTIVE = "tests/e2e/test_adaptive.py"
_PAIRS = "tests/compose/test_pairs.py"

# fmt: off
MUTANTS = [
    Mutant("RT4: every retry is allowed", "resilience/retry_budget.py",
           "if self._retries + 1 > self._ratio * self._requests + self._floor:", "if False:",
           f"{_OUTAGE}::test_without_a_breaker_the_budget_holds[off]", slow=True),
    Mutant("RT4: in an outage the breaker isn't asked", "engine/gates.py",
           "                permit.probe = self.breaker.admit()\n", "                pass\n",
           f"{_OUTAGE}::test_a_breaker_leaves_it_little_more_than_probes[refusing]", slow=True),
    Mutant("RT5: a chain that is used up invites its caller's SDK", "gateway/door.py",
           "    if not _may_come_back(error):\n", "    if False:\n",
           f"{_OUTAGE}::test_an_sdk_with_retries_of_its_own_adds_none", slow=True),
    Mutant("RT5: a client's own retry pays for one of ours", "engine/gates.py",
           "            self.budget.charge()\n", "            self.budget.request()\n",
           f"{_BUDGET}::test_a_clients_own_retries_use_it_up[1]"),
    Mutant("CB2: over sockets everybody is a probe", "resilience/breaker.py",
           "if self._probes + self._successes < self.settings.success_threshold:", "if True:",
           f"{_BREAKER}::test_a_thousand_callers_at_a_half_open_breaker", slow=True),
    Mutant("CB4: a probe whose caller leaves keeps its place", "engine/gates.py",
           "            self.probe.leave(outcome)\n", "            pass\n",
           f"{_BREAKER}::test_probes_whose_callers_leave_give_their_place_to_others"),
    Mutant("CB4: a stream heals its target only at its end", "engine/gates.py",
           "            self.probe.progressed()\n", "            pass\n",
           f"{_BREAKER}::test_a_stream_that_begins_heals_it_long_before_it_ends"),
    Mutant("CB4: callers who leave open the breaker", "engine/outcomes.py",
           "    Abandoned: Outcome.NEUTRAL,\n", "    Abandoned: Outcome.FAILURE,\n",
           f"{_BREAKER}::test_callers_who_leave_never_open_it[plain]"),
    Mutant("BH1: a place doesn't come back", "engine/gates.py",
           "            self.place.leave(outcome)\n", "            pass\n",
           f"{_ISOLATION}::test_overflow_is_refused_at_once_and_places_come_back"),
    Mutant("BH1: who is refused further in keeps his place", "engine/gates.py",
           "        if self.place is not None:\n            self.place.leave(Outcome.NEUTRAL)\n", "",
           f"{_ISOLATION}::test_the_places_of_all_together_are_bounded_too"),
    Mutant("BH1: a place is held until the stream begins", "engine/gates.py",
           "    def progressed(self) -> None:\n",
           "    def progressed(self) -> None:\n"
           "        if self.place is not None:\n            self.place.leave(Outcome.SUCCESS)\n",
           f"{_ISOLATION}::test_a_place_is_held_to_the_end_of_the_stream"),
    Mutant("RL1: a target's limit isn't asked", "engine/gates.py",
           "            if self.rate is not None:\n                tokens =",
           "            if False:\n                tokens =",
           f"{_RATES}::test_no_window_has_more_than_the_limit_and_who_waits_is_served"),
    Mutant("RL2: a target's queue is first come, first served", "engine/rates.py",
           "await limit.enter(deadline=until, key=call.key, tokens=tokens)\n",
           "await limit.enter(deadline=until, tokens=tokens)\n",
           f"{_RATES}::test_two_backlogged_keys_share_it"),
    Mutant("RL1: a provider's own limit isn't obeyed", "engine/gates.py",
           "            if self.blocked_until and first:\n", "            if False:\n",
           f"{_RATES}::test_a_providers_own_limit_is_obeyed_until_its_reset"),
    Mutant("RL1: who waits for a provider's limit asks although it was told to be longer", "engine/gates.py",
           "        while (wait_s := self.blocked_until", "        if (wait_s := self.blocked_until",
           "tests/unit/engine/test_gates.py::test_who_waits_for_a_providers_limit_hears_that_it_is_longer"),
    Mutant("RL1: reserved tokens stay reserved", "engine/gates.py",
           "            self._settle(self.rate, error, usage)\n", "            pass\n",
           f"{_RATES}::test_tokens_are_settled_at_what_was_used"),
    Mutant("RL3: the adaptive limit moves no places", "engine/gates.py",
           "partial(AdaptiveLimit, on_change=resize)", "AdaptiveLimit",
           f"{_ADAPTIVE}::test_it_finds_the_capacity_and_callers_hear_little_of_it[overloaded]"),
    Mutant("RL3: any error lowers the adaptive limit", "resilience/adaptive.py",
           "        elif outcome is Outcome.OVERLOAD or outcome is Outcome.LIMITED:\n",
           "        elif outcome is not Outcome.NEUTRAL:\n",
           f"{_ADAPTIVE}::test_other_errors_leave_it_alone[500]"),
    Mutant("CB4: another gate's no is a failure of the target", "resilience/seam.py",
           "    return Outcome.NEUTRAL if isinstance(error, Refused) else outcome_of(error)\n",
           "    return outcome_of(error)\n",
           f"{_PAIRS}::TestBreakerOutside::test_of_a_bulkhead"),
    Mutant("CB4: a cancelled call is a failure of the target", "resilience/outcome.py",
           "        return Outcome.NEUTRAL\n    return Outcome.FAILURE",
           "        return Outcome.FAILURE\n    return Outcome.FAILURE",
           f"{_PAIRS}::TestHedgeOutside::test_of_a_breaker"),
    Mutant("BH1: a permit is only handed back on success", "resilience/seam.py",
           "        finally:\n            permit.leave(outcome)\n        return result",
           "        finally:\n            pass\n        permit.leave(outcome)\n        return result",
           f"{_PAIRS}::TestBulkheadOutside::test_of_a_timeout"),
    Mutant("C2: policies are composed inside out", "resilience/seam.py",
           "for policy in reversed(self._policies):", "for policy in self._policies:",
           f"{_PAIRS}::TestRetryOutside::test_of_a_timeout"),
]
