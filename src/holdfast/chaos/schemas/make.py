"""Making values: of each way to follow a schema the plainest value first, looked at before it is told.

Whatever a schema says beyond single values (``oneOf``, ``not``, ``if`` …) is met by trying: the next branch, the next
candidate, without the optional property. All of it together is bounded by a number of steps.
"""

from __future__ import annotations

from itertools import chain, islice
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.schemas.automaton import compiled
from holdfast.chaos.schemas.check import Check, dependent_schemas, same
from holdfast.chaos.schemas.document import children
from holdfast.chaos.schemas.errors import ImpossibleError, SchemaError
from holdfast.chaos.schemas.form import ANYTHING, Form, all_of, both, form_of
from holdfast.chaos.schemas.numbers import numbers
from holdfast.chaos.schemas.texts import texts
from holdfast.chaos.schemas.words import LARGEST, types_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from holdfast.chaos.schemas.document import Document

__all__ = ["Maker"]

_UNSURE = frozenset(("oneOf", "not", "if", "dependentSchemas", "dependencies"))
"""What a branch that was taken doesn't fulfil by itself."""
_ENOUGH = 4  # depth from which only what is required is made, so that optional recursion ends
_PLENTY = 300  # values, after which the same holds
_TOO_DEEP = 64
_WAYS = 100  # to follow one schema
_TRIES = 100  # candidates for one value, of each way
_SWAPS = 6  # candidates for one property, the others being as they are
_NAMES = 200
_ROUND = 8  # times that one way may go through the same reference
_LONGEST_NAME = 60


class _Any(msgspec.Struct, frozen=True):
    """One of these must hold."""

    branches: tuple[tuple[Any, ...], ...]
    """Of each, the schemas that hold at once."""


class _Way(msgspec.Struct, frozen=True):
    """A way to follow a schema, as far as it has been gone."""

    form: Form
    trail: tuple[Any, ...] = ()
    """The references that it went through."""
    sure: bool = True
    """Whether it met no word that must be looked at again."""


_START = _Way(ANYTHING)


