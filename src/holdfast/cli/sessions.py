"""``holdfast sessions``: a running gateway's sessions, and their end."""

from typing import Annotated

import typer

from holdfast.cli.budgets import AdminKey, AsJson, Url
from holdfast.cli.output import clean, complain, say, say_json, say_table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_LOCAL = "http://127.0.0.1:8080"


@app.callback()
def sessions() -> None:
    """Sessions of a running gateway: what each has spent, and how long it has left."""


@app.command("list")
def list_sessions(
    *,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only those of this caller's key.")] = None,
    url: Url = _LOCAL,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """List sessions, those that go on first.

    A session begins with the first request that names it (x-holdfast-session), and has an end where
    cost protection is on. Callers without keys are 'local'.

    Exit codes: 0; 1 no gateway answers there, or it says no; 2 called wrongly.
    """
    from holdfast.cli.gateway_admin import GatewayAdmin, RemoteError
    from holdfast.cli.money_view import Sessions, decoded, dollars

    try:
        gateway = GatewayAdmin(url, admin_key)
        told, as_told = decoded(gateway, gateway.read("sessions", key=key), Sessions)
    except RemoteError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    if as_json:
        say_json(as_told)
        return
    if not told.enabled:
        say("Sessions have no end here, so none are kept: cost_protection.enabled is false.")
        return
    if not told.sessions:
        whose = "" if key is None else f" of {clean(key)}"
        say(f"There is no session{whose}: a caller names one in x-holdfast-session.")
        return
    say_table(
        ("key", "session", "state", "spent", "left", "warned"),
        [
            (
                each.key,
                each.id,
                each.state,
                dollars(each.spent_usd),
                f"{each.left_s / 60:.1f} min" if each.state == "active" else "–",
                "yes" if each.warned else "no",
            )
            for each in told.sessions
        ],
        right=("spent", "left"),
    )
    if told.more:
        say(f"… and {told.more} more.")


@app.command("end")
def end_session(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The caller's key that it belongs to; local without keys.")
    ],
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its id.")],
    *,
    url: Url = _LOCAL,
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """End a session for good: its id is refused from now on. What runs in it goes on, and is paid.

    Exit codes: 0; 1 there is none, or no gateway answers there, or it says no; 2 called wrongly.
    """
    from urllib.parse import quote

    from holdfast.cli.gateway_admin import GatewayAdmin, RemoteError
    from holdfast.cli.money_view import Session, decoded, dollars

    try:
        gateway = GatewayAdmin(url, admin_key)
        path = f"sessions/{quote(key, safe='')}/{quote(session, safe='/')}"
        told, as_told = decoded(gateway, gateway.change("DELETE", path), Session)
    except RemoteError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    if as_json:
        say_json(as_told)
        return
    was = "is over" if told.state == "ended" else f"was over already ({clean(told.state)})"
    say(f"Session {clean(told.id)} of {clean(told.key)} {was}; it spent {dollars(told.spent_usd)}.")
