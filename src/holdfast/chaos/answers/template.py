"""Answers from a Jinja2 template: what its variables are, and what becomes of its errors."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.chaos.errors import ChaosError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Template

    from holdfast.chaos.answers.sandbox import Sandbox
    from holdfast.chaos.draws import Draw

__all__ = ["Random", "RenderError", "Values", "check", "render"]

_KEPT = 256  # compiled templates


class RenderError(ValueError):
    """A template that makes no text of this request."""


class Values(msgspec.Struct, frozen=True):
    """What a template knows, by these names; beside them ``random`` (see :class:`Random`) and ``range``."""

    prompt: str
    """The last user text."""
    model: str
    nonce: str
    """The attempt's own ten digits."""
    attempt: int
    """The number of this attempt under its key, from 1."""
    key: str
    """Whose attempts are counted together."""
    tokens: int
    """How many tokens the answer would otherwise have."""
    media: Sequence[str]
    """Each image and file of the prompt, in words."""
    tools: Sequence[str]
    """The names of the tools that were offered."""


class Random:
    """Chance that replays: the same seed, key and attempt draw the same."""

    def __init__(self, draw: Draw, purpose: str) -> None:
        self._draw = draw
        self._purpose = purpose
        self._count = 0

    def unit(self) -> float:
        """A number from 0 to below 1."""
        self._count += 1
        return self._draw.unit(f"{self._purpose} {self._count}")

    def whole(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        if high < low:
            raise ValueError(f"random.whole: {low} to {high} is no range")
        return low + int(self.unit() * (high - low + 1))

    def choice(self, values: Sequence[Any]) -> Any:
        """One of ``values``."""
        if not values:
            raise ValueError("random.choice: nothing to choose from")
        return values[int(self.unit() * len(values))]

    def hex(self, digits: int = 8) -> str:
        """Up to 64 hexadecimal digits."""
        self._count += 1
        return self._draw.hex(f"{self._purpose} {self._count}", min(max(digits, 0), 64))


_NAMES = frozenset((*Values.__struct_fields__, "random", "range"))


def check(source: str) -> None:
    """Raises :class:`ChaosError` for a template that can't be meant, or where Jinja2 isn't there."""
    _compiled(source)


def render(source: str, values: Values, random: Random) -> str:
    """The text that ``source`` makes. Raises :class:`RenderError`, also where it is too large or takes too long."""
    from holdfast.chaos.answers.sandbox import LARGEST, METER, Meter  # loaded where templates are used

    template = _compiled(source)
    meter = Meter()
    given = {**msgspec.structs.asdict(values), "random": random, "range": meter.range, METER: meter}
    said: list[str] = []
    size = 0
    try:
        for piece in template.generate(given):
            said.append(piece)
            size += len(piece)
            if size > LARGEST:
                raise RenderError(f"more than {LARGEST} characters of output")
        text = "".join(said)
        text.encode()  # half a surrogate pair is no text
    except RenderError:
        raise
    except Exception as error:  # noqa: BLE001  # a template is the caller's program: it may fail in any way
        raise RenderError(_words(error)) from None
    return text


@lru_cache(_KEPT)
def _compiled(source: str) -> Template:
    try:
        sandbox = _sandbox()
    except ImportError:
        raise ChaosError("template: Jinja2 is missing; install holdfast[chaos]") from None
    try:
        template, names = sandbox.compiled(source)
    except Exception as error:  # noqa: BLE001  # deep nesting fails in Python's own compiler, in several ways
        line = getattr(error, "lineno", None)
        where = f"template, line {line}" if line else "template"
        raise ChaosError(f"{where}: {_words(error)}") from None
    for name in sorted(names - _NAMES):
        raise ChaosError(f"template: unknown variable {name!r}: {nearest(name, _NAMES)}")
    return template


@lru_cache(1)
def _sandbox() -> Sandbox:
    from holdfast.chaos.answers.sandbox import Sandbox  # loads Jinja2, where templates are used

    return Sandbox((Random,))


def _words(error: Exception) -> str:
    said = getattr(error, "message", None) or str(error) or type(error).__name__
    return str(said).splitlines()[0]
