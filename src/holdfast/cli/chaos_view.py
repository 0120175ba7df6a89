"""What ``holdfast chaos watch`` shows: a picture made of statistics and attempts, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from holdfast.chaos.binomial import clopper_pearson
from holdfast.cli.chaos_rows import COLUMNS, RIGHT, cells, count, duration, size
from holdfast.cli.output import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

__all__ = ["render"]

_SHOWN = 6  # kinds of outcome of one sort; the rest is counted together
_OUTCOMES = {"by_status": "status", "by_end": "ended", "by_wire": "wire", "by_model": "model"}
_LOW = 32  # lines of a terminal that all of it fits in
_LOW_OUTCOMES = {"by_status": "status", "by_end": "ended"}
_HEAD_ROWS = 20  # lines that are no attempts
_LOW_HEAD_ROWS = 15
_LEAST_ROWS = 3
_WINDOWS = {"1s": "1 s", "10s": "10 s", "60s": "60 s", "since_reset": "all"}
_PERCENTILES = ("p50", "p90", "p95", "p99", "max")
_WIDE = 118  # columns of a terminal that all of it fits in; a narrower one gets less of it, not less of each
_LEFT_OUT = {"key", "att", "wire", "first"}
_LONG = {
    "key": 16,
    "model": 24,
    "faults": 22,
}  # of each at most; the model gets what is left in a wide terminal


def render(
    stats: dict[str, Any],
    entries: Sequence[dict[str, Any]],
    *,
    title: str = "",
    trouble: str = "",
    width: int = 120,
    height: int = 40,
) -> RenderableType:
    """``stats`` and ``entries`` (the newest first) as the admin API tells them, for a terminal of that size."""
    if not stats:
        return Text(trouble or f"waiting for {title} …", style="yellow")
    wide, low = width >= _WIDE, height < _LOW
    head = Table.grid(padding=(0, 4))
    head.add_row(_rates(stats, wide=wide), _latencies(stats, wide=wide))
    above: list[RenderableType] = [
        _title(stats, title, trouble),
        head,
        _outcomes(stats, _LOW_OUTCOMES if low else _OUTCOMES),
    ]
    rows = height - (_LOW_HEAD_ROWS if low else _HEAD_ROWS)
    below = _attempts(entries[: max(_LEAST_ROWS, rows)], stats["now_ns"], width)
    if low:
        return Group(*above, below)
    return Group(*(part for one in above for part in (one, Text())), below)


def _title(stats: dict[str, Any], title: str, trouble: str) -> Text:
    line = Text(" ", no_wrap=True, overflow="ellipsis")
    line.append(title or "chaos", style="bold")
    line.append(f"   {count(stats['attempts'])} attempts in {duration(stats['since_reset_s'])}, ")
    line.append(f"{count(stats['running'])} running", style="cyan" if stats["running"] else "")
    if stats["dropped"]:
        line.append(f", {count(stats['dropped'])} no longer in the journal", style="dim")
    file = stats["journal"].get("file")
    if file is not None and file["error"] is not None:
        line.append(f"   journal file: {file['error']}, {count(file['lost'])} lost", style="bold red")
    if trouble:
        line.append(f"   {trouble}", style="bold red")
    return line


def _rates(stats: dict[str, Any], *, wide: bool) -> Table:
    windows = list(_WINDOWS) if wide else ["1s", "60s"]
    table = _table("per second", *(_WINDOWS[window] for window in windows))
    for name, form in (("arrived", count), ("ended", count), ("tokens", count), ("bytes", size)):
        told = stats["per_second"][name]
        table.add_row(name, *(form(told[window]) for window in windows))
    return table


def _latencies(stats: dict[str, Any], *, wide: bool) -> Table:
    percentiles = _PERCENTILES if wide else ("p50", "p95", "max")
    table = _table("latency", *percentiles)
    for name, shown in (("first_token_s", "first token"), ("duration_s", "whole")):
        told = stats[name]
        table.add_row(shown, *(duration(told[percentile]) for percentile in percentiles))
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True, min_width=7)
    return table


def _outcomes(stats: dict[str, Any], kinds: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=7)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for name, shown in kinds.items():
        table.add_row(f" {shown}", _kinds(name, stats[name]))
    table.add_row(" faults", _faults(stats))
    table.add_row(" tokens", _tokens(stats))
    return table


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _kinds(name: str, counts: dict[str, int]) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    total = sum(counts.values())
    ordered = _largest(counts)
    for kind, n in ordered[:_SHOWN]:
        text.append(f"{clean(kind)} ", style=_style(name, kind))
        text.append(f"{count(n)} ")
        text.append(f"{100 * n / total:.1f} %   ", style="dim")
    if len(ordered) > _SHOWN:
        text.append(f"and {len(ordered) - _SHOWN} more", style="dim")
    return text


def _style(name: str, kind: str) -> str:
    if name == "by_status":
        return _status_style(kind)
    return _END_STYLES.get(kind, "") if name == "by_end" else ""


_END_STYLES = {
    "complete": "green",
    "reset_by_us": "red",
    "closed_by_us": "yellow",
    "half_closed_by_us": "yellow",
    "client_left": "magenta",
}


def _status_style(status: str) -> str:
    return {"2": "green", "4": "yellow", "5": "red"}.get(status[:1], "dim")


def _faults(stats: dict[str, Any]) -> Text:
    """Each with its observed share of the attempts that a script decided about, and how far that may be off (95 %)."""
    text = Text(no_wrap=True, overflow="ellipsis")
    of = sum(stats["by_rule"].values())
    ordered = _largest(stats["by_fault"])
    for fault, n in ordered[:_SHOWN]:
        low, high = clopper_pearson(n, of)
        text.append(f"{clean(fault)} ")
        text.append(f"{100 * n / of:.2f} % ", style="bold")
        text.append(f"({100 * low:.2f}–{100 * high:.2f})   ", style="dim")
    if len(ordered) > _SHOWN:
        text.append(f"and {len(ordered) - _SHOWN} more", style="dim")
    return text if ordered else Text("none", style="dim")


def _tokens(stats: dict[str, Any]) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{count(stats['tokens_served'])} served")
    text.append(
        f"   {count(stats['prompt_tokens_billed'])} + {count(stats['completion_tokens_billed'])} billed",
        style="dim",
    )
    return text


def _attempts(entries: Sequence[dict[str, Any]], now_ns: int, width: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    rows = [cells(entry, now_ns) for entry in entries]
    hidden = set() if width >= _WIDE else set(_LEFT_OUT)
    if not any(row[COLUMNS.index("key")] for row in rows):
        hidden.add("key")
    for name in COLUMNS:
        if name not in hidden:
            most = _LONG.get(name)
            if name == "model" and most is not None:
                most += max(0, width - _WIDE)
            table.add_column(
                name,
                justify="right" if name in RIGHT else "left",
                no_wrap=True,
                overflow="ellipsis",
                max_width=most,
                min_width=None if most is not None else len(name),
            )
    for entry, row in zip(entries, rows, strict=True):
        table.add_row(
            *(
                _cell(name, value, entry)
                for name, value in zip(COLUMNS, row, strict=True)
                if name not in hidden
            )
        )
    return table


def _cell(name: str, value: str, entry: dict[str, Any]) -> Text:
    match name:
        case "status":
            style = _status_style(value)
        case "end":
            style = _END_STYLES.get(entry["end"], "cyan")
        case "faults":
            style = "dim" if not entry["faults"] else "bold"
        case _:
            style = ""
    return Text(clean(value), style=style)
