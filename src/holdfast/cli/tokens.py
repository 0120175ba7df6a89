"""``holdfast tokens``: how many tokens a text or a request has, counted here. No network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from holdfast.cli.environment import config_file, environment
from holdfast.cli.output import say_json
from holdfast.clock import SystemClock

if TYPE_CHECKING:
    from holdfast.providers.overrides import Override

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="JSON; dollars as decimal strings.")]


@app.callback()
def tokens() -> None:
    """Count tokens for any model: how sure the number is, the most that it can be, and what it costs as input.

    Opens no connection, and needs no key.
    """


@app.command()
def count(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The text, or - for stdin.")] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="The text is this file's.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="gpt-5, openai/gpt-5. A request may name its own."
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option("--provider", metavar="NAME", help="Who serves it. Default: whose model it is."),
    ] = None,
    request: Annotated[
        bool,
        typer.Option("--request", help="The text is a request's JSON body: what it is wrapped in counts."),
    ] = False,
    dialect: Annotated[
        Literal["chat", "anthropic", "gemini"] | None,
        typer.Option("--dialect", help="How --request is written. Default: as it looks."),
    ] = None,
    as_json: AsJson = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="Stated prices are this file's. Default: ./holdfast.toml if there is one.",
        ),
    ] = None,
) -> None:
    """Count the tokens of a text, or of a whole request.

    Every character counts, the line's end that echo adds as well (printf adds none). A megabyte takes half a second,
    64 MiB, the most, a minute or so.

    \b
    Examples:
      holdfast tokens count "The quick brown fox." --model gpt-5
      holdfast tokens count --file prompt.md --model claude-opus-4-8
      git diff | holdfast tokens count - --model gemini-3-flash-preview --json | jq .tokens
      holdfast tokens count --request --file body.json
      holdfast tokens count --request --file body.json --model deepseek/deepseek-chat

    Exit codes: 0; 1 it can't be read or isn't a request, or the configuration has errors; 2 called wrongly.
    """
    from holdfast.cli.tokens_input import read_input, read_request
    from holdfast.cli.tokens_view import Counted, counted_json, input_costs, say_counted
    from holdfast.providers.tokens import count_request, count_text

    if dialect is not None and not request:
        raise typer.BadParameter("--dialect says how a request is written: --request is missing")
    if not model and not request:
        raise typer.BadParameter("--model is missing: which model's tokens are they?")
    said = read_input(text, file)
    if request:
        body = read_request(said, dialect)
        model = model or body.model
        if not model:
            raise typer.BadParameter("--model is missing: the request names none")
        found = count_request(body, model, provider)
    else:
        model = model or ""
        found = count_text(said, model, provider)
    costs = input_costs(_stated(config), model, provider, found, SystemClock().wall_ns())
    shown = Counted(model=model, provider=provider, count=found, whole=request, costs=costs)
    if as_json:
        say_json(counted_json(shown))
    else:
        say_counted(shown)


@app.command()
def models(*, as_json: AsJson = False) -> None:
    """List how models are counted: whose tokenizer is there, and whose is only estimated.

    \b
    Examples:
      holdfast tokens models
      holdfast tokens models --json | jq -r '.families[] | [.family, .text, .request] | @tsv'

    Exit codes: 0; 2 called wrongly.
    """
    from holdfast.cli.tokens_view import families_json, say_families

    if as_json:
        say_json(families_json())
    else:
        say_families()


def _stated(file: Path | None) -> "tuple[Override, ...]":
    """What the configuration states; nothing where there is none, and no variable is needed."""
    from holdfast.config import load
    from holdfast.providers.prices import parse_overrides

    found = config_file(file)
    return () if found is None else parse_overrides(load(found, environment()).prices)[0]
