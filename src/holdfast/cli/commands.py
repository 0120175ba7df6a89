"""All commands in one place, and the one edge where errors become a line on stderr and an exit code."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from holdfast import __version__, failpoints
from holdfast.cli import (
    budgets,
    chaos,
    check,
    demo,
    explain,
    keys,
    ledger,
    prices,
    provider_keys,
    reload,
    serve,
    sessions,
    targets,
    tokens,
)
from holdfast.cli.environment import environment
from holdfast.cli.output import complain
from holdfast.errors import HoldfastError

__all__ = ["app", "run"]

app = typer.Typer(
    name="holdfast",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the examples keep their lines, on any terminal and in a pipe
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(check.check)
app.command()(explain.explain)
app.command()(targets.targets)
app.command()(budgets.budgets)
app.command()(reload.reload)
app.add_typer(sessions.app, name="sessions")
keys.app.add_typer(provider_keys.app, name="provider")
app.add_typer(keys.app, name="keys")
app.add_typer(ledger.app, name="ledger")
app.add_typer(prices.app, name="prices")
app.add_typer(tokens.app, name="tokens")
app.add_typer(chaos.app, name="chaos")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"holdfast {__version__}")
        raise typer.Exit


@app.callback()
def holdfast(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """An LLM gateway that keeps its promises when providers fail, and writes everything down.

    \b
    Start here:
      holdfast demo               watch answers arrive while providers fail
      holdfast serve              no keys yet? it simulates providers, and says so
      holdfast ledger tail        watch the record of every request
      holdfast serve --help       how to bring your own providers

    Exit codes: 0 done, 1 an error was found or met, 2 called wrongly.
    """
    del version  # its callback has answered


def run(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs ``arguments``, or what the process was called with, and ends by SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that can't show a character shows its number
            stream.reconfigure(errors="backslashreplace")
    try:
        failpoints.arm(environment().get(failpoints.VARIABLE))
        app(arguments, prog_name="holdfast")
    except HoldfastError as error:
        complain(error.message)
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename is not None else str(error))
    sys.exit(1)
