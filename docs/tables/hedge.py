"""The hedge's settings: ``policies/hedge.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from docs.tables.markdown import attribute_docs, code, table

from holdfast.resilience.hedge import HedgeSettings
from holdfast.resilience.settings import ranges

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def settings() -> str:
    said, allowed = attribute_docs(HedgeSettings), ranges(HedgeSettings)
    rows = [
        (
            f"`{field.name}`",
            "" if field.default is None else code(field.default),
            str(allowed[field.name]),
            said[field.name],
        )
        for field in msgspec.structs.fields(HedgeSettings)
    ]
    return table(("setting", "default", "allowed", "meaning"), rows)


PARTS: Parts = {"hedge-settings": settings}
