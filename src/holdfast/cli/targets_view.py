"""What ``holdfast targets`` shows: a table made of what ``/admin/targets`` tells, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from holdfast.cli.chaos_rows import duration
from holdfast.cli.gateway_admin import RemoteError
from holdfast.cli.output import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from holdfast.cli.gateway_admin import GatewayAdmin

__all__ = ["Targets", "read_targets", "render"]

_OFF: Final = "–"
_COLUMNS: Final = (
    "target", "breaker", "failures", "places", "waiting", "adaptive", "rate", "the provider says", "retries", "refused",
)  # fmt: skip  # a table
_RIGHT: Final = frozenset(("failures", "places", "waiting", "adaptive", "retries"))
_STYLES: Final = {"open": "bold red", "half_open": "yellow", "closed": "green"}


class Shared(msgspec.Struct):
    """As :class:`~holdfast.engine.shared_breakers.SharedView`."""

    here: bool
    probes: int
    alone: bool


class Breaker(msgspec.Struct):
    """As :class:`~holdfast.resilience.breaker.BreakerSnapshot`."""

    state: str
    calls: int
    failures: int
    probes: int
    retry_after_s: float
    shared: Shared | None = None
    """None: no other process shares it."""


class Places(msgspec.Struct):
    """As :class:`~holdfast.resilience.bulkhead.BulkheadSnapshot`."""

    in_use: int
    limit: int
    waiting: int


class Adaptive(msgspec.Struct):
    """As :class:`~holdfast.resilience.adaptive.AdaptiveState`."""

    limit: int


class Limit(msgspec.Struct):
    """As :class:`~holdfast.resilience.rate_meter.LimitStatus`."""

    limit: int
    remaining: int
    reset_s: float


class Rate(msgspec.Struct):
    """As :class:`~holdfast.resilience.rate_meter.RateStatus`."""

    requests: Limit | None
    tokens: Limit | None


class Told(msgspec.Struct):
    """As :class:`~holdfast.resilience.rate_signals.RateSignal`, with times from now."""

    kind: str
    limit: int | None
    remaining: int
    reset_s: float | None


class Budget(msgspec.Struct):
    """As :class:`~holdfast.resilience.retry_budget.RetryBudgetState`."""

    left: int
    refused: int


class Target(msgspec.Struct):
    """As :class:`~holdfast.engine.gates.TargetState`."""

    target: str
    route: str
    breaker: Breaker | None
    bulkhead: Places | None
    adaptive: Adaptive | None
    rate: Rate | None
    provider_limits: list[Told]
    blocked_s: float
    budget: Budget
    refused: dict[str, int]


class Runs(msgspec.Struct):
    """Of requests with idempotency keys."""

    running: int


class Targets(msgspec.Struct):
    """What ``/admin/targets`` tells, as far as it is shown."""

    targets: list[Target]
    overall: Places | None
    idempotency: Runs


def read_targets(gateway: GatewayAdmin, target: str | None = None) -> Targets:
    """How the targets stand, or the one that is asked for. Raises RemoteError."""
    try:
        return msgspec.json.decode(gateway.read("targets", target=target), type=Targets)
    except (msgspec.DecodeError, RecursionError):
        raise RemoteError(f"what serves at {gateway.url} is no gateway, or one of another version") from None


def render(told: Targets, *, title: str = "", trouble: str = "") -> RenderableType:
    """The table, and a line on what all targets share.

    Args:
        told: what is shown.
        title, trouble: stand above it.
    """
    parts: list[RenderableType] = []
    if title or trouble:
        head = Text(clean(title), style="bold", no_wrap=True, overflow="ellipsis")
        parts.append(head.append(f"   {clean(trouble)}" if trouble else "", style="bold red"))
    if told.targets:
        parts.append(_table(told.targets))
    else:
        parts.append(Text("No target was asked since the gateway's start."))
    return Group(*parts, Text(_shared(told), style="dim"))


def _table(targets: list[Target]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in _RIGHT else "left", overflow="fold")
    for target in targets:
        table.add_row(*(Text(clean(said), style=style) for said, style in _cells(target)))
    return table


def _cells(target: Target) -> Iterator[tuple[str, str]]:
    """One for each of the columns, with its style."""
    breaker, places, adaptive = target.breaker, target.bulkhead, target.adaptive
    yield target.target + (f" (route {target.route})" if target.route else ""), ""
    yield _breaker(breaker), "" if breaker is None else _STYLES.get(breaker.state, "")
    yield _OFF if breaker is None else f"{breaker.failures}/{breaker.calls}", ""
    full = places is not None and places.in_use >= places.limit
    yield _OFF if places is None else f"{places.in_use}/{places.limit}", "yellow" if full else ""
    yield _OFF if places is None else str(places.waiting), "yellow" if places and places.waiting else ""
    yield _OFF if adaptive is None else str(adaptive.limit), ""
    yield _rate(target.rate), ""
    yield _provider(target), "red" if target.blocked_s else ""
    yield f"{target.budget.left} left", "" if target.budget.left else "yellow"
    yield _refused(target), ""


def _breaker(breaker: Breaker | None) -> str:
    if breaker is None:
        return _OFF
    said, shared = breaker.state.replace("_", "-"), breaker.shared
    if shared is not None and shared.probes > breaker.probes and breaker.state == "half_open":
        said += f", {breaker.probes} of {shared.probes} out"
    elif breaker.probes:
        said += f", {breaker.probes} out"
    if breaker.retry_after_s:
        said += f", {duration(breaker.retry_after_s)}"
    if shared is not None and breaker.state != "closed":
        said += ", not shared now" if shared.alone else "" if shared.here else ", opened by another process"
    return said


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return _OFF
    limits = {"requests": rate.requests, "tokens": rate.tokens}
    return ", ".join(f"{kind} {_left(limit)}" for kind, limit in limits.items() if limit is not None)


def _provider(target: Target) -> str:
    said = [f"{told.kind} {_left(told)}" for told in target.provider_limits]
    if target.blocked_s:
        said.append(f"nothing for {duration(target.blocked_s)}")
    return ", ".join(said) or _OFF


def _left(limit: Limit | Told) -> str:
    return str(limit.remaining) if limit.limit is None else f"{limit.remaining}/{limit.limit}"


def _refused(target: Target) -> str:
    counts = {**target.refused, "retries": target.budget.refused}
    return ", ".join(f"{policy} {count}" for policy, count in counts.items() if count) or _OFF


def _shared(told: Targets) -> str:
    running = told.idempotency.running
    said = f"{running} idempotency run{'' if running == 1 else 's'} under way"
    if told.overall is not None:
        places = told.overall
        said = f"all providers: {places.in_use}/{places.limit} places, {places.waiting} waiting; {said}"
    return said
