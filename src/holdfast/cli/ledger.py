"""``holdfast ledger``: reading the record, beside a running gateway or without one."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from holdfast.cli import ledger_mend, ledger_verify
from holdfast.cli.ledger_export import write_export
from holdfast.cli.ledger_file import ledger_place, one_request, open_reader
from holdfast.cli.ledger_options import (
    AsJson,
    Config,
    Key,
    Ledger,
    Model,
    Provider,
    Session,
    Since,
    State,
    Until,
)
from holdfast.cli.output import clean, say, say_json, say_table
from holdfast.cli.records import ATTEMPT_COLUMNS, RIGHT, attempt_cells, cells, columns, details, to_json
from holdfast.ledger.reader import Filter

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def ledger() -> None:
    """Read the record of every request: what was asked, who was tried, what was delivered, what it cost.

    Reading is safe beside a running gateway, on SQLite and PostgreSQL; only repair and prune write.
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
    with open_reader(ledger_place(file, config)) as reader:
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
    with open_reader(ledger_place(file, config)) as reader:
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
    with open_reader(ledger_place(file, config)) as reader:
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
    after: Annotated[
        str | None,
        typer.Option(
            "--after", metavar="ID", help="Only what comes behind this request: the last one of an export."
        ),
    ] = None,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """Write requests out for other programs, the oldest first. Takes no more memory for more of them.

    \b
    Examples:
      holdfast ledger export --since 30d --format csv --out november.csv
      holdfast ledger export --state failed | jq -r .error_label | sort | uniq -c
      holdfast ledger export --after "$(tail -1 so-far.jsonl | jq -r .id)" >> so-far.jsonl

    Exit codes: 0; 1 the ledger can't be read, or the file not written; 2 called wrongly.
    """
    which = Filter(
        state=state, model=model, provider=provider, key=key, session=session, since_ns=since, until_ns=until
    )
    place = ledger_place(file, config)
    with open_reader(place) as reader:
        behind = None if after is None else one_request(reader, after).intent.id
        records = reader.requests(which, order="oldest", limit=limit, after=behind)
        write_export(records, format_, out, ledger=place if isinstance(place, Path) else None)


app.command()(ledger_verify.verify)
app.command()(ledger_mend.repair)
app.command()(ledger_mend.prune)


def _every(seconds: float) -> Callable[[], bool]:
    """Waits, then says: go on."""
    never = threading.Event()
    return lambda: not never.wait(seconds)


_WIDTHS = (19, 18, 9, 3, 24, 32, 2, 6, 6, 7, 11, 0)


def _line(values: tuple[str, ...]) -> str:
    """Columns that stay in line without knowing what comes."""
    return "  ".join(value.ljust(width) for value, width in zip(values, _WIDTHS, strict=True)).rstrip()
