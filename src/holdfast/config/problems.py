"""What is wrong with a configuration, said with its place and what would be right.

Values that may be secret aren't shown: a key pasted into the wrong setting must not end in a log.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel, ValidationError

__all__ = [
    "Path",
    "Problem",
    "did_you_mean",
    "dotted",
    "from_pydantic",
    "listing",
    "or_one_of",
    "or_quoted",
    "raise_for",
]

Path = tuple[str | int, ...]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARS: Final = 80


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. ``str()`` gives it as ``routes.chat.retry.max_s: must be …``."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


def dotted(path: Path) -> str:
    """A path as TOML writes it: ``prices."openai/gpt-4o".unit``, ``routes.chat.targets[1]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if _BARE.fullmatch(step) else _quoted(step))
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean x?``, or nothing where nothing is near."""
    folded = {candidate.casefold(): candidate for candidate in known}
    near = get_close_matches(name.casefold()[:_SHOWN_CHARS], folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def or_one_of(name: str, known: Iterable[str]) -> str:
    """The nearest name, or all of them where nothing is near."""
    names = list(dict.fromkeys(known))
    return did_you_mean(name, names) or listing(names)


def listing(known: Iterable[str]) -> str:
    names = ", ".join(known)
    return f"; there are {names}" if names else ""


def or_quoted(names: Iterable[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def raise_for(problems: Sequence[Problem], *, file: str | None = None) -> None:
    """Raises one :class:`ConfigError` that lists all ``problems``, if there are any."""
    if not problems:
        return
    lines = tuple(dict.fromkeys(str(problem) for problem in problems))
    where = f" in {file}" if file is not None else ""
    count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
    raise ConfigError("\n".join((f"{count}{where}:", *(f"  {line}" for line in lines))), problems=lines)


def from_pydantic(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """pydantic's findings in our words. Its own texts are not used where they'd quote the input."""
    return [_one(dict(found), model) for found in error.errors(include_url=False, include_context=False)]


def _one(found: dict[str, Any], model: type[BaseModel]) -> Problem:
    path: Path = tuple(found["loc"])
    kind = found["type"]
    if kind == "extra_forbidden":
        name = str(path[-1])
        return Problem(path, f"there is no such setting{or_one_of(name, fields_at(model, path[:-1]))}")
    if kind == "tuple_type" and fields_at(model, path):  # single brackets, most likely
        return Problem(path, f"must be a list of tables, each under [[{dotted(path)}]]")
    if kind in _PLAIN:
        return Problem(path, _PLAIN[kind])
    return Problem(path, found["msg"])  # "holdfast": our own validators' sentence


_PLAIN: Final = {
    "missing": "is missing",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be a string",
}


def fields_at(model: type[BaseModel], path: Path) -> list[str]:
    """The names of the settings that the table at ``path`` may have."""
    here: Any = model
    for step in path:
        fields = getattr(here, "model_fields", None)
        if fields is None:  # a table of named tables: the name is free
            here = _table_in(here)
        elif isinstance(step, str) and step in fields:
            here = fields[step].annotation
        else:
            return []
    return list(getattr(_table_in(here) if not hasattr(here, "model_fields") else here, "model_fields", ()))


def _table_in(annotation: Any) -> Any:
    """The model in ``Model | None`` or ``dict[str, Model]``."""
    for inner in getattr(annotation, "__args__", ()):
        if hasattr(inner, "model_fields"):
            return inner
    return annotation


def _quoted(key: str) -> str:
    clipped = key if len(key) <= _SHOWN_CHARS else key[: _SHOWN_CHARS - 1] + "…"
    escaped = clipped.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
