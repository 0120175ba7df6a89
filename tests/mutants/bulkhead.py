"""Bulkheads, the fair queue, connections, memory and threads: each guard taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_UNIT = "tests/unit/resilience"
_PROPERTY = "tests/property_tests/resilience"
_BULKHEAD = f"{_UNIT}/test_bulkhead.py"
_QUEUE = f"{_UNIT}/test_fair_queue.py"
_EVEN = f"{_PROPERTY}/test_fair_queue_invariants.py"
_POOL = f"{_UNIT}/test_connection_pool.py"
_THREADS = f"{_UNIT}/test_thread_bulkhead.py"
_RELIABILITY = "tests/reliability/test_bulkhead.py"

MUTANTS = [
    # Places.
    Mutant(
        "BH1: a place is not returned when its waiter is cancelled as it is let in",
        "resilience/bulkhead.py",
        "        future.result().leave(_NEUTRAL)",
        "        future.result().progressed()",
        f"{_BULKHEAD}::TestCancellation::test_cancelled_in_the_turn_in_which_it_is_let_in",
    ),
    Mutant(
        "BH1: a place comes back twice",
        "resilience/bulkhead.py",
        "bulkhead, self._bulkhead = self._bulkhead, None",
        "bulkhead = self._bulkhead",
        f"{_BULKHEAD}::TestPlaces::test_a_place_comes_back_once_however_the_call_went",
    ),
    Mutant(
        "BH1: one more than there are places",
        "resilience/bulkhead.py",
        "        if self._in_use >= self._limit:\n            return None",
        "        if self._in_use > self._limit:\n            return None",
        f"{_BULKHEAD}::TestPlaces::test_as_many_as_there_are",
    ),
    Mutant(
        "BH1: a place that came free wakes nobody",
        "resilience/bulkhead.py",
        "        if self._in_use == self._limit - 1:  # it was full: else nobody waits\n            self._serve(now)\n",
        "",
        f"{_BULKHEAD}::TestQueue::test_a_place_that_comes_free_belongs_to_who_waits",
    ),
    Mutant(
        "BH1: places are freed by the first token",
        "resilience/bulkhead.py",
        '        """Nothing: a place is held to the answer\'s end."""',
        "        self.leave(Outcome.SUCCESS)",
        f"{_RELIABILITY}::TestIsolation::test_the_place_is_held_to_the_end_of_the_stream",
    ),
    Mutant(
        "BH1: a raised limit lets in nobody who waits",
        "resilience/bulkhead.py",
        "        self._limit = limit\n        self._serve(now)\n",
        "        self._limit = limit\n",
        f"{_BULKHEAD}::TestResize::test_raising_lets_in_who_waits",
    ),
    Mutant(
        "BH1: a cancelled waiter is given a place",
        "resilience/bulkhead.py",
        "            if waiter.future.done():  # cancelled, and its task has not run since\n                continue\n",
        "",
        f"{_BULKHEAD}::TestCancellation::test_a_place_comes_free_in_the_turn_in_which_the_next_is_cancelled",
    ),
    # The queue before them.
    Mutant(
        "BH1: the queue has no bound",
        "resilience/bulkhead.py",
        "        if len(self._queue) < self._settings.max_queue:",
        "        if True:",
        f"{_RELIABILITY}::TestIsolation::test_overflow_is_refused_at_once_with_retry_after",
    ),
    Mutant(
        "BH1: let in after the deadline",
        "resilience/bulkhead.py",
        "            if now < waiter.latest:",
        "            if True:",
        f"{_BULKHEAD}::TestQueue::test_nobody_is_let_in_after_their_time_though_their_alarm_is_late",
    ),
    Mutant(
        "BH1: let in at a deadline that has passed",
        "resilience/bulkhead.py",
        "        if now >= deadline:",
        "        if False:",
        f"{_BULKHEAD}::TestPlaces::test_nobody_is_let_in_at_a_deadline_or_later",
    ),
    Mutant(
        "BH1: a wait may outlast its deadline",
        "resilience/bulkhead.py",
        "        latest = min(deadline, now + self._settings.max_wait_s)",
        "        latest = now + self._settings.max_wait_s",
        f"{_BULKHEAD}::TestQueue::test_the_sooner_of_deadline_and_longest_wait",
    ),
    Mutant(
        "BH1: Retry-After takes no notice of a target that hangs",
        "resilience/leave_rate.py",
        "interval = max(held / places, now - self._since)",
        "interval = held / places",
        f"{_BULKHEAD}::TestRetryAfter::test_silence_is_the_interval_when_the_other_side_hangs",
    ),
    Mutant(
        "BH1: Retry-After may be 0",
        "resilience/leave_rate.py",
        "min(max(interval * (ahead + 1), SHORTEST_S), LONGEST_S)",
        "min(interval * (ahead + 1), LONGEST_S)",
        f"{_BULKHEAD}::TestRetryAfter::test_it_is_the_interval_in_which_places_come_back",
    ),
    Mutant(
        "CB4: who waits when the breaker opens isn't told",
        "resilience/bulkhead.py",
        "        for waiter in tuple(self._queue):\n",
        "        for waiter in ():\n",
        f"{_BULKHEAD}::TestTurnAway::test_everybody_who_waits_is_told_now",
    ),
    # Fairness.
    Mutant(
        "RL2: turns by items and not by cost",
        "resilience/fair_queue.py",
        "allowance - line.items[item]",
        "allowance - 1",
        f"{_EVEN}::test_two_backlogged_keys_get_the_same",
    ),
    Mutant(
        "RL2: nobody catches up with who was ahead",
        "resilience/fair_queue.py",
        "            self._excess = max(self._excess, -allowance)",
        "            self._excess = 0",
        f"{_EVEN}::test_two_backlogged_keys_get_the_same",
    ),
    Mutant(
        "RL2: one after the other, as in one line",
        "resilience/fair_queue.py",
        "            self._lines.move_to_end(line.key)\n",
        "",
        f"{_EVEN}::test_any_two_keys_are_even_whenever_both_have_something",
    ),
    Mutant(
        "RL2: who leaves and comes again is ahead for ever",
        "resilience/fair_queue.py",
        "            allowance = 1  #",
        "            allowance = 1 + self._past_excess  #",
        f"{_QUEUE}::TestOrder::test_one_large_item_at_a_time_is_no_way_to_be_ahead",
    ),
    Mutant(
        "RL2: a flood keeps the others out of a full queue",
        "resilience/bulkhead.py",
        "        displaced = self._queue.displace(key)\n",
        "        displaced = None\n",
        f"{_RELIABILITY}::TestFairness::test_a_flood_of_one_key_leaves_the_others_their_share",
    ),
    Mutant(
        "RL2: room is taken from somebody's oldest",
        "resilience/fair_queue.py",
        "        item = next(reversed(fullest.items))",
        "        item = next(iter(fullest.items))",
        f"{_QUEUE}::TestDisplace::test_the_newest_of_whoever_has_the_most_goes",
    ),
    # Connections, memory, threads.
    Mutant(
        "BH1: who was refused by the pool keeps a place on its route",
        "resilience/connection_pool.py",
        "        except BaseException:\n            self._leave(route, permits)\n            raise",
        "        except BaseException:\n            raise",
        f"{_POOL}::TestLimits::test_who_was_refused_holds_nothing",
    ),
    Mutant(
        "BH1: idle connections don't count",
        "resilience/connection_pool.py",
        "            if self._idle and self._places.in_use + len(self._idle) > self.settings.max_connections:",
        "            if False:",
        f"{_PROPERTY}/test_connection_pool_invariants.py",
    ),
    Mutant(
        "BH1: a connection that is being closed counts no more on its route",
        "resilience/connection_pool.py",
        "            elif route.closing and route.full:",
        "            elif False:",
        f"{_POOL}::TestReuse::test_what_is_being_closed_for_another_route_counts_on_its_own",
    ),
    Mutant(
        "BH1: a connection is used again after an error",
        "resilience/connection_pool.py",
        "            await self.release(lease, reuse=False)",
        "            await self.release(lease)",
        f"{_POOL}::TestReuse::test_not_after_an_error",
    ),
    Mutant(
        "BH1: memory comes back twice",
        "resilience/memory_bulkhead.py",
        "        allocation._bulkhead = None  #",
        "        allocation._bulkhead = self  #",
        f"{_PROPERTY}/test_memory_bulkhead_invariants.py",
    ),
    Mutant(
        "BH1: a cancelled function holds room in the queue",
        "resilience/thread_bulkhead.py",
        "        if not future.cancelled():\n            return\n",
        "        return\n",
        f"{_THREADS}::TestCancellation::test_cancelled_in_the_queue_it_is_taken_out",
        slow=True,
    ),
    Mutant(
        "BH1: one more function than there are threads and room",
        "resilience/thread_bulkhead.py",
        "            if ahead >= settings.max_workers + settings.queue_size:",
        "            if ahead > settings.max_workers + settings.queue_size:",
        f"{_PROPERTY}/test_thread_bulkhead_invariants.py",
        slow=True,
    ),
    Mutant(
        "BH1: one more thread than there may be",
        "resilience/thread_bulkhead.py",
        "            elif len(self._threads) < settings.max_workers:",
        "            elif True:",
        f"{_THREADS}::TestLimits::test_so_many_at_once_the_rest_in_line_and_no_more",
        slow=True,
    ),
]
