"""Mutants of retry, backoff, the retry budget, named time limits and reliability metrics."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_BACKOFF = "resilience/backoff.py"
_RETRY = "resilience/retry.py"
_BUDGET = "resilience/retry_budget.py"
_TIMEOUT = "resilience/named_timeouts.py"
_METRICS = "resilience/metrics.py"
_UNIT = "tests/unit/resilience"
_INVARIANTS = "tests/property_tests/resilience"
_SPANS = f"{_INVARIANTS}/test_retry_budget_invariants.py"

MUTANTS = [
    # Backoff.
    Mutant("RT2: jitter after the cap", _BACKOFF,
           "    high = min(delay * (1 + factor), cap)\n    return min(low + (high - low) * random(), high)",
           "    high = delay * (1 + factor)\n    return min(low + (high - low) * random(), high)",
           f"{_INVARIANTS}/test_backoff_invariants.py::test_no_delay_is_negative_or_longer_than_the_cap"),
    Mutant("RT2: at the cap half of all callers draw the cap itself", _BACKOFF,
           "    high = min(delay * (1 + factor), cap)\n    return min(low + (high - low) * random(), high)",
           "    high = delay * (1 + factor)\n    return min(low + (high - low) * random(), cap)",
           f"{_UNIT}/test_backoff.py::test_callers_at_the_cap_are_spread_as_well"),
    Mutant("RT2: pauses don't grow", _BACKOFF, "min(retry - 1, _MAX_EXPONENT)", "min(0, _MAX_EXPONENT)",
           f"{_INVARIANTS}/test_backoff_invariants.py::test_exponential_backoff_invariant"),
    # Retry.
    Mutant("RT1: one retry too many", _RETRY,
           "if attempt > self.settings.max_retries:", "if attempt > self.settings.max_retries + 1:",
           f"{_INVARIANTS}/test_retry_invariants.py::TestRetryInvariants::test_retry_limit_enforced_invariant"),
    Mutant("RT1: a pause after the last attempt", _RETRY,
           "                delay = self._pause(attempt, error, deadline)\n",
           "                if attempt > self.settings.max_retries:\n"
           "                    await asyncio.sleep(1)\n"
           "                delay = self._pause(attempt, error, deadline)\n",
           "tests/reliability/test_retry.py::TestRetries::test_max_retries_exceeded"),
    Mutant("RT3: Retry-After is ignored", _RETRY, "delay = max(delay, asked)", "delay = max(delay, 0.0)",
           f"{_UNIT}/test_retry.py::TestRetryAfter::test_waits_as_long_as_asked_and_never_less_than_the_backoff"),
    Mutant("RT3: Retry-After beyond the cap is waited for", _RETRY,
           "if asked is not None and asked > backoff.max_s:", "if asked is not None and asked > 1e9:",
           f"{_UNIT}/test_retry.py::TestRetryAfter::test_beyond_the_cap_stops_now"),
    Mutant("RT3: a timer that rings early is believed", _RETRY, "_GRAIN_S: Final = 0.002", "_GRAIN_S: Final = 0.001",
           f"{_UNIT}/test_retry.py::TestRetryAfter::test_nor_on_a_loop_whose_timers_ring_early"),
    Mutant("RT5: retries of retries", _RETRY,
           "    if isinstance(error, RetryStoppedError):\n        return False\n",
           "    if isinstance(error, RetryStoppedError):\n        return True\n",
           f"{_UNIT}/test_retry.py::TestWhatIsRetryable::test_retries_of_retries_are_not_made"),
    Mutant("DL1: a pause that the deadline interrupts", _RETRY,
           "self._clock.monotonic() + delay >= deadline", "self._clock.monotonic() >= deadline",
           f"{_UNIT}/test_retry.py::TestDeadline::test_no_pause_that_reaches_it"),
    Mutant("DL2: a cancel is tried again", _RETRY,
           "            except Exception as error:\n                if not self._retryable(error):",
           "            except BaseException as error:\n                if not self._retryable(error):",
           f"{_UNIT}/test_retry.py::TestCancel::test_an_operation_that_is_cancelled_itself_is_not_tried_again"),
    Mutant("E2: a caller's own fault is tried again", _RETRY,
           "            return status in RETRYABLE_STATUSES\n", "            return True\n",
           "tests/reliability/test_retry.py::TestRetries::test_non_retryable_error_codes"),
    Mutant("RT4: retries don't ask the budget", _RETRY,
           "if self._budget is not None and not self._budget.allow():", "if False:",
           "tests/reliability/test_retry.py::TestOutage::test_total_outage_at_20_requests_a_second"),
    Mutant("RT4: retries count as requests", _RETRY,
           "            attempt += 1\n",
           "            attempt += 1\n            if self._budget is not None:\n                self._budget.request()\n",
           f"{_UNIT}/test_retry.py::TestRows::test_the_budget_is_told_of_requests_and_retries"),
    # The budget.
    Mutant("RT4: the retry itself isn't counted in", _BUDGET,
           "if self._retries + 1 > self._ratio", "if self._retries > self._ratio",
           _SPANS),
    Mutant("RT4: retries are forgotten a slot early", _BUDGET,
           "retries[(number - _RING) % _RING] = 0", "retries[(number - SLOTS) % _RING] = 0",
           f"{_SPANS}::test_the_windows_edge"),
    Mutant("RT4: requests are kept a slot too long", _BUDGET,
           "requests[(number - SLOTS) % _RING] = 0", "requests[(number - _RING) % _RING] = 0",
           f"{_SPANS}::test_the_windows_edge"),
    Mutant("RT5: a client's own retries don't count", _BUDGET,
           "            self._move_on()\n        self._retries += 1\n\n    def snapshot",
           "            self._move_on()\n\n    def snapshot",
           f"{_UNIT}/test_retry_budget.py::test_somebody_elses_retries_count_and_are_never_refused"),
    Mutant("RT4: a reload forgets the retries", _BUDGET,
           "                self._retries_by_slot[went % _RING] += retries\n                self._retries += retries\n",
           "                self._retries += 0\n",
           f"{_SPANS}::test_a_reload_loses_no_retry_and_makes_up_no_request"),
    # Time limits.
    Mutant("E1: an inner time-out is taken for ours", _TIMEOUT,
           "            if error is theirs:\n", "            if False:\n",
           f"{_UNIT}/test_named_timeouts.py::TestRows::test_a_time_out_of_its_own"),
    Mutant("DL1: no time limit", _TIMEOUT,
           "asyncio.timeout(self.limit_s)", "asyncio.timeout(None)",
           "tests/reliability/test_timeouts.py::TestTimeouts::test_tool_execution_timeout"),
    Mutant("DL2: a cancel is taken for a time-out", _TIMEOUT,
           "        except TimeoutError as error:\n            if error is theirs:",
           "        except (TimeoutError, asyncio.CancelledError) as error:\n            if error is theirs:",
           f"{_INVARIANTS}/test_named_timeouts_invariants.py::test_what_came_first"),
    # Metrics.
    Mutant("E7: a rate of nothing is zero", _METRICS, "if of else None", "if of else 0.0",
           f"{_UNIT}/test_reliability_metrics.py::test_nothing_has_happened"),
    Mutant("E7: labels without end", _METRICS,
           "if label not in counts and len(counts) >= self._max_labels:", "if False:",
           f"{_UNIT}/test_reliability_metrics.py::test_labels_are_bounded"),
]  # fmt: skip  # a table reads better packed
