"""``[budgets.NAME]``: what may be spent, by whom, in which window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.money.cost import to_nano
from holdfast.money.rules import SCOPES, BudgetRule

if TYPE_CHECKING:
    from holdfast.config.schema import BudgetTable
    from holdfast.config.source import Source

__all__ = ["budgets_of"]


def budgets_of(source: Source) -> tuple[BudgetRule, ...]:
    """The rules, in their order in the file; what can't be meant is in ``source.problems``."""
    for name in source.doc.budgets:
        if name.startswith("cost_protection."):
            source.wrong(("budgets", name), "is a name of cost protection's own budgets: take another one")
    rules = [_rule(source, name, table) for name, table in source.doc.budgets.items()]
    return tuple(rule for rule in rules if rule is not None)


def _rule(source: Source, name: str, table: BudgetTable) -> BudgetRule | None:
    path = ("budgets", name)
    known = len(source.problems)
    scope, tag = _scope(source, name, table.scope)
    window = table.window if table.window is not None else ("session" if scope == "session" else "month")
    if (table.limit_usd is None) == (table.limit_tokens is None) and not any(
        source.was_written(*path, limit) and getattr(table, limit) is None
        for limit in ("limit_usd", "limit_tokens")
    ):
        both = table.limit_usd is not None
        source.wrong(
            (*path, "limit_usd"),
            "and limit_tokens are both there: a budget counts one of them; make two budgets"
            if both
            else "is missing: say limit_usd, or limit_tokens",
        )
    if (window == "session") != (scope == "session"):
        source.wrong(
            (*path, "window"),
            'is "session" where the scope is, and only there'
            if scope != "session"
            else 'must be "session": a session\'s spending is never free again',
        )
    if len(source.problems) > known or (table.limit_usd is None and table.limit_tokens is None):
        return None  # a limit that can't be read is among the problems already
    settings: dict[str, Any] = {
        "name": name,
        "scope": scope,
        "tag": tag,
        "match": table.match,
        "window": window,
        "hard": table.hard,
    }
    if table.limit_usd is not None:
        settings["limit_nano"] = to_nano(table.limit_usd)
    else:
        settings["limit_tokens"] = table.limit_tokens
    if table.warn_at is not None:
        settings["warn_at"] = table.warn_at
    return BudgetRule(**settings)


def _scope(source: Source, name: str, said: str) -> tuple[str, str]:
    """The scope, and the tag's name where it is one."""
    scope, colon, tag = said.partition(":")
    if scope == "tag" and tag:
        return scope, tag
    if scope in SCOPES and scope != "tag" and not colon:
        return scope, ""
    shown = ", ".join(f'"{each}"' for each in SCOPES if each != "tag")
    source.wrong(("budgets", name, "scope"), f'must be one of {shown} or "tag:NAME", not "{said}"')
    return "all", ""
