"""One fixture: the world that a test runs its rows in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.stress.llm.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from holdfast.chaos import Chaos


@pytest.fixture
def world(chaosllm_server: Chaos, tmp_path: Path) -> World:
    """A provider as the test's ``chaosllm`` marker says, and the library with a ledger in a file of its own."""
    return World(chaosllm_server, tmp_path)
