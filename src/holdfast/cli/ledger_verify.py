"""``holdfast ledger verify``: whether the record keeps its word."""

import threading
from typing import TYPE_CHECKING, Annotated, Final

import typer

from holdfast.cli.gateway_admin import GatewayAdmin, RemoteError
from holdfast.cli.ledger_file import ledger_place, open_reader
from holdfast.cli.ledger_options import Config, Ledger
from holdfast.cli.output import complain, say, say_json, say_table
from holdfast.cli.times import iso_utc
from holdfast.clock import SystemClock
from holdfast.errors import HoldfastError
from holdfast.ledger.finding import several
from holdfast.ledger.verify import verify as look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.cli.ledger_counters import Counted
    from holdfast.ledger.finding import Finding
    from holdfast.ledger.reader import LedgerReader

__all__ = ["verify"]

_PATIENCE_S: Final = 3_600.0
"""For one statement on PostgreSQL: it may look at every row of a year."""

Gateway = Annotated[
    list[str] | None,
    typer.Option(
        "--gateway",
        metavar="URL",
        help="Compare with what this running gateway has counted (/metrics) too. Again for each other one on this ledger.",
    ),
]
GatewayKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        envvar=["HOLDFAST_METRICS_KEY", "HOLDFAST_ADMIN_KEY"],
        help="What opens /metrics: gateway.metrics_key, or an admin key. Other users of this machine can see arguments: "
        "better the variable.",
    ),
]


def verify(
    *,
    gateway: Gateway = None,
    gateway_key: GatewayKey = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: ok, ledger, at, findings.")
    ] = False,
    file: Ledger = None,
    config: Config = None,
) -> None:
    """Check that the record keeps its word: that nothing is lost, and that all sums add up.

    Looks at one moment of the whole ledger, so gateways may go on writing. Each rule is fine, wrong, one that
    'holdfast ledger repair' mends, or unsure: not all of it can be told from what is kept.

    \b
    Examples:
      holdfast ledger verify
      holdfast ledger verify --gateway http://127.0.0.1:8080
      holdfast ledger verify --json | jq '.findings[] | select(.standing != "ok")'

    Exit codes: 0 every rule holds; 1 something is wrong or to be repaired; 2 it couldn't be looked at, or called wrongly.
    """
    clock = SystemClock()
    try:
        with open_reader(ledger_place(file, config), statement_s=_PATIENCE_S) as reader:
            at_ns = clock.wall_ns()
            findings = look(reader, clock)
            if gateway:
                findings.append(_compared(reader, gateway, gateway_key))
            name = reader.base.name
    except (HoldfastError, RemoteError, OSError) as error:
        complain(error.message if isinstance(error, HoldfastError) else str(error))
        raise typer.Exit(2) from None
    fine = all(finding.fine for finding in findings)
    if as_json:
        say_json({"ok": fine, "ledger": name, "at_ns": at_ns, "at": iso_utc(at_ns), "findings": findings})
    else:
        _show(findings)
    if not fine:
        raise typer.Exit(1)


def _compared(reader: "LedgerReader", urls: "Sequence[str]", key: str | None) -> "Finding":
    from holdfast.cli.ledger_counters import compare, read_counted

    gateways = [GatewayAdmin(url, key) for url in urls]

    def counted() -> "Counted":
        try:
            return read_counted([each.metrics() for each in gateways])
        except (ValueError, KeyError):
            raise RemoteError("what serves there is no gateway, or one of another version") from None

    return compare(reader, SystemClock(), counted, threading.Event().wait)


def _show(findings: "Sequence[Finding]") -> None:
    say_table(
        ("rule", "", "what was found"),
        [(finding.check, finding.standing, _told(finding)) for finding in findings],
    )
    say()
    wrong = sum(finding.standing == "wrong" for finding in findings)
    mend = sum(finding.standing == "repair" for finding in findings)
    if not wrong and not mend:
        say("Every rule holds.")
    if mend:
        say(
            f"{several(mend, 'rule')} to repair: 'holdfast ledger repair' does, once no gateway does it itself."
        )
    if wrong:
        say(f"{several(wrong, 'rule')} broken.")


def _told(finding: "Finding") -> str:
    if not finding.examples or finding.standing == "ok":
        return finding.says
    more = " …" if finding.count > len(finding.examples) else ""
    return f"{finding.says} ({', '.join(finding.examples)}{more})"
