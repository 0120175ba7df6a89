"""Which mutant proves which promise: ``promises.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from docs.tables.markdown import table
from docs.tables.meanings import MEANINGS
from tests.mutants.table import MUTANTS

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["HELD", "PARTS"]

HELD: Final = (
    *("ST1", "ST2", "ST3", "ST4", "ST5", "ST6", "FB1", "FB2", "FB3", "FB4", "RT1", "RT3", "RT5", "RT6"),
    *("DL1", "DL2", "LE1", "OP1", "OP3", "IN1", "IN2"),
)
"""The promises that hold now, in the order of the page."""


def proofs() -> str:
    broken = {mutant.name: MEANINGS["mutants"].get(mutant.name, "").split(", ") for mutant in MUTANTS}
    rows = [
        (promise, "; ".join(name for name, promises in broken.items() if promise in promises) or "none yet")
        for promise in HELD
    ]
    rest = "; ".join(name for name, promises in broken.items() if promises == [""])
    return table(("promise", "mutants that its tests must notice"), [*rows, ("the rest", rest or "none")])


PARTS: Parts = {"proofs": proofs}
