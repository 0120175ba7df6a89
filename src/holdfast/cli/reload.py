"""``holdfast reload``"""

from typing import Annotated, Any

import typer

from holdfast.cli.output import clean, complain, console, say_bytes, say_json, say_table

__all__ = ["reload"]

_INVALID = 422
_UNSET = "-"


def reload(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only say what would change, or what is wrong.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, as /admin/reload tells it.")] = False,
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
) -> None:
    """Have a running gateway read its configuration again.

    It reads its own file, with its own environment's variables and the files of keys. All of it counts
    for requests that begin afterwards, or none of it where anything is wrong; requests and streams under
    way go on as they began. Some settings need a restart: the address, workers, the ledger, Redis.
    With several workers it is enough to ask one. Gateways on other machines are asked for themselves.

    \b
    Examples:
      holdfast reload --dry-run
      holdfast reload
      HOLDFAST_ADMIN_KEY=… holdfast reload --url https://llm.example.com --json | jq -r '.changes[].path'

    To look at a file before it is in place: holdfast check FILE.

    Exit codes: 0 (also where nothing changed); 1 the configuration can't be applied and nothing changed, or
    no gateway answers; 2 called wrongly.
    """
    # Imported here: msgspec and http.client take longer to import than other commands take to run.
    import msgspec

    from holdfast.cli.gateway_admin import GatewayAdmin, RemoteError

    try:
        gateway = GatewayAdmin(url, admin_key)
        said = gateway.change("POST", "reload?dry_run=true" if dry_run else "reload")
        done = msgspec.json.decode(said)
    except RemoteError as error:
        if as_json and error.status == _INVALID:
            say_bytes((msgspec.json.format(error.body, indent=2), b"\n"))
        else:
            complain(str(error))
        raise typer.Exit(1) from None
    except msgspec.DecodeError:
        complain("what serves there is no gateway")
        raise typer.Exit(1) from None
    if as_json:
        say_json(done)
        return
    if done["changes"]:
        say_table(("", "setting", "before", "after"), map(_row, done["changes"]))
    note = console(stderr=True)
    note.print(clean(_told(done)), soft_wrap=True)
    if done["workers"] == "asked":
        note.print("the other workers of that machine were asked to do the same", soft_wrap=True)


def _row(change: dict[str, Any]) -> tuple[str, str, str, str]:
    kind = change["kind"]
    before = _UNSET if kind == "added" else _shown(change["before"])
    after = _UNSET if kind == "removed" else _shown(change["after"])
    return kind, change["path"], before, after


def _shown(value: Any) -> str:
    import msgspec

    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _told(done: dict[str, Any]) -> str:
    source = done["file"] or "the environment"
    if not done["changed"]:
        return (
            f"nothing {'would change' if done['dry_run'] else 'changed'}: {source} says what counts already"
        )
    count = len(done["changes"])
    settings = "1 setting" if count == 1 else f"{count} settings"
    if done["dry_run"]:
        return f"{settings} of {source} would change; nothing was changed"
    return f"{settings} of {source} changed; requests from now on go by generation {done['generation']}"
