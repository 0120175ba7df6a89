"""Which entries of the journal are meant."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from holdfast.chaos.journal import Entry

__all__ = ["ALL", "Filter"]


class Filter(msgspec.Struct, frozen=True):
    """What is said must fit, all of it; None: anything does."""

    model: str | None = None
    """Name or shell pattern, in any case."""
    key: str | None = None
    """Script key: as ``model``."""
    wire: str | None = None
    operation: str | None = None
    rule: str | None = None
    status: str | None = None
    """``429``, ``4xx``, or ``none`` where no head was sent."""
    fault: str | None = None
    """A fault that was played; ``any`` or ``none``."""
    end: str | None = None
    """How it ended, or ``running``."""
    attempt: int | None = None
    since: int = 0
    """Entries after this number …"""
    until: int | None = None
    """… up to this one."""
    text: str | None = None
    """In what was served (text, reasoning, arguments) or in the request's body as far as it was kept."""

    def fits(self, entry: Entry) -> bool:
        return (
            entry.seq > self.since
            and (self.until is None or entry.seq <= self.until)
            and (self.attempt is None or entry.attempt == self.attempt)
            and (self.wire is None or entry.wire == self.wire)
            and (self.operation is None or entry.operation == self.operation)
            and (self.rule is None or entry.rule == self.rule)
            and (self.end is None or (entry.end or "running") == self.end)
            and (self.model is None or _named(self.model, entry.model))
            and (self.key is None or _named(self.key, entry.script_key))
            and (self.status is None or _has_status(self.status, entry.status))
            and (self.fault is None or _has_fault(self.fault, entry.faults))
            and (self.text is None or _says(self.text, entry))
        )


ALL = Filter()


def _named(pattern: str, name: str | None) -> bool:
    return name is not None and (name == pattern or fnmatchcase(name.lower(), pattern.lower()))


def _has_status(wanted: str, status: int | None) -> bool:
    if status is None or wanted == "none":
        return status is None and wanted == "none"
    return wanted == (f"{status // 100}xx" if wanted.endswith("xx") else str(status))


def _has_fault(wanted: str, faults: list[str]) -> bool:
    match wanted:
        case "any":
            return bool(faults)
        case "none":
            return not faults
    return wanted in faults


def _says(text: str, entry: Entry) -> bool:
    return (
        text in entry.text
        or text in entry.reasoning
        or text in entry.arguments
        or text.encode("utf-8", "surrogatepass") in entry.body
    )
