"""Retry's presets and the ranges of its settings and its budget's: ``policies/retry.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from docs.tables.markdown import attribute_docs, code, table

from holdfast.resilience.backoff import Backoff
from holdfast.resilience.retry import CRITICAL, INTERACTIVE, RETRYABLE_STATUSES, STANDARD, RetrySettings
from holdfast.resilience.retry_budget import RetryBudgetSettings
from holdfast.resilience.settings import ranges

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

    from holdfast.resilience.settings import Settings

__all__ = ["PARTS"]

_PRESETS = (
    ("STANDARD", STANDARD, "jobs; `retry_with_backoff` too"),
    ("CRITICAL", CRITICAL, "the same, where it must not fail"),
    ("INTERACTIVE", INTERACTIVE, "somebody waits; the gateway's"),
)


def presets() -> str:
    rows = [
        (
            f"`{name}`",
            code(preset.max_retries),
            ", ".join(f"{preset.backoff.ceiling(n + 1):g}" for n in range(preset.max_retries)),
            code(preset.backoff.max_s),
            code(preset.backoff.jitter),
            purpose,
        )
        for name, preset, purpose in _PRESETS
    ]
    return table(("", "`max_retries`", "pauses in seconds, jitter apart", "`max_s`", "`jitter`", "for"), rows)


def statuses() -> str:
    return ", ".join(str(status) for status in sorted(RETRYABLE_STATUSES))


def _rows(kind: type[Settings]) -> list[tuple[str, str, str]]:
    said, allowed = attribute_docs(kind), ranges(kind)
    text = {"jitter": '`"full"`, or '}
    return [
        (f"`{field.name}`", text.get(field.name, "") + str(allowed[field.name]), said[field.name])
        for field in msgspec.structs.fields(kind)
        if field.name in allowed
    ]


def settings() -> str:
    return table(("setting", "allowed", "meaning"), [*_rows(RetrySettings), *_rows(Backoff)])


def budget() -> str:
    defaults = {field.name: code(field.default) for field in msgspec.structs.fields(RetryBudgetSettings)}
    rows = [
        (name, defaults[name.strip("`")], allowed, said) for name, allowed, said in _rows(RetryBudgetSettings)
    ]
    return table(("setting", "default", "allowed", "meaning"), rows)


PARTS: Parts = {
    "retry-presets": presets,
    "retry-settings": settings,
    "retry-statuses": statuses,
    "retry-budget-settings": budget,
}
