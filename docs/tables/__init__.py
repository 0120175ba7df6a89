"""The generated parts of the pages, by name: each module here that has ``PARTS``, each part a function without arguments."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def _gathered() -> Parts:
    """Raises ValueError where two modules have a part of one name: one of them would never be seen."""
    found: dict[str, Callable[[], str]] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        parts: Parts = getattr(importlib.import_module(f"{__name__}.{module}"), "PARTS", {})
        if twice := found.keys() & parts.keys():
            raise ValueError(f"docs/tables/{module}.py: parts that another module has too: {sorted(twice)}")
        found.update(parts)
    return found


PARTS: Final[Parts] = _gathered()
