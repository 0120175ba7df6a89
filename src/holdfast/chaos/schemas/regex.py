"""Regular expressions of JSON schemas (ECMA 262's), read by hand into what can be searched and made up alike.

Patterns come from strangers: no engine that goes back may run them. Groups are read without being remembered, so there
are no back references; what looks ahead may only stand at the very start.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

from holdfast.chaos.schemas.errors import ImpossibleError

__all__ = ["Alternatives", "Chars", "Edge", "Look", "Node", "Pattern", "Repeat", "Sequence", "parse"]

_LAST = 0x10FFFF
_DEEPEST = 50
_MOST_TIMES = 2000
_BMP = 0xFFFF

Ranges = tuple[tuple[int, int], ...]


class Chars(NamedTuple):
    """One character out of these code points."""

    ranges: Ranges


class Edge(NamedTuple):
    """The begin (or the end) of the text."""

    begin: bool


class Sequence(NamedTuple):
    nodes: tuple[Node, ...]


class Alternatives(NamedTuple):
    nodes: tuple[Node, ...]


class Repeat(NamedTuple):
    node: Node
    least: int
    most: int | None


Node = Chars | Edge | Sequence | Alternatives | Repeat


class Look(NamedTuple):
    """What must (or must not) stand at the begin of the text."""

    node: Node
    wanted: bool


class Pattern(NamedTuple):
    body: Node
    looks: tuple[Look, ...]


def _inverted(ranges: Ranges) -> Ranges:
    """All other characters; halves of surrogate pairs are none."""
    free: list[tuple[int, int]] = []
    at = 0
    for low, high in sorted((*ranges, (0xD800, 0xDFFF))):
        if low > at:
            free.append((at, low - 1))
        at = max(at, high + 1)
    if at <= _LAST:
        free.append((at, _LAST))
    return tuple(free)


_DIGIT: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: Ranges = ((9, 13), (32, 32), (160, 160), (0x2028, 0x2029), (0xFEFF, 0xFEFF))
_CLASSES: dict[str, Ranges] = {
    "d": _DIGIT,
    "D": _inverted(_DIGIT),
    "w": _WORD,
    "W": _inverted(_WORD),
    "s": _SPACE,
    "S": _inverted(_SPACE),
}
_DOT = _inverted(((10, 10), (13, 13), (0x2028, 0x2029)))
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_SIMPLE = {"?": (0, 1), "*": (0, None), "+": (1, None)}


@lru_cache(64)
def _category(name: str) -> Ranges:
    """The characters of a Unicode category in the basic plane."""
    names = {"Letter": "L", "Number": "N", "Punctuation": "P", "Alphabetic": "L"}
    wanted = names.get(name.rpartition("=")[2], name.rpartition("=")[2])
    found: list[tuple[int, int]] = []
    for code in range(_BMP + 1):
        if not unicodedata.category(chr(code)).startswith(wanted):
            continue
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    if not found or not 1 <= len(wanted) <= 2:
        raise ImpossibleError(f"pattern: the property {name!r} isn't known here")
    return tuple(found)


@lru_cache(256)
def parse(source: str) -> Pattern:
    """Raises :class:`ImpossibleError` for what can't be followed."""
    return _Parser(source).pattern()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._looks: list[Look] = []

    def pattern(self) -> Pattern:
        body = self._alternatives(0)
        if self._at < len(self._source):
            raise self._error("an unopened ')'")
        if self._looks and isinstance(body, Alternatives):
            raise self._error("what looks ahead, in one of several alternatives")
        return Pattern(body, tuple(self._looks))

    def _alternatives(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise self._error("groups so deep")
        found = [self._sequence(depth)]
        while self._take("|"):
            found.append(self._sequence(depth))
        return found[0] if len(found) == 1 else Alternatives(tuple(found))

    def _sequence(self, depth: int) -> Node:
        nodes: list[Node] = []
        while self._at < len(self._source) and self._source[self._at] not in "|)":
            if self._source.startswith(("(?=", "(?!"), self._at):
                if depth or nodes != [Edge(begin=True)]:
                    raise self._error("what looks ahead, elsewhere than at the start after '^'")
                wanted = self._source[self._at + 2] == "="
                self._at += 3
                self._looks.append(Look(self._group_end(depth), wanted))
                continue
            node = self._atom(depth)
            nodes.append(self._repeated(node))
        return Sequence(tuple(nodes))

    def _atom(self, depth: int) -> Node:
        char = self._next()
        match char:
            case "(":
                return self._group(depth)
            case "[":
                return Chars(self._set())
            case ".":
                return Chars(_DOT)
            case "^" | "$":
                return Edge(begin=char == "^")
            case "\\":
                return Chars(self._escaped())
            case "*" | "+" | "?":
                raise self._error(f"{char!r} with nothing to repeat")
        return Chars(((ord(char), ord(char)),))

    def _group(self, depth: int) -> Node:
        if self._take("?"):
            if self._source.startswith(("<=", "<!"), self._at):
                raise self._error("what looks behind")
            if self._take("P<") or self._take("<"):
                end = self._source.find(">", self._at)
                if end < 0:
                    raise self._error("an unclosed name")
                self._at = end + 1
            elif not self._take(":"):
                raise self._error(f"'(?{self._source[self._at : self._at + 1]}'")
        return self._group_end(depth)

    def _group_end(self, depth: int) -> Node:
        node = self._alternatives(depth + 1)
        if not self._take(")"):
            raise self._error("an unclosed '('")
        return node

    def _repeated(self, node: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return node
        self._take("?")  # lazy or not, the same texts fit
        least, most = bounds
        if max(least, most or 0) > _MOST_TIMES or (most is not None and most < least):
            raise self._error(f"{{{least},{most}}}")
        if isinstance(node, Edge):
            raise self._error("a repeated begin or end")
        if self._bounds() is not None:
            raise self._error("two repetitions of one thing")
        return Repeat(node, least, most)

    def _bounds(self) -> tuple[int, int | None] | None:
        char = self._source[self._at : self._at + 1]
        if char in _SIMPLE:
            self._at += 1
            return _SIMPLE[char]
        if char != "{":
            return None
        end = self._source.find("}", self._at)
        low, comma, high = self._source[self._at + 1 : end].partition(",")
        if end < 0 or not _number(low) or (high and not _number(high)):
            return None  # a brace that is only a brace
        self._at = end + 1
        if not comma:
            return int(low), int(low)
        return int(low), int(high) if high else None

    def _set(self) -> Ranges:
        inverted = self._take("^")
        ranges: list[tuple[int, int]] = []
        while not self._take("]"):
            low = self._member()
            if len(low) == 1 and low[0][0] == low[0][1] and self._range_follows():
                self._at += 1
                high = self._member()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self._error("a range from a larger character to a smaller one")
                low = ((low[0][0], high[0][0]),)
            ranges += low
        return _inverted(tuple(ranges)) if inverted else tuple(ranges)

    def _range_follows(self) -> bool:
        rest = self._source[self._at : self._at + 2]
        return len(rest) == 2 and rest[0] == "-" and rest[1] != "]"

    def _member(self) -> Ranges:
        char = self._next()
        if char == "\\":
            return ((8, 8),) if self._take("b") else self._escaped()
        return ((ord(char), ord(char)),)

    def _escaped(self) -> Ranges:
        char = self._next()
        if char in _CLASSES:
            return _CLASSES[char]
        if char in "pP" and self._take("{"):
            end = self._source.find("}", self._at)
            if end < 0:
                raise self._error("an unclosed '{'")
            name, self._at = self._source[self._at : end], end + 1
            return _category(name) if char == "p" else _inverted(_category(name))
        if char in _CONTROLS:
            code = _CONTROLS[char]
        elif char == "x":
            code = self._hex(2)
        elif char == "u":
            code = self._hex(4)
        elif char == "c":
            code = ord(self._next()) % 32
        elif char.isalnum():
            raise self._error(f"'\\{char}'")
        else:
            code = ord(char)
        return ((code, code),)

    def _hex(self, digits: int) -> int:
        if digits == 4 and self._take("{"):
            text, _, _ = self._source[self._at :].partition("}")
            self._at += len(text) + 1
        else:
            text = self._source[self._at : self._at + digits]
            self._at += digits
        try:
            code = int(text, 16)
        except ValueError:
            raise self._error(f"{text!r} for a character's number") from None
        if code > _LAST or 0xD800 <= code <= 0xDFFF:
            raise self._error("half a surrogate pair")
        return code

    def _next(self) -> str:
        if self._at >= len(self._source):
            raise self._error("an end in the middle")
        self._at += 1
        return self._source[self._at - 1]

    def _take(self, text: str) -> bool:
        if not self._source.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _error(self, what: str) -> ImpossibleError:
        return ImpossibleError(f"pattern {self._source!r}: {what} can't be followed")


def _number(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 6
