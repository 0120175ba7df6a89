"""A guard taken out, and the test that must notice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Mutant"]

_NAMED: Final = re.compile(r"(?P<ids>[A-Z]{1,2}\d+(?:, [A-Z]{1,2}\d+)*): (?P<what>.+)")


@dataclass(frozen=True)
class Mutant:
    """One guard less.

    Its name begins with the promises that it breaks (``docs/promises.md``), or with a requirement's number: "CB2: any number
    of probes", "ST3, IN1: an unreadable event is a success". One without breaks none of them and guards the house.
    """

    name: str
    file: str
    """Under ``src/holdfast``."""
    old: str
    """Occurs exactly once in the file."""
    new: str
    test: str
    """The test's id, as pytest takes it."""
    slow: bool = False
    """It takes more than ten seconds: only the full run has it."""

    @property
    def ids(self) -> tuple[str, ...]:
        """What its name begins with."""
        named = _NAMED.fullmatch(self.name)
        return tuple(named["ids"].split(", ")) if named is not None else ()

    @property
    def what(self) -> str:
        """Its name without them."""
        named = _NAMED.fullmatch(self.name)
        return named["what"] if named is not None else self.name
