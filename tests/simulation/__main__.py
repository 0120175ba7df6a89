"""``python -m tests.simulation``: lives through many hours of failing worlds, and says which promises broke.

``--hours`` virtual hours from seed ``--seed`` on, ``--jobs`` worlds at a time. A failure is shown with its seed, the commit
and a shrunk timeline, and comes back with ``--replay SEED``. Exit status: 0 all promises held, 1 one was broken, 2 it
didn't run.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tests.simulation.draw import DEFAULT_LOAD, Plan, draw, hours_of
from tests.simulation.live import live
from tests.simulation.run import Report, run
from tests.simulation.shrink import shrink
from tests.simulation.trace import line

from holdfast.engine.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
SHOWN: Final = 3
"""Failures that are shrunk and shown; the others are listed by their seeds."""


class Summary(msgspec.Struct, kw_only=True):
    """What all worlds together were."""

    commit: str
    first_seed: int
    load: float
    jobs: int
    worlds: int = 0
    hours: float = 0.0
    requests: int = 0
    attempts: int = 0
    events: int = 0
    outcomes: dict[str, int] = {}
    violations: int = 0
    promises: dict[str, list[int]] = {}
    """The broken ones, each with the seeds that broke it."""
    digest: str = ""
    """Of all traces, in the order of their seeds."""
    wall_s: float = 0.0
    hours_per_minute: float = 0.0


def seeds_for(hours: float, first: int) -> list[int]:
    """As many seeds as last ``hours`` together."""
    seeds, left = [], hours
    seed = first
    while left > 0:
        seeds.append(seed)
        left -= hours_of(seed)
        seed += 1
    return seeds


def commit() -> str:
    """What is being tried; "+" where the tree has changed since."""
    try:
        said = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "diff", "--quiet", "HEAD", "--", "src", "tests/simulation"], cwd=ROOT, check=False
        ).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said + ("+" if changed else "")


def all_reports(seeds: list[int], load: float, jobs: int, make_engine: type[Engine]) -> Iterator[Report]:
    """The reports of all worlds, as they come in."""
    if jobs == 1:
        yield from (live(seed, load, make_engine) for seed in seeds)
        return
    # "spawn": what a child sees doesn't depend on what this process has done so far.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting: set[Future[Report]] = set()
        coming = iter(seeds)
        try:
            while True:
                while len(waiting) < 2 * jobs and (seed := next(coming, None)) is not None:
                    waiting.add(pool.submit(live, seed, load, make_engine))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()


def show_failure(
    console: Console, plan: Plan, report: Report, said: str, make_engine: type[Engine] = Engine
) -> None:
    """Seed, commit, promise and the shortest timeline that still shows it."""
    violation = report.violations[0]
    shrunk = shrink(plan, violation, make_engine=make_engine)
    small = run(shrunk.plan, make_engine=make_engine, timeline=True)
    found = next(each for each in small.violations if each.promise == violation.promise)
    console.rule(f"[bold red]{found.promise} broken[/] · seed {plan.seed} · commit {said}")
    console.print(f"{found.what} [dim](request {found.n}, at {found.at:.3f} s)[/]", highlight=False)
    console.print(
        f"[dim]shrunk in {shrunk.runs} runs: {len(plan.asks)} → {len(shrunk.plan.asks)} requests, "
        f"{len(plan.providers)} → {len(shrunk.plan.providers)} providers[/]",
        highlight=False,
    )
    for text in (*describe(shrunk.plan), "", *timeline(small)):
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"again: python -m tests.simulation --replay {plan.seed}", style="bold", highlight=False)


def describe(plan: Plan) -> Iterator[str]:
    """The world in a few lines."""
    route = plan.route
    yield f"route: total_s={route.total_s:g} max_attempts={route.max_attempts} on_break={route.on_break}"
    for each in plan.providers:
        faults = [f"{name} {rate:.3g}" for name, rate in each.rates.items()]
        faults += [
            f"{episode.mood} {episode.share:g} from {episode.start_s:.1f} to {episode.end_s:.1f} s"
            for episode in each.episodes
        ]
        faults += [f"{step.places} places from {step.at_s:.1f} s" for step in each.capacity]
        yield f"{each.name}: {', '.join(faults) or 'no faults'} · {_pairs(each.timeouts)} · {_pairs(each.retry)}"
    for name, settings in plan.policies.items():
        yield f"{name}: {_pairs(settings)}"
    for ask in plan.asks:
        told = {
            name: getattr(ask, name)
            for name in ("leaves_s", "total_s", "read_s", "pause_s")
            if getattr(ask, name)
        }
        yield f"#{ask.n}: {'stream' if ask.stream else 'plain'} of {ask.words} words at {ask.at_s:.3f} s {_pairs(told)}"


def timeline(report: Report) -> Iterator[str]:
    """Every event up to the first broken promise, and that one."""
    broken = sorted(report.violations, key=lambda each: each.at)
    until = broken[0].at if broken else float("inf")
    for event in report.timeline:
        if event.at > until:
            break
        yield line(event)
    for violation in broken[:1]:
        yield f"{violation.at:10.3f}  {'#' + str(violation.n):>5}  {violation.promise}: {violation.what}"


def _pairs(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def gather(
    options: argparse.Namespace, console: Console, make_engine: type[Engine]
) -> tuple[Summary, list[Report]]:
    """Runs every world; returns the sum, and the reports of those that broke a promise."""
    seeds = seeds_for(options.hours, options.seed)
    summary = Summary(commit=commit(), first_seed=options.seed, load=options.load, jobs=options.jobs)
    broken: list[Report] = []
    digests: dict[int, str] = {}
    outcomes: Counter[str] = Counter()
    began = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("worlds"),
        TimeRemainingColumn(),
    )
    quiet = options.json or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as progress:
        bar = progress.add_task("simulating", total=len(seeds))
        for report in all_reports(seeds, options.load, options.jobs, make_engine):
            summary.worlds += 1
            summary.hours += report.hours
            summary.requests += report.requests
            summary.attempts += report.attempts
            summary.events += report.events
            outcomes.update(report.outcomes)
            digests[report.seed] = report.digest
            if report.violations:
                broken.append(report)
                summary.violations += len(report.violations)
            bad = f" · [red]{len(broken)} broken[/]" if broken else ""
            progress.update(bar, advance=1, description=f"{summary.hours:,.0f} h{bad}")
    broken.sort(key=lambda each: each.seed)
    for report in broken:
        for promise in dict.fromkeys(violation.promise for violation in report.violations):
            summary.promises.setdefault(promise, []).append(report.seed)
    summary.outcomes = dict(sorted(outcomes.items()))
    summary.digest = hashlib.blake2b(
        "".join(digests[seed] for seed in sorted(digests)).encode(), digest_size=16
    ).hexdigest()
    summary.wall_s = time.monotonic() - began
    summary.hours_per_minute = summary.hours / max(summary.wall_s, 1e-9) * 60
    return summary, broken


def tell(console: Console, summary: Summary) -> None:
    """The summary for a reader."""
    rows = {
        "hours": f"{summary.hours:,.1f} in {summary.worlds:,} worlds, seeds {summary.first_seed} to "
        f"{summary.first_seed + summary.worlds - 1}",
        "requests": f"{summary.requests:,} ({', '.join(f'{n:,} {how}' for how, n in summary.outcomes.items())})",
        "attempts": f"{summary.attempts:,}",
        "events": f"{summary.events:,}",
        "violations": f"{summary.violations:,}",
        "wall time": f"{summary.wall_s:,.1f} s, {summary.jobs} at a time: {summary.hours_per_minute:,.1f} hours a minute",
        "commit": summary.commit,
        "traces": summary.digest,
    }
    for name, value in rows.items():
        console.print(f"{name:<11} {value}", highlight=False, soft_wrap=True)
    for promise, seeds in summary.promises.items():
        shown = ", ".join(map(str, seeds[:12])) + (" …" if len(seeds) > 12 else "")
        console.print(f"{promise} broken by seeds {shown}", style="red", highlight=False)


def replay(console: Console, seed: int, load: float, make_engine: type[Engine]) -> int:
    """One world again: what it broke, and how."""
    plan = draw(seed, load=load)
    report = run(plan, make_engine=make_engine)
    console.print(
        f"seed {seed}: {report.hours:.2f} hours, {report.requests:,} requests, {report.attempts:,} attempts, "
        f"{report.events:,} events, trace {report.digest}, {len(report.violations)} violations",
        highlight=False,
        soft_wrap=True,
    )
    if not report.violations:
        return 0
    for violation in report.violations:
        console.print(
            f"  {violation.promise} at {violation.at:.3f} s, request {violation.n}: {violation.what}",
            markup=False,
        )
    show_failure(console, plan, report, commit(), make_engine)
    return 1


def main(arguments: list[str], make_engine: type[Engine] = Engine) -> int:
    """Runs the command; ``make_engine``: another engine than the product's, where the simulation itself is tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0, help="virtual hours in all (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the first world (0)")
    parser.add_argument("--jobs", type=int, default=2, help="worlds at a time (2)")
    parser.add_argument("--load", type=float, default=DEFAULT_LOAD, help="multiplies the requests (1)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="only this world, and how it fails")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")
    options = parser.parse_args(arguments)
    if options.hours <= 0 or options.jobs < 1 or options.load <= 0:
        parser.error("hours and load must be above 0, jobs at least 1")
    console = Console(stderr=options.json, soft_wrap=True)
    if options.replay is not None:
        return replay(console, options.replay, options.load, make_engine)
    try:
        summary, broken = gather(options, console, make_engine)
    except BrokenProcessPool as error:
        console.print(f"a process died, so the run says nothing: {error}", style="red")
        return 2
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(summary)).decode() + "\n")
    else:
        tell(console, summary)
    shown: set[str] = set()
    for report in broken:
        promise = report.violations[0].promise
        if promise not in shown and len(shown) < SHOWN:
            shown.add(promise)
            plan = draw(report.seed, load=options.load)
            show_failure(console, plan, report, summary.commit, make_engine)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