class Maker:
    """Makes the values of one document."""

    def __init__(self, document: Document, nonce: str, *, vary: bool) -> None:
        self._document = document
        self._nonce = nonce
        self._chance = Random(nonce)  # it must replay
        self._vary = vary
        self._check = Check(document)
        self._known: dict[int, tuple[Any, Form]] = {}
        """Forms by the schema's identity, which holds as long as the schema stands here too."""
        self._texts = 0
        self._left = LARGEST
        self._why = "nothing follows the schema"

    def make(self, schema: Any, depth: int = 0) -> Any:
        """The plainest value. Raises :class:`SchemaError`."""
        for value in self._values(schema, depth):
            return value
        raise ImpossibleError(self._why)

    def _values(self, schema: Any, depth: int) -> Iterator[Any]:
        """Values that follow ``schema``; it may be that some come twice."""
        self._spend()
        if depth > _TOO_DEEP:
            raise ImpossibleError("the schema demands an endless value")
        for way in islice(self._forms((schema,), _START, depth), _WAYS):
            sure = way.sure and way.form.sure
            try:
                for value in islice(self._candidates(way.form, depth), _TRIES):
                    if sure or self._check.holds(schema, value):
                        yield value
            except ImpossibleError as error:
                self._why = str(error)

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise SchemaError(f"the schema demands more than {LARGEST} values")

    def _is_tight(self, depth: int) -> bool:
        """Whether only the least is made by now."""
        return depth >= _ENOUGH or self._left < LARGEST - _PLENTY

    # Ways to follow a schema.

    def _forms(self, waiting: tuple[Any, ...], way: _Way, depth: int) -> Iterator[_Way]:
        """Every way in which all of ``waiting`` holds too; those that go nowhere are left out."""
        self._spend()
        if not waiting:
            yield way
            return
        schema, rest = waiting[0], waiting[1:]
        if isinstance(schema, _Any):
            for branch in self._ordered(schema.branches, depth):
                yield from self._forms((*branch, *rest), way, depth)
            return
        if isinstance(schema, bool):
            if schema:
                yield from self._forms(rest, way, depth)
            return
        if not isinstance(schema, dict):
            raise SchemaError(f"a schema is an object, not {schema!r}")
        if schema.get("nullable") is True:
            plain = {word: value for word, value in schema.items() if word != "nullable"}
            yield from self._forms((_Any(((plain,), ({"type": "null"},))), *rest), way, depth)
            return
        merged = both(way.form, self._form_of(schema))
        if (pointer := schema.get("$ref")) is not None and way.trail.count(pointer) >= _ROUND:
            return  # it leads back to itself, and no value is nearer
        if merged is not None:
            trail = way.trail if pointer is None else (*way.trail, pointer)
            further = _Way(merged, trail, way.sure and _UNSURE.isdisjoint(schema))
            yield from self._forms((*self._parts(schema), *rest), further, depth)

    def _form_of(self, schema: dict[str, Any]) -> Form:
        known = self._known.get(id(schema))
        if known is None:
            known = self._known[id(schema)] = (schema, form_of(schema))
        return known[1]

    def _parts(self, schema: dict[str, Any]) -> Iterator[Any]:
        """What must hold beside what ``schema`` itself says."""
        if "$ref" in schema:
            yield self._document.resolve(schema["$ref"])
        yield from children(schema, "allOf")
        for word in ("anyOf", "oneOf"):
            if word in schema:
                yield _Any(tuple((branch,) for branch in children(schema, word)))
        if "if" in schema:
            yield _Any(((schema["if"], schema.get("then", True)), (schema.get("else", True),)))
        for name, part in dependent_schemas(schema).items():
            yield _Any(((part,), ({"properties": {name: False}},)))

    def _ordered(self, branches: tuple[tuple[Any, ...], ...], depth: int) -> list[tuple[Any, ...]]:
        """As they stand, but null last; where it must come to an end, the shortest first."""
        found = list(branches)
        if self._is_tight(depth):
            return sorted(found, key=lambda branch: max(map(self._document.height, branch)))
        if self._vary:
            self._chance.shuffle(found)
            return found
        return sorted(found, key=_is_null)

    # Values of one form.

    def _candidates(self, form: Form, depth: int) -> Iterator[Any]:
        if form.options is not None:
            options = list(form.options)
            if self._vary:
                self._chance.shuffle(options)
            yield from options
            return
        for kind in self._kinds(form, depth):
            try:
                yield from self._of_kind(kind, form, depth)
            except ImpossibleError as error:
                self._why = str(error)

    def _kinds(self, form: Form, depth: int) -> Iterable[str]:
        if form.types is None:
            return form.guessed()
        kinds = sorted(form.types, key=lambda kind: (kind == "null") is not self._is_tight(depth))
        if self._vary and not self._is_tight(depth):
            self._chance.shuffle(kinds)
        return kinds

    def _of_kind(self, kind: str, form: Form, depth: int) -> Iterator[Any]:
        chance = self._chance if self._vary else None
        match kind:
            case "object":
                return self._objects(form, depth)
            case "array":
                return self._arrays(form, depth)
            case "string":
                return self._strings(form, depth)
            case "integer" | "number":
                return numbers(form.number, whole=kind == "integer", chance=chance)
            case "boolean":
                first = chance is None or chance.random() < 0.5
                return iter((first, not first))
            case "null":
                return iter((None,))
        raise SchemaError(f"unknown type {kind!r}")

    def _strings(self, form: Form, depth: int) -> Iterator[str]:
        if form.content is not None:
            yield msgspec.json.encode(self.make(form.content, depth + 1)).decode()
        free = f"{self._nonce}:{self._texts}"
        self._texts += 1
        yield from texts(form, free, self._chance, vary=self._vary)

    def _arrays(self, form: Form, depth: int) -> Iterator[list[Any]]:
        least, most = form.items[0], LARGEST if form.items[1] is None else form.items[1]
        if form.rest is False:
            most = min(most, len(form.prefix))
        least = max(least, sum(part.least for part in form.contains))
        if most < least:
            raise ImpossibleError(f"no list of {least} to {most} items")
        wanted = 0 if self._is_tight(depth) else max(2, len(form.prefix))
        if self._vary and not self._is_tight(depth):
            wanted = self._chance.randint(least, least + 3)
        counts = (wanted, least, least + 1, least + 2, len(form.prefix))
        for count in dict.fromkeys(max(least, min(most, count)) for count in counts):
            for _ in range(2):  # the second time with other texts
                try:
                    yield self._items(form, count, depth)
                except ImpossibleError as error:
                    self._why = str(error)
                    break

    def _items(self, form: Form, count: int, depth: int) -> list[Any]:
        slots = [form.prefix[i] if i < len(form.prefix) else form.rest for i in range(count)]
        # Where something must be contained, the last items are it; the first ones may be bound to be something else.
        at = count
        for part in form.contains:
            for i in range(count):
                if at - part.least <= i < at:
                    slots[i] = all_of([slots[i], part.schema])
                elif part.most is not None:
                    slots[i] = all_of([slots[i], {"not": part.schema}])
            at -= part.least
        made: list[Any] = []
        for slot in slots:
            made.append(self._another(slot, made, depth) if form.unique else self.make(slot, depth + 1))
        return made

    def _another(self, schema: Any, made: list[Any], depth: int) -> Any:
        """A value that isn't in ``made`` yet."""
        for value in self._values(schema, depth + 1):
            if not any(same(value, other) for other in made):
                return value
        raise ImpossibleError(f"no {len(made) + 1} different items were found")

    def _objects(self, form: Form, depth: int) -> Iterator[dict[str, Any]]:
        everything = self._named(form, [name for name in form.properties if name not in form.required])
        wanted = [] if self._is_tight(depth) else everything
        if self._vary:
            wanted = [name for name in wanted if self._chance.random() < 0.5]
        seen: set[tuple[str, ...]] = set()
        for optional in (wanted, [], everything, *([name] for name in everything[:_SWAPS])):
            names = tuple(self._chosen(form, optional))
            if names in seen:
                continue
            seen.add(names)
            try:
                made = self._properties(form, names, depth, example=not self._is_tight(depth))
            except ImpossibleError as error:
                self._why = str(error)
                continue
            yield made
            for name in made:
                for value in islice(self._values(form.property(name), depth + 1), 1, _SWAPS):
                    yield {**made, name: value}

    def _named(self, form: Form, names: list[str]) -> list[str]:
        """Those names, in the order that the schema asks for, without the ones that may not be there."""
        allowed = [name for name in names if form.properties.get(name) is not False]
        if not form.order:
            return allowed
        return sorted(
            allowed, key=lambda name: form.order.index(name) if name in form.order else len(form.order)
        )

    def _chosen(self, form: Form, optional: list[str]) -> list[str]:
        """Names of an object with that which is required, ``optional`` as far as there is room, and what both need."""
        needed = _closed(form.required, form.beside)
        room = LARGEST if form.size[1] is None else form.size[1]
        for name in optional:
            beside = _closed((name,), form.beside) if form.beside else (name,)
            if len(needed) + len(beside) <= room:  # too few rather than too many, where two need the same one
                needed.update(dict.fromkeys(beside))
        inside = [name for name in form.properties if name in needed]
        return self._named(form, inside) + [name for name in needed if name not in form.properties]

    def _properties(self, form: Form, names: tuple[str, ...], depth: int, *, example: bool) -> dict[str, Any]:
        made: dict[str, Any] = {}
        required = _closed(form.required, form.beside)
        for name in names:
            try:
                made[name] = self.make(form.property(name), depth + 1)
            except ImpossibleError:
                if name in required:
                    raise
        rest = [name for name in form.properties if name not in made and name not in names]
        for name in self._named(form, rest):
            if len(made) >= form.size[0]:
                break
            made[name] = self.make(form.property(name), depth + 1)
        count = form.size[0] - len(made)
        if count <= 0 and example and not made and isinstance(form.others, dict) and form.size[1] != 0:
            count = 1  # a table of whatever names: one shows what it looks like
        for name in islice(self._new_names(form, made, depth), max(0, count)):
            made[name] = self.make(form.property(name), depth + 1)
        if len(made) < form.size[0]:
            raise ImpossibleError(f"no {form.size[0]} properties were found")
        return made

    def _new_names(self, form: Form, made: dict[str, Any], depth: int) -> Iterator[str]:
        """Names that the schema doesn't tell, but allows."""
        seen = {*made, *form.properties}
        for i in range(_NAMES if form.names is True else 0):
            name = f"{i + 1}"  # a number: models whose keys are numbers don't say so
            if name not in seen and form.property(name) is not False:
                seen.add(name)
                yield name
        named: Iterator[Any] = iter(())
        if form.names is not True:
            named = self._values({"allOf": [{"type": "string"}, form.names]}, depth + 1)
        drawn = (
            compiled(pattern).made(least, LARGEST, self._chance)
            for least in range(_LONGEST_NAME)
            for pattern, inner in form.by_pattern.items()
            if inner is not False
        )
        for name in chain(islice(named, _NAMES), drawn):
            if name not in seen and form.property(name) is not False:
                seen.add(name)
                yield name


def _closed(names: tuple[str, ...], beside: Mapping[str, list[str]]) -> dict[str, None]:
    """Those names, and all that must stand beside them."""
    found = dict.fromkeys(names)
    waiting = list(found)
    while waiting:
        for name in beside.get(waiting.pop(), ()):
            if name not in found:
                found[name] = None
                waiting.append(name)
    return found


def _is_null(branch: tuple[Any, ...]) -> bool:
    schema = branch[0]
    return isinstance(schema, dict) and types_of(schema) == ["null"]
