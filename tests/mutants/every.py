"""Every table's mutants: one table for each module here that has ``MUTANTS``."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.mutants.mutant import Mutant

__all__ = ["MUTANTS"]

_OTHER: Final = {"__main__", "draw", "every", "kill", "mutant", "profile"}


def _tables() -> list[Mutant]:
    names = sorted(info.name for info in pkgutil.iter_modules([str(Path(__file__).parent)]))
    tables = [
        importlib.import_module(f"tests.mutants.{name}")
        for name in names
        if name not in _OTHER and not name.startswith("test_")
    ]
    return [mutant for table in tables for mutant in table.MUTANTS]


MUTANTS: Final[list[Mutant]] = _tables()
