"""The command ``holdfast``. Its libraries are in the extra ``gateway``, so nothing of them is imported here."""

import sys
from importlib.util import find_spec

__all__ = ["main"]

_NEEDED = ("prometheus_client", "rich", "structlog", "typer", "uvicorn")


def main() -> None:
    """Runs the command line and ends the process: 0 done, 1 an error was found or met, 2 called wrongly."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        sys.exit(f'holdfast: {", ".join(missing)} not installed: pip install "holdfast[gateway]"')
    from holdfast.cli.commands import run

    run()
