"""``python -m tests.mutants``: applies each mutant to a copy of the source and runs the test that must fail on it.

Arguments choose mutants by words of their names; none: all of them. ``JOBS`` sets how many run at a time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "holdfast"
FAILED = 1  # pytest's exit status where tests ran and some failed; 0 is a survivor, all else a broken run
TIMEOUT_S = 60


def _pytest(source: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Runs ``tests`` against the package in ``source``."""
    # A check of its own: were the installed package imported instead, every mutant would seem to survive.
    check = f"import holdfast, sys; sys.exit(not holdfast.__file__.startswith({str(source)!r}))"
    env = {**os.environ, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    env["HYPOTHESIS_PROFILE"] = "ci"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, env=env, check=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--timeout={TIMEOUT_S}",
        *tests,
    ]
    return subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True)


def _problem(mutant: Mutant) -> str | None:
    """Why the mutant wasn't killed; None: it was."""
    text = (SOURCE / mutant.file).read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1:
        return f"the text to change is {count} times in {mutant.file}: the table is out of date"
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        source = Path(folder)
        shutil.copytree(SOURCE, source / "holdfast", ignore=shutil.ignore_patterns("__pycache__"))
        (source / "holdfast" / mutant.file).write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        done = _pytest(source, mutant.test)
    if done.returncode == FAILED:
        return None
    if done.returncode == 0:
        return f"survived {mutant.test}"
    said = (done.stdout + done.stderr)[-3000:]
    return f"{mutant.test} could not be run (pytest ended with {done.returncode}):\n{said}"


def _timed(mutant: Mutant) -> tuple[str | None, float]:
    started = time.monotonic()
    return _problem(mutant), time.monotonic() - started


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if all(word.lower() in mutant.name.lower() for word in words)]
    if not chosen:
        _say(f"no mutant is called {' '.join(words)!r}")
        return 2
    whole = _pytest(SOURCE.parent, *sorted({mutant.test for mutant in chosen}))
    if whole.returncode != 0:
        _say(f"without mutants the tests must pass, and don't:\n{whole.stdout[-4000:]}")
        return 2
    problems = 0
    with ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        for mutant, (problem, seconds) in zip(chosen, pool.map(_timed, chosen), strict=True):
            _say(f"{'killed  ' if problem is None else 'SURVIVED'} {seconds:5.1f} s  {mutant.name}")
            if problem is not None:
                _say(f"         {problem}")
                problems += 1
    _say(f"{len(chosen) - problems} of {len(chosen)} mutants killed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
