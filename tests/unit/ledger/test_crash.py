"""kill -9, for real: nothing that was promised is lost, nothing stays open."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.unit.ledger.helpers import ledger_at

from holdfast.ledger import Counts
from holdfast.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 10


def run_until_killed(path: Path, run: int, lines: int) -> list[str]:
    """What the child had said when it died; it is killed while it goes on working."""
    command = [sys.executable, "-m", "tests.unit.ledger.child", str(path), str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += child.stdout.readlines()
        errors = child.stderr.read().decode()
    assert child.returncode == -9, errors
    return [line.decode().strip() for line in said]


def test_kill_9_loses_nothing_and_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    chance = random.Random(20_26)
    begun: set[str] = set()
    flushed: set[str] = set()
    for run in range(KILLS):
        said = run_until_killed(path, run, lines=chance.randrange(2, 1_500))
        assert said[0].startswith("R ")
        begun |= {line[2:] for line in said if line.startswith("B ")}
        flushed |= {line[2:] for line in said if line.startswith("F ")}
    assert len(begun) > 1_000
    assert len(flushed) > 100

    recovered = asyncio.run(restart(path))
    assert recovered >= 0
    with LedgerReader(path) as reader:
        records = {record.intent.id: record for record in reader.requests(limit=None)}
        counts = reader.counts()
    assert begun <= records.keys()
    assert {record.state for record in records.values()} <= {"ok", "unknown"}
    assert {records[request_id].state for request_id in flushed} == {"ok"}
    assert all(
        len(record.end.attempts) == (2 if record.state == "ok" else 0)
        for record in records.values()
        if record.end is not None
    )
    assert counts == Counts(
        accepted=len(records),
        ok=sum(record.state == "ok" for record in records.values()),
        unknown=sum(record.settled_by == "recovery" for record in records.values()),
    )


def test_a_kill_between_begin_and_end_is_recovered_by_the_next_start(tmp_path: Path) -> None:
    """The child is killed before any end: the one after it reports what it closed."""
    path = tmp_path / "ledger.db"
    run_until_killed(path, 0, lines=2)
    asyncio.run(restart(path))
    with LedgerReader(path) as reader:
        assert reader.counts().in_flight == 0
        assert reader.counts().balanced


async def restart(path: Path) -> int:
    ledger = ledger_at(path)
    await ledger.aclose()
    return ledger.recovered


def test_an_interpreter_that_exits_without_closing_does_not_hang(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from tests.unit.ledger.helpers import ledger_at, intent\n"
        "async def main():\n"
        "    await ledger_at(Path(sys.argv[1])).begin(intent('a'))\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "l.db"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert asyncio.run(restart(path)) == 1


@pytest.mark.parametrize("run", range(2))
def test_the_lock_falls_with_its_process(tmp_path: Path, run: int) -> None:
    path = tmp_path / "ledger.db"
    run_until_killed(path, run, lines=1)
    asyncio.run(restart(path))
