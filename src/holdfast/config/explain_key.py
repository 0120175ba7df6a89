"""What a key may do: what it may ask for, how often, for how much, and with whose keys it is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.config.explain import Value
from holdfast.config.own_view import for_tenant, shares_a_key
from holdfast.config.problems import dotted
from holdfast.engine.route import Routes, fold
from holdfast.money.cost import format_usd
from holdfast.money.rules import Subject
from holdfast.providers import catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.config.effective import Config, Key
    from holdfast.config.own_keys import OwnKey
    from holdfast.money.rules import BudgetRule

__all__ = ["ExplainedBudget", "KeyExplanation", "ServedBy", "as_seen_by", "explain_key"]

_OF_KEY = "the key itself"


class ExplainedBudget(msgspec.Struct, frozen=True, kw_only=True):
    """One of the budgets that its spending counts in."""

    name: str
    counts: str
    """Whose spending it counts together."""
    limit: str | int
    """Dollars as text, or tokens."""
    unit: str
    window: str
    hard: bool
    source: str


class ServedBy(msgspec.Struct, frozen=True, kw_only=True):
    """One provider, and with whose key this one's requests go there."""

    provider: str
    key: str
    """``shared``, ``own``, ``caller``, or ``none``: then it is no target of this key's."""
    source: str
    """Where that key came from, or what is missing; never the key."""


class KeyExplanation(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    source: str
    """``file`` or ``ledger``."""
    state: str
    routes: tuple[str, ...] | None
    """That it may use. With both None: it may use everything. Either list lets a request in."""
    models: tuple[str, ...] | None
    names: tuple[str, ...]
    """All that it can ask for as things stand, patterns and single models of its providers aside."""
    team: str | None
    tags: Mapping[str, str]
    rates: tuple[Value, ...]
    """Empty: nothing limits how often it may ask."""
    budgets: tuple[ExplainedBudget, ...]
    providers: tuple[ServedBy, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can say it."""
        built: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return built


def as_seen_by(config: Config, key: Key, own: Mapping[str, OwnKey]) -> Config:
    """``config`` for requests with ``key``, which bring no keys of their own; ``own``: its keys, by folded provider."""
    only = config.gateway.own_keys_only
    listed = config.keys.get(fold(key.name))
    return for_tenant(
        config, fold(key.name), own, own_only=only if listed is None else listed.own_keys_only, brought=False
    )


def explain_key(
    config: Config, key: Key, own: Mapping[str, OwnKey], *, source: str, state: str
) -> KeyExplanation:
    """What ``key`` may do under ``config``.

    Args:
        config: everybody's.
        key: as the gateway knows it.
        own: its keys to providers, by folded provider: the file's and the ledger's.
        source: ``file`` or ``ledger``.
        state: ``active``, ``expired`` or ``revoked``.
    """
    view = as_seen_by(config, key, own)
    entries = Routes(view, owner=catalog.owner_of).models()
    return KeyExplanation(
        key=key.name,
        source=source,
        state=state,
        routes=None if key.routes is None else tuple(sorted(key.routes)),
        models=key.models,
        names=tuple(entry.id for entry in entries if key.permits(entry.id, entry.id)),
        team=key.team,
        tags=dict(key.tags),
        rates=_rates(config, key, source),
        budgets=tuple(_budgets(config, key)),
        providers=tuple(_served(config, view, own)),
    )


def _rates(config: Config, key: Key, source: str) -> tuple[Value, ...]:
    rate, path = key.rate, dotted(("keys", key.name, "rate"))
    if rate is None:
        rate, path = config.rates.caller, "gateway.rate"
    if rate is None:
        return ()
    own = key.rate is not None and source != "file"
    return tuple(
        Value(name, value, _OF_KEY if own else f"{path}.{name}")
        for name in ("requests", "tokens", "window_s", "max_queue", "max_wait_s")
        if (value := getattr(rate, name)) is not None
    )


def _budgets(config: Config, key: Key) -> list[ExplainedBudget]:
    sources = {rule.name: dotted(("budgets", rule.name)) for rule in config.budgets}
    sources |= dict.fromkeys((rule.name for rule in key.budgets), _OF_KEY)
    rules = (*key.budgets, *config.budgets, *config.cost_protection.rules)
    return [
        ExplainedBudget(
            name=rule.name,
            counts=counts,
            limit=rule.limit if rule.limit_nano is None else format_usd(rule.limit_nano),
            unit=rule.measure,
            window=rule.window,
            hard=rule.hard,
            source=sources.get(rule.name, "cost_protection"),
        )
        for rule in rules
        if (counts := _counts(rule, key)) is not None
    ]


def _counts(rule: BudgetRule, key: Key) -> str | None:
    """Whose spending is counted together where this key's is; None: this key's never is."""
    subject = Subject(key=key.name, model="", session=None, team=key.team, tags=dict(key.tags))
    if rule.scope in ("model", "session"):
        of = f" matching {', '.join(rule.match)}" if rule.match else ""
        return f"each {rule.scope}{of}"
    if rule.scope == "tag" and rule.tag not in key.tags:
        return f"requests tagged {rule.tag}"
    name = rule.subject_of(subject)
    if name is None:
        return None
    return {
        "all": "everybody",
        "key": "this key",
        "team": f"the team {name}",
        "tag": f"the tag {rule.tag}={name}",
    }[rule.scope]


def _served(config: Config, view: Config, own: Mapping[str, OwnKey]) -> list[ServedBy]:
    served = []
    for name, provider in config.providers.items():
        seen = view.providers[name]
        if provider.from_callers:
            said = ("caller", "each request brings its own")
        elif name in own and seen is not provider:
            said = ("own", own[name].told)
        elif seen.usable:
            said = ("shared", provider.key_from)
        elif provider.usable and shares_a_key(provider):
            said = ("none", "own_keys_only, and it has no key of its own there")
        else:
            said = ("none", provider.key_from)
        served.append(ServedBy(provider=provider.name, key=said[0], source=said[1]))
    return served
