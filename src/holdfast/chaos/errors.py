"""What can be wrong with a chaos provider's own settings. (What it does wrong on purpose lives in ``faults``.)"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ChaosError", "nearest"]


class ChaosError(ValueError):
    """A script or a configuration that can't be meant; the message says where, and names the nearest valid name."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of an error's sentence: ``did you mean 'reset'?``, or all valid names where none is near."""
    names = sorted(valid)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"valid names: {', '.join(names)}"
