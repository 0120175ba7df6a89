"""Several processes live through bad hours with every test run; and proof that the simulation repeats itself, and notices.

`python -m tests.simulation.replicas --hours 100` lives through as many as one likes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import msgspec
import pytest
from tests.simulation.replicas.__main__ import main, smallest
from tests.simulation.replicas.broken import BROKEN
from tests.simulation.replicas.plan import PARTS, draw, without
from tests.simulation.replicas.world import Report, run

SEEDS = (300, 302, 303, 304, 305)


@cache
def lived(seed: int) -> Report:
    return run(draw(seed, hours=0.04, load=2.0))


@pytest.mark.parametrize("seed", SEEDS)
def test_minutes_of_failing_processes(seed: int):
    report = lived(seed)
    assert report.violations == ()
    assert report.outcomes["ok"] > 10


def test_the_minutes_were_bad_ones():
    """Or they prove little."""
    reports = [lived(seed) for seed in SEEDS]
    plans = [draw(seed, hours=0.04, load=2.0) for seed in SEEDS]
    assert {trouble.what for plan in plans for trouble in plan.troubles} >= set(PARTS) - {"redis_forgets"}
    assert sum(report.lives for report in reports) > sum(plan.replicas for plan in plans)
    assert sum(report.fences for report in reports) > 0


def test_the_same_seed_is_the_same_trace_whatever_hashes_are():
    here = lived(300).digest
    script = (
        "from tests.simulation.replicas.plan import draw; from tests.simulation.replicas.world import run; "
        "print(run(draw(300, hours=0.04, load=2.0)).digest)"
    )
    child = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == here


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_product_is_found(name: str):
    broken = BROKEN[name]
    for plan in broken.plans():
        seen = run(plan, wiring=broken.wiring, until=broken.promises).violations
        if {each.promise for each in seen} & set(broken.promises):
            return
    pytest.fail(f"a product that {name}, and nothing was seen")


def test_the_scenes_are_kept_by_the_sound_product():
    for broken in BROKEN.values():
        if broken.scene is not None:
            assert run(broken.scene).violations == ()


def test_troubles_can_be_taken_out():
    plan = draw(300, hours=0.01, have=("crash", "redis_down", "redis_cut", "rules"))
    assert {each.what for each in without(plan, "crash").troubles} == {
        each.what for each in plan.troubles
    } - {"crash"}
    assert not any(each.what.startswith("redis") for each in without(plan, "redis").troubles)
    assert without(plan, "rules").rules == ()
    with pytest.raises(ValueError, match="no part 'rain'"):
        without(plan, "rain")


def test_what_has_nothing_to_do_with_it_is_left_out():
    """A world that is sound with any trouble keeps all of them; nothing is broken by fewer."""
    plan = without(draw(300, hours=0.002, have=("redis_flush",)), "breaker")
    plan = msgspec.structs.replace(plan, troubles=plan.troubles[:1])
    assert smallest(plan, "BU1").troubles == plan.troubles


def test_the_command_sums_up(capfd: pytest.CaptureFixture[str]):
    assert main(["--hours", "0.01", "--seed", "302"]) == 0
    said = capfd.readouterr().out
    assert "0 worlds broke a promise" in said
    assert "seeds 302 to 302" in said


def test_the_command_replays(capfd: pytest.CaptureFixture[str]):
    assert main(["--replay", "302", "--without", "redis", "--timeline"]) == 0
    assert " born p0" in capfd.readouterr().out
