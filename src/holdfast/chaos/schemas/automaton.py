"""A pattern as an automaton: searched in time that grows with the text alone, and walked to make texts that fit.

Built after Thompson (1968): states with edges that take a character, and edges that take none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from holdfast.chaos.schemas.errors import ImpossibleError
from holdfast.chaos.schemas.regex import Alternatives, Chars, Edge, Repeat, Sequence, parse

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from holdfast.chaos.schemas.regex import Node, Ranges

__all__ = ["Automaton", "compiled"]

_MOST_STATES = 5000
_MOST_WORK = 1_000_000  # states times characters
_SLACK = 8  # characters beyond the shortest text, to choose a length from
_TRIES = 200
_ANY: Ranges = ((0, 0xD7FF), (0xE000, 0x10FFFF))
_NICE = "".join(map(chr, (*range(97, 123), *range(65, 91), *range(48, 58))))
_PRINTED = "".join(map(chr, range(32, 127)))


@lru_cache(256)
def compiled(source: str) -> Automaton:
    """Raises :class:`ImpossibleError` for a pattern that can't be followed."""
    return Automaton(source)


class Automaton:
    """One pattern, compiled."""

    def __init__(self, source: str) -> None:
        pattern = parse(source)
        around = Repeat(Chars(_ANY), 0, None)
        self._source = source
        self._body = _Graph(pattern.body)
        self._padded = _Graph(Sequence((around, pattern.body, around)))
        self._looks = [(_Graph(Sequence((look.node, around))), look.wanted) for look in pattern.looks]

    def found_in(self, text: str) -> bool:
        """Whether it fits some part of ``text``."""
        return self._padded.fits(text) and all(graph.fits(text) is wanted for graph, wanted in self._looks)

    def made(self, least: int, most: int, chance: Random) -> str:
        """A text that it fits, of ``least`` to ``most`` characters. Raises :class:`ImpossibleError` where none is found."""
        # A text of nothing but the pattern, where there is one as long as that; looks ahead are left to luck.
        for graph in (self._body, self._padded):
            walk = _Walk(graph, least, most)
            for _ in range(_TRIES if walk.lengths else 0):
                text = walk.text(chance)
                if self.found_in(text):
                    return text
        raise ImpossibleError(f"pattern {self._source!r}: no text of {least} to {most} characters was found")


class _Graph:
    """States 0, 1, 2 …; a text fits as a whole."""

    def __init__(self, node: Node) -> None:
        self.chars: list[list[tuple[Ranges, int]]] = []
        self.free: list[list[int]] = []
        self.edges: list[list[tuple[bool, int]]] = []
        """Those that only the begin (True) or the end of the text lets pass."""
        self.start = self._new()
        self.end = self._build(node, self.start)

    def __len__(self) -> int:
        return len(self.free)

    def fits(self, text: str) -> bool:
        if len(text) * len(self) > 50 * _MOST_WORK:
            raise ImpossibleError("a pattern too large for its text")
        here = self.reached([self.start], begin=True, end=not text)
        for at, char in enumerate(text, 1):
            code = ord(char)
            after = {
                target
                for state in here
                for ranges, target in self.chars[state]
                if any(low <= code <= high for low, high in ranges)
            }
            here = self.reached(after, begin=False, end=at == len(text))
            if not here:
                return False
        return self.end in here

    def reached(self, states: Iterable[int], *, begin: bool, end: bool) -> set[int]:
        """All states that can be had without taking a character."""
        found = set(states)
        waiting = list(found)
        while waiting:
            state = waiting.pop()
            near = [
                *self.free[state],
                *(to for at_begin, to in self.edges[state] if (begin if at_begin else end)),
            ]
            for target in near:
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        return found

    def _new(self) -> int:
        if len(self.free) >= _MOST_STATES:
            raise ImpossibleError("a pattern so large can't be followed")
        self.chars.append([])
        self.free.append([])
        self.edges.append([])
        return len(self.free) - 1

    def _build(self, node: Node, start: int) -> int:
        """Add ``node`` from state ``start`` on; returns the state at its end."""
        end = start
        match node:
            case Chars(ranges):
                end = self._new()
                if ranges:
                    self.chars[start].append((ranges, end))
            case Edge(begin):
                end = self._new()
                self.edges[start].append((begin, end))
            case Sequence(nodes):
                for inner in nodes:
                    end = self._build(inner, end)
            case Alternatives(nodes):
                ends = [self._build(inner, self._free_from(start)) for inner in nodes]
                end = self._new()
                for state in ends:
                    self.free[state].append(end)
            case Repeat(inner, least, most):
                return self._repeat(inner, least, most, start)
        return end

    def _repeat(self, node: Node, least: int, most: int | None, start: int) -> int:
        at = start
        for _ in range(least):
            at = self._build(node, at)
        end = self._new()
        self.free[at].append(end)
        if most is None:
            again = self._free_from(at)
            last = self._build(node, again)
            self.free[last] += [again, end]
        else:
            for _ in range(most - least):
                at = self._build(node, self._free_from(at))
                self.free[at].append(end)
        return end

    def _free_from(self, state: int) -> int:
        new = self._new()
        self.free[state].append(new)
        return new


