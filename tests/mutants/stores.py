"""The shared store's and the shared rates' guards, each taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_STORE = "tests/unit/stores/test_redis_store.py"
_WINDOWS = "tests/unit/stores/test_rate_windows.py"
_SHARED = "tests/unit/engine/test_shared_rates.py"
_LOAD = "tests/reliability/test_shared_rates.py"
_URL = "tests/unit/stores/test_redis_url.py"

_WIRE = "stores/redis_wire.py"
_REDIS = "stores/redis.py"
_BASE = "stores/lua/rate_base.lua"
_TAKE = "stores/lua/rate_take.lua"
_AMEND = "stores/lua/rate_amend.lua"
_RESTORE = "stores/lua/rate_restore.lua"
_LIMIT = "engine/shared_limit.py"
_RATES = "engine/shared_rates.py"

MUTANTS = [
    # The wire and the store.
    Mutant(
        "RD1: a command that hangs has all the time of healing",
        _WIRE,
        "        self.timeout_s = timeout_s\n        if self._timer",
        "        if self._timer",
        f"{_STORE}::TestTime::test_a_server_that_hangs_costs_one_time_out",
    ),
    Mutant(
        "RD1: the timer that healing has set is left standing",
        _REDIS,
        "wire.limit(self._settings.timeout_s)",
        "wire.timeout_s = self._settings.timeout_s",
        f"{_STORE}::TestTime::test_a_server_that_hangs_costs_one_time_out",
    ),
    Mutant(
        "RD1: what a request has waited isn't booked",
        _REDIS,
        "            spell.spent_s += wait_s\n",
        "",
        f"{_STORE}::TestTime::test_what_a_request_has_spent_is_spent",
    ),
    Mutant(
        "RD1: one command may take longer than its request's time",
        _REDIS,
        "if left_s < wire.timeout_s:",
        "if False:",
        f"{_STORE}::TestTime::test_what_a_request_has_spent_is_spent",
    ),
    Mutant(
        "RD1: whoever leaves takes the next one's place in the order",
        _WIRE,
        "        self._waiting.append(waiting)\n",
        "        self._waiting.append(waiting)\n"
        "        waiting.future.add_done_callback(lambda f: f.cancelled() and self._waiting.remove(waiting))\n",
        f"{_STORE}::TestLeaving::test_the_next_never_reads_another_ones_answer",
    ),
    Mutant(
        "RL1: an answer that nobody waits for is thrown away",
        _WIRE,
        "        elif self.orphan is not None:\n",
        "        elif False:\n",
        f"{_STORE}::TestLeaving::test_the_answer_that_nobody_waits_for_goes_to_the_orphanage",
    ),
    Mutant(
        "RL1: answered and cancelled in one turn is answered to nobody",
        _REDIS,
        "                orphan(future.result())\n",
        "                pass\n",
        f"{_STORE}::TestLeaving::test_answered_and_cancelled_in_one_turn",
    ),
    Mutant(
        "RD1: a server that can't write is asked on",
        _REDIS,
        "|READONLY",
        "",
        f"{_STORE}::TestLostAndHealed::test_each_way[read-only]",
    ),
    Mutant(
        "a script that a server forgot is an error for good",
        _REDIS,
        'startswith("NOSCRIPT")',
        'startswith("NEVER")',
        f"{_STORE}::TestAsking::test_scripts_that_the_server_forgot_are_sent_again",
    ),
    Mutant(
        "RD1: what is told first comes second",
        _REDIS,
        "        if script.sha in self._known:\n",
        "        if True:\n",
        f"{_STORE}::TestAsking::test_what_is_told_first_comes_first",
    ),
    Mutant(
        "RD1: a flush goes unnoticed while nobody asks",
        _REDIS,
        "if epoch != self.epoch and wire is self._wire:",
        "if False:",
        f"{_STORE}::TestLostAndHealed::test_another_epoch_after_a_flush",
    ),
    Mutant(
        "RD1: a part that fails to write back ends the healing",
        _REDIS,
        "        except Exception:  # noqa: BLE001  # a",
        "        except ArithmeticError if False else KeyError:  # a",
        f"{_STORE}::TestLostAndHealed::test_a_part_that_fails_to_write_back_is_tried_again",
    ),
    Mutant(
        "OP3: a bad URL is quoted",
        "stores/redis_url.py",
        '        except ValueError:\n            raise ValueError(f"the URL of Redis is {_RIGHT}") from None\n',
        '        except ValueError:\n            raise ValueError(f"the URL of Redis is not {url}") from None\n',
        f"{_URL}::test_what_is_none_is_not_quoted",
    ),
    # Windows in Redis.
    Mutant(
        "RL1: shared: an admission counts a tick less",
        _BASE,
        "'-inf', now - length,",
        "'-inf', now - length + 1,",
        f"{_WINDOWS}::TestRestoring::test_what_has_left_meanwhile[redis]",
    ),
    Mutant(
        "RL1: shared: one request too many",
        _TAKE,
        "local full = (w.limit_r >= 0 and w.r + w.take_r > w.limit_r)",
        "local full = (w.limit_r >= 0 and w.r > w.limit_r)",
        f"{_WINDOWS}::TestAdmission::test_the_limit_and_no_more[redis]",
    ),
    Mutant(
        "RL1: shared: tokens are looked at and not what is asked of them",
        _TAKE,
        "or (w.limit_t >= 0 and w.t + w.take_t > w.limit_t)\n  if full",
        "or (w.limit_t >= 0 and w.t > w.limit_t)\n  if full",
        f"{_WINDOWS}::TestAdmission::test_tokens[redis]",
    ),
    Mutant(
        "RL1: shared: in one window though the other is full",
        _TAKE,
        "  if full then admitted = 0 end\n",
        "  if full and #windows == 1 then admitted = 0 end\n",
        f"{_WINDOWS}::TestAdmission::test_all_or_none[redis]",
    ),
    Mutant(
        "RL1: shared: a clock that goes back makes admissions younger",
        _TAKE,
        "now = math.max(now, w.newest - 1)",
        "now = now",
        f"{_WINDOWS}::TestAdmission::test_a_clock_that_goes_back[redis]",
    ),
    Mutant(
        "RL1: shared: more is given back than there was",
        _BASE,
        "r, t = math.min(r, had_r), math.min(t, had_t)",
        "r, t = r, t",
        f"{_WINDOWS}::TestSettlement::test_never_more_than_there_was[redis]",
    ),
    Mutant(
        "RL1: shared: what has left is given back",
        _BASE,
        "      if gone[i] == w.entry then w.said = false end\n",
        "",
        f"{_WINDOWS}::TestSettlement::test_nor_under_a_name_that_is_taken_again[redis]",
    ),
    Mutant(
        "RL1: shared: an overrun is booked into the past",
        _AMEND,
        "book(w, math.max(now, w.newest - 1) + 1, length,",
        "book(w, w.newest, length,",
        f"{_WINDOWS}::TestSettlement::test_an_overrun_counts_from_now[redis]",
    ),
    Mutant(
        "RL1: shared: a crowd counts from its first",
        _BASE,
        "redis.call('ZADD', w.z, at, w.entry)",
        "redis.call('ZADD', w.z, 'NX', at, w.entry)",
        f"{_WINDOWS}::TestAdmission::test_a_crowd_counts_from_its_last[redis]",
    ),
    Mutant(
        "RD1: shared: what is written back stands twice",
        _RESTORE,
        "    give_back(w, r, t)\n",
        "",
        f"{_WINDOWS}::TestRestoring::test_in_the_place_of_what_was_there[redis]",
    ),
    Mutant(
        "RD1: shared: what is written back counts from now",
        _RESTORE,
        "now + 1 - tonumber(ARGV[at + 2])",
        "now + 1",
        f"{_WINDOWS}::TestRestoring::test_in_the_place_of_what_was_there[redis]",
    ),
    Mutant(
        "RD1: shared: a server that forgot is believed",
        _TAKE,
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return { -1 } end\n",
        "",
        f"{_WINDOWS}::TestRedis::test_a_flush_is_a_loss",
    ),
    Mutant(
        "shared: half a window, evicted, refuses for good",
        _TAKE,
        "redis.call('EXISTS', w.z) == 0",
        "false",
        f"{_WINDOWS}::TestRedis::test_sums_without_entries",
    ),
    Mutant(
        "shared: a window's keys stay for good",
        _BASE,
        "  redis.call('PEXPIRE', w.z, ttl)\n",
        "",
        f"{_LOAD}::test_keys_in_redis_end",
    ),
    # This process' side.
    Mutant(
        "RL1: while Redis is lost each process admits the whole limit",
        _LIMIT,
        "max(1, whole.requests // parts)",
        "whole.requests",
        f"{_SHARED}::TestLost::test_each_counts_its_part",
    ),
    Mutant(
        "RL1: a part of a small limit is nothing",
        _LIMIT,
        "max(1, whole.requests // parts)",
        "whole.requests // parts",
        f"{_SHARED}::TestLost::test_a_part_is_never_nothing",
    ),
    Mutant(
        "RD1: what the store admits isn't noted here",
        _LIMIT,
        "self._meter.note(want.tokens)",
        "Entry(0, 1, want.tokens)",
        f"{_SHARED}::TestLost::test_what_was_admitted_before_counts",
    ),
    Mutant(
        "RD1: what was admitted alone isn't written back",
        _RATES,
        "await asyncio.gather(*(restore(*limit.known()) for limit in some))",
        "pass",
        f"{_SHARED}::TestLost::test_all_is_written_back_before_it_is_up",
    ),
    Mutant(
        "RD1: what is admitted while it heals is never written",
        _RATES,
        "            if self._store.up and limit.moved and not limit.unused:\n",
        "            if False:\n",
        f"{_SHARED}::TestLost::test_settled_after_healing",
    ),
    Mutant(
        "RD1: what the store may have counted on the way stays",
        _RATES,
        "                limit.unsure = True\n",
        "                pass\n",
        f"{_SHARED}::TestLost::test_lost_on_the_way",
    ),
    Mutant(
        "RL1: what was reserved before a loss is settled under its old name",
        _LIMIT,
        "if self._stored and self._generation == self._window.shared.generation:",
        "if self._stored:",
        f"{_SHARED}::TestLost::test_settled_after_healing",
    ),
    Mutant(
        "RD1: one that this process let in by itself isn't told",
        _LIMIT,
        "        if self.shared.reachable():\n            stored = self._new_name()\n",
        "        if False:\n            stored = self._new_name()\n",
        f"{_SHARED}::TestLost::test_a_request_that_has_no_time_left_is_judged_here_and_told_there",
    ),
    Mutant(
        "RL1: a caller that leaves keeps its place",
        _RATES,
        "            if answer.admitted:\n                self.amend(",
        "            if False:\n                self.amend(",
        f"{_SHARED}::TestLeaving::test_a_caller_that_leaves_takes_nothing",
    ),
    Mutant(
        "RL1: settlements aren't told",
        _LIMIT,
        "            self.shared.amend(Change(self.window, self._length, entry, 0, unused))\n",
        "            pass\n",
        f"{_SHARED}::TestTogether::test_settling_makes_room_for_others",
    ),
    Mutant(
        "RL1: overruns aren't told",
        _LIMIT,
        "entry, 0, 0, more, 0, -unused))",
        "entry, 0, 0, more, 0, 0))",
        f"{_SHARED}::TestTogether::test_an_overrun_blocks_others",
    ),
    Mutant(
        "RL1: a crowd has an entry for each",
        _LIMIT,
        "or (now - self._newest_at) * own >= self._window.length",
        "or True",
        f"{_SHARED}::TestTogether::test_a_crowd_shares_entries",
    ),
    Mutant(
        "RL1: what is put together counts from its first",
        _LIMIT,
        "now - some[-1].stamp",
        "now - some[0].stamp",
        f"{_SHARED}::TestLost::test_many_entries_are_put_together_and_count_no_less",
    ),
    Mutant(
        "RL1: a queue waits for what nobody tells it",
        _LIMIT,
        "asyncio.timeout(min(wait_s, LOOK_AGAIN_S))",
        "asyncio.timeout(wait_s)",
        f"{_SHARED}::TestQueue::test_others_give_back_and_the_first_notices",
    ),
    Mutant(
        "RL1: a wait in vain is waited for",
        _LIMIT,
        "        if crowded or self._passes_at > latest:\n            self.refused",
        "        if crowded:\n            self.refused",
        f"{_SHARED}::TestQueue::test_a_wait_in_vain_is_refused_at_once",
    ),
    Mutant(
        "RL1: let in and gone, and nothing given back",
        _LIMIT,
        "                else:  # it has left meanwhile\n                    permit.give_back()\n",
        "",
        f"{_SHARED}::TestQueue::test_cancelled_anywhere_takes_nothing",
    ),
    Mutant(
        "RD1: a store that fails at once is asked without end",
        _LIMIT,
        "                said = None  # for once: it comes again\n",
        "                continue\n",
        f"{_SHARED}::test_a_store_that_breaks_is_no_queue_that_spins",
    ),
    Mutant(
        "RL1: key and model are asked one by one",
        "engine/rates.py",
        "            permits = await self._take_together(self._shared, limits, tokens, call)\n",
        "            permits = []\n",
        f"{_LOAD}::test_it_takes_one_round_trip",
    ),
]
