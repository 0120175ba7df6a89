"""Which mutant proves which promise: ``promises.md``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from docs.tables.markdown import table
from tests.mutants.every import MUTANTS

if TYPE_CHECKING:
    from docs.tables.markdown import Parts
    from tests.mutants.mutant import Mutant

__all__ = ["HELD", "PARTS", "broken_by"]

HELD: Final = (
    *("ST1", "ST2", "ST3", "ST4", "ST5", "ST6", "ST7", "FB1", "FB2", "FB3", "FB4"),
    *("RT1", "RT2", "RT3", "RT4", "RT5", "RT6", "DL1", "DL2"),
    *(
        "CB1",
        "CB2",
        "CB3",
        "CB4",
        "BH1",
        "RL1",
        "RL2",
        "RL3",
        "ID1",
        "ID2",
        "BU1",
        "BU2",
        "CO1",
        "LE1",
        "RD1",
        "OP1",
        "OP2",
        "OP3",
        "IN1",
        "IN2",
    ),
)
"""The promises that hold now, in the order of the page."""

_PROMISE: Final = re.compile(r"[A-Z]{2}\d")
"""What else a mutant's name begins with is a requirement's number."""


def broken_by(mutant: Mutant) -> tuple[str, ...]:
    """The promises that it breaks, as its name says."""
    return tuple(said for said in mutant.ids if _PROMISE.fullmatch(said))


def proofs() -> str:
    rows = [(promise, [m for m in MUTANTS if promise in broken_by(m)]) for promise in HELD]
    rows.append(("the rest", [m for m in MUTANTS if not set(broken_by(m)) & set(HELD)]))
    cells = [
        (said, str(len(broken)), "; ".join(dict.fromkeys(mutant.what for mutant in broken)))
        for said, broken in rows
    ]
    return table(
        ("promise", "", "mutants that its tests must notice"), [*cells, ("in all", str(len(MUTANTS)), "")]
    )


PARTS: Parts = {"proofs": proofs}
