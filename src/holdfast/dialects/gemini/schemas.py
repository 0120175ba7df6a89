"""Google's ``Schema`` (``parameters``, ``responseSchema``) as JSON Schema, and back.

A ``Schema`` says its types in capitals and null by a flag. Where reading one and writing it again wouldn't give the same, it
stays as it came.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["as_google", "as_json_schema"]

_SUBSCHEMAS: Final = ("items", "additionalProperties", "not")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS: Final = ("properties", "$defs", "defs", "patternProperties")
_MOST_NESTED: Final = 64


def as_json_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """``schema`` as JSON Schema; None where it can't be written again as it came."""
    try:
        plain = _plain(schema, 0)
        return plain if as_google(plain) == schema else None
    except _TooDeepError:
        return None


def as_google(schema: dict[str, Any]) -> dict[str, Any]:
    """The ``Schema`` that :func:`as_json_schema` has read."""
    google: dict[str, Any] = _google(schema, 0)
    return google


class _TooDeepError(Exception):
    pass


def _plain(schema: Any, depth: int) -> Any:
    if depth > _MOST_NESTED:
        raise _TooDeepError
    if not isinstance(schema, dict):
        return schema
    out = _inside(schema, _plain, depth)
    type_ = out.get("type")
    if isinstance(type_, str):
        out["type"] = type_.lower()
        if out.get("nullable") is True:
            out["type"] = [out["type"], "null"]
            del out["nullable"]
    return out


def _google(schema: Any, depth: int) -> Any:
    if depth > _MOST_NESTED:
        raise _TooDeepError
    if not isinstance(schema, dict):
        return schema
    out = _inside(schema, _google, depth)
    type_ = out.get("type")
    if isinstance(type_, list) and len(type_) == 2 and type_[1] == "null" and isinstance(type_[0], str):
        type_ = type_[0]
        out["nullable"] = True
    if isinstance(type_, str):
        out["type"] = type_.upper()
    return out


def _inside(schema: dict[str, Any], change: Any, depth: int) -> dict[str, Any]:
    out = dict(schema)
    for name, value in schema.items():
        if name in _SUBSCHEMAS:
            out[name] = change(value, depth + 1)
        elif name in _LISTS and isinstance(value, list):
            out[name] = [change(each, depth + 1) for each in value]
        elif name in _MAPS and isinstance(value, dict):
            out[name] = {key: change(each, depth + 1) for key, each in value.items()}
    return out
