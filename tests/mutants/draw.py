"""Which mutants are whose turn: a few each day, and every one comes up."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutants.mutant import Mutant

__all__ = ["drawn", "today"]


def today() -> int:
    """Days since 1970, UTC: the seed of who says none."""
    return int(time.time()) // 86_400


def drawn(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """``count`` of the quick ones, or all if there are no more.

    They stand in an order of chance that depends on their names alone, and each seed takes up where the one before it ended:
    so any ``len / count`` days in a row, rounded up, have had them all.
    """
    order = sorted(
        (mutant for mutant in mutants if not mutant.slow),
        key=lambda mutant: sha256(mutant.name.encode()).digest(),
    )
    count = min(count, len(order))
    return [order[(seed * count + place) % len(order)] for place in range(count)]
