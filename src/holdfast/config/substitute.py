"""``${VAR}``, ``${VAR:-default}`` and ``${VAR:?message}`` in the strings of a configuration.

As in a shell, ``:-`` and ``:?`` also apply to a variable that is set but empty, and defaults may hold variables again.
``$${`` is a literal ``${``; any other dollar stands for itself. What a variable holds is never looked at again, so a
value can't name another variable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from holdfast.config.problems import Path, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_DEPTH", "Filled", "Substituted", "SubstitutionError", "substitute", "substitute_all"]

MAX_DEPTH: Final = 32  # dotted keys nest as deep as a line is long; the walks over a document are recursive

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK: Final = re.compile(r"\$\$\{|\$\{")


class SubstitutionError(ValueError):
    """The text can't be filled in; its message names the variable, never what another one holds."""


class Substituted(str):
    """Text that came, at least in part, from the environment: it isn't shown in messages, and may stand for a number."""

    variables: tuple[str, ...]

    def __new__(cls, text: str, variables: tuple[str, ...]) -> Self:
        made = super().__new__(cls, text)
        made.variables = variables
        return made


def substitute(text: str, env: Mapping[str, str]) -> str:
    """``text`` with its variables filled in: a :class:`Substituted` if it has any, else plain.

    Raises:
        SubstitutionError: a variable is missing, or what stands after ``${`` can't be read.
    """
    used: list[str] = []
    filled, _ = _fill(text, 0, env, used, depth=0)
    return Substituted(filled, tuple(dict.fromkeys(used))) if used else filled


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """A document with its variables filled in."""

    document: dict[str, Any]
    """What couldn't be filled in stands here as an empty :class:`Substituted`, so that places in lists stay as they were."""
    problems: tuple[Problem, ...]
    origins: dict[Path, tuple[str, ...]]
    """Which variables each filled-in string came from."""


def substitute_all(document: Mapping[str, Any], env: Mapping[str, str]) -> Filled:
    """Every string of ``document`` filled in, keys excepted, and all that was wrong. ``document`` stays as it is."""
    walk = _Walk(env)
    return Filled(document=walk.table(document, ()), problems=tuple(walk.problems), origins=walk.origins)


class _Walk:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[Problem] = []
        self.origins: dict[Path, tuple[str, ...]] = {}

    def table(self, table: Mapping[str, Any], path: Path) -> dict[str, Any]:
        return {str(key): self._value(value, (*path, str(key))) for key, value in table.items()}

    def _value(self, value: Any, path: Path) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, (dict, list)) and len(path) >= MAX_DEPTH:
            self.problems.append(Problem(path[:4], f"is nested more than {MAX_DEPTH} deep"))
            return Substituted("", ())
        if isinstance(value, dict):
            return self.table(value, path)
        if isinstance(value, list):
            return [self._value(item, (*path, index)) for index, item in enumerate(value)]
        return value

    def _text(self, text: str, path: Path) -> str:
        try:
            filled = substitute(text, self._env)
        except SubstitutionError as error:
            self.problems.append(Problem(path, str(error)))
            return Substituted("", ())
        if isinstance(filled, Substituted):
            self.origins[path] = filled.variables
        return filled


def _fill(text: str, at: int, env: Mapping[str, str], used: list[str], *, depth: int) -> tuple[str, int]:
    """Text from ``at`` to its end, or inside a default (``depth`` > 0) to the brace that closes it."""
    parts: list[str] = []
    while at < len(text):
        if depth and text[at] == "}":
            return "".join(parts), at
        if (mark := _MARK.match(text, at)) is None:
            parts.append(text[at])
            at += 1
        elif mark.group() == "$${":
            parts.append("${")
            at = mark.end()
        else:
            part, at = _variable(text, mark.end(), env, used, depth=depth + 1)
            parts.append(part)
    if depth:
        raise SubstitutionError('"${" is not closed by "}"; write "$${" for a literal "${"')
    return "".join(parts), at


def _variable(text: str, at: int, env: Mapping[str, str], used: list[str], *, depth: int) -> tuple[str, int]:
    """The value of the variable whose name begins at ``at``, and the place after its closing brace."""
    if depth > MAX_DEPTH:
        raise SubstitutionError(f"defaults are nested more than {MAX_DEPTH} deep")
    if (name := _NAME.match(text, at)) is None:
        raise SubstitutionError('after "${" comes the name of a variable; write "$${" for a literal "${"')
    variable, at = name.group(), name.end()
    used.append(variable)
    value = env.get(variable)
    operator = text[at : at + 2]
    if operator == ":-":
        # The default is read even where it isn't needed, to find its end, but its variables may then be missing.
        default, at = _fill(
            text, at + 2, _Lenient() if value else env, used if not value else [], depth=depth
        )
        return _readable(variable, value) if value else default, at + 1
    if operator == ":?":
        message, at = _fill(text, at + 2, _Lenient(), [], depth=depth)
        if not value:
            raise SubstitutionError(
                f"the environment variable {variable} is needed: {message or 'it is not set'}"
            )
        return _readable(variable, value), at + 1
    if text[at : at + 1] != "}":
        raise SubstitutionError(
            f'after "${{{variable}" comes "}}", ":-" and a default, or ":?" and a message'
        )
    if value is None:
        raise SubstitutionError(
            f"the environment variable {variable} is not set; set it, or give a default: ${{{variable}:-…}}"
        )
    return _readable(variable, value), at + 1


class _Lenient(dict[str, str]):
    """An environment in which everything is set, to read past text that isn't used."""

    def get(self, key: str, default: object = None) -> str:
        del key, default
        return "-"


def _readable(variable: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:  # the operating system's bytes, smuggled through as lone surrogates
        raise SubstitutionError(f"the environment variable {variable} does not hold valid UTF-8") from None
    return value
