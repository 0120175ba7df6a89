"""Settings to begin with, from a provider without a fault to one that does everything wrong. One TOML file each."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from holdfast.chaos.errors import ChaosError, nearest

__all__ = ["NAMES", "load", "source", "summary"]

NAMES = ("silent", "gentle", "realistic", "stress_aimd", "stress_extreme", "chaos")
"""From the mildest to the worst."""


def source(name: str) -> str:
    """A preset's file. Raises :class:`ChaosError` with the nearest name."""
    if name not in NAMES:
        raise ChaosError(f"unknown preset {name!r}: {nearest(str(name), NAMES)}")
    return (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """A preset's settings. Raises :class:`ChaosError` with the nearest name."""
    return tomllib.loads(source(name))


def summary(name: str) -> str:
    """What it is for: the comment that its file begins with."""
    lines = source(name).splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines[: _first_setting(lines)])


def _first_setting(lines: list[str]) -> int:
    return next(i for i, line in enumerate([*lines, ""]) if not line.startswith("#"))
