"""Writing JSON: what is known, what was left over, and numbers as they came."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import CantExpress, InvalidRequest

__all__ = ["Writer", "merged", "write_json"]


def write_json(value: Any) -> bytes:
    """``value`` as JSON.

    Raises:
        InvalidRequest: it holds something that JSON can't say (a lone surrogate, an object, too deep a nesting).
    """
    try:
        return _ENCODER.encode(value)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"this can't be written as JSON: {error}") from None


def merged(known: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """``known`` without its Nones, and what ``extra`` has besides, objects merged. Where both speak, ``known`` wins."""
    out = {name: value for name, value in known.items() if value is not None}
    for name, value in extra.items():
        if name not in out:
            out[name] = value
        elif isinstance(out[name], dict) and isinstance(value, dict):
            out[name] = merged(out[name], value)
    return out


class Writer:
    """Writes a value's leftovers, if they are this dialect's own.

    Args:
        dialect: the dialect that is written.
        origin: the dialect whose leftovers the value holds; None where it was built by hand, for whoever it is sent to.
        strict: whether another dialect's leftovers are an error (requests) or left out (answers, which must arrive).
    """

    __slots__ = ("_strict", "dialect", "own")

    def __init__(self, dialect: str, origin: str | None, *, strict: bool) -> None:
        self.dialect = dialect
        self.own = origin is None or origin == dialect
        self._strict = strict

    def leftovers(self, extra: dict[str, Any], path: str) -> dict[str, Any]:
        """``extra``, if this dialect can say it.

        Raises:
            CantExpress: it belongs to another dialect; ``param`` names its first field that says something.
        """
        if self.own or not extra:
            return extra
        for name, value in extra.items():
            if value is not None:
                self.refuse(f"{path}.{name}" if path else name)
        return {}

    def spelling(self, spelling: dict[str, str]) -> dict[str, str]:
        return spelling if self.own else {}

    def refuse(self, path: str) -> None:
        """There is no way to say the field at ``path`` in this dialect."""
        if self._strict:
            raise CantExpress(f"{path} can't be said in {self.dialect}", param=path)


_ENCODER = msgspec.json.Encoder(decimal_format="number")
