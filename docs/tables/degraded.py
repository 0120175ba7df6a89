"""What becomes of each control while something is lost: ``degraded.md``."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, get_args

from docs.tables.markdown import table

from holdfast.gateway.degraded import TABLE, Lost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from docs.tables.markdown import Parts

    from holdfast.gateway.degraded import Row

__all__ = ["PARTS"]


def losses(lost: Lost) -> str:
    """A paragraph and a table for each kind of loss: what all controls have in common is said once."""
    rows = (row for row in TABLE if row.lost == lost)
    return "\n\n".join(_loss(list(group)) for _, group in groupby(rows, key=lambda row: row.faults))


def _loss(rows: Sequence[Row]) -> str:
    first = rows[0]
    told = [
        (
            row.control,
            row.meanwhile,
            "" if row.shows == first.shows else row.shows,
            "" if row.heals == first.heals else row.heals,
        )
        for row in rows
    ]
    return "\n".join(
        (
            f"**{', '.join(first.faults).capitalize()}.** It shows: {first.shows}. It heals: {first.heals}.",
            "",
            table(("control", "meanwhile", "it shows, other than that", "it heals, other than that"), told),
        )
    )


PARTS: Parts = {f"degraded-{lost}": partial(losses, lost) for lost in get_args(Lost)}
