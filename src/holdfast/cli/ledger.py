"""``holdfast ledger``: reading the record, beside a running gateway or without one."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from holdfast.cli.ledger_export import write_export
from holdfast.cli.ledger_file import ledger_path, one_request
from holdfast.cli.output import clean, say, say_json, say_table
from holdfast.cli.records import ATTEMPT_COLUMNS, RIGHT, attempt_cells, cells, columns, details, to_json
from holdfast.cli.times import instant_ns
from holdfast.clock import SystemClock, new_id, system_rng
from holdfast.ledger.reader import Filter, LedgerReader
from holdfast.ledger.sqlite import repair as repair_file

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

Ledger = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="PATH",
        help="The ledger's file or URL. Default: the configuration's, or ./holdfast.db.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Take ledger.url from this file. Default: ./holdfast.toml if there is one.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="JSON; times in ns since 1970 UTC and in ISO 8601, dollars as decimal strings."
    ),
]
State = Annotated[
    Literal["in_flight", "ok", "failed", "cancelled", "unknown"] | None,
    typer.Option("--state", help="How it stands."),
]
Model = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="Asked for or served.")]
Provider = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Served it, or was tried.")]
Key = Annotated[str | None, typer.Option("--key", metavar="NAME", help="The name of the caller's key.")]
Session = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="The caller's x-holdfast-session.")
]


def _instant(text: str) -> int:
    try:
        return instant_ns(text, now_ns=SystemClock().wall_ns())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Since = Annotated[
    int | None,
    typer.Option(
        "--since",
        metavar="WHEN",
        parser=_instant,
        help="Started then or later: 30m, 2h, 7d (ago), or 2026-01-31T12:00 (local).",
    ),
]
Until = Annotated[
    int | None, typer.Option("--until", metavar="WHEN", parser=_instant, help="Started before then.")
]


@app.callback()
def ledger() -> None:
    """Read the record of every request: what was asked, who was tried, what was delivered, what it cost.

    Reading is safe beside a running gateway; only repair writes.
    """


@app.command("list")
def list_(
    *,
    state: State = None,
    model: Model = None,
    provider: Provider = None,
    key: Key = None,
    session: Session = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")] = 20,
    as_json: AsJson = False,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """List requests, the newest first.

    \b
    Examples:
      holdfast ledger list
      holdfast ledger list --state failed --since 1h
      holdfast ledger list --provider openai --since 2026-01-31 --limit 100 --json | jq '.[].cost_usd'

    Exit codes: 0 (also where none matches); 1 the ledger can't be read; 2 called wrongly.
    """
    which = Filter(
        state=state, model=model, provider=provider, key=key, session=session, since_ns=since, until_ns=until
    )
    with LedgerReader(ledger_path(file, config)) as reader:
        records = list(reader.requests(which, limit=limit))
    if as_json:
        say_json([to_json(record) for record in records])
    else:
        say_table(columns(records), map(cells, records), right=RIGHT)


@app.command()
def show(
    request_id: Annotated[
        str, typer.Argument(metavar="ID", help="Of x-holdfast-request-id, or how it begins.")
    ],
    *,
    as_json: AsJson = False,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """Show one request with every attempt at it.

    \b
    Examples:
      holdfast ledger show 019a7c3e-41d2-7
      holdfast ledger show 019a7c3e-41d2-7 --json | jq '.attempts[].outcome'

    Exit codes: 0; 1 there is no such request, or more than one; 2 called wrongly.
    """
    with LedgerReader(ledger_path(file, config)) as reader:
        record = one_request(reader, request_id)
    if as_json:
        say_json(to_json(record))
        return
    for name, value in details(record):
        say(f"{name:<13}  {clean(value)}")
    if record.end is not None and record.end.attempts:
        say()
        say_table(ATTEMPT_COLUMNS, map(attempt_cells, record.end.attempts), right=RIGHT)


@app.command()
def tail(
    *,
    recent: Annotated[
        int, typer.Option("--recent", "-n", min=0, metavar="N", help="Begin with the last N.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """Follow the record: a line when a request begins, and one when it ends. Ctrl-C ends it.

    \b
    Examples:
      holdfast ledger tail
      holdfast ledger tail --json | jq 'select(.state == "failed")'

    Exit codes: 0 ended by Ctrl-C; 1 the ledger can't be read; 2 called wrongly.
    """
    with LedgerReader(ledger_path(file, config)) as reader:
        try:
            for record in reader.tail(_every(0.2), recent=recent):
                if as_json:
                    say_json(to_json(record), indent=0)
                else:
                    say(clean(_line(cells(record))))
        except KeyboardInterrupt:
            return


@app.command()
def export(
    *,
    format_: Annotated[
        Literal["jsonl", "csv"], typer.Option("--format", help="jsonl has everything; csv one flat row each.")
    ] = "jsonl",
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to; - is stdout. A file is replaced only by a whole export.",
        ),
    ] = Path("-"),
    state: State = None,
    model: Model = None,
    provider: Provider = None,
    key: Key = None,
    session: Session = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many, the oldest.")
    ] = None,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """Write requests out for other programs, the oldest first. Takes no more memory for more of them.

    \b
    Examples:
      holdfast ledger export --since 30d --format csv --out november.csv
      holdfast ledger export --state failed | jq -r .error_label | sort | uniq -c

    Exit codes: 0; 1 the ledger can't be read, or the file not written; 2 called wrongly.
    """
    which = Filter(
        state=state, model=model, provider=provider, key=key, session=session, since_ns=since, until_ns=until
    )
    path = ledger_path(file, config)
    with LedgerReader(path) as reader:
        write_export(reader.requests(which, order="oldest", limit=limit), format_, out, ledger=path)


@app.command()
def repair(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: closed (a count), requests.")
    ] = False,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """Close what a process that died left open: as unknown, at the upper bound of what it may have cost.

    A gateway does this itself when it starts. This is for a ledger whose gateway won't start again.
    Refused while a gateway has the ledger open.

    \b
    Examples:
      holdfast ledger repair
      holdfast ledger repair --ledger /backup/holdfast.db --json

    Exit codes: 0 (also where nothing was open); 1 a living process has the ledger, or it can't be written.
    """
    path = ledger_path(file, config)
    clock = SystemClock()
    began_ns = clock.wall_ns()
    closed = repair_file(path, owner=new_id(clock, system_rng()), clock=clock)
    with LedgerReader(path) as reader:
        unknown = reader.requests(Filter(state="unknown"), limit=None if closed else 1)
        records = [r for r in unknown if closed and r.end is not None and r.end.ended_ns >= began_ns]
    if as_json:
        say_json({"closed": closed, "requests": [to_json(record) for record in records]})
        return
    if not closed:
        say("nothing was open: nothing to repair")
        return
    say(f"closed {closed} {'request' if closed == 1 else 'requests'} as unknown:")
    say_table(columns(records), map(cells, records), right=RIGHT)


def _every(seconds: float) -> Callable[[], bool]:
    """Waits, then says: go on."""
    never = threading.Event()
    return lambda: not never.wait(seconds)


_WIDTHS = (19, 18, 9, 3, 24, 32, 2, 6, 6, 7, 11, 0)


def _line(values: tuple[str, ...]) -> str:
    """Columns that stay in line without knowing what comes."""
    return "  ".join(value.ljust(width) for value, width in zip(values, _WIDTHS, strict=True)).rstrip()
