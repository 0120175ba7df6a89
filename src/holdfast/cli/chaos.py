"""``holdfast chaos``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.output import complain, say
from holdfast.cli.serve import no_address

if TYPE_CHECKING:
    from holdfast.chaos import ChaosConfig

__all__ = ["app"]

app = typer.Typer(help="A provider that fails on purpose.", no_args_is_help=True)


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
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="TOML file: its [chaos] table, or the whole file."
        ),
    ] = None,
    script: Annotated[
        list[str] | None,
        typer.Option(
            "--script", "-s", metavar="MODEL=SCRIPT", help="What a model (or pattern) does. Repeatable."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of every draw; the same seed, the same bytes.")
    ] = None,
    admin_token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="Ask this bearer token for /admin/… Default: none is asked."),
    ] = None,
) -> None:
    """Serve Chat Completions that fail by script, with a journal of what was truly served.

    A script says what each attempt gets, steps separated by ";"; the last one repeats. Answers are
    numbered tokens that carry the attempt's nonce. A prompt may bring a script of its own:
    [[chaos: 429 retry-after=2; ok]].

    \b
    Examples:
      holdfast chaos serve                                       healthy, on port 8401
      holdfast chaos serve -s "fb-fail=503" -s "fb-*=ok"
      holdfast chaos serve -s "flaky=429 retry-after=2; tokens=40 cut=reset; ok"
      holdfast chaos serve -s "slow=ttft=3 tps=5" --seed 7
      curl http://127.0.0.1:8401/admin/journal                   what was served, attempt by attempt

    Exit codes: 0 ended by SIGTERM or Ctrl-C; 1 a script, the file or the port can't be used.
    """
    from holdfast.chaos import ChaosConfig, ChaosError
    from holdfast.chaos import serve as serve_chaos

    try:
        settings = ChaosConfig() if config is None else ChaosConfig.load(config)
        settings = _with(settings, _scripts(script or []), seed, admin_token)
    except ChaosError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    if settings.admin_token is None and host not in ("127.0.0.1", "::1", "localhost"):
        complain(
            f"{host} is reached by other machines, who may change scripts and read prompts: add --admin-token"
        )
        raise typer.Exit(1)
    try:
        serve_chaos(host, port, settings, say=say)
    except OSError as error:
        no_address(host, port, error, retry="holdfast chaos serve")


def _scripts(given: list[str]) -> dict[str, str]:
    scripts: dict[str, str] = {}
    for text in given:
        model, equals, script = text.partition("=")
        if not model or not equals:
            raise typer.BadParameter(
                f"{text!r} is not MODEL=SCRIPT, such as flaky=503", param_hint="--script"
            )
        scripts[model] = script
    return scripts


def _with(
    settings: "ChaosConfig", scripts: dict[str, str], seed: int | None, admin_token: str | None
) -> "ChaosConfig":
    """The file's settings, with what the command line says over them; scripts given here are looked at first."""
    import msgspec

    kept = {model: script for model, script in settings.scripts.items() if model not in scripts}
    given = {"seed": seed, "admin_token": admin_token}
    return msgspec.structs.replace(
        settings,
        scripts={**scripts, **kept},
        **{name: value for name, value in given.items() if value is not None},
    )
