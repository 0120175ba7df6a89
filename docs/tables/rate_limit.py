"""The rate limit's settings and the headers it learns from: ``policies/rate-limit.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from docs.tables.markdown import attribute_docs, table

from holdfast.resilience.rate_limit import RateLimitSettings
from holdfast.resilience.rate_signals import FAMILIES
from holdfast.resilience.settings import ranges

if TYPE_CHECKING:
    from docs.tables.markdown import Parts

__all__ = ["PARTS"]


def settings() -> str:
    said, allowed = attribute_docs(RateLimitSettings), ranges(RateLimitSettings)
    rows = [
        (
            f"`{field.name}`",
            "no limit" if field.default is None else f"{field.default:g}",
            str(allowed[field.name]),
            said[field.name],
        )
        for field in msgspec.structs.fields(RateLimitSettings)
    ]
    return table(("setting", "default", "allowed", "meaning"), rows)


def headers() -> str:
    rows = [tuple(f"`{name}`" for name in (f.limit, f.remaining, f.reset)) for f in FAMILIES]
    return table(("limit", "remaining", "reset"), rows)


PARTS: Parts = {"rate-limit-settings": settings, "rate-limit-headers": headers}
