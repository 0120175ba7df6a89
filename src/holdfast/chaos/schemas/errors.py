"""Why no value can be made."""

from __future__ import annotations

__all__ = ["ImpossibleError", "SchemaError"]


class SchemaError(ValueError):
    """No finite value follows the schema, or it isn't one."""


class ImpossibleError(SchemaError):
    """No value follows this part of it; another branch, or leaving it out, may do."""
