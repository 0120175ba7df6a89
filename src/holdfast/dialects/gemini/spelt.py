"""Two spellings of one request: ``inlineData`` or ``inline_data``, ``[{…}]`` or ``{…}``. Google takes both alike.

What is read has camelCase names and lists; where it was spelled otherwise is noted by path, and written again so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from holdfast.dialects.reading import Fault, Fields

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Spelt", "SpeltFields", "camel", "respelt", "snake"]

KNOWN: Final = frozenset((
    "allowedFunctionNames", "candidateCount", "displayName", "fileData", "fileUri", "frequencyPenalty", "functionCall",
    "functionCallingConfig", "functionDeclarations", "functionResponse", "generationConfig", "includeThoughts", "inlineData",
    "maxOutputTokens", "mediaResolution", "mimeType", "parametersJsonSchema", "presencePenalty", "responseJsonSchema",
    "responseLogprobs", "responseMimeType", "responseModalities", "responseSchema", "stopSequences", "systemInstruction",
    "thinkingBudget", "thinkingConfig", "thinkingLevel", "thoughtSignature", "toolConfig", "topK", "topP",
))  # fmt: skip  # a list reads better packed
"""Names of more than one word that are read; every other field stays as it came anyway."""
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class Spelt:
    """What one request spelled in its unusual way, by path."""

    __slots__ = ("single", "snake")

    def __init__(self) -> None:
        self.snake: list[str] = []
        self.single: list[str] = []

    def spelling(self) -> dict[str, str]:
        """For a request's ``spelling``. The paths hold no spaces: they are made of known names and positions."""
        notes = {"snake_case": " ".join(self.snake), "single": " ".join(self.single)}
        return {name: paths for name, paths in notes.items() if paths}


class SpeltFields(Fields):
    """One JSON object in either spelling, read by its camelCase names. Errors name the fields as they came."""

    __slots__ = ("_came", "_camel_path", "_spelt", "_why")

    def __init__(self, value: Any, path: str, fault: Fault, spelt: Spelt, camel_path: str = "") -> None:
        super().__init__(value, path, fault)
        self._spelt = spelt
        self._why = fault
        self._camel_path = camel_path
        self._came: dict[str, str] = {}  # camelCase → as it came
        for name in [name for name in self.left if "_" in name]:
            known = camel(name)
            if known in KNOWN and known not in self.left:
                self.left = {known if each == name else each: inner for each, inner in self.left.items()}
                self._came[known] = name
                spelt.snake.append(self._within(known))

    def at(self, name: str) -> str:
        return super().at(self._came.get(name, name))

    def fields(self, name: str) -> SpeltFields | None:
        value = self.take(name)
        if value is None:
            return None
        return SpeltFields(value, self.at(name), self._why, self._spelt, self._within(name))

    def needed_fields(self, name: str) -> SpeltFields:
        inner = self.fields(name)
        if inner is None:
            raise self.fault(name, f"is {'null' if name in self.left else 'missing'}; it must be an object")
        return inner

    def each(self, name: str) -> list[Fields]:
        """The objects in the list ``name``, or the only one where it stands there by itself."""
        values = self.left.get(name)
        if isinstance(values, dict):
            self._spelt.single.append(self._within(name))
            self.left[name] = [values]
        values = self.left.get(name)
        if not values and isinstance(values, list | None):
            return []
        items = self.items(name) or []
        return [self.one_item(item, name, at) for at, item in enumerate(items)]

    def one_item(self, value: Any, name: str, at: int) -> SpeltFields:
        return SpeltFields(
            value, f"{self.at(name)}[{at}]", self._why, self._spelt, f"{self._within(name)}[{at}]"
        )

    def _within(self, name: str) -> str:
        return f"{self._camel_path}.{name}" if self._camel_path else name


def respelt(body: dict[str, Any], spelling: dict[str, str]) -> None:
    """Spells ``body`` as it came. A place that is there no longer keeps the usual spelling, which means the same."""
    # From the innermost outwards: a place's path has the usual names of what is around it.
    for path in _inside_out(spelling.get("single", "").split()):
        holder, name = _holder(body, path)
        if isinstance(holder, dict) and isinstance(items := holder.get(name), list) and len(items) == 1:
            holder[name] = items[0]
    for path in _inside_out(spelling.get("snake_case", "").split()):
        holder, name = _holder(body, path)
        if isinstance(holder, dict) and isinstance(name, str) and name in holder:
            holder[snake(name)] = holder.pop(name)


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", name)


def _inside_out(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=lambda path: -len(_STEP.findall(path)))


def _holder(body: Any, path: str) -> tuple[Any, str | int]:
    """What holds the place at ``path``, and the place's name in it. Lists of one may stand there by themselves already."""
    steps: list[str | int] = [name or int(at) for name, at in _STEP.findall(path)]
    if not steps:
        return None, ""
    holder = body
    for step in steps[:-1]:
        if isinstance(step, str):
            holder = holder.get(step) if isinstance(holder, dict) else None
        elif isinstance(holder, list):
            holder = holder[step] if step < len(holder) else None
        elif step:
            return None, ""
    return holder, steps[-1]
