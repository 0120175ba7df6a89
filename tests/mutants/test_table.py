"""Every row of the tables is about the code as it is: else a mutant proves nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

from tests.mutants.every import MUTANTS
from tests.mutants.kill import ROOT, SOURCE

LEAST = 40
"""Mutants of the policies, the guard, the engine and the idempotency keys."""

PARTS = {
    "policies": re.compile(r"resilience/"),
    "guard": re.compile(r"engine/guard\.py"),
    "engine": re.compile(r"engine/(?!guard|idempotency)"),
    "idempotency": re.compile(r"(ledger|engine)/\w*idempotency\w*\.py|idempotency\.py"),
}


def test_what_is_changed_is_there_exactly_once():
    texts = {file: (SOURCE / file).read_text(encoding="utf-8") for file in {m.file for m in MUTANTS}}
    counts = {mutant.name: texts[mutant.file].count(mutant.old) for mutant in MUTANTS}
    assert not {name: count for name, count in counts.items() if count != 1}


def test_what_it_is_changed_to_is_python_and_something_else():
    """A mutant that can't even be compiled is killed by any test."""
    for mutant in MUTANTS:
        text = (SOURCE / mutant.file).read_text(encoding="utf-8")
        assert mutant.new != mutant.old, mutant.name
        if mutant.file.endswith(".py"):  # Redis' scripts are Lua
            compile(text.replace(mutant.old, mutant.new), mutant.name, "exec")


def test_names_are_told_apart():
    assert not [name for name, times in Counter(m.name for m in MUTANTS).items() if times > 1]


def test_the_tests_that_must_notice_are_there():
    asked = sorted({mutant.test for mutant in MUTANTS})
    options = ("--collect-only", "-q", "--assert=plain", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_parts_that_keep_promises_have_their_mutants():
    """At least forty of policies, guard, engine and idempotency, and each of them names what it breaks."""
    of_part = {part: [m for m in MUTANTS if of.match(m.file)] for part, of in PARTS.items()}
    assert all(of_part.values()), {part: len(mutants) for part, mutants in of_part.items()}
    there = [mutant for mutants in of_part.values() for mutant in mutants]
    assert len(there) >= LEAST
    assert not [mutant.name for mutant in there if not mutant.ids]


def test_every_policy_has_its_mutants():
    files = {mutant.file for mutant in MUTANTS}
    policies = (
        "adaptive",
        "backoff",
        "breaker",
        "bulkhead",
        "hedge",
        "named_timeouts",
        "rate_limit",
        "retry",
    )
    assert not [policy for policy in policies if f"resilience/{policy}.py" not in files]
