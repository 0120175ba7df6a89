"""The library's pages and examples do what they say, each as a program of its own against a real socket."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.docs.pages import ROOT, Block, blocks

from holdfast.chaos import Chaos, run_chaos

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((ROOT / "examples").glob("library_*.py"))
LIBRARY = [block for block in blocks("python") if block.uses_library]

# As a notebook would: `await` may stand at the top.
CELL = """
import ast, asyncio, inspect, sys, types
cell = compile(sys.argv[1], "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
ran = types.FunctionType(cell, {"__name__": "__main__"})()
if inspect.iscoroutine(ran):
    asyncio.run(ran)
"""


@pytest.fixture(scope="module")
def chaos():
    with run_chaos() as running:
        yield running


def run(chaos: Chaos, folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A program in a folder of its own, with one provider's key in its environment."""
    env = {
        **os.environ,
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": chaos.base_url,
        "PYTHONWARNINGS": "error",
    }
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=30, check=False, cwd=folder, env=env
    )


@pytest.mark.parametrize("block", LIBRARY, ids=[block.id for block in LIBRARY])
def test_the_pages_blocks_run(block: Block, chaos, tmp_path):
    done = run(chaos, tmp_path, "-c", CELL, block.text)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == [], "nothing is left in a folder that nobody named"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_run(example: Path, chaos, tmp_path):
    done = run(chaos, tmp_path, example)
    assert (done.returncode, done.stderr) == (0, "")
    assert "openai" in done.stdout


def test_there_are_pages_and_examples():
    assert len(LIBRARY) >= 8
    assert len(EXAMPLES) >= 2


def test_a_broken_block_would_not_run(chaos, tmp_path):
    assert run(chaos, tmp_path, "-c", CELL, "from holdfast import Client\nClient().chat('x')\n").stderr
