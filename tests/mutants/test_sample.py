"""Eight mutants a day, in the normal suite: others each day, and by and by all. ``make mutants`` runs them all."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

import pytest
from tests.mutants.draw import drawn, today
from tests.mutants.every import MUTANTS
from tests.mutants.kill import kill, snapshot
from tests.mutants.mutant import Mutant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAMPLE = 8

CAP = Mutant(
    "RT2: jitter passes the cap",
    "resilience/backoff.py",
    "    high = min(delay * (1 + factor), cap)\n",
    "    high = delay * (1 + factor)\n",
    "tests/unit/resilience/test_backoff.py",
)


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    with snapshot() as folder:
        yield folder


# By place and not by name: on another day, or in another process at midnight, the tests are called the same.
@pytest.mark.parametrize("place", range(SAMPLE))
def test_a_mutant_of_the_day_is_killed(place: int, package: Path):
    mutant = drawn(MUTANTS, SAMPLE, today())[place]
    verdict = kill(mutant, package, tries=3)
    assert verdict.killed, f"{mutant.name}: {verdict.why_not}"


def test_every_mutant_comes_up_and_no_sooner_again_than_the_others():
    quick = [mutant for mutant in MUTANTS if not mutant.slow]
    days = ceil(len(quick) / SAMPLE)
    for first in (0, 20_000):
        drawn_on = [drawn(MUTANTS, SAMPLE, day) for day in range(first, first + days)]
        assert all(len(set(day)) == SAMPLE for day in drawn_on)
        assert {mutant for day in drawn_on for mutant in day} == set(quick)


def test_slow_ones_are_left_to_the_full_run():
    slow = replace(CAP, slow=True)
    assert drawn([slow, CAP], SAMPLE, 0) == [CAP]


class TestVerdicts:
    """What the runner says is so: a mutant that survives must not pass for a killed one."""

    def test_killed_by_the_test_that_failed(self, package: Path):
        verdict = kill(CAP, package)
        assert verdict.killed
        assert verdict.by.startswith(f"{CAP.test}::")

    def test_survived(self, package: Path):
        same = replace(CAP, new=f"{CAP.old}    # as it was\n")
        verdict = kill(same, package)
        assert not verdict.killed
        assert verdict.why_not == f"survived {CAP.test}"

    def test_one_that_its_test_meets_by_chance_is_run_again(self, package: Path, tmp_path: Path):
        second = tmp_path / "test_second.py"
        second.write_text(
            "from pathlib import Path\n"
            "def test_the_second_run_fails():\n"
            "    been = Path(__file__).with_name('been')\n"
            "    assert not been.exists()\n"
            "    been.touch()\n"
        )
        verdict = kill(replace(CAP, test=str(second)), package, tries=5)
        assert (verdict.killed, verdict.tries) == (True, 2)

    def test_one_that_survives_each_time_has_survived(self, package: Path):
        verdict = kill(replace(CAP, new=f"{CAP.old}    # as it was\n"), package, tries=2)
        assert (verdict.killed, verdict.tries) == (False, 2)

    def test_a_test_that_is_not_there_kills_nothing(self, package: Path):
        verdict = kill(replace(CAP, test=f"{CAP.test}::test_nothing"), package)
        assert not verdict.killed
        assert "could not be run" in verdict.why_not

    def test_text_that_is_not_there_is_no_mutant(self, package: Path):
        verdict = kill(replace(CAP, old="not there"), package)
        assert not verdict.killed
        assert "0 times" in verdict.why_not

    def test_the_snapshot_stays_as_it_was(self, package: Path):
        kill(CAP, package)
        assert CAP.old in (package / "holdfast" / CAP.file).read_text(encoding="utf-8")
