"""``holdfast chaos``"""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import chaos_remote
from holdfast.cli.chaos_settings import Config, Preset, Rate, ScriptOf, Seed, Setting, collect
from holdfast.cli.output import complain, say, say_bytes, say_json, say_table
from holdfast.cli.serve import event_loop, no_address

if TYPE_CHECKING:
    from holdfast.cli.chaos_settings import Settings

__all__ = ["app"]

app = typer.Typer(help="A provider that fails on purpose.", no_args_is_help=True)
app.add_typer(chaos_remote.app)


@app.callback()
def chaos() -> None:
    """A provider that fails on purpose: try your client, your gateway, or Holdfast itself against it."""


@app.command()
def serve(
    *,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65_535, help="Port; 0 takes a free one.")
    ] = 8401,
    config: Config = None,
    preset: Preset = None,
    script: ScriptOf = None,
    rate: Rate = None,
    setting: Setting = None,
    seed: Seed = None,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", metavar="FILE", help="Append each attempt to this JSONL file as it ends."),
    ] = None,
    admin_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="HOLDFAST_CHAOS_ADMIN_TOKEN",
            help="Ask this bearer token for /admin/… Default: none is asked.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show live what it does: rates, outcomes, attempts.")
    ] = False,
) -> None:
    """Serve as OpenAI, Anthropic, Gemini, Azure, OpenRouter and DeepSeek do, and fail by script or by chance.

    A script says what each attempt of a model gets, steps separated by ";"; the last one repeats.
    Rates say what share of all other attempts goes wrong, and how. Answers are numbered tokens that
    carry the attempt's nonce; a journal keeps what was truly served. A prompt may bring a script of its
    own: [[chaos: 429 retry-after=2; ok]].

    \b
    Examples:
      holdfast chaos serve                                       healthy, on port 8401
      holdfast chaos serve --preset realistic --seed 7 --watch
      holdfast chaos serve -r 429=5 -r "reset=0.5" --set pace.ttft=0.3
      holdfast chaos serve -s "fb-fail=503" -s "fb-*=ok"
      holdfast chaos serve -s "flaky=429 retry-after=2; tokens=40 cut=reset; ok"
      curl http://127.0.0.1:8401/admin/journal                   what was served, attempt by attempt

    Exit codes: 0 ended by SIGTERM or Ctrl-C; 1 a setting, the file or the port can't be used.
    """
    from holdfast.chaos import ChaosError
    from holdfast.chaos import serve as serve_chaos
    from holdfast.cli.chaos_watch import watching

    file = None if journal is None else str(journal)
    settings = collect(
        config, preset, script, rate, setting, seed=seed, admin_token=admin_token, journal_file=file
    ).config
    if settings.admin_token is None and host not in ("127.0.0.1", "::1", "localhost"):
        complain(
            f"{host} is reached by other machines, who may change scripts and read prompts: add --admin-token"
        )
        raise typer.Exit(1)
    shown = watching(settings.admin_token) if watch else nullcontext(say)
    try:
        with shown as told:
            serve_chaos(host, port, settings, say=told, loop_factory=event_loop())
    except ChaosError as error:  # a bank's file, or the journal's
        complain(str(error))
        raise typer.Exit(1) from None
    except OSError as error:
        no_address(host, port, error, retry="holdfast chaos serve")


@app.command()
def presets(
    *, as_json: Annotated[bool, typer.Option("--json", help="One JSON object: name -> settings.")] = False
) -> None:
    """List the presets: settings to begin with, from a healthy provider to one that does everything wrong.

    \b
    Examples:
      holdfast chaos presets
      holdfast chaos show-config --preset realistic     all that one says
    """
    from holdfast.chaos import presets as known

    if as_json:
        say_json({name: known.load(name) for name in known.NAMES})
    else:
        say_table(("preset", "what it is"), [(name, known.summary(name)) for name in known.NAMES])


@app.command()
def show_config(
    *,
    config: Config = None,
    preset: Preset = None,
    script: ScriptOf = None,
    rate: Rate = None,
    setting: Setting = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    as_toml: Annotated[bool, typer.Option("--toml", help="A TOML file that --config takes.")] = False,
) -> None:
    """Show the settings that 'holdfast chaos serve' with the same options would have, and where each comes from.

    The command line goes before the file, the file before the preset, the preset before the defaults.

    \b
    Examples:
      holdfast chaos show-config --preset realistic --rate 429=10
      holdfast chaos show-config --preset stress_aimd --toml > chaos.toml

    Exit codes: 0 done; 1 a setting can't be used: the message says which, and why.
    """
    settings = collect(config, preset, script, rate, setting, seed=seed)
    values = settings.config.values()
    if as_json:
        say_json(_masked(values))
    elif as_toml:
        import tomli_w

        # TOML has no null: what isn't set isn't said.
        say_bytes([tomli_w.dumps({"chaos": _less_null(_masked(values))}).encode()])
    else:
        say_table(("setting", "value", "from"), _rows(settings, _masked(values)))


def _rows(settings: "Settings", values: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Each setting, tables opened; what is said nowhere stands last."""
    import msgspec

    rows = []
    for name, value in values.items():
        inner = value.items() if isinstance(value, dict) and value else [(None, value)]
        for sub, one in inner:
            path = (name,) if sub is None else (name, sub)
            shown = msgspec.json.encode(one).decode()
            rows.append((".".join(path), shown, settings.origin(*path)))
    return sorted(rows, key=lambda row: row[2] == "default")


def _masked(values: dict[str, Any]) -> dict[str, Any]:
    masked = dict(values)
    masked["admin_token"] = values["admin_token"] and "***"
    masked["api_keys"] = ["***"] * len(values["api_keys"])
    masked["keys"] = {f"*** {i}": script for i, script in enumerate(values["keys"].values(), 1)}
    return masked


def _less_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _less_null(inner) for name, inner in value.items() if inner is not None}
    return [_less_null(inner) for inner in value] if isinstance(value, list | tuple) else value
