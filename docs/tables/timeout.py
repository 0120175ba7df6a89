"""The named time limits with their errors, and the rates of the reliability metrics: ``policies/timeout.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.tables.markdown import attribute_docs, code, table

from holdfast.resilience.metrics import RATES
from holdfast.resilience.named_timeouts import ERRORS, TimeoutSettings

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def names() -> str:
    said, defaults = attribute_docs(TimeoutSettings), TimeoutSettings()
    rows = [
        (
            f"`{name}`",
            code(getattr(defaults, name)),
            f"`{error.__name__}`",
            f"`{error(name, 1.0).code}`",
            said[name],
        )
        for name, error in ERRORS.items()
    ]
    return table(("name", "seconds", "error", "`code`", "what it bounds"), rows)


def rates() -> str:
    rows = [(f"`{rate}`", f"`{part}`", f"`{whole}`") for rate, (part, whole) in RATES.items()]
    return table(("rate", "is", "divided by"), rows)


PARTS: Parts = {"timeout-names": names, "reliability-rates": rates}
