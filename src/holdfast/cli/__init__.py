"""The command ``holdfast``. Its libraries are in the extras ``gateway`` and ``chaos``: nothing of them is imported here."""

import sys
from importlib.util import find_spec

__all__ = ["main"]

_GATEWAY = ("prometheus_client", "rich", "structlog", "typer", "uvicorn")
_CHAOS = ("jinja2", "rich", "tomli_w", "typer", "websockets")


def main() -> None:
    """Runs the command line and ends the process: 0 done, 1 an error was found or met, 2 called wrongly."""
    extra, needed = ("chaos", _CHAOS) if sys.argv[1:2] == ["chaos"] else ("gateway", _GATEWAY)
    if missing := [name for name in needed if find_spec(name) is None]:
        sys.exit(f'holdfast: {", ".join(missing)} not installed: pip install "holdfast[{extra}]"')
    from holdfast.cli.commands import run

    run()
