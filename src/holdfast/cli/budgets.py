"""``holdfast budgets``: what is spent of a running gateway's budgets, and by whom."""

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.output import complain, say, say_json, say_table

if TYPE_CHECKING:
    from holdfast.cli.money_view import Budgets

__all__ = ["AdminKey", "AsJson", "Url", "budgets"]

Url = Annotated[str, typer.Option(metavar="URL", help="Where the gateway serves; an SDK's base URL will do.")]
AdminKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        envvar="HOLDFAST_ADMIN_KEY",
        help="Its admin key. Other users of this machine can see arguments: better the variable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, as /admin tells it.")]
_NUMBERS = ("limit", "spent", "reserved", "leased", "left", "used", "refused")
_NAMED = 5


def budgets(
    budget: Annotated[
        str | None, typer.Argument(metavar="BUDGET", help="Only this one, as the file names it.")
    ] = None,
    *,
    subject: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this key, session (KEY/ID), team, model or tag value."),
    ] = None,
    url: Url = "http://127.0.0.1:8080",
    admin_key: AdminKey = None,
    as_json: AsJson = False,
) -> None:
    """Show what has been spent of a running gateway's budgets, by whom, and what is set aside for requests that run.

    The fullest come first. Where several processes share budgets, 'reserved' and 'leased' are of the one
    that answers; the rest is everybody's. Budgets are stated in the configuration ([budgets.NAME],
    [cost_protection]), and with keys ('holdfast keys create --budget-usd').

    \b
    Examples:
      holdfast budgets
      holdfast budgets monthly --subject alice
      holdfast budgets --json

    Exit codes: 0; 1 no gateway answers there, or it says no; 2 called wrongly.
    """
    # Imported here: msgspec and http.client take longer to import than other commands take to run.
    from holdfast.cli.gateway_admin import GatewayAdmin, RemoteError
    from holdfast.cli.money_view import Budgets, decoded

    try:
        gateway = GatewayAdmin(url, admin_key)
        told, as_told = decoded(gateway, gateway.read("budgets", budget=budget, subject=subject), Budgets)
    except RemoteError as error:
        complain(str(error))
        raise typer.Exit(1) from None
    if as_json:
        say_json(as_told)
    elif told.accounts:
        _show(told)
    else:
        say(_nothing(told, subject))


def _show(told: "Budgets") -> None:
    from holdfast.cli.money_view import amount

    shared = any(each.leased is not None for each in told.accounts)
    numbers = tuple(name for name in _NUMBERS if shared or name != "leased")
    say_table(
        ("budget", "subject", "window", *numbers),
        [
            (
                each.budget + ("" if each.hard else " (soft)"),
                each.subject or "all",
                each.window,
                *(amount(of, each.unit) for of in (each.limit, each.spent, each.reserved)),
                *(["-" if each.leased is None else amount(each.leased, each.unit)] if shared else []),
                amount(each.left, each.unit),
                f"{each.used:.0%}",
                str(each.refused),
            )
            for each in told.accounts
        ],
        right=numbers,
    )
    if told.more:
        say(f"… and {told.more} more, which have used less. Name a BUDGET, or --subject, to see them.")


def _nothing(told: "Budgets", subject: str | None) -> str:
    from holdfast.cli.output import clean

    names = [clean(rule.budget) for rule in told.budgets]
    if not names:
        return "There is no budget: state one in [budgets.NAME]."
    listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    by = f" by {subject}" if subject is not None else ""
    return f"Nothing has been spent yet{by} of {listed}."
