"""The options that commands of ``holdfast ledger`` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from holdfast.cli.times import instant_ns
from holdfast.clock import SystemClock

__all__ = [
    "AsJson",
    "Config",
    "Key",
    "Ledger",
    "Model",
    "Provider",
    "Session",
    "Since",
    "State",
    "Until",
    "instant",
]

Ledger = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        "--url",
        metavar="PATH|URL",
        help="A SQLite file, sqlite:///… or postgresql://…; default: the configuration's, or ./holdfast.db. Other users "
        "of this machine can see a password in arguments: better the configuration.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Take ledger.url from this file. Default: ./holdfast.toml if there is one.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="JSON; times in ns since 1970 UTC and in ISO 8601, dollars as decimal strings."
    ),
]
State = Annotated[
    Literal["in_flight", "ok", "failed", "cancelled", "unknown"] | None,
    typer.Option("--state", help="How it stands."),
]
Model = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Asked for or served.")]
Provider = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Served it, or was tried.")]
Key = Annotated[str | None, typer.Option("--key", metavar="NAME", help="The name of the caller's key.")]
Session = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="The caller's x-holdfast-session.")
]


def instant(text: str) -> int:
    try:
        return instant_ns(text, now_ns=SystemClock().wall_ns())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Since = Annotated[
    int | None,
    typer.Option(
        "--since",
        metavar="WHEN",
        parser=instant,
        help="Started then or later: 30m, 2h, 7d (ago), or 2026-01-31T12:00 (local).",
    ),
]
Until = Annotated[
    int | None, typer.Option("--until", metavar="WHEN", parser=instant, help="Started before then.")
]
