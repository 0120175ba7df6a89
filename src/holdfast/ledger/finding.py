"""What a look at a ledger finds: one finding for each thing that must hold."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["EXAMPLES", "Finding", "Standing", "several"]

Standing: TypeAlias = Literal["ok", "unsure", "repair", "wrong"]
"""``ok``: it holds. ``unsure``: not all of it can be told, and what can be holds. ``repair``: it doesn't hold, and
``holdfast ledger repair`` mends it. ``wrong``: it doesn't hold."""

EXAMPLES = 5
"""So many of what breaks a rule are named."""


class Finding(Struct, frozen=True, kw_only=True):
    check: str
    """Its short name."""
    standing: Standing
    says: str
    """A sentence: what holds, or what doesn't and how."""
    count: int = 0
    """Of what breaks it."""
    examples: tuple[str, ...] = ()
    """Ids or names of the first of those."""

    @property
    def fine(self) -> bool:
        return self.standing in ("ok", "unsure")


def several(count: int, one: str, many: str | None = None) -> str:
    """``1 request``, ``2,000 requests``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
