"""What the command line takes from the process around it. Read here once, and handed on."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_FILE", "config_file", "environment", "program"]

DEFAULT_FILE: Final = Path("holdfast.toml")


def environment() -> Mapping[str, str]:
    """The environment's variables, as they are now."""
    return dict(os.environ)  # noqa: TID251  # the one place where the environment is let in


def config_file(given: Path | None) -> Path | None:
    """The configuration's file: ``given``, else ``./holdfast.toml`` if there is one, else None."""
    if given is not None:
        return given
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def program(env: Mapping[str, str]) -> str:
    """How this program can be called again from the same folder, quoted for a shell."""
    called = Path(sys.argv[0])
    found = shutil.which("holdfast", path=env.get("PATH"))
    if called.name != "holdfast" or not called.is_file() or (found and Path(found).samefile(called)):
        return "holdfast"
    here = Path.cwd()
    path = here / called
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
