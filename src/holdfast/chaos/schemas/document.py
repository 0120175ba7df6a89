"""A schema's document: what its references mean, and which of its parts a finite value can be made of."""

from __future__ import annotations

from math import inf
from typing import Any
from urllib.parse import unquote

from holdfast.chaos.schemas.errors import SchemaError

__all__ = ["Document", "children", "is_schema"]

_MOST_CHAIN = 64  # references that lead to references
_MOST_ROUNDS = 64
_MOST_PARTS = 100_000


def is_schema(value: Any) -> bool:
    return isinstance(value, bool | dict)


def children(schema: Any, word: str) -> list[Any]:
    """The schemas of a keyword that holds a list of them; none where it isn't there. Raises :class:`SchemaError`."""
    found = schema.get(word, ())
    if not isinstance(found, list | tuple) or not all(map(is_schema, found)):
        raise SchemaError(f"{word} is no list of schemas")
    return list(found)


class Document:
    """One schema, whole."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._anchors: dict[str, Any] | None = None
        self._heights: dict[str, float] | None = None

    def resolve(self, pointer: Any) -> Any:
        """The schema that a ``$ref`` leads to. Raises :class:`SchemaError`."""
        node = self._at(pointer)
        for _ in range(_MOST_CHAIN):
            if not isinstance(node, dict) or set(node) != {"$ref"}:
                return node
            node = self._at(node["$ref"])
        raise SchemaError(f"$ref {pointer!r} leads in a circle")

    def height(self, schema: Any) -> float:
        """How deep the least value of ``schema`` is, about; infinite where it has no end."""
        return self._height(schema, self._known_heights(), 0)

    def _at(self, pointer: Any) -> Any:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise SchemaError(f"$ref {pointer!r} leaves the document")
        if len(pointer) > 1 and pointer[1] != "/":
            return self._anchor(pointer)
        node = self.root
        for step in pointer.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                raise SchemaError(f"$ref {pointer!r} leads nowhere")
        if not is_schema(node):
            raise SchemaError(f"$ref {pointer!r} leads to no schema")
        return node

    def _anchor(self, pointer: str) -> Any:
        if self._anchors is None:
            named = ((part.get("$anchor", part.get("$dynamicAnchor")), part) for part in self._parts())
            self._anchors = {name: part for name, part in named if isinstance(name, str)}
        if pointer[1:] not in self._anchors:
            raise SchemaError(f"$ref {pointer!r} leads nowhere")
        return self._anchors[pointer[1:]]

    def _parts(self) -> list[dict[str, Any]]:
        """Every object in the document, whether a schema or not."""
        parts: list[dict[str, Any]] = []
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, dict):
                parts.append(node)
                waiting.extend(node.values())
            elif isinstance(node, list):
                waiting.extend(node)
            if len(parts) > _MOST_PARTS:
                raise SchemaError("the schema is too large")
        return parts

    def _known_heights(self) -> dict[str, float]:
        """Of what is referred to. Each round knows more of them, until none changes."""
        if self._heights is not None:
            return self._heights
        pointers = {part["$ref"] for part in self._parts() if isinstance(part.get("$ref"), str)}
        heights = dict.fromkeys(sorted(pointers), inf)
        for _ in range(_MOST_ROUNDS):
            before = dict(heights)
            for pointer in heights:
                heights[pointer] = self._height(self.resolve(pointer), heights, 0)
            if heights == before:
                break
        self._heights = heights
        return heights

    def _height(self, schema: Any, known: dict[str, float], depth: int) -> float:
        if not isinstance(schema, dict) or "const" in schema or "enum" in schema or depth > _MOST_CHAIN:
            return inf if schema is False or depth > _MOST_CHAIN else 0

        def all_of(schemas: list[Any]) -> float:
            return max((self._height(inner, known, depth + 1) for inner in schemas), default=0)

        def any_of(schemas: list[Any]) -> float:
            return min((self._height(inner, known, depth + 1) for inner in schemas), default=0)

        own = known.get(schema["$ref"], inf) if "$ref" in schema else 0.0
        kinds = schema.get("type")
        if schema.get("nullable") is True or (isinstance(kinds, list) and "null" in kinds):
            return 0
        own = max(own, all_of(children(schema, "allOf")))
        own = max([own, *(any_of(children(schema, word)) for word in ("anyOf", "oneOf"))])
        inside: list[Any] = []
        properties = schema.get("properties")
        if isinstance(properties, dict):
            inside += [properties[name] for name in schema.get("required") or () if name in properties]
        if schema.get("minItems") not in (None, 0, "0"):
            items = schema.get("items", True)
            inside += [*children(schema, "prefixItems"), *([items] if is_schema(items) else [])]
        return max(own, 1 + all_of(inside)) if inside else own
