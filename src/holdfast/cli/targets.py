"""``holdfast targets``"""

import threading
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.output import complain, console, say_bytes

if TYPE_CHECKING:
    from rich.console import Console

    from holdfast.cli.gateway_admin import GatewayAdmin

__all__ = ["targets", "watch"]

_EVERY_S = 1.0
_WIDE = 1_000


def targets(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="Only this one, such as openai/gpt-4o.")
    ] = None,
    *,
    url: Annotated[
        str, typer.Option(metavar="URL", help="Where the gateway serves; an SDK's base URL will do.")
    ] = "http://127.0.0.1:8080",
    admin_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            envvar="HOLDFAST_ADMIN_KEY",
            help="Its gateway.admin_key. Other users of this machine can see arguments: better the variable.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON, as /admin/targets tells it; with --watch a line a second.")
    ] = False,
    watching: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again every second, until Ctrl-C.")
    ] = False,
) -> None:
    """Show how a running gateway's targets stand: breakers, places, limits, retry budgets, and who was refused.

    Targets are listed that were asked since the gateway's start. A route that sets policies of its
    own has lines of its own.

    \b
    Examples:
      holdfast targets
      holdfast targets openai/gpt-4o --json
      HOLDFAST_ADMIN_KEY=… holdfast targets --url https://llm.example.com --watch

    Exit codes: 0; 1 no gateway answers there, or it says no; 2 called wrongly.
    """
    # Imported here: msgspec and http.client take longer to import than other commands take to run.
    from holdfast.cli.gateway_admin import GatewayAdmin, RemoteError
    from holdfast.cli.targets_view import read_targets, render

    if watching and not as_json and not console().is_terminal:
        raise typer.BadParameter(
            "needs a terminal; with --json it writes a line a second", param_hint="--watch"
        )
    try:
        gateway = GatewayAdmin(url, admin_key)
        if watching and as_json:
            _write_lines(gateway, target)
        elif watching:
            watch(gateway, target)
        elif as_json:
            _write(gateway.read("targets", target=target), indent=2)
        else:
            # As say_table does: the terminal wraps lines better than columns are folded.
            console(width=_WIDE).print(render(read_targets(gateway, target)), soft_wrap=True)
    except RemoteError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def watch(
    gateway: "GatewayAdmin",
    target: str | None = None,
    *,
    stop: threading.Event | None = None,
    on: "Console | None" = None,
) -> None:
    """A live picture, until Ctrl-C or until ``stop`` is set.

    Raises:
        RemoteError: the gateway can't be asked at the start. One that goes away later is waited for.
    """
    from rich.live import Live

    from holdfast.cli.gateway_admin import RemoteError
    from holdfast.cli.targets_view import read_targets, render

    stop = stop or threading.Event()
    seen, trouble = read_targets(gateway, target), ""
    with Live(console=on or console(), screen=True, auto_refresh=False, transient=True) as live:
        while True:
            live.update(render(seen, title=gateway.url, trouble=trouble), refresh=True)
            if stop.wait(_EVERY_S):
                return
            try:
                seen, trouble = read_targets(gateway, target), ""
            except RemoteError as error:  # it may come back
                trouble = str(error)


def _write_lines(gateway: "GatewayAdmin", target: str | None) -> None:
    pause = threading.Event()
    while True:
        _write(gateway.read("targets", target=target), indent=0)
        pause.wait(_EVERY_S)


def _write(data: bytes, *, indent: int) -> None:
    import msgspec

    from holdfast.cli.gateway_admin import RemoteError

    try:
        said = msgspec.json.format(data, indent=indent or -1)
    except (msgspec.DecodeError, RecursionError):
        raise RemoteError("what serves there is no gateway") from None
    say_bytes((said + b"\n",))
