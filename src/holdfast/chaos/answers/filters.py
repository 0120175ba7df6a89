"""The filters of templates: Jinja2's by name, those of them whose result is never much larger than what they are given.

The two that multiply (``join``, ``replace``) look at the size first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jinja2.runtime import Undefined

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FILTERS"]

_LARGEST = 1 << 20  # characters


def _default(value: Any, other: Any = "", boolean: bool = False) -> Any:
    return other if isinstance(value, Undefined) or (boolean and not value) else value


def _first(value: Any) -> Any:
    return next(iter(value))


def _last(value: Any) -> Any:
    return value[-1]


def _number(kind: type[int | float]) -> Callable[..., Any]:
    def number(value: Any, default: Any = 0) -> Any:
        try:
            return kind(value)
        except (TypeError, ValueError, OverflowError):
            return default

    return number


def _join(value: Any, between: str = "") -> str:
    texts = [str(item) for item in value]
    _fits(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _replace(value: Any, old: str, new: str, count: int = -1) -> str:
    text = str(value)
    found = text.count(old) if count < 0 else min(count, text.count(old))
    _fits(len(text) + found * len(new))
    return text.replace(old, new, count)


def _fits(size: int) -> None:
    if size > _LARGEST:
        raise ValueError(f"a text of more than {_LARGEST} characters")


def _reverse(value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else list(value)[::-1]


def _round(value: Any, precision: int = 0) -> float:
    return round(float(value), precision)


def _sort(value: Any, reverse: bool = False) -> list[Any]:
    return sorted(value, reverse=reverse)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=list)  # a range as a list


def _trim(value: Any, characters: str | None = None) -> str:
    return str(value).strip(characters)


def _truncate(value: Any, length: int = 255, end: str = "...") -> str:
    text = str(value)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def _unique(value: Any) -> list[Any]:
    return list(dict.fromkeys(value))


def _items(value: Any) -> list[tuple[Any, Any]]:
    if not isinstance(value, Mapping):
        raise TypeError("items is for tables")
    return list(value.items())


def _text(method: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: method(str(value))


FILTERS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "capitalize": _text(str.capitalize),
    "count": len,
    "d": _default,
    "default": _default,
    "first": _first,
    "float": _number(float),
    "int": _number(int),
    "items": _items,
    "join": _join,
    "last": _last,
    "length": len,
    "list": list,
    "lower": _text(str.lower),
    "max": max,
    "min": min,
    "replace": _replace,
    "reverse": _reverse,
    "round": _round,
    "sort": _sort,
    "string": _text(str),
    "sum": sum,
    "title": _text(str.title),
    "tojson": _to_json,
    "trim": _trim,
    "truncate": _truncate,
    "unique": _unique,
    "upper": _text(str.upper),
    "wordcount": _text(lambda text: len(text.split())),
}
"""Name -> the filter, a plain function of its value and arguments."""
