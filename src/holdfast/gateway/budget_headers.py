"""What is said of a budget that is nearly spent: to the caller in a header, to the operator in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from holdfast.money.cost import format_usd

if TYPE_CHECKING:
    from holdfast.money.account import Account

__all__ = ["log_warning", "warning_of"]

_log = structlog.get_logger("holdfast.budgets")


def warning_of(account: Account, now_ns: int) -> bytes:
    """``daily; window=day; spent-usd=4.100000000; limit-usd=5.000000000``

    Keys' own budgets have names with commas, which would read as several warnings: those are quoted.
    """
    rule = account.rule
    name = f'"{rule.name}"' if set(' ,;"') & set(rule.name) else rule.name
    said = "; ".join(
        f"{what.replace('_', '-')}={amount}" for what, amount in _amounts(account, now_ns).items()
    )
    return f"{name}; window={rule.window}; {said}".encode()


def log_warning(account: Account, now_ns: int) -> None:
    """Who has spent most of which budget, for the operator: a header tells only the caller."""
    rule = account.rule
    _log.warning(
        "budget nearly spent",
        budget=rule.name,
        subject=account.subject or None,
        window=rule.window,
        **_amounts(account, now_ns),
    )


def _amounts(account: Account, now_ns: int) -> dict[str, str]:
    spent, limit = account.spent(now_ns), account.rule.limit
    if account.rule.measure == "usd":
        return {"spent_usd": format_usd(spent), "limit_usd": format_usd(limit)}
    return {"spent_tokens": str(spent), "limit_tokens": str(limit)}
