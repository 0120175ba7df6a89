"""Reading Prometheus' text format, as a scraper does."""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["samples"]

_LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text: str) -> Counter[tuple[str, ...]]:
    """``("holdfast_requests_total", "route=chat", "state=ok")`` -> value; labels in order of their names."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            assert match, f"no sample: {line!r}"
            labels = sorted(f"{name}={value}" for name, value in _LABEL.findall(match["labels"] or ""))
            key = (match["name"], *labels)
            assert key not in found, f"twice: {line!r}"
            found[key] = float(match["value"])  # type: ignore[assignment]  # a Counter subtracts floats as well
    return found
