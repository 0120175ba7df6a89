"""How OpenAI writes tools for its models: declarations in the manner of TypeScript, which is what is billed.

Pieced together from what was billed (``docs/tokens.md``). It needn't be valid TypeScript, and what no bill has shown is
written as simply as it goes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.model.request import Tool

__all__ = ["write_tools"]

_DEEPEST: Final = 32
"""Of nested schemas, references followed among them: beyond, and around a circle, everything is ``any``."""
_LONGEST: Final = 1 << 18
"""Characters of types in one tool. References can stand for far more than was sent; a provider refuses that as well."""

_NAMES: Final = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
    "object": "object",
}


def write_tools(tools: Iterable[Tool]) -> str:
    """The declarations of ``tools``, or nothing if there are none."""
    written = [_declare(tool) for tool in tools]
    if not written:
        return ""
    return "namespace functions {\n\n" + "".join(written) + "} // namespace functions"


def _declare(tool: Tool) -> str:
    parameters = tool.parameters or {}
    arguments = ""
    if parameters.get("properties"):
        note = _comment(parameters.get("description"))
        arguments = f"_: {note}{_Writer(parameters).type_of(parameters)}"
    return f"{_comment(tool.description)}type {tool.name} = ({arguments}) => any;\n\n"


def _comment(text: Any) -> str:
    """A description, its lines without their indentation and all but the first without a mark."""
    if not isinstance(text, str) or not text.strip():
        return ""
    return "// " + "\n".join(line.strip() for line in text.strip().split("\n")) + "\n"


class _Writer:
    """Writes the types of one tool's schema. Schemas come from callers: anything may stand anywhere in them."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._left = _LONGEST

    def type_of(self, schema: Any, depth: int = 0) -> str:
        if self._left <= 0 or depth > _DEEPEST or not isinstance(schema, dict):
            return "any"
        written = self._write(schema, depth + 1)
        self._left -= len(written)
        return written

    def _write(self, schema: dict[str, Any], depth: int) -> str:
        if isinstance(reference := schema.get("$ref"), str):
            return self.type_of(self._found(reference), depth)
        for several in ("anyOf", "oneOf"):
            if isinstance(among := schema.get(several), list):
                return self._either(among, depth)
        if isinstance(among := schema.get("enum"), list):
            return " | ".join(_literal(each) for each in among)
        if "const" in schema:
            return _literal(schema["const"])
        match schema.get("type"):
            case list() as types:
                return self._either([{**schema, "type": each} for each in types], depth)
            case "array":
                return self.type_of(schema.get("items"), depth) + "[]"
            case "object" | None if isinstance(properties := schema.get("properties"), dict) and properties:
                return self._object(properties, schema.get("required"), depth)
            case str() as name:
                return _NAMES.get(name, "any")
        return "any"

    def _either(self, among: list[Any], depth: int) -> str:
        return " | ".join(self.type_of(each, depth) for each in among)

    def _object(self, properties: dict[str, Any], required: Any, depth: int) -> str:
        """In one line, unless something has to be said about a property or one has properties of its own."""
        needed = required if isinstance(required, list) else []
        fields = [
            (f"{name}{'' if name in needed else '?'}: {self.type_of(schema, depth)}", schema)
            for name, schema in properties.items()
        ]
        if not any(self._on_lines(schema) for schema in properties.values()):
            return "{ " + ", ".join(field for field, _ in fields) + " }"
        return "{\n" + "".join(_line(field, schema) for field, schema in fields) + "}"

    def _on_lines(self, schema: Any) -> bool:
        if not isinstance(schema, dict):
            return False
        if schema.get("description") or "default" in schema:
            return True
        inner = schema.get("items") if schema.get("type") == "array" else schema
        if isinstance(inner, dict) and isinstance(reference := inner.get("$ref"), str):
            inner = self._found(reference)
        return isinstance(inner, dict) and bool(inner.get("properties"))

    def _found(self, reference: str) -> Any:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if not isinstance(found, dict):
                return None
            found = found.get(step) if step else found
        return found


def _line(field: str, schema: Any) -> str:
    if not isinstance(schema, dict):
        return f"{field},\n"
    default = f" // default: {_literal(schema['default'])}" if "default" in schema else ""
    return f"{_comment(schema.get('description'))}{field},{default}\n"


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
