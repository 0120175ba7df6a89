"""``holdfast prices``: what models cost, where that comes from, and what a configuration lacks. No network."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from holdfast.cli.environment import config_file, environment
from holdfast.cli.output import complain, say_json
from holdfast.cli.times import instant_ns
from holdfast.clock import SystemClock
from holdfast.providers.counts import MOST_TOKENS

if TYPE_CHECKING:
    from holdfast.config import Config as Configuration
    from holdfast.providers.overrides import Override

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


def _instant(text: str) -> int:
    try:
        return instant_ns(text, now_ns=SystemClock().wall_ns())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Stated prices are this file's. Default: ./holdfast.toml if there is one.",
    ),
]
At = Annotated[
    int | None,
    typer.Option(
        "--at",
        metavar="TIME",
        parser=_instant,
        help="Of that time: 2026-01-31T12:00 (local), or 7d (ago). Default: now.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON; dollars as decimal strings.")]
Provider = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Only at this one.")]
Tier = Annotated[
    Literal["batch", "flex", "priority", "fast"] | None,
    typer.Option("--tier", help="The service tier. Default: the standard one."),
]


def _count(name: str, meaning: str) -> Any:
    return typer.Option(name, min=0, max=MOST_TOKENS, metavar="N", help=meaning)


@app.callback()
def prices() -> None:
    """Show what models cost: the bundled list, and the prices that your configuration states over it.

    Opens no connection.
    """


@app.command("list")
def list_(
    *,
    provider: Provider = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="TEXT", help="Only models with this in their name.")
    ] = None,
    at: At = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List prices: dollars for a million tokens, by provider and model; stated ones first.

    \b
    Examples:
      holdfast prices list --provider openai
      holdfast prices list --model sonnet --at 2026-01-31
      holdfast prices list --json | jq -r '.prices[] | [.provider, .model, .per_1m.input] | @tsv'

    Exit codes: 0; 1 none matches, or the configuration has errors; 2 called wrongly.
    """
    from holdfast.cli.prices_view import listing_json, say_listing
    from holdfast.providers.price_rows import rows

    at_ns = _at(at)
    found = rows(_stated(config), at_ns, provider=provider, model=model)
    if as_json:
        say_json(listing_json(found, at_ns, today=_today()))
    elif found:
        say_listing(found, at_ns, today=_today())
    if not found:
        complain("no price matches")
        raise typer.Exit(1)


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="gpt-5, or openai/gpt-5.")],
    *,
    provider: Provider = None,
    tier: Tier = None,
    input_: Annotated[int | None, _count("--input", "What so many tokens of input cost.")] = None,
    output: Annotated[int | None, _count("--output", "… of output.")] = None,
    cached: Annotated[int | None, _count("--cached", "… of the input, read from a cache.")] = None,
    written: Annotated[int | None, _count("--cache-write", "… of the input, written to a cache.")] = None,
    written_1h: Annotated[int | None, _count("--cache-write-1h", "… of those, kept for an hour.")] = None,
    audio_in: Annotated[int | None, _count("--input-audio", "… of the input, audio.")] = None,
    images_in: Annotated[int | None, _count("--input-image", "… of the input, images.")] = None,
    audio_out: Annotated[int | None, _count("--output-audio", "… of the output, audio.")] = None,
    images_out: Annotated[int | None, _count("--output-image", "… of the output, images.")] = None,
    reasoning: Annotated[int | None, _count("--reasoning", "… of the output, reasoning.")] = None,
    searches: Annotated[int | None, _count("--searches", "Web searches that the provider made.")] = None,
    at: At = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show everything that is known of a model's price, and what an answer of so many tokens would cost, exactly.

    Totals contain their kinds: --input 1000 --cached 400 is a thousand tokens of input, of which 400 were cached.

    \b
    Examples:
      holdfast prices show gpt-5
      holdfast prices show openai/gpt-5 --input 100000 --output 200000
      holdfast prices show deepseek-chat --at 2026-01-31T20:00+00:00 --json

    Exit codes: 0; 1 no price is known, or the configuration has errors; 2 called wrongly.
    """
    from holdfast.cli.prices_view import say_model, shown_json
    from holdfast.model.usage import Usage
    from holdfast.providers.price_rows import nearest_names, of_model

    at_ns = _at(at)
    details = (cached, written, written_1h, audio_in, images_in, audio_out, images_out, reasoning, searches)
    usage = None
    if any(count is not None for count in (input_, output, *details)):
        usage = Usage(
            input_tokens=input_ or 0,
            cache_read_tokens=cached,
            cache_write_tokens=max(written or 0, written_1h or 0) or None,
            cache_write_1h_tokens=written_1h,
            input_audio_tokens=audio_in,
            output_tokens=output or 0,
            output_audio_tokens=audio_out,
            reasoning_tokens=reasoning,
            extra={
                "input_tokens_details": {"image_tokens": images_in or 0},
                "output_tokens_details": {"image_tokens": images_out or 0},
                "server_tool_use": {"web_search_requests": searches or 0},
            },
        )
    overrides = _stated(config)
    found = of_model(overrides, model, at_ns, provider=provider, tier=tier)
    if not found:
        where = f" at {provider}" if provider else ""
        which = f" in the service tier {tier}" if tier else ""
        near = nearest_names(overrides, model, provider)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        complain(f"no price is known for {model}{where}{which}{hint}")
        raise typer.Exit(1)
    prices_of = [price for row in found if (price := row.price(tier)) is not None]
    if usage is not None and all(price.cost(usage).nano is None for price in prices_of):
        raise typer.BadParameter("the kinds are more tokens than the totals that contain them")
    if as_json:
        say_json(shown_json(found, tier, usage, at_ns, today=_today()))
    else:
        say_model(found, tier, usage, at_ns, today=_today())


@app.command()
def check(*, at: At = None, as_json: AsJson = False, config: Config = None) -> None:
    """Check that every model which a route can reach has a price, and that every stated price is some model's.

    \b
    Examples:
      holdfast prices check
      holdfast prices check --config holdfast.toml --json | jq -r '.problems[]'

    Exit codes: 0 nothing is missing; 1 something is, or the configuration has errors; 2 called wrongly.
    """
    from holdfast.cli.prices_view import check_json, say_check
    from holdfast.config.price_check import check_prices

    at_ns = _at(at)
    found = check_prices(_configuration(config), at_ns=at_ns)
    if as_json:
        say_json(check_json(found, at_ns, today=_today()))
    else:
        say_check(found, today=_today())
    raise typer.Exit(1 if found.problems else 0)


def _at(given: int | None) -> int:
    return SystemClock().wall_ns() if given is None else given


def _today() -> date:
    return datetime.fromtimestamp(SystemClock().wall_ns() // 1_000_000_000, UTC).date()


def _configuration(file: Path | None) -> "Configuration":
    from holdfast.config import load

    return load(config_file(file), environment())


def _stated(file: Path | None) -> "tuple[Override, ...]":
    """What the configuration states; nothing where there is none, and no variable is needed."""
    from holdfast.providers.prices import parse_overrides

    if config_file(file) is None:
        return ()
    return parse_overrides(_configuration(file).prices)[0]
