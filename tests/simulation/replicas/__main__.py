"""``python -m tests.simulation.replicas``: lives through many hours of several processes that fail, and says what broke.

``--hours`` virtual hours from seed ``--seed`` on, ``--jobs`` worlds at a time. A failure is shown with its seed and the
shortest list of troubles that still shows it, and comes back with ``--replay SEED`` (``--without PART`` takes something
out, ``--timeline`` shows everything). Exit status: 0 all promises held, 1 one was broken, 2 it didn't run.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import msgspec
from tests.simulation.replicas.plan import draw, hours_of, without
from tests.simulation.replicas.world import Report, live, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.replicas.plan import Plan

__all__ = ["main"]

_SHOWN = 3


def seeds_for(hours: float, first: int) -> list[int]:
    """As many seeds as last ``hours`` together."""
    seeds: list[int] = []
    while hours > 0:
        seeds.append(first + len(seeds))
        hours -= hours_of(seeds[-1])
    return seeds


def all_reports(seeds: list[int], jobs: int) -> Iterator[Report]:
    """In the order of the seeds."""
    if jobs == 1:
        yield from map(live, seeds)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(live, seeds, chunksize=1)


def smallest(plan: Plan, promise: str) -> Plan:
    """As few troubles as still break that promise."""
    for trouble in reversed(plan.troubles):
        fewer = msgspec.structs.replace(
            plan, troubles=tuple(each for each in plan.troubles if each != trouble)
        )
        if any(each.promise == promise for each in run(fewer).violations):
            plan = fewer
    return plan


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.replicas", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--replay", type=int, help="one seed again")
    parser.add_argument("--without", action="append", default=[], help="with --replay: takes a part out")
    parser.add_argument("--timeline", action="store_true", help="with --replay: every event")
    options = parser.parse_args(argv)
    if options.replay is not None:
        return _replay(options.replay, options.without, timeline=options.timeline)
    began = time.monotonic()  # how long it took is the machine's time
    totals: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    digest, broken, hours = hashlib.blake2b(digest_size=16), 0, 0.0
    seeds = seeds_for(options.hours, options.seed)
    for report in all_reports(seeds, options.jobs):
        hours += report.hours
        digest.update(report.digest.encode())
        outcomes.update(report.outcomes)
        for name in ("requests", "lives", "fences", "late", "lost_commits", "events"):
            totals[name] += getattr(report, name)
        if report.violations:
            broken += 1
            if broken <= _SHOWN:
                _show(draw(report.seed), report)
            else:
                _say(f"seed {report.seed}: {report.violations[0].promise}")
    took_s = time.monotonic() - began  # as above
    _say(f"{hours:.1f} hours in {len(seeds)} worlds, seeds {seeds[0]} to {seeds[-1]}, in {took_s:.0f} s")
    _say(", ".join(f"{value} {name}" for name, value in totals.items()))
    _say(", ".join(f"{value} {name}" for name, value in outcomes.most_common()))
    _say(f"digest {digest.hexdigest()}; {broken} worlds broke a promise")
    return 1 if broken else 0


def _replay(seed: int, parts: list[str], *, timeline: bool) -> int:
    plan = draw(seed)
    for part in parts:
        plan = without(plan, part)
    report = run(plan, timeline=timeline)
    for each in report.timeline:
        _say(each)
    for violation in report.violations:
        _say(f"{violation.at:.3f} {violation.promise} {violation.n} {violation.what}")
    _say(f"digest {report.digest}")
    return 1 if report.violations else 0


def _show(plan: Plan, report: Report) -> None:
    first = report.violations[0]
    _say(f"--- {first.promise} broken: seed {plan.seed}, at {first.at:.3f} s: {first.what}")
    for each in smallest(plan, first.promise).troubles:
        _say(f"    {each.what} of {each.replica} from {each.at_s} to {each.end_s}")
    _say(f"    again: python -m tests.simulation.replicas --replay {plan.seed}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
