"""The generated parts of the pages, by name: one module for each page, each part a function without arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.tables import (
    chaos,
    commands,
    configuration,
    dialect,
    gateway,
    ledger,
    policies,
    promises,
    translations,
)

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]

PARTS: Parts = {
    **chaos.PARTS,
    **commands.PARTS,
    **configuration.PARTS,
    **dialect.PARTS,
    **gateway.PARTS,
    **ledger.PARTS,
    **policies.PARTS,
    **promises.PARTS,
    **translations.PARTS,
}
