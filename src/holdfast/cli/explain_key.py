"""``holdfast explain --key``: a key of the file or of the ledger, and what it may do."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from holdfast.cli.keys_desk import readable
from holdfast.cli.output import clean, complain, say, say_json, say_table
from holdfast.clock import SystemClock
from holdfast.config.explain_key import as_seen_by, explain_key
from holdfast.config.own_keys import OwnKey
from holdfast.engine.route import Routes, fold
from holdfast.errors import Forbidden, NotFound, UnknownModel
from holdfast.gateway.key_forms import as_key
from holdfast.ledger.reader import LedgerReader
from holdfast.providers import catalog
from holdfast.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.config import Config, Key
    from holdfast.config.explain_key import KeyExplanation
    from holdfast.ledger.keys import StoredKey
    from holdfast.ledger.provider_keys import SealedKey

__all__ = ["Whose", "permitted", "show_key", "the_key"]

_QUOTED = 100


class Whose(Struct, frozen=True, kw_only=True):
    """A key, and the configuration that it is asked about under."""

    config: Config
    key: Key
    own: Mapping[str, OwnKey]
    source: str
    state: str


def the_key(config: Config, name: str) -> Whose:
    """The key called ``name``, wherever it stands.

    Raises:
        NotFound: there is none.
        Forbidden: it is an admin's.
        ConfigError, LedgerUnavailable: the ledger can't be read.
    """
    stored, sealed = _kept(config)
    own = {
        fold(row.provider): OwnKey(
            key=Secret(""), base_url=row.base_url, told="kept in the ledger"
        )  # never opened
        for row in sealed
        if row.tenant == fold(name)
    }
    own |= config.own_keys.get(fold(name), {})
    if (written := config.keys.get(fold(name))) is not None:
        return Whose(config=config, key=written, own=own, source="file", state="active")
    found = next((key for key in stored if fold(key.name) == fold(name)), None)
    if found is None:
        names = [*(key.name for key in config.keys.values()), *(key.name for key in stored)]
        near = catalog.nearest(name, names)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise NotFound(f"there is no key {name[:_QUOTED]!r}{hint}")
    if found.kind == "admin":
        raise Forbidden(f"{found.name} is an admin's key: it opens /admin, and asks no models")
    state = found.state(SystemClock().wall_ns())
    return Whose(config=config, key=as_key(found), own=own, source="ledger", state=state)


def permitted(whose: Whose, model: str) -> Config:
    """The configuration as the key sees it.

    Raises:
        Forbidden: it may not ask for that.
    """
    view = as_seen_by(whose.config, whose.key, whose.own)
    try:
        route = Routes(view, owner=catalog.owner_of).resolve(model).route
    except UnknownModel:
        return view  # which is said where it is explained
    if not whose.key.permits(route, model):
        raise Forbidden(f"the key {whose.key.name!r} may not use the model {model[:_QUOTED]!r}")
    return view


def show_key(whose: Whose, *, as_json: bool) -> int:
    """Says what it may do. The exit code: 0 where it is good."""
    told = explain_key(whose.config, whose.key, whose.own, source=whose.source, state=whose.state)
    if as_json:
        say_json(told.to_dict())
    else:
        _show(told)
    if told.state == "active":
        return 0
    if not as_json:
        complain(f"the key {told.key} {_OVER[told.state]}, so none of it counts")
    return 1


_OVER = {"expired": "has expired", "revoked": "was revoked"}


def _show(told: KeyExplanation) -> None:
    where = "the configuration's file" if told.source == "file" else "the ledger"
    lines = {
        "key": f"{told.key}, in {where}, {told.state}",
        "team": told.team or "",
        "tags": ", ".join(f"{name}={value}" for name, value in told.tags.items()),
        "may use": _uses(told),
        "now": ", ".join(told.names) or "nothing: no target of those has a key",
    }
    for name, value in lines.items():
        if value:
            say(f"{name:<8}  {clean(value)}")
    rows = [("rate", value.name, str(value.value), value.source) for value in told.rates] or [
        ("rate", "", "none", "built-in")
    ]
    rows += [
        (
            "budget" if budget.hard else "budget (warns)",
            f"{budget.name}: {budget.counts}",
            f"{_amount(budget)} {_PER[budget.window]}",
            budget.source,
        )
        for budget in told.budgets
    ] or [("budget", "", "none", "built-in")]
    say()
    say_table(("limit", "name", "value", "from"), rows)
    say()
    say_table(
        ("provider", "served with", "from"),
        [(each.provider, each.key, each.source) for each in told.providers],
    )


_PER = {"hour": "an hour", "day": "a day", "month": "a month", "forever": "in all", "session": "a session"}


def _amount(budget: Any) -> str:
    if budget.unit == "usd":
        return f"${Decimal(budget.limit).normalize():f}"
    return f"{budget.limit:,} tokens"


def _uses(told: KeyExplanation) -> str:
    if told.routes is None and told.models is None:
        return "everything"
    return ", ".join([*(f"route {name}" for name in told.routes or ()), *(told.models or ())])


def _kept(config: Config) -> tuple[Sequence[StoredKey], Sequence[SealedKey]]:
    where = readable(config)
    if where is None:
        return (), ()
    with LedgerReader(where) as reader:
        return reader.keys(), reader.provider_keys()
