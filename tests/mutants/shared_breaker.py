"""The guards of breakers and adaptive limits that several processes share, each taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_STATE = "stores/breaker_state.py"
_SHARED = "engine/shared_breakers.py"
_LIMITS = "engine/shared_limits.py"
_LUA = "stores/lua/breaker_{}.lua"
_TWINS = (
    "tests/property_tests/stores/test_breaker_twins.py::test_the_one_in_redis_answers_as_the_one_in_memory"
)
_PROBES = "tests/property_tests/stores/test_breaker_twins.py::TestProbesMachine"
_UNIT = "tests/unit/engine/test_shared_breakers.py"
_REDIS = "tests/unit/stores/test_breakers_on_redis.py"
_LOCAL = "tests/unit/resilience/test_breaker.py::TestAdopts"
_BEGIN = "tests/unit/resilience/test_adaptive.py"
_UNIT_LIMITS = "tests/unit/engine/test_shared_limits.py"

MUTANTS = [
    # The shared machine.
    Mutant(
        "CB2: any number of leases",
        _STATE,
        "        if ask.id not in self.probes and len(self.probes) + circuit.successes >= ask.most:\n"
        "            return Answer.FULL\n",
        "",
        _PROBES,
    ),
    Mutant(
        "CB2: successes don't count towards the leases",
        _STATE,
        "len(self.probes) + circuit.successes >= ask.most",
        "len(self.probes) >= ask.most",
        _PROBES,
    ),
    Mutant(
        "CB2: a lease before the open time is over",
        _STATE,
        "        if now_ms < circuit.until_ms:\n            return Answer.RESTING\n",
        "",
        _TWINS,
    ),
    Mutant(
        "CB2: a lost answer makes one success two",
        _STATE,
        "or self.probes.pop(id, None) is None:",
        "or (self.probes.pop(id, None), False)[1]:",
        _PROBES,
    ),
    Mutant(
        "CB3: an opening of an older epoch is obeyed",
        _STATE,
        "        if epoch <= self._epoch:\n            return False\n",
        "",
        _PROBES,
    ),
    Mutant(
        "CB3: a success of an older epoch counts",
        _STATE,
        "if circuit is None or circuit.epoch != epoch or",
        "if circuit is None or",
        _PROBES,
    ),
    Mutant(
        "CB3: a probe of an older epoch gets a lease",
        _STATE,
        "if circuit.epoch > ask.epoch or not circuit.open:",
        "if not circuit.open:",
        _TWINS,
    ),
    Mutant(
        "CB4: leases never lapse",
        _STATE,
        "if ends_ms <= now_ms]",
        "if ends_ms < 0]",
        f"{_UNIT}::TestProbes::test_a_dead_process_s_places_come_back",
    ),
    # Its twin in Lua.
    Mutant(
        "CB2: any number of leases in Redis",
        _LUA.format("probe"),
        "  return standing(FULL)\n",
        "",
        f"{_REDIS}::test_a_thousand_callers_over_three_processes_are_p_probes",
    ),
    Mutant(
        "CB3: Redis obeys an older epoch",
        _LUA.format("base"),
        "if known and epoch <= known.epoch or epoch <= 0 then",
        "if epoch <= 0 then",
        _TWINS,
    ),
    Mutant(
        "CB3: the old epoch's leases stay in Redis",
        _LUA.format("base"),
        "  redis.call('DEL', probes)\n",
        "",
        _TWINS,
    ),
    Mutant(
        "CB2: in Redis a success counts as often as it is told",
        _LUA.format("succeed"),
        "and redis.call('ZREM', probes, id) == 1 then",
        "and redis.call('ZREM', probes, id) >= 0 then",
        _TWINS,
    ),
    Mutant(
        "D7: keys of breakers have no end",
        _LUA.format("base"),
        "  redis.call('PEXPIRE', changed, ttl)\n",
        "",
        f"{_REDIS}::test_everything_in_redis_has_an_end",
    ),
    # What a process makes of it.
    Mutant(
        "CB1: an opening is kept to oneself",
        _SHARED,
        "        self.epoch += 1\n        self.by = self._house.me\n        self.retell()\n",
        "        self.epoch += 1\n        self.by = self._house.me\n",
        f"{_UNIT}::TestOpens::test_the_others_refuse_within_half_a_second",
    ),
    Mutant(
        "CB1: what others told before a target's first request is forgotten",
        _SHARED,
        "            shared.learn(circuit)\n        return shared\n",
        "            pass\n        return shared\n",
        f"{_UNIT}::TestOpens::test_for_a_target_that_was_never_asked_here_too",
    ),
    Mutant(
        "CB1: of two openings the second is obeyed too",
        _SHARED,
        "        if agreed and not was_open:\n",
        "        if agreed:\n",
        f"{_UNIT}::TestOpens::test_of_two_at_once_the_first_is_obeyed",
    ),
    Mutant(
        "CB2: no lease is asked for",
        _SHARED,
        "        permit = breaker.admit()  # first: so few ask the store, however many come\n"
        "        if breaker.closed:\n",
        "        permit = breaker.admit()  # first: so few ask the store, however many come\n        if True:\n",
        f"{_UNIT}::TestProbes::test_a_thousand_callers_over_three_processes_are_three_probes",
    ),
    Mutant(
        "CB2: the store's no is not obeyed",
        _SHARED,
        "if grant.answer is Answer.GRANTED and not permit.stale:",
        "if not permit.stale:",
        f"{_UNIT}::TestProbes::test_a_thousand_callers_over_three_processes_are_three_probes",
    ),
    Mutant(
        "CB2: no patience with a store that is lost",
        _SHARED,
        "if not permit.stale and house.lost_s() >= PATIENCE_S:",
        "if not permit.stale:",
        f"{_UNIT}::TestLost::test_a_short_loss_lets_no_more_probes_out",
    ),
    Mutant(
        "CB2: an emptied store grants at once",
        _SHARED,
        "            open_ms = QUIET_MS\n",
        "            open_ms = 0\n",
        f"{_UNIT}::TestLost::test_an_emptied_store_lets_no_more_probes_out",
    ),
    Mutant(
        "CB2: leases that are out aren't renewed",
        _SHARED,
        "            if ids:\n",
        "            if not ids:\n",
        f"{_UNIT}::TestProbes::test_a_living_one_s_places_don_t_lapse",
    ),
    Mutant(
        "CB2: what went out alone isn't told",
        _SHARED,
        "        await self._tell(store)\n        self._lost_since = None  # it",
        "        self._lost_since = None  # it",
        f"{_UNIT}::TestLost::test_probes_that_went_out_alone_count_afterwards",
    ),
    Mutant(
        "CB4: a cancelled question's lease is kept",
        _SHARED,
        "            asking.add_done_callback(partial(_unwanted, probe))\n",
        "",
        f"{_UNIT}::TestCancel::test_the_lease_comes_back",
    ),
    Mutant(
        "CB4: a refused caller keeps its local place",
        _SHARED,
        "        probe.leave(Outcome.NEUTRAL)\n        self.heard(grant.standing)\n",
        "        self.heard(grant.standing)\n",
        f"{_UNIT}::TestProbes::test_a_no_is_believed_for_a_moment",
    ),
    Mutant(
        "CB4: a probe that says nothing keeps its lease",
        _SHARED,
        "        if probe.epoch == self.epoch or well:\n",
        "        if well:\n",
        f"{_UNIT}::TestProbes::test_one_that_says_nothing_gives_its_place_back",
    ),
    Mutant(
        "CB2: a store that comes and goes is lost for as long as all that",
        _SHARED,
        "        self._lost_since = None  # it has answered: if it goes again at once, that is another loss\n",
        "",
        "tests/property_tests/stores/test_shared_breakers_invariants.py",
    ),
    Mutant(
        "CB3: an older epoch is taken over",
        _SHARED,
        "        if circuit.epoch < self.epoch:\n            self.retell()\n            return\n",
        "",
        f"{_UNIT}::TestLost::test_a_store_that_knows_older_things_is_told_the_newer_ones",
    ),
    Mutant(
        "RD1: an emptied store isn't told again",
        _SHARED,
        "            emptied = self._born not in (0, news.born) or news.version < self._seen\n",
        "            emptied = False\n",
        f"{_UNIT}::TestLost::test_an_emptied_store_is_told_what_was_open",
    ),
    Mutant(
        "RD1: a thousand refusals are a thousand questions",
        _SHARED,
        "            self._full_until = house.monotonic() + _AGAIN_S\n",
        "            pass\n",
        f"{_UNIT}::TestProbes::test_a_no_is_believed_for_a_moment",
    ),
    Mutant(
        "D7: a target that is out of use stays in memory",
        _SHARED,
        "        self._breakers.pop(target, None)\n",
        "",
        f"{_UNIT}::TestForgets::test_a_target_nobody_asks_any_more",
    ),
    Mutant(
        "CB3: others' word leaves calls valid that were out before",
        "resilience/breaker.py",
        "            self._turn(CircuitState.OPEN, open_s)\n",
        "            self._state = CircuitState.OPEN\n",
        f"{_LOCAL}::test_calls_that_were_out_then_change_nothing",
    ),
    Mutant(
        "CB1: others' closing empties a closed one's window",
        "resilience/breaker.py",
        "            if self._state is not CircuitState.CLOSED:\n                self._turn(CircuitState.CLOSED)\n",
        "            self._turn(CircuitState.CLOSED)\n",
        f"{_LOCAL}::test_a_closing_of_a_closed_one_keeps_its_window",
    ),
    # Adaptive limits.
    Mutant(
        "RL3: what others found is followed by slow start",
        "resilience/adaptive.py",
        "        self._settled = True\n",
        "",
        f"{_BEGIN}::test_what_others_found_out_is_where_it_begins_without_slow_start",
    ),
    Mutant(
        "RL3: what others found goes before what it found itself",
        "resilience/adaptive.py",
        "        if self.learned:\n            return\n",
        "",
        f"{_UNIT_LIMITS}::test_what_it_found_out_itself_goes_before_what_others_did",
    ),
    Mutant(
        "D7: limits are told though nothing has changed",
        _LIMITS,
        "(limit.limit != told or now - at >= KEPT_S / 2)",
        "True",
        f"{_UNIT_LIMITS}::test_told_is_what_has_changed_and_at_most_once_a_second",
    ),
    Mutant(
        "D7: a note lapses while its process lives",
        _LIMITS,
        "(limit.limit != told or now - at >= KEPT_S / 2)",
        "limit.limit != told",
        f"{_UNIT_LIMITS}::test_told_is_what_has_changed_and_at_most_once_a_second",
    ),
]
