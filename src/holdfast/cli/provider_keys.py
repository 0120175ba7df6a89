"""``holdfast keys provider``: callers' own keys to providers, kept sealed in the ledger's database."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from holdfast.cli.output import clean, complain, console, say, say_json, say_table
from holdfast.cli.times import local, zone

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_T = TypeVar("_T")
_LONGEST: Final = 64 * 2**10

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The caller's key, by its name; local where callers need none.")
]
Provider = Annotated[str, typer.Argument(metavar="PROVIDER", help="Such as openai.")]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="A gateway elsewhere. Default: the ledger that the configuration names, or the gateway that has it open.",
    ),
]
AdminKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        envvar="HOLDFAST_ADMIN_KEY",
        help="For a gateway. Default: the file's gateway.admin_key. Other users of this machine can see arguments.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="TOML file. Default: ./holdfast.toml if there is one."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, as /admin tells it. Never with a key's text.")]


@app.callback()
def provider() -> None:
    """Callers' own keys to providers: requests of that caller go out with its key, and nobody else's do.

    They are kept in the ledger's database, sealed (AES-256-GCM) under a master key that isn't there:
    HOLDFAST_MASTER_KEY or gateway.master_key. Make one with: openssl rand -base64 32. Changes count from
    the next request on. Keys that stand in the configuration's file ([keys.NAME.providers.PROVIDER]) are
    listed as well, go before these, and are changed there.
    """


@app.command("set")
def set_(
    name: Name,
    provider: Provider,
    *,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An address that belongs to the key, such as Azure's. Default: the provider's.",
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """Set a caller's own key to a provider. The key is read from stdin, or asked for; never an argument.

    \b
    Examples:
      holdfast keys provider set acme openai
      holdfast keys provider set acme anthropic < anthropic.key
      pass show acme/azure | holdfast keys provider set acme azure --base-url https://acme.openai.azure.com

    Exit codes: 0; 1 there is no such caller or provider, no master key, or it couldn't be kept; 2 called wrongly.
    """
    form = {"api_key": _secret(name, provider), "base_url": base_url}
    done = _asking(lambda: _keys(url, admin_key, config).set(name, provider, form))
    if as_json:
        say_json(done)
        return
    say(
        f"{done['key']}'s requests to {done['provider']} go out with its own key"
        + (", a new one" if done["replaced"] else "")
    )
    if done["unused"] is not None:
        _note(f"not yet, though: {done['unused']}")


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this caller's.")] = None,
    *,
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """List whose own keys there are, to which providers, and which of them aren't used. Never their text.

    Without --url the ledger's file is read, beside a running gateway or without one; whether each can be
    opened, the gateway knows.

    \b
    Examples:
      holdfast keys provider list
      holdfast keys provider list acme --json

    Exit codes: 0 (also where there is none); 1 they can't be read, or there is no such caller; 2 called wrongly.
    """
    found = _asking(lambda: _keys(url, admin_key, config).listed(name))
    if as_json:
        say_json(found)
    elif found:
        moments = [each["set_ns"] for each in found if each["set_ns"] is not None]
        when = f"set ({zone(moments[0])})" if moments else "set"
        say_table(("key", "provider", "stands in", when, "master key", "not used"), map(_cells, found))
    else:
        _note("there are none; set one with 'holdfast keys provider set NAME PROVIDER'")


@app.command()
def remove(
    name: Name,
    provider: Provider,
    *,
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """Remove a caller's own key to a provider. Needs no master key.

    What it began is finished. From then on the caller is served there with the shared key, if there is one and
    it may be (own_keys_only).

    \b
    Examples:
      holdfast keys provider remove acme openai

    Exit codes: 0; 1 there is none, or it couldn't be removed; 2 called wrongly.
    """
    done = _asking(lambda: _keys(url, admin_key, config).remove(name, provider))
    if as_json:
        say_json(done)
    else:
        say(f"{done['key']} has no key of its own to {done['provider']} any more")


@app.command()
def reseal(
    *, as_json: AsJson = False, url: Url = None, admin_key: AdminKey = None, config: Config = None
) -> None:
    """Seal all kept keys under the newest master key, so that an older one can be thrown away.

    \b
    How to change the master key:
      1. HOLDFAST_MASTER_KEY=NEW,OLD and start the gateway anew: the first seals, both open
      2. holdfast keys provider reseal
      3. HOLDFAST_MASTER_KEY=NEW, whenever you start it next

    Exit codes: 0; 1 there is no master key, or not all could be sealed (what was stays; call again); 2 called wrongly.
    """
    done = _asking(lambda: _keys(url, admin_key, config).reseal())
    if as_json:
        say_json(done)
    else:
        count, left = done["sealed"], done["left"]
        say(
            f"{count} {'key' if count == 1 else 'keys'} sealed under the newest master key; "
            f"{left or 'none'} left under an older one"
        )
        if left:
            _note("what is left can't be opened, so it is of no use: remove it, or set it anew")


def _secret(name: str, provider: str) -> str:
    """What was typed unseen, or comes on stdin, without its last newline."""
    if sys.stdin.isatty():
        asked: str = typer.prompt(f"{name}'s key to {provider}", hide_input=True, err=True)
        return asked.strip()
    text = sys.stdin.read(_LONGEST + 1).strip()
    if not text or len(text) > _LONGEST or len(text.splitlines()) > 1:
        raise typer.BadParameter("stdin must hold the key and nothing else", param_hint="stdin")
    return text


def _cells(key: dict[str, Any]) -> tuple[str, ...]:
    return (
        key["key"],
        key["provider"] + (f" at {key['base_url']}" if key["base_url"] else ""),
        "the ledger" if key["source"] == "ledger" else "the file",
        local(key["set_ns"]) if key["set_ns"] is not None else "",
        key["sealed_under"] or "",
        key["unused"] or "",
    )


def _keys(url: str | None, admin_key: str | None, config: Path | None) -> Any:
    # Imported here: the gateway's parts take longer to import than other commands take to run.
    from holdfast.cli.provider_keys_desk import OwnKeys

    return OwnKeys(url, admin_key, config)


def _asking(ask: Callable[[], _T]) -> _T:
    from holdfast.cli.gateway_admin import RemoteError

    try:
        return ask()
    except RemoteError as error:
        complain(str(error))
        raise typer.Exit(1) from None


def _note(text: str) -> None:
    console(stderr=True).print(clean(text), soft_wrap=True)
