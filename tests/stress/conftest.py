"""The stress suite is off unless it is asked for: by ``-m stress`` (``make stress``), or by a file's or a test's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest.register_assert_rewrite("tests.stress.llm")  # its helpers assert, too


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without ``-m stress`` nothing here is even imported: no line of a run tells of it.

    pytest doesn't ask about what is named on the command line, so that one file or one test runs as anywhere else.
    """
    return None if "stress" in config.option.markexpr else True


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test here has the marker: one that forgot it would never run, and nobody would know."""
    item.add_marker(pytest.mark.stress)
