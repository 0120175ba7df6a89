"""``holdfast chaos watch``, ``stats`` and ``journal``: asking a chaos provider that runs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.output import clean, say, say_bytes, say_json, say_table

if TYPE_CHECKING:
    from holdfast.cli.chaos_admin import ChaosAdmin

__all__ = ["app"]

app = typer.Typer()
"""To be added to the commands of ``holdfast chaos``, at their level."""

Url = Annotated[
    str,
    typer.Argument(metavar="URL", help="Where it serves; an SDK's base URL will do."),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="HOLDFAST_CHAOS_ADMIN_TOKEN",
        help="Its admin token, if it asks for one.",
    ),
]
_HERE = "http://127.0.0.1:8401"
_USUAL = 20


@app.command()
def watch(url: Url = _HERE, *, token: Token = None) -> None:
    """Watch a chaos provider: rates, outcomes, percentiles and the newest attempts, live. Ctrl-C ends it.

    Where stdout is no terminal: a line for each attempt as it ends.

    \b
    Examples:
      holdfast chaos watch
      holdfast chaos watch http://127.0.0.1:9000 --token t0ken

    Exit codes: 0 ended by Ctrl-C; 1 nothing can be asked there.
    """
    from holdfast.cli.chaos_admin import complaining
    from holdfast.cli.chaos_watch import watch as show

    with complaining():
        show(url, token)


@app.command()
def stats(
    url: Url = _HERE,
    *,
    token: Token = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, as /admin/stats tells it.")
    ] = False,
) -> None:
    """Tell what a chaos provider has served: counts, rates, percentiles, and the observed share of each fault.

    Shares are of the attempts that the rule decided about, with the exact interval (95 %) for the true share.

    \b
    Examples:
      holdfast chaos stats
      holdfast chaos stats http://127.0.0.1:9000 --json | jq .duration_s.p99

    Exit codes: 0; 1 nothing can be asked there.
    """
    from holdfast.cli.chaos_admin import ChaosAdmin, complaining

    with complaining():
        told = ChaosAdmin(url, token).read("stats")
    if as_json:
        say_json(told)
        return
    _say_stats(told)


def _say_stats(told: dict[str, Any]) -> None:
    from holdfast.cli.chaos_rows import count, duration, size

    say(
        f"{count(told['attempts'])} attempts in {duration(told['since_reset_s'])}, {count(told['running'])} running; "
        f"{count(told['tokens_served'])} tokens and {size(told['bytes_sent'])} served; "
        f"{count(told['prompt_tokens_billed'])} + {count(told['completion_tokens_billed'])} tokens billed"
    )
    say()
    rates = told["per_second"]
    windows = tuple(rates["arrived"])
    say_table(
        ("per second", *(window.replace("_", " ") for window in windows)),
        [
            (name, *((size if name == "bytes" else count)(per[window]) for window in windows))
            for name, per in rates.items()
        ],
        right=[window.replace("_", " ") for window in windows],
    )
    say()
    percentiles = ("p50", "p90", "p95", "p99", "max")
    say_table(
        ("latency", *percentiles),
        [
            (shown, *(duration(told[name][percentile]) for percentile in percentiles))
            for name, shown in (("first_token_s", "first token"), ("duration_s", "whole"))
        ],
        right=percentiles,
    )
    say()
    say_table(
        ("what", "kind", "attempts"),
        [
            (name.removeprefix("by_"), kind, count(n))
            for name in ("by_status", "by_end", "by_wire", "by_operation", "by_model", "by_rule")
            for kind, n in sorted(told[name].items(), key=lambda pair: -pair[1])
        ],
        right=("attempts",),
    )
    if told["shares"]:
        say()
        say_table(
            ("rule", "fault", "attempts", "of", "share", "95 % interval"),
            [
                (
                    row["rule"],
                    row["fault"],
                    count(row["count"]),
                    count(row["of"]),
                    f"{row['pct']:.3f} %",
                    f"{row['low_pct']:.3f}–{row['high_pct']:.3f} %",
                )
                for row in told["shares"]
            ],
            right=("attempts", "of", "share", "95 % interval"),
        )


@app.command()
def journal(
    url: Url = _HERE,
    *,
    token: Token = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="And then each attempt as it ends. Ctrl-C ends it.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=0, metavar="N", help="The last N. Default: 20; with --json all there are."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line, with every field.")
    ] = False,
    stable: Annotated[
        bool,
        typer.Option("--stable", help="With --json: without what differs between two runs of a seed."),
    ] = False,
    model: Annotated[str | None, typer.Option(metavar="MODEL", help="Name or shell pattern.")] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Script key or shell pattern.")] = None,
    wire: Annotated[str | None, typer.Option(metavar="NAME", help="Format, such as anthropic.")] = None,
    operation: Annotated[str | None, typer.Option(metavar="NAME", help="answer, count or embed.")] = None,
    rule: Annotated[str | None, typer.Option(metavar="RULE", help="What decided, such as default.")] = None,
    status: Annotated[str | None, typer.Option(metavar="STATUS", help="429, 5xx, or none.")] = None,
    fault: Annotated[str | None, typer.Option(metavar="FAULT", help="A fault's name, any, or none.")] = None,
    end: Annotated[
        str | None, typer.Option(metavar="END", help="complete, reset_by_us, … or running.")
    ] = None,
    attempt: Annotated[int | None, typer.Option(metavar="N", help="Its number under its key.")] = None,
    since: Annotated[int | None, typer.Option(metavar="SEQ", help="After this number.")] = None,
    until: Annotated[int | None, typer.Option(metavar="SEQ", help="Up to this number.")] = None,
    text: Annotated[
        str | None, typer.Option(metavar="TEXT", help="In what was served, or in the request.")
    ] = None,
) -> None:
    """Tell attempts at a chaos provider, the newest last.

    \b
    Examples:
      holdfast chaos journal
      holdfast chaos journal --status 5xx --model 'gpt-*' -n 100
      holdfast chaos journal --follow --fault any
      holdfast chaos journal --json --stable > run.jsonl          the same for every run of a seed

    Exit codes: 0, also where none fits; 1 nothing can be asked there; 2 called wrongly.
    """
    from holdfast.cli.chaos_admin import ChaosAdmin, complaining
    from holdfast.cli.chaos_watch import follow_lines

    if stable and (follow or not as_json):
        raise typer.BadParameter("goes with --json, and not with --follow", param_hint="--stable")
    if follow and (since is not None or until is not None):
        raise typer.BadParameter("begins with the last ones: --limit says how many", param_hint="--follow")
    filters = {
        "model": model, "key": key, "wire": wire, "operation": operation, "rule": rule, "status": status,
        "fault": fault, "end": end, "attempt": attempt, "since": since, "until": until, "text": text,
    }  # fmt: skip  # a table
    with complaining():
        admin = ChaosAdmin(url, token)
        if follow:
            follow_lines(
                admin,
                recent=_USUAL if limit is None else limit,
                say_line=_say_raw if as_json else None,
                **{name: value for name, value in filters.items() if value is not None},
            )
        elif as_json:
            _say_jsonl(admin, limit, stable=stable, filters=filters)
        else:
            _say_rows(admin, _USUAL if limit is None else limit, filters)


def _say_rows(admin: "ChaosAdmin", limit: int, filters: dict[str, Any]) -> None:
    from holdfast.cli.chaos_rows import COLUMNS, RIGHT, cells

    entries = admin.read("journal", order="newest", limit=limit, **filters)
    say_table(COLUMNS, [tuple(map(clean, cells(entry))) for entry in reversed(entries)], right=RIGHT)


def _say_jsonl(admin: "ChaosAdmin", limit: int | None, *, stable: bool, filters: dict[str, Any]) -> None:
    if limit is not None and not stable:  # the last ones: where do they begin?
        newest = admin.read("journal", order="newest", limit=limit, **filters)
        if not newest:
            return
        filters = {**filters, "since": newest[-1]["seq"] - 1}
        limit = None
    for data in admin.lines("journal.jsonl", limit=limit, stable="true" if stable else None, **filters):
        say_bytes((data, b"\n"))


def _say_raw(data: bytes) -> None:
    say_bytes((data, b"\n"))
