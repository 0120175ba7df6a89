"""Failpoints: off unless armed, each where its name says, and read strictly."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from holdfast import failpoints
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(failpoints.__file__).parent
_HIT = re.compile(r"failpoints\.hit\(([^)]*)\)")
_NAME = re.compile(r'"([a-z_]+\.[a-z_]+)"')


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.disarm()


def outcomes(name: str, count: int) -> list[bool]:
    """Of each hit: whether it failed there."""
    failed = []
    for _ in range(count):
        try:
            failpoints.hit(name)
            failed.append(False)
        except failpoints.FailpointError:
            failed.append(True)
    return failed


def test_off_unless_armed() -> None:
    assert not failpoints.armed
    failpoints.arm("intent.queued=error")
    assert failpoints.armed
    failpoints.arm("")
    assert not failpoints.armed
    failpoints.hit("intent.queued")


def test_at_the_hit_that_was_named_and_at_no_other() -> None:
    failpoints.arm("intent.queued=error@3; settle.queued=error")
    assert outcomes("intent.queued", 5) == [False, False, True, False, False]
    assert outcomes("settle.queued", 2) == [True, False]
    assert outcomes("send.head", 2) == [False, False]


def test_at_every_hit() -> None:
    failpoints.arm("send.head=error@all")
    assert outcomes("send.head", 3) == [True, True, True]


def test_chance_replays_from_its_seed() -> None:
    failpoints.arm("send.head=error@p0.3,seed=7")
    first = outcomes("send.head", 1000)
    failpoints.arm("send.head=error@p0.3,seed=7")
    replayed = outcomes("send.head", 1000) == first  # two lists that differ are compared for minutes
    assert replayed
    assert 200 < sum(first) < 400
    failpoints.arm("send.head=error@p0.3,seed=8")
    replayed = outcomes("send.head", 1000) == first
    assert not replayed


def test_a_hit_is_counted_once_over_all_threads() -> None:
    failpoints.arm("send.head=error@500")
    failed: list[bool] = []
    threads = [threading.Thread(target=lambda: failed.extend(outcomes("send.head", 100))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(failed) == 1


def test_a_pause_goes_on_after_it(capfd: pytest.CaptureFixture[str]) -> None:
    failpoints.arm("send.head=pause:0.001")
    failpoints.hit("send.head")
    assert capfd.readouterr().err == "HOLDFAST_FAILPOINTS: pause at send.head\n"


@pytest.mark.parametrize(
    "wrong",
    [
        "intent.queued", "intent.queued=", "intent.queued=die", "intent.queued=kill@0", "intent.queued=kill@x",
        "intent.queued=kill@p2", "intent.queued=pause", "intent.queued=pause:-1", "intent.queued=pause:9999",
        "intent.lost=kill", "=kill", "intent.queued=kill@3@4", "send.head=error,intent.queued=kill",
    ],
)  # fmt: skip  # a list reads better packed
def test_what_cant_be_meant_is_refused_and_arms_nothing(wrong: str) -> None:
    with pytest.raises(ConfigError, match="HOLDFAST_FAILPOINTS"):
        failpoints.arm(f"send.head=error;{wrong}")
    assert not failpoints.armed


def test_each_name_is_hit_somewhere_and_each_hit_is_named() -> None:
    found = {
        name
        for path in SOURCE.rglob("*.py")
        for call in _HIT.finditer(path.read_text())
        for name in _NAME.findall(call[1])
    }
    assert found - {"intent.queued"} == failpoints.NAMES.keys() - {"intent.queued"}
    assert "intent.queued" in found


def test_no_place_is_hit_without_a_look_whether_any_is_armed() -> None:
    """It costs one attribute while it is off: the call is behind the look, everywhere."""
    for path in SOURCE.rglob("*.py"):
        if path.name == "failpoints.py":
            continue
        lines = path.read_text().splitlines()
        for above, line in itertools.pairwise(lines):
            if "failpoints.hit(" in line:
                assert above.strip().startswith("if failpoints.armed"), f"{path}: {line}"


def holdfast(*arguments: str, spec: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from holdfast.cli import main; main()", *arguments],
        env={**os.environ, failpoints.VARIABLE: spec},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_line_reads_it_and_a_kill_is_a_kill(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        f'[ledger]\nurl = "sqlite:///{tmp_path}/l.db"\n[gateway]\nport = 0\n'
        '[providers.one]\ndialect = "openai_chat"\nbase_url = "http://127.0.0.1:1/v1"\napi_key = "sk-x"\n'
    )
    died = holdfast("serve", "--config", str(config), spec="recovery.migrating=kill@2")
    assert died.returncode == -9
    assert died.stderr.endswith("HOLDFAST_FAILPOINTS: kill at recovery.migrating\n")


def test_the_command_line_refuses_a_wrong_one() -> None:
    refused = holdfast("check", spec="recovery.lost=kill")
    assert refused.returncode == 1
    assert "there is no failpoint 'recovery.lost'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_importing_the_library_arms_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import holdfast.client, holdfast.failpoints as f; print(f.armed)"],
        env={**os.environ, failpoints.VARIABLE: "intent.queued=kill"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "False\n"
