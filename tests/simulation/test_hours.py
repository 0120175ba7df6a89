"""Ten simulated hours with every test run; and proof that the simulation repeats itself, and would notice.

`python -m tests.simulation --hours 1000` lives through as many as one likes.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from itertools import count, islice
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.simulation.__main__ import main
from tests.simulation.broken import BROKEN
from tests.simulation.draw import FAULTS, POLICIES, Plan, draw, hours_of
from tests.simulation.run import Report, run
from tests.simulation.shrink import shrink

if TYPE_CHECKING:
    from tests.simulation.stories import Violation

SEEDS = range(25, 35)
LOAD = 0.5
"""Half of the usual number of requests, so that ten hours take ten seconds."""

FIRST = 107
WITHIN = 10
"""A broken engine is found within so many worlds of six minutes that have what is broken in it."""


@cache
def lived(seed: int) -> Report:
    return run(draw(seed, load=LOAD, hours=1.0))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_hour_of_failing_providers(seed: int):
    report = lived(seed)
    assert report.violations == (), f"again: python -m tests.simulation --replay {seed} --load {LOAD}"
    assert report.hours >= 1.0
    assert report.requests > 50


def test_the_hours_were_bad_ones():
    """Or they prove little: together they met every way to end, and most kinds of faults."""
    outcomes = {how for seed in SEEDS for how in lived(seed).outcomes}
    assert outcomes == {"ok", "failed", "cancelled", "refused"}
    plans = [draw(seed, load=LOAD, hours=1.0) for seed in SEEDS]
    faults = {name for plan in plans for each in plan.providers for name in each.rates}
    faults |= {episode.mood for plan in plans for each in plan.providers for episode in each.episodes}
    assert len(faults) > len(FAULTS) * 0.8
    assert {plan.route.on_break for plan in plans} == {"error", "resume", "buffer"}
    assert {name for plan in plans for name in plan.policies} == set(POLICIES)
    assert {crash.dead for plan in plans for crash in plan.crashes} == {False, True}


def test_the_same_seed_is_the_same_trace():
    again = run(draw(4, load=LOAD, hours=0.25))
    first = run(draw(4, load=LOAD, hours=0.25), timeline=True)
    assert again.digest == first.digest
    assert len(first.timeline) == first.events == again.events
    assert run(draw(5, load=LOAD, hours=0.25)).digest != first.digest


def test_hashes_of_other_processes_change_nothing():
    """What a set or a dictionary of strings is ordered by differs from process to process; a trace doesn't."""
    script = (
        "from tests.simulation.draw import draw; from tests.simulation.run import run; "
        "print(*(run(draw(seed, load=0.5, hours=0.1)).digest for seed in (3, 4, 8)))"
    )
    here = [run(draw(seed, load=0.5, hours=0.1)).digest for seed in (3, 4, 8)]
    child = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.split() == here


@cache
def found(name: str) -> tuple[Plan, Violation] | None:
    """The first world in which the broken engine is seen to break what a sound one keeps."""
    broken = BROKEN[name]
    worlds = (draw(seed, load=2, hours=0.1) for seed in count(FIRST))
    fitting = (
        plan
        for plan in worlds
        if (broken.policy is None or broken.policy in plan.policies) and (plan.crashes or not broken.crashes)
    )
    for plan in islice(fitting, WITHIN):
        report = run(plan, make_engine=broken.make_engine)
        violation = next((each for each in report.violations if each.promise in broken.promises), None)
        if violation is not None and violation.promise not in {each.promise for each in run(plan).violations}:
            return plan, violation
    return None


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_engine_is_found(name: str):
    assert found(name) is not None, f"an engine that {name}, and {WITHIN} worlds saw nothing"


def test_a_failure_is_shrunk_to_what_it_needs():
    name = "splices two attempts"
    broken = BROKEN[name]
    plan, violation = found(name)
    small = shrink(plan, violation, make_engine=broken.make_engine).plan
    assert len(small.asks) == 1 < len(plan.asks)
    assert len(small.providers) <= 2
    assert sum(len(each.episodes) + len(each.rates) for each in small.providers) == 1
    again = run(small, make_engine=broken.make_engine)
    assert violation.promise in {each.promise for each in again.violations}
    assert run(small).violations == ()


def test_the_command_says_what_broke_and_fails():
    out = io.StringIO()
    arguments = ["--hours", "0.3", "--seed", "101", "--jobs", "1", "--load", "0.5"]
    with redirect_stdout(out):
        status = main(arguments, BROKEN["bills only what it saw"].make_engine)
    said = out.getvalue()
    assert status == 1
    assert "BU2 broken" in said
    assert "seed 101" in said
    assert "commit" in said
    assert "attempted   number=1" in said


def test_the_command_sums_up_as_json(capfd: pytest.CaptureFixture[str]):
    hours = hours_of(3)
    assert main(["--hours", str(hours), "--seed", "3", "--jobs", "1", "--load", "0.1", "--json"]) == 0
    summary = msgspec.json.decode(capfd.readouterr().out)
    assert summary["violations"] == 0
    assert summary["worlds"] == 1
    assert summary["hours"] >= hours
    assert summary["requests"] > 0
    assert len(summary["digest"]) == 32
