"""The scripts that Redis runs, by name: one operation each."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from holdfast.stores.base import Script

__all__ = ["script"]


@cache
def script(name: str, base: str | None = None) -> Script:
    """The script in ``name``.lua, after what several have in common in ``base``.lua."""
    parts = [part for part in (base, name) if part is not None]
    texts = [(files(__name__) / f"{part}.lua").read_text(encoding="utf-8") for part in parts]
    return Script(name, "".join(texts))
