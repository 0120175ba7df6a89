"""Keys as rows and lines for people, from what the gateway's ``/admin/keys`` tells."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from holdfast.cli.times import local, zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["cells", "details", "head", "note_of_grace"]

_COLUMNS: Final = ("name", "kind", "state", "begins", "team", "may use", "limits", "expires", "last used")


def cells(key: dict[str, Any]) -> tuple[str, ...]:
    """One key on one line, in the order of :func:`head`."""
    return (
        key["name"],
        key["kind"] if key["source"] == "ledger" else f"{key['kind']} (file)",
        key["state"],
        _begins(key),
        key["team"] or "",
        _uses(key),
        ", ".join(_limits(key)),
        _when(key["expires_ns"]),
        _when(key["last_used_ns"]),
    )


def details(key: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values, one to a line."""
    yield "name", key["name"]
    yield "kind", f"{key['kind']}: {_KINDS[key['kind']]}"
    yield "state", key["state"]
    yield "stands in", "the ledger" if key["source"] == "ledger" else "the configuration's file"
    if begins := _begins(key):
        yield "begins with", begins
    yield "team", key["team"] or ""
    yield "tags", ", ".join(f"{name}={value}" for name, value in key["tags"].items())
    if key["kind"] == "caller":
        yield "may use", _uses(key)
        yield "limits", ", ".join(_limits(key))
    for name in ("created", "expires", "revoked", "last_used"):
        yield name.replace("_", " "), _when(key[f"{name}_ns"], zoned=True)
    for old in key["replaced"]:
        yield "replaced", note_of_grace(old)


def note_of_grace(old: dict[str, Any]) -> str:
    """What becomes of a text that another took the place of."""
    used = _when(old["last_used_ns"], zoned=True)
    return f"{old['prefix']}… works until {_when(old['until_ns'], zoned=True)}; last used: {used or 'never'}"


_KINDS: Final = {"caller": "asks models", "admin": "opens /admin, and asks no models"}


def _begins(key: dict[str, Any]) -> str:
    return f"{key['prefix']}…" if key["prefix"] else ""


def _uses(key: dict[str, Any]) -> str:
    if key["kind"] == "admin":
        return "/admin"
    if key["routes"] is None and key["models"] is None:
        return "everything"
    said = [f"route {name}" for name in key["routes"] or ()] + list(key["models"] or ())
    return ", ".join(said)


def _limits(key: dict[str, Any]) -> Iterator[str]:
    for budget in key["budgets"]:
        yield f"{_amount(budget)} {_PER[budget['window']]}"
    rate = key["rate"]
    for unit in ("requests", "tokens"):
        if rate is not None and rate[unit] is not None:
            yield f"{rate[unit]:,} {unit} in {rate['window_s']:g} s"


_PER: Final = {"hour": "an hour", "day": "a day", "month": "a month", "forever": "in all"}


def _amount(budget: dict[str, Any]) -> str:
    if budget["limit_usd"] is None:
        return f"{budget['limit_tokens']:,} tokens"
    return f"${Decimal(budget['limit_usd']).normalize():f}"


def _when(ns: int | None, *, zoned: bool = False) -> str:
    if ns is None:
        return ""
    return f"{local(ns)} {zone(ns)}" if zoned else local(ns)


def head(keys: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The columns, with the zone that the times are in."""
    moments = [ns for key in keys for ns in (key["expires_ns"], key["last_used_ns"]) if ns is not None]
    if not moments:
        return _COLUMNS
    return tuple(f"{name} ({zone(moments[0])})" if name in _MOMENTS else name for name in _COLUMNS)


_MOMENTS: Final = ("expires", "last used")
