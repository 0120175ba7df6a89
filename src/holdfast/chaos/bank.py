"""A bank of recorded answers: a JSONL file, one answer a row, told to the requests that it fits.

A row, all of whose fields but one of ``text``, ``reasoning`` and ``tool_calls`` may be missing::

    {"match": {"model": "gpt-*", "contains": "weather"}, "text": "It rains.", "usage": {"completion_tokens": 3}}

Whoever records knows what was billed: a row's completion tokens are those that its answer is told in.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from holdfast.chaos.errors import ChaosError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.chaos.draws import Draw
    from holdfast.chaos.wire.base import Asked

__all__ = ["Bank", "Call", "Match", "Row", "RowUsage", "load_banks"]

Pick = Literal["match", "draw", "sequence"]
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests a row fits: those of which all holds that is said."""

    model: str | None = None
    """Name or shell pattern, in any case."""
    prompt: str | None = None
    """The whole last user text."""
    contains: str | None = None
    """A part of it."""
    pattern: str | None = None
    """A regular expression that is found in it."""

    def __post_init__(self) -> None:
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"pattern: {error}") from None
        if not any((self.model, self.prompt, self.contains, self.pattern)):
            raise ValueError("it says nothing: leave it out, and the row fits all requests")

    def fits(self, asked: Asked) -> bool:
        prompt = asked.last_user_text
        return (
            (self.model is None or fnmatchcase(asked.model.lower(), self.model.lower()))
            and (self.prompt is None or prompt == self.prompt)
            and (self.contains is None or self.contains in prompt)
            and (self.pattern is None or re.search(self.pattern, prompt) is not None)
        )


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call."""

    name: _Name
    arguments: dict[str, Any] | str = {}
    """A table, or the text as it was recorded (which needn't be JSON)."""
    id: _Name | None = None
    """None: one in the provider's way is made up."""

    @property
    def text(self) -> str:
        if isinstance(self.arguments, str):
            return self.arguments
        return msgspec.json.encode(self.arguments).decode()


class RowUsage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens, as billed; what isn't said is counted as in other answers."""

    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    """Of reasoning, text and calls together."""
    reasoning_tokens: _Tokens | None = None
    cached_tokens: _Tokens | None = None
    cache_written_tokens: _Tokens | None = None


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recorded answer."""

    match: Match | None = None
    """None: it fits requests that no row with a ``match`` fits."""
    text: str = ""
    reasoning: str = ""
    """Told where the request wants thoughts."""
    tool_calls: tuple[Call, ...] = ()
    usage: RowUsage = RowUsage()
    finish: str | None = None
    """None: as the answer ends."""

    def __post_init__(self) -> None:
        if not (self.text or self.reasoning or self.tool_calls):
            raise ValueError("it says nothing: give it text, reasoning or tool_calls")
        usage = self.usage
        told = usage.completion_tokens
        if told is None:
            return
        thought = usage.reasoning_tokens or (1 if self.reasoning else 0)
        least = thought + (1 if self.text else 0) + len(self.tool_calls)
        if told < least:
            raise ValueError(f"usage.completion_tokens is {told}, but what it says needs at least {least}")


class Bank:
    """The rows of one file."""

    def __init__(self, rows: Sequence[Row], name: str = "bank") -> None:
        if not rows:
            raise ChaosError(f"{name}: no answer in it")
        self._matched = [(row.match, row) for row in rows if row.match is not None]
        self._others = [row for row in rows if row.match is None]

    @classmethod
    def load(cls, path: str | Path) -> Bank:
        """Read a JSONL file in UTF-8; empty lines are passed over. Raises :class:`ChaosError` with the line's number."""
        try:
            lines = Path(path).read_bytes().splitlines()
        except OSError as error:
            raise ChaosError(f"{path}: {error.strerror or error}") from None
        rows = [_row(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()]
        return cls(rows, str(path))

    def pick(self, asked: Asked, pick: Pick, attempt: int, draw: Draw, purpose: str) -> Row | None:
        """The row for this request: of those whose ``match`` fits, or else of those without one. None: none fits."""
        matched = [row for match, row in self._matched if match.fits(asked)]
        rows = matched or self._others
        if not rows:
            return None
        if pick == "sequence":
            return rows[(attempt - 1) % len(rows)]
        if pick == "match" and matched:
            return matched[0]
        return rows[int(draw.unit(purpose) * len(rows))]


_decoder = msgspec.json.Decoder(Row)


def _row(line: bytes, where: str) -> Row:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = _PATH.search(str(error))
        path = f"{found['path']}: " if found else ""
        raise ChaosError(f"{where}: {path}{_PATH.sub('', str(error))}") from None


def load_banks(files: Mapping[str, str]) -> dict[str, Bank]:
    """The banks of a configuration, by name. Raises :class:`ChaosError` that names the bank, the file and the line."""
    banks: dict[str, Bank] = {}
    for name, path in files.items():
        try:
            banks[name] = Bank.load(path)
        except ChaosError as error:
            raise ChaosError(f"banks.{name}: {error}") from None
    return banks