class _Walk:
    """The ways through a graph that take a given number of characters."""

    def __init__(self, graph: _Graph, least: int, most: int) -> None:
        self._graph = graph
        self._back: list[list[int]] = [[] for _ in range(len(graph))]
        self._back_at_end: list[list[int]] = [[] for _ in range(len(graph))]
        for state in range(len(graph)):
            for target in graph.free[state]:
                self._back[target].append(state)
                self._back_at_end[target].append(state)
            for at_begin, target in graph.edges[state]:
                if not at_begin:
                    self._back_at_end[target].append(state)
        self._first = graph.reached([graph.start], begin=True, end=False)
        self._ends: list[set[int]] = [_closed([graph.end], self._back_at_end)]
        """By number of characters: the states from which it ends after just so many."""
        self.lengths = self._lengths(least, most)

    def _lengths(self, least: int, most: int) -> list[int]:
        """The shortest lengths within the bounds that a text can have."""
        graph = self._graph
        found: list[int] = []
        if least == 0 and graph.end in graph.reached([graph.start], begin=True, end=True):
            found.append(0)
        for length in range(1, most + 1):
            # Where there is any text, one is at most as much longer than the least as there are states.
            enough = found[0] + _SLACK if found else least + len(graph)
            if length > enough or not self._ends[-1]:
                break
            if length * len(graph) > _MOST_WORK:
                raise ImpossibleError("a pattern too large for the length of its text")
            if length >= least and self._onward(self._first, length):
                found.append(length)
            before = [
                state
                for state in range(len(graph))
                if any(target in self._ends[-1] for _, target in graph.chars[state])
            ]
            self._ends.append(_closed(before, self._back))
        return found

    def _onward(self, states: Iterable[int], left: int) -> list[tuple[Ranges, int]]:
        """The characters that may come next, with ``left`` to go."""
        ends = self._ends[left - 1]
        return [
            (ranges, target)
            for state in sorted(states)
            for ranges, target in self._graph.chars[state]
            if target in ends
        ]

    def text(self, chance: Random) -> str:
        length = chance.choice(self.lengths)
        said: list[str] = []
        here = self._first
        for left in range(length, 0, -1):
            ranges, target = chance.choice(self._onward(here, left))
            said.append(chance.choice(_nice(ranges)))
            here = self._graph.reached([target], begin=False, end=False)
        return "".join(said)


def _closed(states: Iterable[int], back: list[list[int]]) -> set[int]:
    found = set(states)
    waiting = list(found)
    while waiting:
        for state in back[waiting.pop()]:
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found


@lru_cache(1024)
def _nice(ranges: Ranges) -> str:
    """Of those characters, the ones that read best."""
    for preferred in (_NICE, _PRINTED):
        if some := "".join(c for c in preferred if any(low <= ord(c) <= high for low, high in ranges)):
            return some
    return "".join(chr(low) for low, _ in ranges)
