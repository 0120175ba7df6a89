"""``holdfast ledger repair`` and ``prune``: what an operator may write."""

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.ledger_file import ledger_place, open_reader
from holdfast.cli.ledger_options import Config, Ledger, instant
from holdfast.cli.ledger_store import locked, open_mender
from holdfast.cli.output import say, say_json, say_table
from holdfast.cli.records import RIGHT, cells, columns, to_json
from holdfast.cli.times import iso_utc, local, zone
from holdfast.clock import SystemClock
from holdfast.ledger import retention
from holdfast.ledger.finding import several
from holdfast.ledger.mend import Mended, clear, mendable, mended, now_ns

if TYPE_CHECKING:
    from holdfast.ledger.mender import Mender

__all__ = ["prune", "repair"]

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")]


def repair(
    *,
    dry_run: DryRun = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="One JSON object: closed (a count), requests, keys, blocks, cleared, dry_run."
        ),
    ] = False,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """Mend what processes that died left behind, as 'holdfast ledger verify' found it.

    Requests that they left open are closed as unknown, at the upper bound of what they may have cost; their idempotency
    keys say unknown; what they had set aside of budgets is free again; rows that count no more are cleared away.
    A gateway does all this itself, every ten seconds. This is for a ledger whose gateways won't start again: on SQLite it is
    refused while a gateway has the file open, on PostgreSQL it leaves everything alone whose process lives.

    \b
    Examples:
      holdfast ledger repair --dry-run
      holdfast ledger repair
      holdfast ledger repair --ledger /backup/holdfast.db --json

    Exit codes: 0 (also where nothing was to be done); 1 a living process has the ledger, or it can't be written.
    """
    place, clock = ledger_place(file, config), SystemClock()
    if dry_run:
        with locked(place) as sole, open_reader(place) as reader:
            found = mendable(reader, clock, sole=sole)
    else:
        began_ns = clock.wall_ns()
        with open_mender(place, clock) as mender, open_reader(place) as reader:
            began_ns += now_ns(reader, clock) - clock.wall_ns()
            found = mended(reader, began_ns, clear(mender, reader, clock))
    if as_json:
        _say_repaired_json(found, dry_run=dry_run)
    else:
        _say_repaired(found, dry_run=dry_run)


def prune(
    *,
    before: Annotated[
        int | None,
        typer.Option(
            "--before",
            metavar="WHEN",
            parser=instant,
            help="What ended before then: 90d (ago), or 2026-01-31.",
        ),
    ] = None,
    keep_days: Annotated[
        int | None,
        typer.Option("--keep-days", min=1, max=36_500, metavar="N", help="What ended more than N days ago."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: deleted (a count), before, dry_run.")
    ] = False,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """Delete requests that were over long ago, with their attempts. What was spent of budgets stays.

    Open requests stay too, however old. A SQLite file keeps its size: what is free in it is written again.
    With ledger.keep_days in the configuration gateways do it themselves; on SQLite this is refused while one runs.

    \b
    Examples:
      holdfast ledger prune --keep-days 90 --dry-run
      holdfast ledger export --until 2026-01-01 --out 2025.jsonl && holdfast ledger prune --before 2026-01-01

    Exit codes: 0 (also where none is so old); 1 a living process has the ledger, or it can't be written; 2 called wrongly.
    """
    if (before is None) == (keep_days is None):
        raise typer.BadParameter("give one of --before and --keep-days")
    place, clock = ledger_place(file, config), SystemClock()
    with open_reader(place) as reader:
        now = now_ns(reader, clock)
        before_ns = now - keep_days * retention.DAY_NS if keep_days is not None else before or 0
        if before_ns > now:
            raise typer.BadParameter("--before is in the future: what isn't over yet can't be deleted")
        if dry_run:
            with reader.base.snapshot():
                count = retention.due(reader.base, before_ns)
        else:
            with open_mender(place, clock) as mender:
                count = _prune_all(mender, before_ns)
    if as_json:
        say_json({"deleted": count, "before_ns": before_ns, "before": iso_utc(before_ns), "dry_run": dry_run})
        return
    would = "would delete" if dry_run else "deleted"
    when = f"{local(before_ns)} {zone(before_ns)}"
    say(
        f"{would} {several(count, 'request')} that ended before {when}"
        if count
        else f"nothing ended before {when}"
    )


def _prune_all(mender: "Mender", before_ns: int) -> int:
    """Step by step: a gateway that writes beside it waits for a step at most, and what is done stays done."""
    gone, last = 0, retention.STEP
    while last == retention.STEP:
        last = mender.run(lambda connection: retention.prune(connection, before_ns))
        gone += last
    return gone


def _say_repaired_json(found: Mended, *, dry_run: bool) -> None:
    say_json(
        {
            "closed": len(found.requests),
            "keys": found.keys,
            "blocks": found.blocks,
            "cleared": found.cleared,
            "dry_run": dry_run,
            "requests": [to_json(record) for record in found.requests],
        }
    )


def _say_repaired(found: Mended, *, dry_run: bool) -> None:
    if found.nothing:
        say("nothing was open: nothing to repair")
        return
    would = "would have " if dry_run else ""
    if found.keys:
        say(f"{would}let go of {several(found.keys, 'idempotency key')}: nobody knows how their runs ended")
    if found.blocks:
        say(f"{would}freed {several(found.blocks, 'block')} of budgets")
    if found.cleared:
        say(f"{would}cleared {several(found.cleared, 'row')} away that count no more")
    if found.requests:
        say(f"{would}closed {several(len(found.requests), 'request')} as unknown:")
        say_table(columns(found.requests), map(cells, found.requests), right=RIGHT)
