"""A client's mistakes, as the ``error`` event tells them. The connection stays open."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

__all__ = ["Wrong", "checked"]

_S = TypeVar("_S", bound=msgspec.Struct)
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_UNKNOWN = re.compile(r"contains unknown field `(?P<field>[^`]+)`")
_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<given>[^`]+)`")


class Wrong(Exception):
    """What an event can't mean."""

    def __init__(self, code: str | None, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


def checked(value: object, kind: type[_S]) -> _S:
    """``value`` as that event. Raises :class:`Wrong`, which names the field."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _complaint(str(error)) from None
    except RecursionError:
        raise Wrong("invalid_value", "The event is nested too deeply.") from None


def _complaint(text: str) -> Wrong:
    found = _PATH.search(text)
    path = found["path"] if found else ""
    if missing := _MISSING.search(text):
        path = _below(path, missing["field"])
        return Wrong("missing_required_parameter", f"Missing required parameter: '{path}'.", path)
    if unknown := _UNKNOWN.search(text):
        path = _below(path, unknown["field"])
        return Wrong("unknown_parameter", f"Unknown parameter: '{path}'.", path)
    if kinds := _TYPE.search(text):
        message = f"Invalid type for '{path}': expected {kinds['wanted']}, but got {kinds['given']} instead."
        return Wrong("invalid_type", message, path or None)
    return Wrong("invalid_value", f"Invalid value for '{path}': {_PATH.sub('', text)}.", path or None)


def _below(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
