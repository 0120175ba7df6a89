"""``python -m tests.mutants``: takes each guard out in turn, and says which test noticed.

``JOBS`` (2 unless set) says how many run at a time. The exit status is 0 if all were killed, 1 if some weren't, and 2 if
the question was wrong or the tests fail without any mutant.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from tests.mutants.draw import drawn, today
from tests.mutants.every import MUTANTS
from tests.mutants.kill import kill, run, snapshot

if TYPE_CHECKING:
    from tests.mutants.kill import Verdict
    from tests.mutants.mutant import Mutant


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description="Takes each guard out in turn: a test must notice."
    )
    parser.add_argument("words", nargs="*", help="only those with all of these words in their names")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="only N of them, others each day, by and by all"
    )
    parser.add_argument(
        "--seed", type=int, default=today(), help="whose turn it is (default: the number of the day)"
    )
    parser.add_argument(
        "--tries",
        type=int,
        default=1,
        metavar="N",
        help="run one that survives again, up to N times in all, and say so (default: 1)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")
    arguments = parser.parse_args()
    if arguments.tries < 1:
        parser.error(f"--tries must be 1 or more, not {arguments.tries}")
    return arguments


def _chosen(arguments: argparse.Namespace) -> list[Mutant]:
    named = [m for m in MUTANTS if all(word.lower() in m.name.lower() for word in arguments.words)]
    return named if arguments.sample is None else drawn(named, arguments.sample, arguments.seed)


def _as_json(verdict: Verdict) -> str:
    mutant = verdict.mutant
    told = {
        "name": mutant.name,
        "promises": mutant.ids,
        "file": mutant.file,
        "test": mutant.test,
        "killed": verdict.killed,
        "by": verdict.by,
        "why_not": verdict.why_not,
        "tries": verdict.tries,
        "seconds": round(verdict.seconds, 2),
    }
    return json.dumps(told, ensure_ascii=False)


def _as_text(verdict: Verdict) -> str:
    mutant = verdict.mutant
    word = "killed" if verdict.killed else "SURVIVED"
    chance = f"  (run {verdict.tries} times)" if verdict.tries > 1 else ""
    line = f"{word:8} {verdict.seconds:5.1f} s  {', '.join(mutant.ids) or '–':8}  {mutant.what}{chance}\n"
    return f"{line}{'':18}  {verdict.by or verdict.why_not}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    arguments = _arguments()
    chosen = _chosen(arguments)
    if not chosen:
        sys.stderr.write(f"no mutant is called {' '.join(arguments.words)!r}\n")
        return 2
    jobs = int(os.environ.get("JOBS", "2"))
    started = time.monotonic()
    with snapshot() as package, ThreadPoolExecutor(jobs) as pool:
        status, said = run(package, f"--numprocesses={jobs}", *sorted({mutant.test for mutant in chosen}))
        if status != 0:
            sys.stderr.write(f"without mutants the tests must pass, and don't:\n{said[-4000:]}\n")
            return 2
        survivors, by_chance = [], []
        for verdict in pool.map(partial(kill, package=package, tries=arguments.tries), chosen):
            _say(_as_json(verdict) if arguments.json else _as_text(verdict))
            if not verdict.killed:
                survivors.append(verdict)
            elif verdict.tries > 1:
                by_chance.append(verdict)
    if not arguments.json:
        for verdict in (*by_chance, *survivors):  # once more where they are seen: the list is long
            _say(_as_text(verdict))
        took = time.monotonic() - started
        chance = f", {len(by_chance)} of them not at the first try" if by_chance else ""
        _say(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants killed in {took:.0f} s{chance}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
