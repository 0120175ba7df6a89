"""What a reload can't change: ``reload.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.tables.markdown import table

from holdfast.config.fixed import FIXED

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def fixed() -> str:
    return table(("setting", "why it can't change"), [(f"`{each.path}`", each.why) for each in FIXED])


PARTS: Parts = {"fixed-settings": fixed}
