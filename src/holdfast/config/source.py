"""What a configuration is built from, and what was found wrong with it on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.config.problems import Path, Problem, dotted
from holdfast.engine.route import fold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.config.schema import Document

__all__ = ["Source"]


class Source:
    """The file, twice, and the environment.

    Args:
        doc: the file, each setting in range. Settings that weren't are left out of it.
        raw: the file as it was written, to tell a setting that is missing from one that was faulty.
        env: the environment's variables.
        origins: the variables in each setting that has any.
    """

    def __init__(
        self,
        doc: Document,
        raw: Mapping[str, Any],
        env: Mapping[str, str],
        origins: Mapping[Path, tuple[str, ...]],
    ) -> None:
        self.doc = doc
        self.raw = raw
        self.env = env
        self.origins = origins
        self.problems: list[Problem] = []

    def wrong(self, path: Path, message: str) -> None:
        self.problems.append(Problem(path, message))

    def written(self, *path: str) -> Any:
        """What stands at ``path`` in the file, names in any case; None where nothing does."""
        here: Any = self.raw
        for step in path:
            if not isinstance(here, dict):
                return None
            here = next((value for key, value in here.items() if fold(key) == fold(step)), None)
        return here

    def was_written(self, *path: str) -> bool:
        """The file has this, though perhaps faulty: it isn't missing, and what is wrong with it has been said."""
        return self.written(*path) is not None

    def of_environment(self, variable: str | None) -> str:
        """What a variable holds, without white space around it; empty where it isn't set."""
        return self.env.get(variable or "", "").strip()

    def told(self, path: Path) -> str:
        """``path`` as TOML writes it, with the variables that filled it in: where a value came from, never the value."""
        variables = self.origins.get(path, ())
        return dotted(path) + (f" (environment {', '.join(variables)})" if variables else "")
