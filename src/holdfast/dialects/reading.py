"""Reading decoded JSON field by field: types are checked, paths are named, and what nobody asks for is left over.

A codec reads what it knows and keeps the rest as ``extra``, so that unknown fields survive at every level.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar, cast

import msgspec

from holdfast.errors import BadAnswer, HoldfastError, InvalidRequest

__all__ = ["Fault", "Fields", "bad_answer", "invalid_request", "kind", "read_json"]

_T = TypeVar("_T")

Fault = Callable[[str, str | None], HoldfastError]
"""Makes the error to raise from a message and the path of the field at fault."""


def invalid_request(message: str, path: str | None) -> InvalidRequest:
    """The caller's mistake."""
    return InvalidRequest(message, param=path)


def bad_answer(message: str, path: str | None) -> BadAnswer:
    """The provider's mistake."""
    return BadAnswer(f"the provider's answer can't be read: {message}", param=path)


def read_json(data: bytes, fault: Fault) -> Any:
    """Decoded JSON in which every number is exact: integers of any size, Decimal where a float would lose digits.

    Raises what ``fault`` makes if it isn't JSON, isn't UTF-8 or is nested too deeply.
    """
    try:
        return _DECODER.decode(data)
    except RecursionError:
        raise fault("the JSON is nested too deeply", None) from None
    except UnicodeDecodeError as error:
        raise fault(f"the body isn't valid UTF-8 (byte {error.start})", None) from None
    except ValueError as error:
        raise fault(f"the body isn't valid JSON: {error}", None) from None


def kind(value: Any) -> str:
    """What ``value`` is, in JSON's words."""
    if value is None:
        return "null"
    return _KINDS.get(type(value), "a number")


class Fields:
    """One JSON object as it is read. ``left`` is what wasn't taken; nulls are left, since they say nothing."""

    __slots__ = ("_fault", "empty", "left", "path")

    def __init__(self, value: Any, path: str, fault: Fault) -> None:
        self._fault = fault
        self.path = path
        if not isinstance(value, dict):
            raise self.wrong(value, "an object")
        self.left: dict[str, Any] = dict(value)
        self.empty = not value

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def fault(self, name: str, message: str) -> HoldfastError:
        """The error for the field ``name``; ``message`` goes on from the field's path."""
        path = self.at(name)
        return self._fault(f"{path} {message}", path)

    def wrong(self, value: Any, right: str, name: str | None = None) -> HoldfastError:
        path = self.path if name is None else self.at(name)
        return self._fault(f"{path or 'the body'} is {kind(value)}; it must be {right}", path or None)

    def take(self, name: str) -> Any:
        """The field's value, taken; None where it is absent or null (which stays in ``left``)."""
        value = self.left.get(name)
        if value is not None:
            del self.left[name]
        return value

    def text(self, name: str) -> str | None:
        return self._typed(name, str, "a string")

    def flag(self, name: str) -> bool | None:
        return self._typed(name, bool, "true or false")

    def integer(self, name: str) -> int | None:
        return self._typed(name, int, "an integer")

    def number(self, name: str) -> int | float | Decimal | None:
        value = self.take(name)
        if value is None or type(value) in (int, float, Decimal):
            return cast(int | float | Decimal | None, value)
        raise self.wrong(value, "a number", name)

    def mapping(self, name: str) -> dict[str, Any] | None:
        return self._typed(name, dict, "an object")

    def items(self, name: str) -> list[Any] | None:
        return self._typed(name, list, "a list")

    def needed_text(self, name: str, right: str = "a string") -> str:
        """A text that has to be there."""
        value = self.left.get(name)
        if value is None:
            raise self.fault(name, f"is {'null' if name in self.left else 'missing'}; it must be {right}")
        text = self.text(name)
        assert text is not None  # noqa: S101  # for the type checker: null was refused above
        return text

    def fields(self, name: str) -> Fields | None:
        """The object in ``name`` as fields of its own. What is left of it goes back by :meth:`keep`."""
        value = self.take(name)
        return None if value is None else Fields(value, self.at(name), self._fault)

    def needed_fields(self, name: str) -> Fields:
        inner = self.fields(name)
        if inner is None:
            raise self.fault(name, f"is {'null' if name in self.left else 'missing'}; it must be an object")
        return inner

    def each(self, name: str) -> list[Fields]:
        """The objects in the list ``name``; an empty list is left, as it says no more than none."""
        values = self.left.get(name)
        if not values and isinstance(values, list | None):
            return []
        items = self.items(name) or []
        return [Fields(item, f"{self.at(name)}[{at}]", self._fault) for at, item in enumerate(items)]

    def keep(self, name: str, inner: Fields | None) -> None:
        """Leaves in ``name`` what ``inner`` left over."""
        if inner is not None and (inner.left or inner.empty):
            self.left[name] = inner.left

    def one_item(self, value: Any, name: str, at: int) -> Fields:
        """``value`` as fields, for lists whose items aren't all objects."""
        return Fields(value, f"{self.at(name)}[{at}]", self._fault)

    def _typed(self, name: str, type_: type[_T], right: str) -> _T | None:
        value = self.take(name)
        if value is None or type(value) is type_:  # not isinstance: true is no integer
            return value
        raise self.wrong(value, right, name)


def _exact(text: str) -> float | Decimal:
    value = float(text)
    shortest = repr(value)
    if shortest == text:
        return value
    try:
        exact = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the number {text[:40]} is out of range") from None
    return value if exact == Decimal(shortest) else exact


_DECODER = msgspec.json.Decoder(float_hook=_exact)
_KINDS: dict[type, str] = {bool: "true or false", str: "a string", list: "a list", dict: "an object"}
