"""``holdfast keys``: callers' and admins' keys, made, looked at and ended while the gateway runs."""

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from holdfast.cli.output import clean, complain, console, say, say_json, say_table
from holdfast.cli.times import instant_ns, span_s

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

_T = TypeVar("_T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLEARED = {
    "team": "team",
    "tags": "tags",
    "routes": "routes",
    "models": "models",
    "budgets": "budgets",
    "rate": "rate",
    "expires": "expires_in_s",
}
"""What can be taken away from a key, and its field in ``/admin/keys``."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name; case doesn't matter.")]
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
Team = Annotated[str | None, typer.Option(metavar="TEAM", help="Whose budgets it counts in.")]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="NAME=VALUE", help="On all its requests, over their own tags. Repeatable."),
]
RoutesOf = Annotated[
    list[str] | None,
    typer.Option("--route", metavar="ROUTE", help="A route that it may use. Repeatable."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="PATTERN",
        help="A model that it may ask for. Repeatable. With neither --route nor --model: all.",
    ),
]
BudgetUsd = Annotated[str | None, typer.Option(metavar="DOLLARS", help="The most that it may spend.")]
BudgetTokens = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="The most tokens, of input and output.")
]
Per = Annotated[
    Literal["hour", "day", "month", "forever"] | None,
    typer.Option(help="The budget's window: any hour, or a day or month of UTC. Default: month."),
]
RateRequests = Annotated[int | None, typer.Option(metavar="N", min=1, help="Requests in any window.")]
RateTokens = Annotated[int | None, typer.Option(metavar="N", min=1, help="Tokens in any window.")]
RateWindow = Annotated[str | None, typer.Option(metavar="SPAN", help="That window. Default: 60s.")]
Expires = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="After 30d, 12h, or at 2026-12-31T12:00 (local). Default: never."),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, as /admin/keys tells it.")]


@app.callback()
def keys() -> None:
    """Keys: who may ask models, how much of them, and who runs the gateway.

    Changes count from the next request on, without a restart. A key's text is shown once, when it is
    made; only its hash is kept, in the ledger's database. Keys of the configuration's file ([keys.NAME])
    are listed as well, and changed there.
    """


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What ledger and logs call its holder. Never given again.")
    ],
    *,
    team: Team = None,
    tag: Tags = None,
    route: RoutesOf = None,
    model: Models = None,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    per: Per = None,
    rate_requests: RateRequests = None,
    rate_tokens: RateTokens = None,
    rate_window: RateWindow = None,
    expires: Expires = None,
    admin: Annotated[bool, typer.Option("--admin", help="Opens /admin, and asks no models.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """Make a key, and show it this once.

    The key alone goes to stdout, what is said about it to stderr. Where a gateway has the ledger open, it
    is asked, and the key counts at once; else it is written to the ledger's file.

    \b
    Examples:
      holdfast keys create ops --admin
      holdfast keys create alice --team search --budget-usd 5 --per day
      holdfast keys create ci --route chat --rate-requests 60 --expires 30d
      KEY=$(holdfast keys create batch --model 'gpt-*' --tag env=prod)

    Exit codes: 0; 1 it can't be made: the name is taken, the ledger can't be written; 2 called wrongly.
    """
    limits = _limits(
        team=team,
        tags=tag,
        routes=route,
        models=model,
        budgets=_budgets(budget_usd, budget_tokens, per),
        rate=_rate(rate_requests, rate_tokens, rate_window),
        expires=expires,
    )
    form = {"name": name, "admin": admin, **limits}
    made = _asking(lambda: _keys(url, admin_key, config).create(form))
    if as_json:
        say_json(made)
        return
    say(made["key"])
    _note(f"made the {_KINDS[made['kind']]} key {made['name']}. It is shown this once: keep it now.")


@app.command()
def change(
    name: Name,
    *,
    team: Team = None,
    tag: Tags = None,
    route: RoutesOf = None,
    model: Models = None,
    budget_usd: BudgetUsd = None,
    budget_tokens: BudgetTokens = None,
    per: Per = None,
    rate_requests: RateRequests = None,
    rate_tokens: RateTokens = None,
    rate_window: RateWindow = None,
    expires: Expires = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help=f"Take this away: {', '.join(_CLEARED)}. Repeatable."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """Give a key other limits. They count from its next request on; its text and what was spent stay.

    What isn't named stays as it is. What may be several (tags, routes, models, budgets) takes the place
    of all that were there.

    \b
    Examples:
      holdfast keys change alice --budget-usd 20 --per day
      holdfast keys change ci --rate-requests 600 --rate-window 10s
      holdfast keys change alice --clear models --clear expires

    Exit codes: 0; 1 there is no such key, it was revoked, or stands in the file; 2 called wrongly.
    """
    form = _limits(
        team=team,
        tags=tag,
        routes=route,
        models=model,
        budgets=_budgets(budget_usd, budget_tokens, per),
        rate=_rate(rate_requests, rate_tokens, rate_window),
        expires=expires,
    )
    for what in clear or ():
        field = _CLEARED.get(what)
        if field is None:
            raise typer.BadParameter(f"{what!r} is none of {', '.join(_CLEARED)}", param_hint="--clear")
        if field in form or (what == "expires" and "expires_at" in form):
            raise typer.BadParameter(f"{what} is given as well: say one of the two", param_hint="--clear")
        form[field] = None
    if not form:
        raise typer.BadParameter("say what is to change, such as --budget-usd 20", param_hint="NAME")
    changed = _asking(lambda: _keys(url, admin_key, config).change(name, form))
    if as_json:
        say_json(changed)
        return
    say(f"{changed['name']} is changed")
    _show(changed)


@app.command("list")
def list_(
    *,
    all_: Annotated[bool, typer.Option("--all", help="Also those that expired or were revoked.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """List keys: the file's first, then those in the ledger, in the order of making.

    Without --url the ledger's file is read, beside a running gateway or without one.

    \b
    Examples:
      holdfast keys list
      holdfast keys list --all --json | jq -r '.[] | select(.last_used_ns == null) | .name'

    Exit codes: 0 (also where there is none); 1 they can't be read; 2 called wrongly.
    """
    from holdfast.cli.keys_view import cells, head

    found = _asking(lambda: _keys(url, admin_key, config).all(over=all_))
    if as_json:
        say_json(found)
    elif found:
        say_table(head(found), map(cells, found))
    else:
        _note("there are no keys; make one with 'holdfast keys create NAME'")


@app.command()
def show(
    name: Name,
    *,
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """Show one key: its limits, when it was used, and which older texts of it still work. Never its text.

    \b
    Examples:
      holdfast keys show alice
      holdfast keys show alice --json | jq .budgets

    Exit codes: 0; 1 there is no such key; 2 called wrongly.
    """
    found = _asking(lambda: _keys(url, admin_key, config).show(name))
    if as_json:
        say_json(found)
    else:
        _show(found)


@app.command()
def revoke(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """End a key, at once and for good. Its requests under way are finished; its name stays taken.

    \b
    Examples:
      holdfast keys revoke alice
      holdfast keys revoke alice --yes --json

    Exit codes: 0 (also where it was revoked before); 1 there is no such key, or the answer was no; 2 called wrongly.
    """
    keys = _keys(url, admin_key, config)
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("is needed where nobody can be asked", param_hint="--yes")
        before = _asking(lambda: keys.show(name))
        typer.confirm(
            f"{before['name']} will be refused from now on, for good. Revoke it?", abort=True, err=True
        )
    ended = _asking(lambda: keys.revoke(name))
    if as_json:
        say_json(ended)
    else:
        say(f"{ended['name']} is revoked")


@app.command()
def rotate(
    name: Name,
    *,
    grace: Annotated[
        str,
        typer.Option(
            metavar="SPAN",
            help="How long the older text goes on: 30m, 24h, 7d; 0s: not at all.",
        ),
    ] = "24h",
    as_json: AsJson = False,
    url: Url = None,
    admin_key: AdminKey = None,
    config: Config = None,
) -> None:
    """Give a key a new text, and show it this once. Name, limits and what was spent stay.

    A key that leaked: rotate it with --grace 0s. 'holdfast keys show' tells whether the older text is
    still used.

    \b
    Examples:
      holdfast keys rotate alice
      holdfast keys rotate alice --grace 0s

    Exit codes: 0; 1 there is no such key, or it was revoked; 2 called wrongly.
    """
    from holdfast.cli.keys_view import note_of_grace

    made = _asking(lambda: _keys(url, admin_key, config).rotate(name, {"grace_s": _span(grace, "--grace")}))
    if as_json:
        say_json(made)
        return
    say(made["key"])
    _note(f"a new text for {made['name']}. It is shown this once: keep it now.")
    for old in made["replaced"]:
        _note(note_of_grace(old))


_KINDS = {"caller": "caller's", "admin": "admin's"}


def _show(key: dict[str, Any]) -> None:
    from holdfast.cli.keys_view import details

    for field, value in details(key):
        if value:
            say(f"{field:<11}  {clean(value)}")


def _limits(
    *,
    team: str | None,
    tags: list[str] | None,
    routes: list[str] | None,
    models: list[str] | None,
    budgets: list[dict[str, Any]],
    rate: dict[str, Any],
    expires: str | None,
) -> dict[str, Any]:
    """Those that were given, as ``/admin/keys`` takes them."""
    given = {
        "team": team,
        "tags": dict(map(_tag, tags or ())),
        "routes": routes,
        "models": models,
        "budgets": budgets,
        "rate": rate,
        **_expiry(expires),
    }
    return {field: value for field, value in given.items() if value is not None and value not in ({}, [])}


def _budgets(usd: str | None, tokens: int | None, per: str | None) -> list[dict[str, Any]]:
    limits = {"limit_usd": usd and _dollars(usd), "limit_tokens": tokens}
    found = [{"window": per or "month", unit: limit} for unit, limit in limits.items() if limit is not None]
    if per is not None and not found:
        raise typer.BadParameter("goes with --budget-usd or --budget-tokens", param_hint="--per")
    return found


def _rate(requests: int | None, tokens: int | None, window: str | None) -> dict[str, Any]:
    limits = {"requests": requests, "tokens": tokens}
    rate: dict[str, Any] = {unit: limit for unit, limit in limits.items() if limit is not None}
    if window is not None:
        if not rate:
            raise typer.BadParameter("goes with --rate-requests or --rate-tokens", param_hint="--rate-window")
        rate["window_s"] = _span(window, "--rate-window")
    return rate


def _dollars(text: str) -> str:
    """As it was written, and known to be a number: the gateway reads it digit by digit."""
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise typer.BadParameter(
            f"{text!r} is no amount of dollars such as 5 or 0.25", param_hint="--budget-usd"
        )
    return str(amount)


def _expiry(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    with suppress(ValueError):
        return {"expires_in_s": span_s(text)}
    try:
        moment = _EPOCH + timedelta(microseconds=instant_ns(text, now_ns=0) // 1_000)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither a span of time (30d, 12h) nor a time (2026-12-31T12:00)",
            param_hint="--expires",
        ) from None
    return {"expires_at": moment.isoformat()}


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is no tag such as env=prod", param_hint="--tag")
    return name, value


def _span(text: str, option: str) -> int:
    try:
        return span_s(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _keys(url: str | None, admin_key: str | None, config: Path | None) -> Any:
    # Imported here: the gateway's parts take longer to import than other commands take to run.
    from holdfast.cli.keys_desk import Keys

    return Keys(url, admin_key, config)


def _asking(ask: Callable[[], _T]) -> _T:
    from holdfast.cli.gateway_admin import RemoteError

    try:
        return ask()
    except RemoteError as error:
        complain(str(error))
        raise typer.Exit(1) from None


def _note(text: str) -> None:
    console(stderr=True).print(clean(text), soft_wrap=True)
