"""Response headers: looked up without regard to case, decoded only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Headers"]

D = TypeVar("D")

_KEPT = 1024


class _Needles(dict[str, bytes]):
    """Names in the form in which they are looked for. They come from code, so they are few."""

    def __missing__(self, name: str) -> bytes:
        if len(self) >= _KEPT:
            self.clear()
        needle = self[name] = f"\r\n{name.lower()}:".encode("latin-1", "replace")
        return needle


_NEEDLES = _Needles()


class Headers(Mapping[str, str]):
    """The fields of one response, as they came. ``headers[name]`` is the *first* value of that name.

    Names compare without regard to case and are shown in lower case; values are decoded as latin-1, which can't fail.
    Nothing is decoded before it is asked for.
    """

    __slots__ = ("_block", "_index", "_lower")

    def __init__(self, block: bytes = b"") -> None:
        """``block`` is what stands between the status line and the empty line, found valid by llhttp already."""
        self._block = block
        self._lower: bytes | None = None
        self._index: dict[str, list[bytes]] | None = None

    @classmethod
    def of(cls, pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
        """From text, for tests and doubles."""
        items = pairs.items() if isinstance(pairs, Mapping) else pairs
        return cls("".join(f"{name}: {value}\r\n" for name, value in items).encode("latin-1"))

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Every field in order, duplicates included, in the bytes and the case in which it came."""
        lines = (line.partition(b":") for line in self._block.split(b"\r\n") if line)
        return [(name, value.strip(b" \t")) for name, _, value in lines]

    def all(self, name: str) -> list[str]:
        """Every value of that name, in order."""
        return [value.decode("latin-1") for value in self._fields().get(name.lower(), ())]

    def last(self, name: str) -> str | None:
        """The last value of that name."""
        values = self._fields().get(name.lower())
        return values[-1].decode("latin-1") if values else None

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, /, default: str | D) -> str | D: ...
    def get(self, key: str, /, default: str | D | None = None) -> str | D | None:
        """The first value of that name, looked for in the block: an index costs more than two or three look-ups."""
        lower = self._lower
        if lower is None:
            lower = self._lower = b"\r\n" + self._block.lower()
        needle = _NEEDLES[key]
        start = lower.find(needle)
        if start < 0:
            return default
        start += len(needle)
        end = lower.find(b"\r\n", start)
        if end < 0:
            end = len(lower)
        return (
            self._block[start - 2 : end - 2].strip(b" \t").decode("latin-1")
        )  # `lower` has two bytes more in front

    def __getitem__(self, name: str) -> str:
        return self._fields()[name.lower()][0].decode("latin-1")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())

    def __repr__(self) -> str:
        return f"Headers({', '.join(self)})"  # names only: a value may be a secret

    def _fields(self) -> dict[str, list[bytes]]:
        index = self._index
        if index is None:
            index = self._index = {}
            for name, value in self.raw:
                index.setdefault(name.decode("latin-1").lower(), []).append(value)
        return index
