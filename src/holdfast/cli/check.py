"""``holdfast check``"""

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.environment import environment
from holdfast.cli.output import clean, say, say_json
from holdfast.clock import SystemClock

__all__ = ["check"]


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The TOML file.")],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: file, ok, problems, warnings, notes.")
    ] = False,
) -> None:
    """Say everything that is wrong with a configuration, without starting anything or opening a connection.

    All errors are listed at once, each with its path in the file and the nearest valid name; then
    what is allowed but likely not meant, and what holds because of the environment. Variables
    (${OPENAI_API_KEY}) are filled in from there; what they hold is never shown.

    \b
    Examples:
      holdfast check holdfast.toml
      holdfast check holdfast.toml --json | jq -r '.problems[]'

    Exit codes: 0 it can be served (warnings may be there); 1 it can't.
    """
    from holdfast.config import check as check_config

    report = check_config(file, environment(), at_ns=SystemClock().wall_ns())
    ok = not report.problems
    if as_json:
        say_json(
            {
                "file": str(file),
                "ok": ok,
                "problems": report.problems,
                "warnings": report.warnings,
                "notes": report.notes,
            }
        )
    else:
        for problem in report.problems:
            say(f"error    {clean(problem)}")
        for warning in report.warnings:
            say(f"warning  {clean(warning)}")
        for note in report.notes:
            say(f"note     {clean(note)}")
        say(
            f"{clean(str(file))}: {_count(len(report.problems), 'error') if not ok else 'good'}"
            + _also(report.warnings)
        )
    raise typer.Exit(0 if ok else 1)


def _also(warnings: tuple[str, ...]) -> str:
    return f", {_count(len(warnings), 'warning')}" if warnings else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
