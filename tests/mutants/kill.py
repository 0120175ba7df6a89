"""Runs a mutant's test against a copy of the package with the mutant in it."""

from __future__ import annotations

import compileall
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mutants.mutant import Mutant

__all__ = ["Verdict", "kill", "run", "snapshot"]

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "holdfast"

TEST_S: Final = 60
"""A test that a mutant makes hang has noticed it by then."""
RUN_S: Final = 600
"""And one that can't even be interrupted is killed."""

_SURVIVED: Final = 0  # pytest's exit status where all tests passed
_KILLED: Final = 1  # where tests ran and some failed; all else is a broken run
_ELSEWHERE: Final = 64

_ENTRY: Final = f"""
import importlib.util, sys
if not importlib.util.find_spec("holdfast").origin.startswith(sys.argv[1]):
    sys.exit({_ELSEWHERE})
import pytest
sys.exit(pytest.main(sys.argv[2:]))
"""
# The check is of the run itself: were the installed package imported instead, every mutant would seem to survive.

_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (?P<test>.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    killed: bool
    seconds: float
    by: str = ""
    """The test that failed."""
    why_not: str = ""
    tries: int = 1
    """Runs that it took. More than one: its test notices by chance, and should be made to notice each time."""


@contextmanager
def snapshot() -> Iterator[Path]:
    """A folder with the package as it is now, compiled. Whoever edits the package meanwhile changes nothing in it."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        shutil.copytree(SOURCE, Path(folder, "holdfast"), ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(folder, quiet=2)
        yield Path(folder)


def kill(mutant: Mutant, package: Path, tries: int = 1) -> Verdict:
    """Takes the guard out of a copy of ``package``, which is a :func:`snapshot`, and runs the test that must notice.

    Where several processes race, a test may meet what it looks for in most of its runs only: one that survives is run again,
    up to ``tries`` times in all.
    """
    for number in range(1, tries + 1):
        verdict = replace(_killed(mutant, package), tries=number)
        if verdict.killed:
            break
    return verdict


def _killed(mutant: Mutant, package: Path) -> Verdict:
    started = time.monotonic()
    text = (package / "holdfast" / mutant.file).read_text(encoding="utf-8")
    if (count := text.count(mutant.old)) != 1:
        why_not = f"the text to change is {count} times in {mutant.file}: the table is out of date"
        return Verdict(mutant, killed=False, seconds=0.0, why_not=why_not)
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        shutil.copytree(package / "holdfast", Path(folder, "holdfast"), copy_function=os.link)
        file = Path(folder, "holdfast", mutant.file)
        file.unlink()  # it is a link to the snapshot's
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        status, said = run(Path(folder), mutant.test)
    seconds = time.monotonic() - started
    if status == _KILLED:
        failed = _FAILED.search(said)
        return Verdict(mutant, killed=True, seconds=seconds, by=failed["test"] if failed else mutant.test)
    if status == _SURVIVED:
        why_not = f"survived {mutant.test}"
    else:
        why_not = f"{mutant.test} could not be run (status {status}):\n{said[-3000:]}"
    return Verdict(mutant, killed=False, seconds=seconds, why_not=why_not)


def run(package: Path, *arguments: str) -> tuple[int, str]:
    """Runs pytest against the package in that folder: its exit status, and all that it said."""
    options = ("-x", "-q", "-p", "no:cacheprovider", "-p", "tests.mutants.profile", f"--timeout={TEST_S}")
    command = [sys.executable, "-c", _ENTRY, str(package), *options, *arguments]
    env = {
        **os.environ,
        "PYTHONPATH": f"{package}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_PROFILE": "mutants",
    }
    # A session of its own: a mutant may leave processes behind, which end with it.
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=RUN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return -signal.SIGKILL, f"killed after {RUN_S} s:\n{said}"
    except BaseException:  # Ctrl-C
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, said
