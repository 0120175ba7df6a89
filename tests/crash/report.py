"""What a run of the crash loop came to: as a page, and as JSON."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.crash.plan import OUTSIDE, names_of

from holdfast.failpoints import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.crash.life import Lived

__all__ = ["PAGE", "Summary", "json_of", "page_of", "write_page"]

_HERE: Final = Path(__file__).parent
_HEAD: Final = _HERE / "head.md"
_RESULTS: Final = _HERE / "results"
_LEDGERS: Final = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
PAGE: Final = _HERE.parents[1] / "docs" / "crashtest.md"


@dataclass
class Summary:
    """All lives together."""

    seed: int
    jobs: int
    ledger: str
    lives: int = 0
    cycles: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    """By the place where the gateway died."""
    missed: Counter[str] = field(default_factory=Counter)
    """Places that weren't come to so often in their cycle: a kill from outside ended it."""
    open_at_death: int = 0
    requests: int = 0
    attempts: int = 0
    delivered: int = 0
    replayed: int = 0
    states: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    """Faults."""
    faults: list[tuple[str, str, list[str]]] = field(default_factory=list)
    """Life, folder, what was wrong."""
    seconds: float = 0.0

    def add(self, lives: Iterable[Lived]) -> None:
        for lived in lives:
            self.lives += 1
            self.cycles += len(lived.cycles)
            for cycle in lived.cycles:
                if cycle.hit:
                    self.kills[cycle.death.name] += 1
                else:
                    self.missed[cycle.death.name] += 1
                    self.kills[OUTSIDE] += 1
                self.open_at_death += cycle.in_flight
            self.requests += lived.requests
            self.attempts += lived.attempts
            self.delivered += lived.delivered
            self.replayed += lived.replayed
            self.states.update(lived.states)
            self.told.update(lived.told)
            self.kinds.update(fault.kind for fault in lived.faults)
            if lived.faults:
                self.faults.append((lived.seed, lived.folder, [str(fault) for fault in lived.faults]))


def json_of(summary: Summary) -> str:
    """Without folders: what stands there is gone when somebody reads this."""
    told: dict[str, Any] = {
        **vars(summary),
        "faults": [{"life": life, "what": what} for life, _, what in summary.faults],
        "upper_bound_95": 3 / max(1, summary.cycles),
    }
    return json.dumps(told, indent=2)


def write_page(summary: Summary) -> None:
    """Keeps this run's sums as the last ones of its kind of ledger, and writes the page with those of each kind."""
    _RESULTS.mkdir(exist_ok=True)
    told = {
        **json.loads(json_of(summary)),
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "machine": _machine(),
    }
    (_RESULTS / f"{summary.ledger}.json").write_text(json.dumps(told, indent=2) + "\n")
    PAGE.write_text(
        page_of([json.loads(each.read_text()) for each in sorted(_RESULTS.glob("*.json"), reverse=True)])
    )


def page_of(runs: Sequence[Mapping[str, Any]]) -> str:
    """``docs/crashtest.md``, from what :func:`write_page` keeps."""
    columns = [_column(run) for run in runs]
    names = [*NAMES.items(), (OUTSIDE, "At any moment, by another process.")]
    ledgers = " | ".join(_LEDGERS[run["ledger"]] for run in runs)
    return "\n".join(
        [
            _HEAD.read_text(encoding="utf-8"),
            *(_said(run) for run in runs),
            "",
            f"| | {ledgers} |",
            f"|---|{'---|' * len(runs)}",
            *(f"| {name} | {' | '.join(column[name] for column in columns)} |" for name in columns[0]),
            "",
            "## Where it was killed",
            "",
            f"| failpoint | {ledgers} | what has and hasn't happened there |",
            f"|---|{'---:|' * len(runs)}---|",
            *(
                f"| `{name}` | {' | '.join(_kills(run, name) for run in runs)} | {said} |"
                for name, said in names
            ),
            "",
        ]
    )


def _said(run: Mapping[str, Any]) -> str:
    command = f"make crashtest N={run['cycles']} SEED={run['seed']} JOBS={run['jobs']} LEDGER={run['ledger']}"
    held = "the promises held in every cycle" if not run["kinds"] else "promises were broken: see the faults"
    return f"- `{command}`, {run['date']}, {run['machine']}: {held}."


def _kills(run: Mapping[str, Any], name: str) -> str:
    return f"{run['kills'].get(name, 0):,}" if name in (*names_of(run["ledger"]), OUTSIDE) else "—"


def _column(run: Mapping[str, Any]) -> dict[str, str]:
    kinds, states = Counter(run["kinds"]), Counter(run["states"])
    lost, twice = kinds["lost"], kinds["duplicated"]
    told = ", ".join(f"{count:,} {code}" for code, count in Counter(run["told"]).most_common())
    return {
        "cycles": f"{run['cycles']:,} on {run['lives']:,} ledgers",
        "requests open at a death": f"{run['open_at_death']:,}",
        "calls": f"{run['requests']:,}",
        "attempts at the provider": f"{run['attempts']:,}",
        "answers delivered whole": f"{run['delivered']:,}, {run['replayed']:,} of them replays",
        "errors told": told,
        "records in the end": ", ".join(f"{count:,} {state}" for state, count in states.most_common()),
        "**lost**": f"**{lost}**",
        "**duplicated**": f"**{twice}**",
        "other faults": f"{kinds.total() - lost - twice}",
        "chance that a kill breaks a promise": f"≤ {run['upper_bound_95']:.2%} (3/N, at 95 %)"
        if not kinds
        else "—",
        "failpoints that weren't come to in time": f"{sum(run['missed'].values()):,}, killed from outside",
        "wall time": f"{run['seconds']:.0f} s",
    }


def _machine() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as told:  # noqa: PTH123  # no file
            names = [line.split(":", 1)[1].strip() for line in told if line.startswith("model name")]
    except OSError:
        names = []
    model = names[0] if names else platform.machine()
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"
