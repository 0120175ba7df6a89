"""What is lost shows, once, and heals. Each guard taken out once."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_WRITER = "ledger/writer.py"
_OF_WRITER = "tests/unit/ledger/test_writer.py::test_a_loss_and_its_end_are_logged_once_each"
_OF_WAITS = "tests/unit/stores/test_waits.py"
_LOST = "tests/e2e/test_degraded.py"

MUTANTS = [
    Mutant(
        "a lost ledger is logged for each request",
        _WRITER,
        "        if (self._trouble is not None) == (self._lost_at is not None):\n",
        "        if self._trouble is None and self._lost_at is None:\n",
        _OF_WRITER,
    ),
    Mutant(
        "nobody is told that the ledger is back",
        _WRITER,
        "        elif self._lost_at is not None:\n            _log.info(\n",
        "        elif self._lost_at is not None:\n            _log.debug(\n",
        _OF_WRITER,
    ),
    Mutant(
        "a loss that is over before the lease's renewal ends is never logged",
        _WRITER,
        "                self._tell_log()\n                self._release_flushes()\n",
        "                self._release_flushes()\n",
        "tests/unit/ledger/test_writer.py::test_a_loss_that_the_next_renewal_ends_is_logged",
    ),
    Mutant(
        "RT5: whoever is refused for want of the ledger isn't told when to come back",
        "errors.py",
        "    default_retry_after_s = 1.0\n",
        "    default_retry_after_s = None\n",
        _OF_WRITER,
    ),
    Mutant(
        "RD1: an answer doesn't say that a limit was judged without Redis",
        "gateway/degraded_header.py",
        "    names = sorted(set(lost))\n",
        "    names = sorted(set(lost))[:0]\n",
        f"{_LOST}::test_lost[redis-killed]",
        slow=True,
    ),
    Mutant(
        "readiness lies about what is lost",
        "gateway/dependencies.py",
        "            ok=look.ok,\n            since_s",
        "            ok=True,\n            since_s",
        "tests/unit/gateway/test_dependencies.py::test_since_when_it_stands_so_is_remembered",
    ),
    Mutant(
        "LE1: a gateway without its ledger is ready",
        "gateway/http.py",
        "        if not health.ok:\n",
        "        if False:\n",
        f"{_LOST}::test_sqlite[locked]",
        slow=True,
    ),
    Mutant(
        "RD1: what a request waits for Redis is counted by the call",
        "stores/waits.py",
        "            self.longest_s = spent_s\n",
        "            self.longest_s = wait_s\n",
        f"{_OF_WAITS}::test_the_longest_is_a_requests_and_not_a_calls",
    ),
    Mutant(
        "RD1: waits for a Redis that is lost count as answers",
        "stores/redis.py",
        '            outcome = "lost"\n',
        "            pass\n",
        f"{_OF_WAITS}::test_a_call_is_counted_by_how_it_ended",
    ),
    Mutant(
        "OP3: the log of a lost Redis has its password",
        "stores/redis.py",
        "address=str(self._address), reason=reason)\n        self._down.set()",
        "address=str(self._address), reason=str(getattr(self._address.password, 'reveal', str)()))\n"
        "        self._down.set()",
        f"{_LOST}::test_nobody_was_told_a_secret",
        slow=True,
    ),
]
