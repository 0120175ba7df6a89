"""What ``holdfast demo`` shows: a live view while it runs, and a table at its end."""

from __future__ import annotations

from collections import Counter, deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from holdfast.cli.demo_stage import CAST
from holdfast.cli.output import clean, console, say, say_table
from holdfast.money.cost import to_usd

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from holdfast.ledger import AttemptRow, Record

__all__ = ["Outcome", "Show", "Tally", "tell"]

_LINES: Final = 8


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt's."""

    number: int
    prompt: str
    text: str | None
    """None: no provider answered."""
    error: str | None = None
    record: Record

    @property
    def rows(self) -> tuple[AttemptRow, ...]:
        return () if self.record.end is None else self.record.end.attempts

    @property
    def provider(self) -> str | None:
        return None if self.record.end is None or self.text is None else self.record.end.provider


class Tally(msgspec.Struct):
    """Counts over outcomes."""

    prompts: int = 0
    answered: int = 0
    first: int = 0
    """Answered by the first provider at its first try: all that there would be without retries and fallback."""
    served: Counter[str] = msgspec.field(default_factory=Counter)
    attempts: Counter[str] = msgspec.field(default_factory=Counter)
    errors: dict[str, Counter[str]] = msgspec.field(default_factory=dict)
    nano: Counter[str] = msgspec.field(default_factory=Counter)
    lost_nano: int = 0
    """Of ``nano``: what attempts cost that brought no answer, at most."""

    def add(self, outcome: Outcome) -> None:
        self.prompts += 1
        if outcome.provider is not None:
            self.answered += 1
            self.served[outcome.provider] += 1
        rows = outcome.rows
        if outcome.text is not None and len(rows) == 1 and rows[0].provider == CAST[0].provider:
            self.first += 1
        for row in rows:
            self.attempts[row.provider] += 1
            self.nano[row.provider] += row.cost_nano or 0
            if row.outcome != "ok":
                self.errors.setdefault(row.provider, Counter())[row.outcome] += 1
                self.lost_nano += row.cost_nano or 0

    @property
    def rescued(self) -> int:
        return self.answered - self.first

    def json(self) -> dict[str, Any]:
        return {
            "prompts": self.prompts,
            "answered": self.answered,
            "answered_without_fallback": self.first,
            "rescued": self.rescued,
            "cost_usd": str(to_usd(self.nano.total())),
            "cost_of_failed_attempts_usd_at_most": str(to_usd(self.lost_nano)),
            "providers": [
                {
                    "provider": actor.provider,
                    "model": actor.model,
                    "dialect": actor.dialect,
                    "served": self.served[actor.provider],
                    "attempts": self.attempts[actor.provider],
                    "errors": dict(self.errors.get(actor.provider, {})),
                    "cost_usd": str(to_usd(self.nano[actor.provider])),
                }
                for actor in CAST
            ],
        }


class Show:
    """The live view; on a pipe it shows nothing."""

    def __init__(self, prompts: int, *, visible: bool) -> None:
        self.tally = Tally()
        self._last: deque[Text] = deque(maxlen=_LINES)
        self._state: dict[str, str] = {}
        self._bar = Progress(BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn())
        self._task = self._bar.add_task("prompts", total=prompts)
        screen = console(stderr=True)
        self._live = (
            Live(self._view(), console=screen, transient=True) if visible and screen.is_terminal else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def add(self, outcome: Outcome) -> None:
        self.tally.add(outcome)
        self._bar.advance(self._task)
        for row in outcome.rows:
            self._state[row.provider] = row.outcome
        self._last.append(_line(outcome))
        if self._live is not None:
            self._live.update(self._view())

    def _view(self) -> Panel:
        table = Table(box=None, pad_edge=False)
        for name, right in (
            ("provider", False),
            ("speaks", False),
            ("served", True),
            ("attempts", True),
            ("last", False),
        ):
            table.add_column(name, justify="right" if right else "left")
        for actor in CAST:
            last = self._state.get(actor.provider, "")
            table.add_row(
                actor.provider,
                actor.dialect,
                str(self.tally.served[actor.provider]),
                str(self.tally.attempts[actor.provider]),
                Text(last, style="green" if last == "ok" else "red"),
            )
        return Panel(
            Group(table, Text(), *self._last, Text(), self._bar), title="holdfast demo", title_align="left"
        )


def tell(tally: Tally, seconds: float) -> None:
    """The table at the end."""
    data = tally.json()
    say_table(
        ("provider", "model", "speaks", "served", "attempts", "errors", "cost USD"),
        [
            (
                row["provider"],
                row["model"],
                row["dialect"],
                str(row["served"]),
                str(row["attempts"]),
                ", ".join(f"{count} {name}" for name, count in sorted(row["errors"].items())) or "-",
                row["cost_usd"],
            )
            for row in data["providers"]
        ],
        right=("served", "attempts", "cost USD"),
    )
    say()
    say(f"{tally.answered} of {tally.prompts} prompts were answered, in {seconds:.1f} s.")
    say(
        f"Asked once and of {CAST[0].provider} alone, {tally.first} would have been: "
        f"retries and fallback saved {tally.rescued}."
    )
    share = "" if not tally.nano.total() else f" ({Decimal(tally.lost_nano) / tally.nano.total():.0%})"
    say(
        f"They cost {data['cost_usd']} USD at list prices; of that at most "
        f"{data['cost_of_failed_attempts_usd_at_most']}{share} went into attempts that brought no answer."
    )


def _line(outcome: Outcome) -> Text:
    """``12 what is the sea?  openai rate_limited, anthropic overloaded → deepseek``"""
    text = Text(f"{outcome.number:>4} {clean(outcome.prompt)[:40]:<40}  ", no_wrap=True, overflow="ellipsis")
    failed = [f"{row.provider} {row.outcome}" for row in outcome.rows if row.outcome != "ok"]
    text.append(", ".join(failed), style="red")
    text.append(" → " if failed else "")
    text.append(outcome.provider or "no answer", style="green" if outcome.provider else "bold red")
    return text
