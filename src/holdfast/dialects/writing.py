"""Writing JSON: what is known, what was left over, and numbers as they came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.errors import CantExpress, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Drops", "Writer", "merged", "write_json"]


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


class Drops:
    """What may be left out of a request that a target can't say otherwise, and what was.

    Args:
        permitted: names of fields, as :data:`holdfast.dialects.fields.NEUTRAL` and the callers' own parameters have them.
    """

    __slots__ = ("_dropped", "_permitted")

    def __init__(self, permitted: Iterable[str] = ()) -> None:
        self._permitted = frozenset(permitted)
        self._dropped: dict[str, None] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of what was left out, each once, in the order in which it was met."""
        return tuple(self._dropped)

    def permit(self, name: str) -> bool:
        """Whether ``name`` may be left out; notes that it was."""
        if name not in self._permitted:
            return False
        self._dropped[name] = None
        return True


class Writer:
    """Writes a value's leftovers, if they are this dialect's own.

    Args:
        dialect: the dialect that is written.
        origin: the dialect whose leftovers the value holds; None where it was built by hand, for whoever it is sent to.
        strict: whether another dialect's leftovers are an error (requests) or left out (answers, which must arrive).
        drops: what may be left out of a request nevertheless.
    """

    __slots__ = ("_drops", "_strict", "dialect", "own")

    def __init__(self, dialect: str, origin: str | None, *, strict: bool, drops: Drops | None = None) -> None:
        self.dialect = dialect
        self.own = origin is None or origin == dialect
        self._strict = strict
        self._drops = drops if drops is not None else Drops()

    def leftovers(self, extra: dict[str, Any], path: str) -> dict[str, Any]:
        """``extra``, if this dialect can say it.

        Raises:
            CantExpress: it belongs to another dialect; ``param`` names its first field that says something.
        """
        if self.own or not extra:
            return extra
        for name, value in extra.items():
            if value is not None and value != []:  # neither says anything
                self.refuse(f"{path}.{name}" if path else name, name)
        return {}

    def spelling(self, spelling: dict[str, str]) -> dict[str, str]:
        return spelling if self.own else {}

    def refuse(self, path: str, name: str = "") -> None:
        """There is no way to say the field at ``path`` in this dialect.

        ``path`` is the neutral model's (``messages[2].parts[0]``); ``name`` is what can't be said there, as
        :data:`holdfast.dialects.fields.NEUTRAL` calls it. Returns where that may be left out.

        Raises:
            CantExpress: it may not.
        """
        name = name or path
        if self._strict and not self._drops.permit(name):
            said = path if path == name else f"{path} ({name})"
            raise CantExpress(f"{said} can't be said in {self.dialect}", param=path, field=name)


_ENCODER = msgspec.json.Encoder(decimal_format="number")
