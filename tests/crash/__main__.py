"""``python -m tests.crash``: kills gateways at every instruction that has a name, and at any other, and looks what is left.

``--cycles`` starts, each of which ends by a kill; ``--jobs`` processes, each with ``--lanes`` ledgers at a time. A life that
broke a promise keeps its folder, and is lived again with ``--replay LIFE``. The sums are JSON on stdout. Exit status:
0 all promises held, 1 one was broken, 2 it didn't run.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from tests.crash.loop import run
from tests.crash.report import json_of, write_page

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN: Final = 20


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=100, help="how many kills (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the plan and of what callers ask (0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--lanes", type=int, default=3, help="ledgers at a time in each process (3)")
    parser.add_argument("--ledger", choices=("sqlite", "postgres"), default="sqlite", help="where (sqlite)")
    parser.add_argument("--replay", metavar="LIFE", help="one life again, as a failure names it")
    parser.add_argument("--report", action="store_true", help="write docs/crashtest.md, too")
    options = parser.parse_args(arguments)
    if min(options.cycles, options.jobs, options.lanes) < 1:
        parser.error("--cycles, --jobs and --lanes are at least 1")
    summary = run(
        options.cycles,
        options.seed,
        jobs=options.jobs,
        lanes=options.lanes,
        ledger=options.ledger,
        only=options.replay,
    )
    print(json_of(summary))  # noqa: T201  # what the command is for
    if options.report:
        write_page(summary)
    for life, folder, faults in summary.faults[:_SHOWN]:
        print(f"\nlife {life}, kept in {folder}:", *faults[:_SHOWN], sep="\n  ", file=sys.stderr)  # noqa: T201  # likewise
        print(f"  again: python -m tests.crash --ledger {options.ledger} --replay {life}", file=sys.stderr)  # noqa: T201  # likewise
    return 1 if summary.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
