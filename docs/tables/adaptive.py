"""The adaptive limit's settings: ``policies/adaptive.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from docs.tables.markdown import attribute_docs, code, table

from holdfast.resilience.adaptive import AdaptiveSettings
from holdfast.resilience.settings import ranges

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def settings() -> str:
    said, allowed = attribute_docs(AdaptiveSettings), ranges(AdaptiveSettings)
    rows = [
        (f"`{field.name}`", code(field.default), str(allowed[field.name]), said[field.name])
        for field in msgspec.structs.fields(AdaptiveSettings)
    ]
    return table(("setting", "default", "allowed", "meaning"), rows)


PARTS: Parts = {"adaptive-settings": settings}
