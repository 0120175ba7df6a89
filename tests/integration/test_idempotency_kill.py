"""ID1 across kill -9, for real: a process is killed while its runs are on; the next one runs nothing twice."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.idempotency_child import Effects

from holdfast.errors import OutcomeUnknownForKey
from holdfast.idempotency import SqliteIdempotency, idempotent_operation

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 6


def run_until_killed(what: str, url: str, effects: Effects, lines: int) -> list[str]:
    """What the child had said when it died; it is killed while it goes on working."""
    command = [sys.executable, "-m", "tests.integration.idempotency_child", what, url, str(effects.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += child.stdout.readlines()
        errors = child.stderr.read().decode()
    assert child.returncode == -9, errors
    return [line.decode().strip() for line in said]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/keys.db"


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    return Effects(tmp_path / "effects")


def test_a_hundred_callers_and_a_kill_make_one_run(url: str, effects: Effects) -> None:
    """What became of it can't be known: it is told so, and never run again."""

    async def again() -> Any:
        effects.note("k")

    async def main() -> None:
        async with await SqliteIdempotency.open(url) as store:
            outcomes = await asyncio.gather(
                *(idempotent_operation(again, "k", store=store) for _ in range(100)), return_exceptions=True
            )
            assert {type(each) for each in outcomes} == {OutcomeUnknownForKey}

    assert run_until_killed("hang", url, effects, lines=1) == ["RUNNING"]
    asyncio.run(main())
    asyncio.run(main())
    assert effects.lines() == ["k"]


def test_killed_at_any_moment_every_key_has_one_effect_at_most(url: str, effects: Effects) -> None:
    """What was promised is replayed; what can't be known is unknown; what left no trace may run."""
    chance = random.Random(20_26)
    done: set[str] = set()
    for _ in range(KILLS):
        said = run_until_killed("work", url, effects, lines=chance.randrange(1, 300))
        done |= {line.removeprefix("DONE ") for line in said}
    before = Counter(effects.lines())
    assert len(done) > 300
    assert done <= set(before)
    assert set(before.values()) == {1}

    async def ask(store: SqliteIdempotency, key: str) -> str:
        async def operation() -> None:
            raise AssertionError(f"{key} was run again")

        try:
            result = await idempotent_operation(operation, key, store=store, payload=key)
        except OutcomeUnknownForKey:
            return "unknown"
        assert result == {"for": key}
        return "replayed"

    async def main() -> dict[str, str]:
        async with await SqliteIdempotency.open(url) as store:
            keys = list(before)
            return dict(zip(keys, await asyncio.gather(*(ask(store, key) for key in keys)), strict=True))

    outcomes = asyncio.run(main())
    assert {outcomes[key] for key in done} == {"replayed"}
    stuck = [key for key in before if key.endswith("-0-0")]
    assert len(stuck) == KILLS
    assert {outcomes[key] for key in stuck} == {"unknown"}
